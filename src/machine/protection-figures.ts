/** Doubles of the buffer, in the order that `native/page-guard.c` knows. */
const FAULTS = 0;
const FAULT_MS = 1;
const OVERFLOWS = 2;
const IS_BLUNT = 3;
const FIGURES = 4;

/** Faults at protected pages and the time that serving them took, counted by whoever serves them and read by the guest's thread. */
export class ProtectionFigures {
  readonly buffer: SharedArrayBuffer;
  readonly #figures: Float64Array;

  constructor(buffer = new SharedArrayBuffer(8 * FIGURES)) {
    this.buffer = buffer;
    this.#figures = new Float64Array(buffer);
  }

  countFault(): void {
    this.#figures[FAULTS] += 1;
  }

  addTime(ms: number): void {
    this.#figures[FAULT_MS] += ms;
  }

  get faults(): number {
    return this.#figures[FAULTS];
  }

  get faultMs(): number {
    return this.#figures[FAULT_MS];
  }

  /** Times that all pages had to be opened, since protecting each by itself took too much of the system. */
  get overflows(): number {
    return this.#figures[OVERFLOWS];
  }

  /** Whether pages are protected for a save although their states say `dirty`. */
  get isBlunt(): boolean {
    return this.#figures[IS_BLUNT] !== 0;
  }
}
