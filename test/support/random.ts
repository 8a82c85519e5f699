/** Seeded random numbers (Marsaglia's xorshift, 32 bits), so that whatever a test did can be done again. */
export class Random {
  #state: number;

  constructor(seed: number) {
    // Mixed, so that neighbouring seeds give unrelated numbers; zero is the one state that never moves.
    this.#state = Math.imul(seed ^ (seed >>> 16) ^ 0x5bd1e995, 0x9e3779b1) | 0 || 1;
    for (let k = 0; k < 8; k++) this.next();
  }

  /** 0 … 2³² − 1, but for zero. */
  next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 … limit − 1 */
  below(limit: number): number {
    return Math.floor((this.next() / 2 ** 32) * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability * 2 ** 32;
  }

  pick<T>(among: readonly T[]): T {
    return among[this.below(among.length)];
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.next() >>> 11);
  }
}
