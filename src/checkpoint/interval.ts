/**
 * How long to wait between checkpoints: often enough that a failure loses little, seldom enough that checkpoints cost
 * little. Times are in milliseconds; the cost is the time that the program stands still for a checkpoint, the MTBF the
 * mean time between failures, which come at random (a Poisson process).
 */
import { assert } from '../error/errors.ts';

/** √(2·C·M): the first-order estimate (Young, CACM 1974; paper, "Optimal checkpointing interval analysis"). */
export function youngInterval(costMs: number, mtbfMs: number): number {
  assert(costMs >= 0 && mtbfMs > 0, `no interval for a cost of ${costMs} ms and failures each ${mtbfMs} ms`);
  return Math.sqrt(2 * costMs * mtbfMs);
}

/**
 * The higher-order estimate of the time of work between two checkpoints (Daly, Future Generation Computer Systems 2006,
 * equation 37). Where a checkpoint costs more than twice the MTBF, it is the MTBF.
 */
export function dalyInterval(costMs: number, mtbfMs: number): number {
  const young = youngInterval(costMs, mtbfMs);
  const ratio = costMs / (2 * mtbfMs);
  if (ratio >= 1) return mtbfMs;
  return young * (1 + Math.sqrt(ratio) / 3 + ratio / 9) - costMs;
}

/**
 * By how much longer a long run takes than one without failures and checkpoints, as a part of that (Daly, equation 20):
 * checkpoints, work that is lost, and restarts.
 */
export function expectedOverhead(intervalMs: number, costMs: number, mtbfMs: number, restartMs = 0): number {
  assert(intervalMs > 0, `an interval of ${intervalMs} ms`);
  const perInterval = mtbfMs * Math.exp(restartMs / mtbfMs) * Math.expm1((intervalMs + costMs) / mtbfMs);
  return perInterval / intervalMs - 1;
}

/**
 * The mean time between failures of a job that has failed so often in so much time, where one failure each `expectedMs` was
 * expected. The expectation counts as one failure in its time, so that the first ones do not turn everything over.
 */
export function observedMtbf(expectedMs: number, runMs: number, failures: number): number {
  return (expectedMs + runMs) / (1 + failures);
}

export const AUTO_INTERVAL_MS_MIN = 100;
export const AUTO_INTERVAL_MS_MAX = 3_600_000;
export const DEFAULT_MTBF_MS = 86_400_000;
/** Until something was measured. */
const FIRST_INTERVAL_MS = 1000;
/** So many of the last checkpoints tell what one costs. */
const MEASURED_MAX = 9;

/** The interval of `--interval auto`: Daly's, by the median cost of the last checkpoints, within bounds. */
export class AutoInterval {
  readonly #mtbfMs: number;
  readonly #pausesMs: number[] = [];

  constructor(mtbfMs: number) {
    this.#mtbfMs = mtbfMs;
  }

  /** A checkpoint was taken, and the program stood still for it so long. */
  note(pauseMs: number): void {
    this.#pausesMs.push(pauseMs);
    if (this.#pausesMs.length > MEASURED_MAX) this.#pausesMs.shift();
  }

  get intervalMs(): number {
    if (this.#pausesMs.length === 0) return FIRST_INTERVAL_MS;
    const interval = dalyInterval(median(this.#pausesMs), this.#mtbfMs);
    return Math.min(AUTO_INTERVAL_MS_MAX, Math.max(AUTO_INTERVAL_MS_MIN, interval));
  }
}

/** Of at least one number; the lower one of the middle two. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1];
}
