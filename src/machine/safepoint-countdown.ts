/** Safepoints to the first hop; each later one comes after so many times as many. */
const FIRST_HOP = 4096;
const HOP_GROWTH = 4;

/** What is due at a capture that the countdown made. */
export interface DueAtSafepoint {
  readonly checkpoint: boolean;
  readonly hop: boolean;
}

const NOTHING_DUE: DueAtSafepoint = { checkpoint: false, hop: false };

/**
 * When a guest that counts its safepoints captures itself: for a checkpoint after every so many, and for hops into optimised
 * code, which come by count too, so that two runs of a program are captured at the same places whatever the machine's speed:
 * the code that goes on from a capture may ask for pages in another order than the code before.
 *
 * Captures for other reasons leave the count as it is.
 */
export class SafepointCountdown {
  readonly #every: number;
  #checkpointLeft: number;
  #hopLeft = FIRST_HOP;
  #nextHop = FIRST_HOP * (HOP_GROWTH - 1);
  #started = 0;

  constructor(every: number) {
    this.#every = every;
    this.#checkpointLeft = every;
  }

  /** Safepoints to pass until the next capture. */
  start(): number {
    this.#started = Math.max(0, Math.min(this.#checkpointLeft, this.#hopLeft));
    return this.#started;
  }

  /** The guest is captured with so many left to pass; negative: it captured itself because none were left. */
  stop(left: number): DueAtSafepoint {
    const passed = left < 0 ? this.#started : this.#started - left;
    this.#checkpointLeft -= passed;
    this.#hopLeft -= passed;
    if (left >= 0) return NOTHING_DUE;
    const due = { checkpoint: this.#checkpointLeft <= 0, hop: this.#hopLeft <= 0 };
    if (due.checkpoint) this.#checkpointLeft = this.#every;
    if (due.hop) {
      this.#hopLeft = this.#nextHop;
      this.#nextHop = Math.min(this.#nextHop * HOP_GROWTH, 0x7fff_ffff);
    }
    return due;
  }
}
