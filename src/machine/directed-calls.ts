/** What a program may tell Continuo, by imports from the module `continuo`: see `include/continuo.h`. */
import { Exclusions } from '../checkpoint/exclusions.ts';
import { CorruptionError } from '../error/errors.ts';
import { type FunctionType, ValueType } from '../wasm/value-type.ts';
import { type Check, count, finite, flag, list, record } from '../wasi/checked-json.ts';
import { INTERRUPTED } from '../wasi/config.ts';

export const DIRECTED_MODULE = 'continuo';

const { i32, f64 } = ValueType;

/** The functions and their types. */
export const DIRECTED_FUNCTIONS: ReadonlyMap<string, FunctionType> = new Map([
  ['checkpoint', typeOf([], [i32])],
  ['exclude', typeOf([i32, i32], [])],
  ['include', typeOf([i32, i32], [])],
  ['progress', typeOf([f64, f64], [])],
]);

function typeOf(params: readonly number[], results: readonly number[]): FunctionType {
  return { params: Uint8Array.from(params), results: Uint8Array.from(results) };
}

/** As it is kept in a checkpoint. */
export interface DirectedState {
  readonly excluded: readonly (readonly [from: number, to: number])[];
  /** The steps done that the program reported last. */
  readonly stepsDone: number;
  /** The checkpoint was asked for by a call that is still to return. */
  readonly inCall: boolean;
}

/** The program's side of the run that these calls are about. */
export interface DirectedRun {
  /** A checkpoint after every so many steps; undefined for none. */
  readonly everySteps: number | undefined;
  readonly keepsCheckpoints: () => boolean;
  /** Asks for a checkpoint at the next safepoint, because the steps are due. */
  readonly requestCheckpoint: () => void;
  readonly report: (done: number, total: number) => void;
}

/** At most so often is progress passed on. */
const REPORT_MS = 100;

export class DirectedCalls {
  readonly exclusions: Exclusions;
  /** `checkpoint` was called, and the guest unwinds for it. */
  wantsCheckpoint = false;
  readonly #run: DirectedRun;
  #stepsDone: number;
  /** The call of `checkpoint` that made the guest unwind is about to be issued again; whether in a later run. */
  #reissued: 'no' | 'here' | 'later';
  #reportedMs = -Infinity;

  constructor(run: DirectedRun, state: DirectedState | undefined) {
    this.#run = run;
    this.exclusions = new Exclusions(state?.excluded);
    this.#stepsDone = state?.stepsDone ?? 0;
    this.#reissued = state?.inCall === true ? 'later' : 'no';
  }

  captureState(): DirectedState {
    const { exclusions } = this;
    return { excluded: exclusions.ranges, stepsDone: this.#stepsDone, inCall: this.#reissued !== 'no' };
  }

  /** As the guest imports them. One that returns `INTERRUPTED` makes it unwind, and is issued again. */
  readonly imports = {
    checkpoint: (): number => {
      if (this.#reissued !== 'no') {
        const result = this.#reissued === 'later' ? 1 : 0;
        this.#reissued = 'no';
        return result;
      }
      if (!this.#run.keepsCheckpoints()) return 0;
      this.#reissued = 'here';
      this.wantsCheckpoint = true;
      return INTERRUPTED;
    },
    exclude: (address: number, lengthBytes: number): number => {
      this.exclusions.exclude(address >>> 0, lengthBytes >>> 0);
      return 0;
    },
    include: (address: number, lengthBytes: number): number => {
      this.exclusions.include(address >>> 0, lengthBytes >>> 0);
      return 0;
    },
    progress: (done: number, total: number): number => {
      const { everySteps } = this.#run;
      if (everySteps !== undefined && Math.floor(done / everySteps) > Math.floor(this.#stepsDone / everySteps)) {
        this.#run.requestCheckpoint();
      }
      this.#stepsDone = Number.isFinite(done) ? done : 0;
      const nowMs = performance.now();
      if (nowMs - this.#reportedMs >= REPORT_MS || done === total) {
        this.#reportedMs = nowMs;
        this.#run.report(done, total);
      }
      return 0;
    },
  };
}

const pageRange: Check<readonly [number, number]> = (value, place) => {
  const [from, to] = list(count)(value, place);
  return [count(from, place), count(to, place)];
};
const checkState = record<DirectedState>({ excluded: list(pageRange), stepsDone: finite, inCall: flag });

/** @throws CorruptionError when a checkpoint's record of these calls is none. */
export function parseDirectedState(value: unknown): DirectedState | undefined {
  if (value === undefined) return undefined;
  try {
    return checkState(value, 'directed');
  } catch (error) {
    throw new CorruptionError("the checkpoint's record of what the program said of itself cannot be read", {}, error);
  }
}
