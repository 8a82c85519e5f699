const FAULTS = 0;
const FAULT_MS = 1;

/** Faults at protected pages and the time that serving them took, counted by the thread that does and read by the guest's. */
export class ProtectionFigures {
  readonly buffer: SharedArrayBuffer;
  readonly #figures: Float64Array;

  constructor(buffer = new SharedArrayBuffer(16)) {
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
}
