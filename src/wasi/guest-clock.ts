import type { GuestMemory } from '../memory/guest-memory.ts';

export interface ClockState {
  /** What the monotonic clock showed, in milliseconds. */
  monotonicMs: number;
  /** Processor time used so far, in milliseconds. */
  processorMs: number;
}

/** Checkpoints ask the system for processor time no more often: beside other threads that may take it 0.3 ms. */
const PROCESSOR_SAMPLE_MS = 100;

/**
 * The guest's clocks. The monotonic one goes on after a restart from where the checkpoint stopped it: it never runs
 * backwards, and time between the runs does not count. The wall clock is the host's.
 */
export class GuestClock {
  readonly #offsetMs: number;
  readonly #processorOffsetMs: number;
  /** The processor time that the system told last, and when (`performance.now`). */
  #processorMs = 0;
  #processorSampledMs = -Infinity;
  #wallBaseMs = Date.now() - performance.now();

  constructor(state?: ClockState) {
    if (state === undefined) {
      const [seconds, nanoseconds] = process.hrtime();
      this.#offsetMs = seconds * 1e3 + nanoseconds / 1e6 - performance.now();
      this.#processorOffsetMs = 0;
    } else {
      this.#offsetMs = state.monotonicMs - performance.now();
      this.#processorOffsetMs = state.processorMs - hostProcessorMs();
    }
  }

  captureState(): ClockState {
    // A little old is as good, as long as it is not behind what the guest was shown.
    const isOld = performance.now() - this.#processorSampledMs > PROCESSOR_SAMPLE_MS;
    return { monotonicMs: this.monotonicMs(), processorMs: isOld ? this.processorMs() : this.#processorMs };
  }

  monotonicMs(): number {
    return performance.now() + this.#offsetMs;
  }

  /** The host's wall clock, with the fraction of a millisecond that `Date.now` leaves out. */
  wallMs(): number {
    const coarse = Date.now();
    const fine = this.#wallBaseMs + performance.now();
    if (fine >= coarse && fine < coarse + 1) return fine;
    // Somebody set the clock, or the two drifted apart.
    this.#wallBaseMs = coarse - performance.now();
    return coarse;
  }

  processorMs(): number {
    this.#processorMs = hostProcessorMs() + this.#processorOffsetMs;
    this.#processorSampledMs = performance.now();
    return this.#processorMs;
  }

  /** A time of the guest's monotonic clock on the clock of `performance.now()`. */
  toHostMs(monotonicMs: number): number {
    return monotonicMs - this.#offsetMs;
  }
}

function hostProcessorMs(): number {
  const usage = process.cpuUsage();
  return (usage.user + usage.system) / 1e3;
}

/** Stores milliseconds as nanoseconds in a u64, without BigInt. Exact to the nanosecond up to 2⁵³ ns = 104 days. */
export function storeNanoseconds(memory: GuestMemory, address: number, milliseconds: number): void {
  // Split first: seconds × 10⁹ would lose digits of today's wall clock.
  const seconds = Math.floor(milliseconds / 1e3);
  const nanoseconds = Math.round((milliseconds - seconds * 1e3) * 1e6);
  const low = Math.imul(seconds >>> 0, 1_000_000_000) >>> 0;
  const product = seconds * 1_000_000_000;
  const high = Math.round((product - low) / 0x1_0000_0000);
  const lowSum = low + nanoseconds;
  memory.setUint32(address, lowSum >>> 0);
  memory.setUint32(address + 4, (high + (lowSum >= 0x1_0000_0000 ? 1 : 0)) >>> 0);
}

/** Stores a whole number of at most 2⁵³ in a u64, without BigInt. */
export function storeUint64(memory: GuestMemory, address: number, value: number): void {
  memory.setUint32(address, value >>> 0);
  memory.setUint32(address + 4, Math.floor(value / 0x1_0000_0000) >>> 0);
}
