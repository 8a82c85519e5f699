import type { CheckpointStats } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore, PolicyName } from '../checkpoint/checkpoint-store.ts';
import { ScratchStore } from '../checkpoint/scratch-store.ts';
import { FileDevice } from '../device/file-device.ts';
import { GuestTrapError, type StorageError, assert } from '../error/errors.ts';
import { programDigest } from '../format/job-format.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import { sealedOrPlain } from '../seal/job-seal.ts';
import { Wasi } from '../wasi/wasi.ts';
import { checkpointTrigger } from './checkpoint-trigger.ts';
import { CHECKPOINT_REQUESTS, type ControlWords, Request } from './control-words.ts';
import { DIRECTED_MODULE, DirectedCalls } from './directed-calls.ts';
import { ForkedSaves } from './forked-saves.ts';
import { openGuestJob } from './guest-job.ts';
import { pagingOptionsFor, shownStats } from './guest-paging.ts';
import { GuestBlocking } from './guest-blocking.ts';
import { GuestInstance, type RunOutcome } from './guest-instance.ts';
import { trapOf } from './guest-stack.ts';
import { decodeHostState, encodeHostState } from './host-state.ts';
import { interruptibleCalls } from './interruptible-calls.ts';
import { keptJournalGenerations } from './kept-host-states.ts';
import { writesKnownBy } from './known-writes.ts';
import { identityOf } from './job-description.ts';
import { type MachineState, type Phase, decodeMachineState, encodeMachineState } from './machine-state.ts';
import { ProtectedPages } from './protected-pages.ts';
import { type RemoteStore, type RunPager, type RunStore, openRemoteStore } from './remote-store.ts';
import type { TraceTrigger } from '../format/trace-format.ts';
import type { TraceSummary } from '../simulate/trace-recorder.ts';
import { type Tracing, attachTracing } from './tracing.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';
import { type Program, WASI_MODULE, checkImports, isDirected, prepareProgram } from './program.ts';
import { THREADS_MODULE, threadImports } from './thread-calls.ts';
import type { GuestFigures, GuestMessage, GuestThreadData, JobDescription, RunEnd } from './protocol.ts';
import { outputTarget } from './output-target.ts';
import { SafepointCountdown } from './safepoint-countdown.ts';
import { SaveWriter } from './save-writer.ts';
import { StorageFailure, givenUpNotice, mayGiveUp } from './storage-failure.ts';
import { captureState, restoreState } from './state-capture.ts';
import { chooseTracker, isPagedByKernel, keepsCheckpoints, trackingOf } from './tracking-choice.ts';

const UNFINISHED = { finished: false, exitCode: 0 };
/** Pages written ahead at a time: 2 MB, about a millisecond. */
const WRITE_AHEAD_PAGES_MAX = 512;

/**
 * One guest from its start, or its last checkpoint, to its end, in its own thread.
 *
 *   prepare ──► start or restore ──► run ──► captured ──► commit or hop ──► resume ──► … ──► ended
 *
 * With a job the first checkpoint is taken before the first instruction, so that a restart always has one to go back
 * to, and the last one when the program has ended, so that it is not run twice.
 */
export class GuestRun {
  readonly #data: GuestThreadData;
  readonly #control: ControlWords;
  readonly #post: (message: GuestMessage) => void;
  /** The job's; undefined when nothing is kept. */
  #store: RunStore | undefined;
  /** The same as this thread has opened it. */
  #openedStore: CheckpointStore | undefined;
  /** Where another thread serves the guest's faults. */
  #faults: RemoteStore | ProtectedPages | undefined;
  /** Undefined when nothing is kept. */
  #policy: PolicyName | undefined;
  #tracker: GuestFigures['tracker'];
  readonly #saveWriter: SaveWriter | undefined;
  /** Where checkpoints are saved beside the guest. */
  #forks: ForkedSaves | undefined;
  /** Of a program that directs its checkpoints. */
  #directed: DirectedCalls | undefined;
  /** What asked for a checkpoint while the one before was being saved. */
  #waiting = 0;
  /** Until then the timer asks in vain (`performance.now`): however short its interval, the guest runs for half of the time. */
  #timerRestMs = 0;
  /** Of a run that keeps nothing and has a budget of memory. */
  #scratch: ScratchStore | undefined;
  #pager: RunPager | undefined;
  /** In the place of a pager, where the run is traced. */
  #tracing: Tracing | undefined;
  #trace: TraceSummary | undefined;
  #program!: Program;
  #instance!: GuestInstance;
  #wasi!: Wasi;
  #call = 0;
  /** Set by `proc_exit`. */
  #exitCode: number | undefined;
  /** What a host function threw: the run is over. */
  #hostFailure: { readonly error: unknown } | undefined;
  #guestMs = 0;
  /** Runs of the job before this one that were not stopped but lost. */
  #failures = 0;
  #hops = 0;
  #countdown: SafepointCountdown | undefined;
  #resumedFrom = 0;
  readonly #storage = new StorageFailure(
    () => mayGiveUp(this.#data, this.#policy),
    (error) => this.#giveUp(error),
  );

  readonly #notice = (text: string): void => this.#post({ kind: 'notice', text });

  constructor(data: GuestThreadData, control: ControlWords, post: (message: GuestMessage) => void) {
    this.#data = data;
    this.#control = control;
    this.#post = post;
    if (data.fork && data.jobDirectory !== undefined) this.#saveWriter = new SaveWriter(control.buffer, data.seal);
  }

  run(): RunEnd {
    try {
      return this.#run();
    } catch (error) {
      // The program has ended; its last words are often the reason.
      if (error instanceof GuestTrapError) this.#wasi?.releaseUncommittedOutput();
      throw error;
    } finally {
      this.#wasi?.close();
      this.#saveWriter?.close();
      this.#store?.close();
      this.#faults?.close();
      this.#scratch?.close();
      this.#tracing?.close();
    }
  }

  #run(): RunEnd {
    const { description, programBytes } = this.#openJob();
    const restored = this.#restoredState();
    if (restored?.phase.finished) {
      this.#guestMs = restored.phase.guestMs;
      this.#releaseHeldOutput(description, restored);
      if (this.#outputIsLeft) return { kind: 'stopped', generation: this.#resumedFrom };
      return { kind: 'exited', exitCode: restored.phase.exitCode, earlier: true };
    }
    this.#prepare(description, programBytes, restored);
    if (restored !== undefined && this.#outputIsLeft) return { kind: 'stopped', generation: this.#resumedFrom };
    this.#post({
      kind: 'running',
      memory: this.#instance.memory,
      resumedFrom: this.#resumedFrom,
      tracker: this.#choice,
      description,
      guestMs: this.#guestMs,
      failures: this.#failures,
    });
    if (restored === undefined && this.#takesCheckpoints)
      this.#storage.attempt(() => this.#commit('start', UNFINISHED));
    const end = this.#runCalls(restored !== undefined && restored.frames.length > 0);
    if (this.#tracing !== undefined) return this.#endTrace(this.#tracing, end);
    if (end.kind !== 'exited' || this.#store === undefined || this.#storage.givenUp) return end;
    const generation = this.#storage.attempt(() => this.#commitEnd(end.exitCode));
    if (generation === undefined) return end;
    return this.#outputIsLeft ? { kind: 'stopped', generation } : end;
  }

  get #takesCheckpoints(): boolean {
    return this.#store !== undefined || this.#tracing !== undefined;
  }

  /** Whether checkpoints are taken, or noted, between start and end. */
  get #keepsCheckpoints(): boolean {
    if (this.#storage.givenUp) return false;
    return this.#tracing !== undefined || (this.#store !== undefined && keepsCheckpoints(this.#policy));
  }

  #endTrace(tracing: Tracing, end: RunEnd): RunEnd {
    if (end.kind === 'exited') this.#commit('end', { finished: true, exitCode: end.exitCode });
    this.#trace = tracing.finish(end.kind === 'exited');
    return end;
  }

  /** Asked after a commit or a restart: a stop came while a reader did not take what these let out. The next run goes on. */
  get #outputIsLeft(): boolean {
    return this.#wasi !== undefined && this.#wasi.holdsOutput;
  }

  /** Makes or opens the job; without one, the program runs without checkpoints. */
  #openJob(): { description: JobDescription; programBytes: Uint8Array } {
    const { jobDirectory, programBytes, description } = this.#data;
    if (jobDirectory === undefined) {
      assert(description !== undefined && programBytes !== undefined, 'a run without a job needs a program');
      return { description, programBytes };
    }
    const job = openGuestJob(this.#data, jobDirectory, {
      notice: this.#notice,
      // A program that cannot run must not leave a job behind.
      check: (bytes, policy, wanted) => {
        this.#policy = policy;
        this.#program = this.#prepareProgram(bytes, wanted);
        checkImports(this.#program.rewritten.module);
      },
    });
    this.#store = job.store;
    this.#openedStore = job.store;
    this.#policy = job.policy;
    return job;
  }

  #prepareProgram(bytes: Uint8Array, { canonicalNan }: JobDescription): Program {
    const counting = this.#data.everySafepoints !== undefined;
    const tellsGrowth = this.#choice.name === 'mprotect';
    return prepareProgram(bytes, { tracking: this.#tracking, counting, canonicalNan, tellsGrowth });
  }

  /** Called when the policy is known. */
  get #choice(): NonNullable<GuestFigures['tracker']> {
    return (this.#tracker ??= chooseTracker(this.#data, this.#policy));
  }

  get #tracking(): AccessTracking {
    return trackingOf(this.#data, this.#policy, this.#choice);
  }

  #restoredState(): MachineState | undefined {
    const latest = this.#store?.latest;
    if (latest === undefined) return undefined;
    this.#resumedFrom = latest.generation;
    return decodeMachineState(latest.state);
  }

  #prepare(description: JobDescription, programBytes: Uint8Array, restored: MachineState | undefined): void {
    this.#program ??= this.#prepareProgram(programBytes, description);
    const { rewritten, compiled } = this.#program;
    const latest = this.#store?.latest;
    const memory = GuestInstance.createMemory(
      rewritten.module,
      latest === undefined ? undefined : latest.guestPageCount / PAGES_PER_WASM_PAGE,
    );
    checkImports(rewritten.module);
    this.#wasi = this.#openWasi(description, memory, restored);
    const imports: WebAssembly.Imports = { [WASI_MODULE]: this.#interruptible(this.#wasi.imports) };
    imports[THREADS_MODULE] = this.#interruptible(threadImports);
    if (isDirected(rewritten.module)) {
      this.#directed = this.#direct(restored);
      imports[DIRECTED_MODULE] = this.#interruptible(this.#directed.imports);
    }
    try {
      this.#instance = new GuestInstance(rewritten, compiled, memory, imports, () => this.#control.hasRequest);
      if (this.#data.tracePath !== undefined) {
        const identity = identityOf(description, programDigest(programBytes));
        this.#tracing = attachTracing(this.#data.tracePath, this.#instance, identity, this.#data.everySafepoints);
      } else this.#attachStore(description, programBytes);
      if (restored === undefined) this.#instance.initialiseMemory();
    } catch (error) {
      // Segments that do not fit are traps of the program.
      throw this.#explain(error);
    }
    if (restored === undefined) return;
    this.#store!.loadPages();
    restoreState(this.#instance, restored);
    this.#call = restored.phase.call;
    this.#guestMs = restored.phase.guestMs;
    this.#failures = (restored.phase.failures ?? 0) + (latest?.trigger === 'stop' ? 0 : 1);
  }

  /** From here on a paged guest's pages come when they are touched, out of the paging file or as zeros. */
  #attachStore(description: JobDescription, program: Uint8Array): void {
    const { guestMemory } = this.#instance;
    if (isPagedByKernel(this.#data, this.#policy)) return this.#attachRemote(description, program);
    const options = pagingOptionsFor(this.#data, this.#policy, this.#tracking, guestMemory, this.#notice);
    if (this.#openedStore === undefined && options !== undefined) {
      this.#scratch = new ScratchStore(identityOf(description, programDigest(program)), program);
    }
    const store = this.#openedStore ?? this.#scratch?.store;
    const run = { data: this.#data, policy: this.#policy, choice: this.#choice, notice: this.#notice };
    const tracked = writesKnownBy({ ...run, loadsPages: this.#resumedFrom > 0 }, this.#instance);
    const attached = store?.attach(guestMemory, options, tracked);
    if (attached !== undefined) {
      this.#instance.attachFault((address, lengthBytes, write) => attached.fault(address, lengthBytes, write));
    }
    if (tracked instanceof ProtectedPages) this.#faults = tracked;
    const pager = attached ?? (tracked instanceof ProtectedPages ? tracked : undefined);
    this.#pager = pager;
    const opened = this.#openedStore;
    if (
      pager === undefined ||
      opened === undefined ||
      this.#saveWriter === undefined ||
      !keepsCheckpoints(this.#policy)
    )
      return;
    this.#forks = new ForkedSaves(opened, pager, guestMemory, this.#saveWriter, {
      durable: (stats) => this.#noteCheckpoint(stats),
      goesOnAfter: (error) => this.#storage.goesOnAfter(error),
    });
  }

  /** The paging file has one owner: the thread that pages opens the job anew, and this one closes it. */
  #attachRemote(description: JobDescription, program: Uint8Array): void {
    const opened = this.#openedStore;
    const latest = this.#store?.latest;
    opened?.close();
    this.#store = undefined;
    const source = this.#data.jobDirectory ?? { identity: identityOf(description, programDigest(program)), program };
    const remote = openRemoteStore(this.#data, this.#instance, source, { latest, keep: opened?.keep });
    if (opened !== undefined) this.#store = remote;
    this.#faults = remote;
    this.#pager = remote;
  }

  #direct(restored: MachineState | undefined): DirectedCalls {
    const state = restored === undefined ? undefined : decodeHostState(restored.host).directed;
    const run = {
      everySteps: this.#data.everySteps,
      keepsCheckpoints: () => this.#keepsCheckpoints,
      requestCheckpoint: () => {
        this.#control.request(Request.steps);
        this.#instance.requestCapture();
      },
      report: (done: number, total: number) => this.#post({ kind: 'progress', done, total }),
    };
    return new DirectedCalls(run, state);
  }

  #openWasi(description: JobDescription, memory: GuestMemory, restored: MachineState | undefined): Wasi {
    const { jobDirectory, seal } = this.#data;
    const blocking = new GuestBlocking(
      this.#control,
      () => this.#post({ kind: 'wantsInput' }),
      () => this.#wasi.holdsOutput,
    );
    const stdout = outputTarget(description.stdout, 'stdout', this.#post);
    const stderr = outputTarget(description.stderr, 'stderr', this.#post);
    return new Wasi({ ...description, stdout, stderr }, memory, blocking, {
      ...(jobDirectory === undefined ? {} : { device: sealedOrPlain(new FileDevice(jobDirectory), seal) }),
      ...(restored === undefined ? {} : { state: decodeHostState(restored.host).wasi }),
      keep: this.#openedStore?.keep ?? 1,
      keptGenerations: keptJournalGenerations(this.#openedStore),
      onNotice: this.#notice,
      goesOnAfter: (error) => this.#storage.goesOnAfter(error),
    });
  }

  #giveUp(error: StorageError): void {
    this.#post({ kind: 'notice', text: givenUpNotice(error) });
    this.#wasi.stopHoldingOutput();
  }

  /** A kill between the last commit and what follows it leaves held output and files set aside to the next run. */
  #releaseHeldOutput(description: JobDescription, restored: MachineState): void {
    const { output, asides } = decodeHostState(restored.host).wasi;
    if (output.held.length === 0 && asides.length === 0) return;
    this.#wasi = this.#openWasi(description, GuestMemory.withoutGuest(), restored);
  }

  /** Host functions whose interruption makes the guest unwind, to issue the call again after the capture. */
  #interruptible(calls: Readonly<Record<string, (...args: never[]) => number>>): WebAssembly.ModuleImports {
    return interruptibleCalls(calls, {
      before: () => this.#faults?.refuseMissingPages(),
      exit: (exitCode) => (this.#exitCode = exitCode),
      fail: (error) => (this.#hostFailure = { error }),
      releaseHolds: () => this.#instance.guestMemory.releaseHolds(),
      beginUnwinding: () => this.#instance.beginUnwinding(),
    });
  }

  #runCalls(onStack: boolean): RunEnd {
    const { calls } = this.#program;
    const { everySafepoints } = this.#data;
    if (everySafepoints !== undefined) this.#countdown = new SafepointCountdown(everySafepoints);
    for (let resumes = onStack; this.#call < calls.length; this.#call++, resumes = false) {
      let outcome = this.#timed(() => (resumes ? this.#instance.resume() : this.#instance.call(calls[this.#call])));
      while (outcome.captured) {
        if (this.#hostFailure !== undefined) throw this.#hostFailure.error;
        if (this.#exitCode !== undefined) return { kind: 'exited', exitCode: this.#exitCode, earlier: false };
        const generation = this.#storage.attempt(() => this.#handleCapture());
        if (generation !== undefined) return { kind: 'stopped', generation };
        outcome = this.#timed(() => this.#instance.resume());
      }
    }
    return { kind: 'exited', exitCode: 0, earlier: false };
  }

  #timed(run: () => RunOutcome): RunOutcome {
    if (this.#countdown !== undefined) this.#instance.captureAfterSafepoints(this.#countdown.start());
    const startMs = performance.now();
    try {
      const outcome = run();
      this.#faults?.refuseMissingPages();
      return outcome;
    } catch (error) {
      throw this.#explain(error);
    } finally {
      this.#guestMs += performance.now() - startMs;
    }
  }

  /** Does what was asked for; returns the generation when the run is to stop there. */
  #handleCapture(): number | undefined {
    let requests = this.#control.takeRequests() | this.#waiting;
    this.#waiting = 0;
    this.#forks?.finishIfDone();
    if (performance.now() < this.#timerRestMs) requests &= ~Request.timer;
    const due = this.#countdown?.stop(this.#instance.safepointsLeft());
    if (requests & Request.stop) return this.#stop();
    const trigger = checkpointTrigger(requests, due?.checkpoint === true, this.#directed);
    if (trigger !== undefined && this.#keepsCheckpoints) return this.#checkpoint(trigger, requests);
    if (requests & Request.writeAhead && this.#forks?.isSaving !== true) this.#pager?.writeAhead(WRITE_AHEAD_PAGES_MAX);
    if (requests & Request.hop || due?.hop === true) this.#hops++;
    return undefined;
  }

  #stop(): number {
    const kept = this.#keepsCheckpoints ? this.#storage.attempt(() => this.#commit('stop', UNFINISHED)) : undefined;
    return kept ?? this.#store?.latest?.generation ?? 0;
  }

  /** A checkpoint between start and end; returns its generation when the run is to stop there. */
  #checkpoint(trigger: TraceTrigger, requests: number): number | undefined {
    const forks = this.#forks;
    if (forks === undefined) {
      const generation = this.#commit(trigger, UNFINISHED);
      return this.#outputIsLeft ? generation : undefined;
    }
    // One at a time. A count waits, so that it stays exact; a timer's checkpoint comes when the one before is done.
    if (forks.isSaving && trigger === 'request') {
      this.#waiting = requests & CHECKPOINT_REQUESTS;
      return undefined;
    }
    const startMs = performance.now();
    forks.finish();
    const state = this.#captureMachine(UNFINISHED);
    this.#wasi.beforeCommit();
    // Counted checkpoints find the one before done, or wait for it: only held output then needs to know sooner.
    const { everySafepoints, everySteps } = this.#data;
    const announced = (everySafepoints ?? everySteps) === undefined || this.#wasi.holdsOutput;
    forks.begin({ state, trigger, exclusions: this.#directed?.exclusions }, startMs, announced);
    return undefined;
  }

  /** A checkpoint that is durable when this returns, or noted where the run is traced; its generation. */
  #commit(trigger: TraceTrigger, end: Pick<Phase, 'finished' | 'exitCode'>): number {
    const startMs = performance.now();
    this.#forks?.finish();
    const state = this.#captureMachine(end);
    if (this.#tracing !== undefined) return this.#tracing.checkpoint(trigger, state.length);
    this.#wasi.beforeCommit();
    const stats = this.#store!.commit({ state, trigger, exclusions: this.#directed?.exclusions });
    const whole = { ...stats, pauseMs: performance.now() - startMs };
    this.#noteCheckpoint(whole);
    return stats.generation;
  }

  #captureMachine(end: Pick<Phase, 'finished' | 'exitCode'>): Uint8Array {
    const paging = this.#pager === undefined ? {} : { paging: this.#pagingFigures(this.#pager) };
    const failures = this.#failures === 0 ? {} : { failures: this.#failures };
    const phase: Phase = { call: this.#call, guestMs: this.#guestMs, ...failures, ...end, ...paging };
    const host = { wasi: this.#wasi.captureState(), directed: this.#directed?.captureState() };
    return encodeMachineState(captureState(this.#instance, phase, encodeHostState(host)));
  }

  /** A checkpoint is durable. */
  #noteCheckpoint(stats: CheckpointStats): void {
    this.#timerRestMs = performance.now() + stats.pauseMs;
    this.#wasi.afterCommit();
    this.#post({ kind: 'checkpoint', stats });
  }

  #pagingFigures(pager: RunPager): NonNullable<Phase['paging']> {
    const residentDirtyPages = pager.collect(this.#instance.guestMemory.pageCount);
    return { ...pager.stats()!, residentDirtyPages, pagesWrittenContinuous: pager.continuousCount };
  }

  /** The program has ended: its job remembers how, so that the same command does not run it again. */
  #commitEnd(exitCode: number): number {
    this.#wasi.endGuest();
    return this.#commit('end', { finished: true, exitCode });
  }

  /** A fault that cannot be served makes the guest trap; the reason is the pager's. */
  #explain(error: unknown): unknown {
    return trapOf(error, this.#pager?.failure ?? this.#tracing?.recorder.failure, this.#program.rewritten.module);
  }

  /** Figures of the run as far as it has come. */
  figures(): GuestFigures {
    return {
      guestMs: this.#guestMs,
      pages: this.#instance === undefined ? 0 : this.#instance.guestMemory.pageCount,
      hops: this.#hops,
      resumedFrom: this.#resumedFrom,
      paging: shownStats(this.#pager, this.#data.paging, this.#instance?.guestMemory),
      slots: this.#store?.slotCounts(),
      policy: this.#policy,
      tracker: this.#tracker,
      checkpointsGivenUp: this.#storage.givenUp,
      copyFaults: this.#forks?.copyFaults ?? 0,
      copyMs: this.#forks?.copyMs ?? 0,
      trace: this.#trace,
    };
  }
}
