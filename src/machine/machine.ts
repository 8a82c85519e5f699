import { EventEmitter } from 'node:events';
import { basename, resolve } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { AutoInterval, DEFAULT_MTBF_MS, observedMtbf } from '../checkpoint/interval.ts';
import type { CheckpointStats, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { JobLock } from '../device/job-lock.ts';
import { UsageError } from '../error/errors.ts';
import { KEEP_MAX } from '../format/paging-format.ts';
import { FRAMES_MIN, PollState, controlRegion } from '../memory/layout.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { ReplacementName } from '../pager/replacement.ts';
import type { Secret } from '../seal/sealing-key.ts';
import type { TraceSummary } from '../simulate/trace-recorder.ts';
import type { InputSource, OutputMode, OutputTarget } from '../wasi/config.ts';
import { ControlWords, Request } from './control-words.ts';
import { decodeError } from './error-transport.ts';
import { takeGuestWorker } from './guest-worker.ts';
import { InputFeed } from './input-feed.ts';
import type { OnStorageError } from './storage-failure.ts';
import { refuseExposedJob } from './job-isolation.ts';
import { PagerWorker } from './pager-worker.ts';
import { servesFaults, type TrackerChoice, type TrackerName } from './tracking-choice.ts';
import { takeJob } from './taken-job.ts';
import type {
  GuestFigures,
  GuestMessage,
  GuestThreadData,
  JobDescription,
  OutputDescription,
  PagingRequest,
  RunEnd,
} from './protocol.ts';

/** A directory of the host that the program may use, and the name it knows it by (default: the host's). */
export interface DirectoryGrant {
  readonly host: string;
  readonly guest?: string;
}

export interface MachineOptions {
  /** The program's bytes: any WASI preview 1 command. */
  readonly program: Uint8Array;
  /** What the program sees as `argv[0]` and what people see as its name. Default `program.wasm`. */
  readonly name?: string;
  /** Arguments after the name. */
  readonly arguments?: readonly string[];
  /** Nothing is inherited that is not named here. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly directories?: readonly DirectoryGrant[];
  readonly stdin?: InputSource;
  readonly stdout?: OutputTarget;
  readonly stderr?: OutputTarget;
  /** When output leaves; default `auto`. */
  readonly outputMode?: OutputMode;
  /**
   * Makes NaNs that the program can see the same on every processor: arithmetic gives the canonical NaN where it gives any.
   * Part of what the job is. Relaxed SIMD is refused then. Default false.
   */
  readonly canonicalNan?: boolean;
  /** Job directory: made when missing, gone on with when it holds this very run. Without one nothing is kept. */
  readonly job?: string;
  /** Gives up a job that the directory holds and starts anew. */
  readonly fresh?: boolean;
  /**
   * Milliseconds between checkpoints; 0 for none but those asked for; `auto` for what costs least by the time that the
   * last ones took and `mtbfMs`, between 100 ms and an hour. Default 1000.
   */
  readonly intervalMs?: number | 'auto';
  /**
   * Mean time between failures of the machine, for `auto`. Undefined: a day, corrected by how often this job was lost in
   * the time that it ran.
   */
  readonly mtbfMs?: number;
  /**
   * Page-sized places in memory for the guest's pages, at least 16; pages beyond them live in the paging file. Undefined:
   * all pages are resident.
   */
  readonly frameCount?: number;
  /** How the pages that leave memory are chosen; the default is the best known way. */
  readonly replacement?: ReplacementName;
  /**
   * Checks in the program's code ask for each page when it is used, and not for all pages of a loop's next turns ahead, so that page
   * counts are those of `tracker: 'kernel'`, to the last page: for experiments, since it is slower. Default false.
   */
  readonly pageByPage?: boolean;
  /**
   * Whether dirty pages of a paged guest that it leaves alone are written while it runs, ahead of the next checkpoint of the
   * timer. Default true; it rests by itself where it does not pay.
   */
  readonly writeAhead?: boolean;
  /**
   * How pages are saved: `continuous` (the default), `incremental`, `sequential` or `none`. A job goes on in the way it had unless it is
   * named; the first and the last keep checkpoints in one place, the others in another, and only within these can it change.
   */
  readonly policy?: PolicyName;
  /**
   * How the guest's use of pages becomes known: `software`, by its own code; `kernel`, where the system can; `auto` (the default),
   * the better of them that works here. `mprotect`, by a handler of SIGSEGV, is only for the policy `incremental` and for `fork`.
   */
  readonly tracker?: TrackerName;
  /** Whether the guest runs on while a checkpoint is saved. Default false. */
  readonly fork?: boolean;
  /** How many checkpoints are kept, the newest included: 1 to 64. Default: as the job had it, 1 for a new one. */
  readonly keep?: number;
  /**
   * What happens when the storage of the job fails: `stop` (the default) ends the run with a StorageError; with `continue` the run goes
   * on without checkpoints, its held output leaves, and `checkpointsGivenUp` says so at the end. Where the paging file of the job is the
   * program's memory (`frameCount` with `continuous` or `none`) the run stops in any case. The last checkpoint stands.
   */
  readonly onStorageError?: OnStorageError;
  /**
   * Seals a job that is made, and opens one that is sealed: its files say nothing to those who lack the secret, and a changed
   * one is refused.
   */
  readonly secret?: Secret;
  /** A checkpoint after every so many safepoints (loop heads and calls passed), for experiments that must not depend on speed. */
  readonly everySafepoints?: number;
  /** A checkpoint after every so many steps that the program reports by `progress` (see `include/continuo.h`). */
  readonly everySteps?: number;
  /** The process answers this signal by `checkpoint()`, as the command does: `continuo export` may send it. */
  readonly checkpointSignal?: 'SIGUSR1';
  /**
   * Records the page references of the run in this file, and its checkpoints without taking them. Not with a job nor with
   * `frameCount`: what they would do to the run is what a simulation of the trace tells.
   */
  readonly trace?: string;
}

export type ResumeOptions = Pick<
  MachineOptions,
  | 'intervalMs'
  | 'mtbfMs'
  | 'everySafepoints'
  | 'everySteps'
  | 'frameCount'
  | 'replacement'
  | 'pageByPage'
  | 'writeAhead'
  | 'policy'
  | 'fork'
  | 'keep'
  | 'onStorageError'
  | 'tracker'
  | 'secret'
  | 'checkpointSignal'
> & {
  /** Goes on from the kept checkpoint of this generation; those after it are given up at once. */
  readonly at?: number;
};

export type MachineEnd = RunEnd & RunFigures;

/** What a run did until its end, whatever that was. */
export interface RunFigures {
  /** Time from start to end of this run, milliseconds. */
  readonly runMs: number;
  /** Time the guest ran in all runs of the job, milliseconds. */
  readonly guestMs: number;
  /** Pages of 4096 bytes in the guest's memory at the end. */
  readonly pages: number;
  /** Generation of the checkpoint that this run started from, 0 for none. */
  readonly resumedFrom: number;
  /** Times the guest was captured and resumed without a checkpoint, into optimised code. */
  readonly hops: number;
  /** What paging did; undefined where all pages were resident. */
  readonly paging: PagingStats | undefined;
  /** Slots of the job's paging file at the end; undefined where there is none. */
  readonly slots: SlotCounts | undefined;
  /** How the guest's use of its pages became known, and why so; undefined where it did not run. */
  readonly tracker: TrackerChoice | undefined;
  /** How pages were saved; undefined without a job. */
  readonly policy: PolicyName | undefined;
  /** Whether storage failed and the run went on without checkpoints: the job does not know how it ended. */
  readonly checkpointsGivenUp: boolean;
  /** Pages copied because the guest wrote to them while they were being saved, and the time that took, milliseconds. */
  readonly copyFaults: number;
  readonly copyMs: number;
  /** What was recorded; undefined unless the run was traced to its end. */
  readonly trace: TraceSummary | undefined;
}

export interface MachineEvents {
  /** The guest runs: from its start, or from the checkpoint of that generation. */
  running: [event: { resumedFrom: number; description: JobDescription; tracker: TrackerChoice }];
  checkpoint: [stats: CheckpointStats];
  /** How far the program has come, when it says so (see `include/continuo.h`); not more often than ten times a second. */
  progress: [event: { done: number; total: number }];
  /** Something that people should know, as a sentence. */
  notice: [text: string];
  /** The run ended with an error, a trap or another, with which `ended` is about to reject. */
  failed: [figures: RunFigures];
}

/** How often dirty pages are written ahead, where memory is paged and checkpoints come by the timer. */
const WRITE_AHEADS_PER_INTERVAL = 8;
const WRITE_AHEAD_MS_MIN = 20;
/** When the guest is moved into optimised code, milliseconds after its start; then again and again. */
const HOPS_MS = [30, 150, 600, 2500];
const HOP_EVERY_MS = 5000;

/**
 * One program on its machine: runs in a thread of its own, is checkpointed while it runs, ends by itself or is stopped.
 *
 * ```ts
 * const machine = Machine.start({ program, arguments: ['400', '1'], job: 'my-job' });
 * machine.on('checkpoint', (stats) => console.error(stats));
 * const end = await machine.ended;
 * ```
 */
export class Machine extends EventEmitter<MachineEvents> {
  /** How the run ended; rejects with a ContinuoError when it could not start, trapped, or lost its storage. */
  readonly ended: Promise<MachineEnd>;
  readonly #control = new ControlWords();
  readonly #worker: Worker;
  /** Where the kernel stops the guest at pages that it has no access to. */
  readonly #pagerWorker: PagerWorker | undefined;
  readonly #lock: JobLock | undefined;
  readonly #startMs = performance.now();
  readonly #timers: NodeJS.Timeout[] = [];
  /** Of checkpoints and what is written ahead of them. */
  #checkpointTimers: NodeJS.Timeout[] = [];
  readonly #interval: Interval;
  #autoInterval: AutoInterval | undefined;
  readonly #writesAhead: boolean;
  readonly #countsSafepoints: boolean;
  readonly #input = new InputFeed(this.#control);
  readonly #sinks: OutputSinks;
  #words: Int32Array | undefined;

  private constructor(
    data: Omit<GuestThreadData, 'control' | 'pagerLink'>,
    lock: JobLock | undefined,
    interval: Interval,
    sinks: OutputSinks,
    writeAhead: boolean,
  ) {
    super();
    this.#sinks = sinks;
    this.#lock = lock;
    this.#interval = interval;
    this.#writesAhead = writeAhead && data.paging !== undefined && data.jobDirectory !== undefined;
    this.#countsSafepoints = data.everySafepoints !== undefined;
    this.#worker = takeGuestWorker();
    this.#pagerWorker = servesFaults(data)
      ? new PagerWorker(
          () => this.#request(0),
          (error) => this.#tellOfPager(error),
        )
      : undefined;
    const pagerLink = this.#pagerWorker?.link;
    const guestData: GuestThreadData = { ...data, control: this.#control.buffer, pagerLink };
    this.#worker.postMessage(guestData, pagerLink === undefined ? [] : [pagerLink.port]);
    this.ended = new Promise((settle, fail) => {
      this.#worker.on('message', (message: GuestMessage) => this.#receive(message, settle, fail));
      this.#worker.on('error', (error) => this.#finish(() => fail(error)));
      this.#worker.on('exit', (code) => {
        this.#finish(() => fail(new Error(`the guest's thread ended without a result (code ${code})`)));
      });
    });
    // Whoever only listens to events must not see an unhandled rejection before it awaits the end.
    this.ended.catch(() => {});
  }

  /** Starts a program, or goes on with it where its job directory holds a checkpoint of this very run. */
  static start(options: MachineOptions): Machine {
    const interval = checkedInterval(options);
    const description = describe(options);
    const jobDirectory = options.job === undefined ? undefined : resolve(options.job);
    if (jobDirectory !== undefined) refuseExposedJob(jobDirectory, description);
    const { program, fresh = false, everySafepoints, trace, checkpointSignal } = options;
    if (trace !== undefined && (jobDirectory !== undefined || options.frameCount !== undefined)) {
      throw new UsageError('bad-argument', 'a run that is traced has neither a job nor a budget of memory');
    }
    const { lock, seal } = takeJob(jobDirectory, options.secret, { fresh, create: true, checkpointSignal });
    const { everySteps } = options;
    const data = {
      description,
      programBytes: program,
      jobDirectory,
      seal,
      fresh,
      everySafepoints,
      everySteps,
      paging: pagingOf(options),
      ...policyOf(options),
      tracePath: trace === undefined ? undefined : resolve(trace),
    };
    return new Machine(data, lock, interval, sinksOf(options), options.writeAhead ?? true);
  }

  /** Goes on with a job as it was described when it was made. */
  static resume(job: string, options: ResumeOptions = {}): Machine {
    const interval = checkedInterval(options);
    const jobDirectory = resolve(job);
    const { everySafepoints, everySteps, checkpointSignal } = options;
    const { lock, seal } = takeJob(jobDirectory, options.secret, { checkpointSignal });
    const nothing = { description: undefined, programBytes: undefined, fresh: false, tracePath: undefined };
    const data = {
      ...nothing,
      jobDirectory,
      seal,
      everySafepoints,
      everySteps,
      paging: pagingOf(options),
      ...policyOf(options),
    };
    return new Machine(data, lock, interval, {}, options.writeAhead ?? true);
  }

  /** Asks for a checkpoint; it is taken at the next safepoint, or now if the guest waits in a host function. */
  checkpoint(): void {
    this.#request(Request.checkpoint);
  }

  /** Asks for a checkpoint and the end of the run. Without a job the run just ends. */
  stop(): void {
    // What is read from now on would be in no checkpoint.
    this.#input.stop();
    this.#request(Request.stop);
  }

  #request(bits: number): void {
    this.#control.request(bits);
    if (this.#words === undefined) return;
    Atomics.compareExchange(this.#words, controlRegion.pollWord >> 2, PollState.running, PollState.requested);
  }

  #receive(message: GuestMessage, settle: (end: MachineEnd) => void, fail: (error: Error) => void): void {
    switch (message.kind) {
      case 'running':
        this.#words = new Int32Array(message.memory.buffer, 0, controlRegion.scratch >> 2);
        this.#startTimers(message.guestMs, message.failures);
        this.emit('running', message);
        // A stop that was asked for before the guest ran has found no poll word.
        if (this.#control.hasRequest) this.#request(0);
        return;
      case 'checkpoint':
        this.#noteCheckpoint(message.stats);
        this.emit('checkpoint', message.stats);
        return;
      case 'notice':
        this.emit('notice', message.text);
        return;
      case 'progress':
        this.emit('progress', { done: message.done, total: message.total });
        return;
      case 'output':
        this.#sinks[message.stream]?.(message.bytes);
        return;
      case 'wantsInput':
        this.#input.feed();
        return;
      case 'ended':
        this.#finish(() => settle({ ...message.end, ...this.#figures(message.figures) }));
        return;
      case 'failed':
        this.#finish(() => {
          this.emit('failed', this.#figures(message.figures));
          fail(decodeError(message.error));
        });
    }
  }

  #tellOfPager(error: Error): void {
    this.emit('notice', `the thread that serves the page faults of the program failed: ${error.message}`);
  }

  #figures(figures: GuestFigures): RunFigures {
    return { ...figures, runMs: performance.now() - this.#startMs };
  }

  #startTimers(guestMs: number, failures: number): void {
    const { intervalMs, mtbfMs } = this.#interval;
    if (intervalMs === 'auto') {
      this.#autoInterval = new AutoInterval(mtbfMs ?? observedMtbf(DEFAULT_MTBF_MS, guestMs, failures));
      this.#startCheckpointTimers(this.#autoInterval.intervalMs);
    } else if (intervalMs > 0) this.#startCheckpointTimers(intervalMs);
    // A guest that counts its safepoints hops by their count (`SafepointCountdown`).
    if (this.#countsSafepoints) return;
    for (const delayMs of HOPS_MS) this.#timers.push(setTimeout(() => this.#request(Request.hop), delayMs));
    this.#timers.push(setInterval(() => this.#request(Request.hop), HOP_EVERY_MS));
  }

  #startCheckpointTimers(intervalMs: number): void {
    for (const timer of this.#checkpointTimers) clearInterval(timer);
    this.#checkpointTimers = [setInterval(() => this.#request(Request.timer), intervalMs)];
    if (!this.#writesAhead) return;
    const everyMs = Math.max(WRITE_AHEAD_MS_MIN, intervalMs / WRITE_AHEADS_PER_INTERVAL);
    this.#checkpointTimers.push(setInterval(() => this.#request(Request.writeAhead), everyMs));
  }

  /** The first checkpoint and the last cost other things than those between them. */
  #noteCheckpoint({ trigger, pauseMs }: CheckpointStats): void {
    if (this.#autoInterval === undefined || trigger === 'start' || trigger === 'end' || this.#finished) return;
    this.#autoInterval.note(pauseMs);
    this.#startCheckpointTimers(this.#autoInterval.intervalMs);
  }

  #finished = false;
  #finish(settle: () => void): void {
    if (this.#finished) return;
    this.#finished = true;
    for (const timer of [...this.#timers, ...this.#checkpointTimers]) clearTimeout(timer);
    this.#input.close();
    this.#pagerWorker?.stop();
    this.#lock?.release();
    settle();
    void this.#worker.terminate();
  }
}

/** The longest delay of a timer of Node.js, which fires at once when it is given a longer one. */
export const INTERVAL_MS_MAX = 0x7fff_ffff;

/** When checkpoints come. */
type Interval = Required<Pick<MachineOptions, 'intervalMs'>> & Pick<MachineOptions, 'mtbfMs'>;

function checkedInterval({ intervalMs = 1000, mtbfMs }: Pick<MachineOptions, 'intervalMs' | 'mtbfMs'>): Interval {
  if (mtbfMs !== undefined && !(mtbfMs > 0 && mtbfMs < Infinity)) {
    throw new UsageError('bad-argument', `the mean time between failures cannot be ${mtbfMs} ms`);
  }
  const possible = intervalMs === 'auto' || (intervalMs >= 0 && intervalMs <= INTERVAL_MS_MAX);
  if (possible) return { intervalMs, ...(mtbfMs === undefined ? {} : { mtbfMs }) };
  throw new UsageError('bad-argument', `the interval between checkpoints cannot be ${intervalMs} ms`);
}

type SavingData = Pick<GuestThreadData, 'policy' | 'fork' | 'keep' | 'at' | 'onStorageError' | 'tracker'>;

function policyOf(options: ResumeOptions): SavingData {
  const { policy, fork = false, keep, at, onStorageError = 'stop', tracker = 'auto' } = options;
  if (keep !== undefined && !(Number.isInteger(keep) && keep >= 1 && keep <= KEEP_MAX)) {
    throw new UsageError('bad-argument', `a job keeps 1 to ${KEEP_MAX} checkpoints, not ${keep}`);
  }
  return { policy, fork, keep, at, onStorageError, tracker };
}

function pagingOf({ frameCount, replacement, pageByPage = false }: ResumeOptions): PagingRequest | undefined {
  if (frameCount === undefined) return undefined;
  if (Number.isInteger(frameCount) && frameCount >= FRAMES_MIN) return { frameCount, replacement, pageByPage };
  throw new UsageError('bad-argument', `a guest needs at least ${FRAMES_MIN} frames, not ${frameCount}`);
}

function describe(options: MachineOptions): JobDescription {
  const name = options.name ?? 'program.wasm';
  return {
    program: name,
    arguments: [basename(name), ...(options.arguments ?? [])],
    environment: Object.entries(options.environment ?? {}),
    preopens: (options.directories ?? []).map(({ host, guest }) => ({
      hostPath: resolve(host),
      guestPath: guest ?? host,
    })),
    stdin: absolute(options.stdin ?? { kind: 'inherit' }),
    stdout: describeOutput(options.stdout),
    stderr: describeOutput(options.stderr),
    outputMode: options.outputMode ?? 'auto',
    canonicalNan: options.canonicalNan ?? false,
  };
}

/** Functions of the embedder that take what the program writes. */
interface OutputSinks {
  readonly stdout?: (bytes: Uint8Array) => void;
  readonly stderr?: (bytes: Uint8Array) => void;
}

function sinksOf({ stdout, stderr }: MachineOptions): OutputSinks {
  return {
    ...(stdout?.kind === 'sink' ? { stdout: stdout.write } : {}),
    ...(stderr?.kind === 'sink' ? { stderr: stderr.write } : {}),
  };
}

function describeOutput(target: OutputTarget = { kind: 'inherit' }): OutputDescription {
  return target.kind === 'sink' ? { kind: 'sink' } : absolute(target);
}

/** A job is gone on with from any working directory. */
function absolute<T extends InputSource | OutputDescription>(stream: T): T {
  return stream.kind === 'file' ? { ...stream, path: resolve(stream.path) } : stream;
}
