import { instantiateKernels } from '../../src/format/page-kernels.ts';
import { GuestInstance, type RunOutcome } from '../../src/machine/guest-instance.ts';
import { decodeMachineState, encodeMachineState } from '../../src/machine/machine-state.ts';
import { captureState, restoreState } from '../../src/machine/state-capture.ts';
import {
  BIAS_BYTES,
  BIAS_WASM_PAGES,
  PAGE_BYTES,
  PAGES_PER_WASM_PAGE,
  WASM_PAGE_BYTES,
  controlRegion,
} from '../../src/memory/layout.ts';
import { type DirtyTracker, SoftwareTracker } from '../../src/pager/dirty-tracker.ts';
import { KernelTracker } from '../../src/pager/kernel-tracker.ts';
import { checksAccesses } from '../../src/rewrite/access-emitter.ts';
import { PositionKind } from '../../src/rewrite/function-plan.ts';
import { memoryLimits } from '../../src/rewrite/module-encoder.ts';
import { globalExport, tableExport } from '../../src/rewrite/names.ts';
import { type RewriteOptions, type RewrittenModule, rewriteModule } from '../../src/rewrite/rewrite.ts';
import { RuntimeKey } from '../../src/rewrite/runtime-functions.ts';
import { ExternalKind, type Module, decodeModule, functionType } from '../../src/wasm/module.ts';
import { ValueType, isReferenceType } from '../../src/wasm/value-type.ts';
import { kernelTracks } from '../kernel/kernel-tracking.ts';
import { type CapturePlan, type Step, optionsName } from './capture-plan.ts';
import { HostilePager } from './hostile-pager.ts';
import {
  type FunctionNumber,
  type Host,
  type Observation,
  type Scenario,
  cellText,
  describeReference,
  describeValue,
  outcomeOf,
} from './observation.ts';

const INTERRUPT_NEVER = 0x7fffffff;
/** More captures than any scenario asks for: a run that reaches this makes no progress. */
const CAPTURES_MAX = 200_000;
/** Guests larger than this are compared with their dirty marks at their first captures only: each costs two copies. */
const DIRTY_CHECKED_BYTES = 8 * WASM_PAGE_BYTES;
const DIRTY_CHECKS_OF_LARGE = 3;

/** A program rewritten in each way that a run asks for. */
export class RewrittenProgram {
  readonly module: Module;
  readonly #variants = new Map<string, { rewritten: RewrittenModule; compiled: WebAssembly.Module }>();

  constructor(wasm: Uint8Array) {
    this.module = decodeModule(wasm);
  }

  variant(options: RewriteOptions): { rewritten: RewrittenModule; compiled: WebAssembly.Module } {
    const key = optionsName(options);
    let variant = this.#variants.get(key);
    if (variant === undefined) {
      const rewritten = rewriteModule(this.module, options);
      variant = { rewritten, compiled: new WebAssembly.Module(rewritten.bytes) };
      this.#variants.set(key, variant);
    }
    return variant;
  }

  /** Whether each variant that was used comes out the same, byte for byte, from the same module decoded anew. */
  isDeterministic(): boolean {
    const again = decodeModule(this.module.bytes);
    return [...this.#variants.values()].every(
      ({ rewritten }) => Buffer.compare(rewriteModule(again, rewritten.options).bytes, rewritten.bytes) === 0,
    );
  }
}

/** How often what happened in a run: a test that compares nothing can be told from one that does. */
export interface RunFigures {
  captures: number;
  migrations: number;
  interrupts: number;
  /** Safepoints passed, as far as the instances counted. */
  safepoints: number;
  /** The deepest captured stack, in frames. */
  framesMax: number;
  pagesCompared: number;
  /** Times that a guest which tells so asked for more memory. */
  growths: number;
}

interface DirtyCheck {
  readonly tracker: DirtyTracker;
  /** The guest's memory at the start. */
  readonly before: Uint8Array;
}

/** Runs a scenario rewritten, captured as a plan says, and observes what plain V8 shows of the same scenario. */
export class RewrittenRun {
  readonly figures: RunFigures = {
    captures: 0, migrations: 0, interrupts: 0, safepoints: 0, framesMax: 0, pagesCompared: 0, growths: 0,
  }; // prettier-ignore
  readonly #program: RewrittenProgram;
  readonly #scenario: Scenario;
  readonly #plan: CapturePlan;
  readonly #log: string[] = [];
  readonly #imports: WebAssembly.Imports;
  #options: RewriteOptions;
  #instance!: GuestInstance;
  #captureAtOnce = false;
  #dirtyChecks = 0;
  #pager: HostilePager | undefined;
  #pagerCount = 0;
  /** On the memory of the instance, where its code holds no marks. */
  #kernelTracker: KernelTracker | undefined;

  constructor(program: RewrittenProgram, scenario: Scenario, plan: CapturePlan) {
    this.#program = program;
    this.#scenario = scenario;
    this.#plan = plan;
    this.#options = plan.first;
    this.#imports = this.#interruptible(scenario.imports?.(this.#host()) ?? {});
  }

  run(): Observation {
    try {
      return this.#observe();
    } finally {
      this.#kernelTracker?.close();
    }
  }

  #observe(): Observation {
    const { module } = this.#program;
    const started = outcomeOf(() => {
      this.#instance = this.#newInstance(GuestInstance.createMemory(module));
      this.#attachPager();
      this.#instance.initialiseMemory();
    }, this.#numberOf);
    if (started !== 'returned undefined') {
      return { outcomes: [started.split(':')[0]], log: this.#log, memory: new Uint8Array(0), globals: [], tables: [] };
    }
    const calls = this.#scenario.calls.map(({ name, args }) => ({ index: this.#exportIndex(name), args: args ?? [] }));
    if (module.startFunction !== undefined) calls.unshift({ index: module.startFunction, args: [] });
    const outcomes = calls.map(({ index, args }) => outcomeOf(() => this.#complete(index, args), this.#numberOf));
    return { outcomes, log: this.#log, ...this.#finalState() };
  }

  #complete(index: number, args: readonly unknown[]): unknown {
    let outcome = this.#go(false, () => this.#instance.call(index, args));
    while (outcome.captured) {
      if (++this.figures.captures > CAPTURES_MAX) throw new Error(`${this.#plan.name}: no progress`);
      outcome = this.#go(true, () => this.#instance.resume());
    }
    return outcome.result;
  }

  /** One stretch of the run, from a call or resume to the next capture or the end. */
  #go(onStack: boolean, run: () => RunOutcome): RunOutcome {
    const step = this.#plan.next({
      captures: this.figures.captures,
      atPoll: onStack && this.#standsAtPoll(),
      options: this.#options,
    });
    if (step.migrateTo !== undefined) this.#migrate(step.migrateTo);
    this.#arm(step);
    const pagesBefore = this.#beginDirtyCheck();
    const trap = { thrown: false };
    try {
      return run();
    } catch (error) {
      trap.thrown = true;
      throw error;
    } finally {
      if (this.#options.counting) {
        const left = this.#words()[controlRegion.safepointCountdown >> 2];
        this.figures.safepoints += (Number.isFinite(step.safepoints) ? step.safepoints : INTERRUPT_NEVER) - left;
      }
      // The frames of a trapped call are gone; the next call begins with an empty save area.
      if (trap.thrown) this.#words()[controlRegion.saveAreaPointer >> 2] = controlRegion.saveArea;
      this.#endDirtyCheck(pagesBefore);
    }
  }

  #arm({ safepoints }: Step): void {
    this.#captureAtOnce = false;
    if (this.#options.counting) {
      this.#instance.captureAfterSafepoints(Number.isFinite(safepoints) ? safepoints : INTERRUPT_NEVER);
    } else if (safepoints === 0) {
      this.#captureAtOnce = true;
    } else if (Number.isFinite(safepoints)) {
      throw new Error('a module that does not count cannot be captured after several safepoints');
    }
  }

  #newInstance(memory: GuestInstance['guestMemory']): GuestInstance {
    const { rewritten, compiled } = this.#program.variant(this.#options);
    return new GuestInstance(rewritten, compiled, memory, this.#imports, () => this.#captureAtOnce);
  }

  /** The whole way of a job that moves to another process: state to bytes and back, pages copied, all else made anew. */
  #migrate(options: RewriteOptions): void {
    this.figures.migrations++;
    const from = this.#instance;
    const phase = { call: 0, finished: false, exitCode: 0, guestMs: 0 };
    const state = encodeMachineState(captureState(from, phase, new Uint8Array(0)));
    this.#pager?.settle();
    this.#kernelTracker?.close();
    this.#kernelTracker = undefined;
    this.#options = options;
    const memory = GuestInstance.createMemory(this.#program.module, from.guestMemory.lengthBytes / WASM_PAGE_BYTES);
    memory.bytes.set(from.guestMemory.bytes.subarray(BIAS_BYTES), BIAS_BYTES);
    this.#instance = this.#newInstance(memory);
    this.#attachPager();
    restoreState(this.#instance, decodeMachineState(state));
  }

  #attachPager(): void {
    this.#pager = undefined;
    if (this.#options.tellsGrowth === true) {
      const { memory } = this.#instance;
      let bytes = memory.buffer.byteLength;
      this.#instance.attachGrowth(() => {
        const grown = memory.buffer.byteLength;
        if (grown < bytes) throw new Error('a memory shrank');
        bytes = grown;
        this.figures.growths++;
      });
    }
    if (!checksAccesses(this.#options.tracking)) return;
    this.#pager = new HostilePager(this.#instance.guestMemory, ++this.#pagerCount);
    this.#instance.attachFault(this.#pager.fault);
  }

  #words(): Int32Array {
    return new Int32Array(this.#instance.memory.buffer, 0, controlRegion.scratch >> 2);
  }

  #standsAtPoll(): boolean {
    const instance = this.#instance;
    const { positions } = instance.stackArea.walk(new Int32Array(instance.memory.buffer));
    this.figures.framesMax = Math.max(this.figures.framesMax, positions.length);
    const innermost = positions[positions.length - 1];
    const { module } = this.#program;
    return (
      innermost.kind === PositionKind.before && innermost.position !== 0 && module.bytes[innermost.position] === 0x03
    );
  }

  #beginDirtyCheck(): DirtyCheck | undefined {
    const tracker = this.#dirtyTracker();
    if (tracker === undefined) return undefined;
    const { guestMemory } = this.#instance;
    const { pageCount } = guestMemory;
    // What was written between two checks is nobody's.
    if (tracker === this.#kernelTracker) tracker.collect(pageCount);
    tracker.rearm(
      pageCount,
      Uint32Array.from({ length: pageCount }, (_, k) => k),
      pageCount,
    );
    return { tracker, before: guestMemory.bytes.slice(BIAS_BYTES) };
  }

  /** The one of the code's marks, or the kernel's where it holds none; undefined: nothing is checked. */
  #dirtyTracker(): DirtyTracker | undefined {
    const { tracking } = this.#options;
    if (checksAccesses(tracking) || (tracking === 'none' && !kernelTracks)) return undefined;
    const { guestMemory, memory } = this.#instance;
    if (guestMemory.lengthBytes > DIRTY_CHECKED_BYTES && this.#dirtyChecks++ >= DIRTY_CHECKS_OF_LARGE) return undefined;
    if (tracking === 'software') return new SoftwareTracker(guestMemory, instantiateKernels(memory));
    const pagesMax = (memoryLimits(this.#program.module).maximum - BIAS_WASM_PAGES) * PAGES_PER_WASM_PAGE;
    if (pagesMax === 0) return undefined;
    this.#kernelTracker ??= new KernelTracker(guestMemory, pagesMax);
    return this.#kernelTracker;
  }

  /** Every page that differs from before must be among those that the tracker finds. */
  #endDirtyCheck(check: DirtyCheck | undefined): void {
    if (check === undefined) return;
    const { tracker, before } = check;
    const { guestMemory } = this.#instance;
    const { pageCount, bytes } = guestMemory;
    const count = tracker.collect(pageCount);
    const collected = new Set(tracker.pages.subarray(0, count));
    this.figures.pagesCompared += pageCount;
    for (let page = 0; page < pageCount; page++) {
      if (collected.has(page)) continue;
      const start = page * PAGE_BYTES;
      const was = start < before.length ? before.subarray(start, start + PAGE_BYTES) : zeroPage;
      const is = bytes.subarray(BIAS_BYTES + start, BIAS_BYTES + start + PAGE_BYTES);
      if (Buffer.compare(was, is) !== 0) {
        throw new Error(`${this.#plan.name}: page ${page} of ${pageCount} was written and not found`);
      }
    }
  }

  #host(): Host {
    return {
      log: (...values) => void this.#log.push(values.map((value) => describeValue(value, this.#numberOf)).join(' ')),
      read: (address, lengthBytes) => {
        this.#pager?.hold(address, lengthBytes, false);
        return this.#instance.guestMemory.read(address, lengthBytes);
      },
      write: (address, source) => {
        this.#pager?.hold(address, source.length, true);
        if (this.#pager === undefined) this.#instance.guestMemory.write(address, source);
        else this.#instance.guestMemory.viewForReading(address, source.length).set(source);
      },
    };
  }

  /** Host functions that, when the plan says so, have done nothing yet and are to be called again after a capture. */
  #interruptible(imports: WebAssembly.Imports): WebAssembly.Imports {
    const wrapped: WebAssembly.Imports = {};
    const { module } = this.#program;
    let f = 0;
    for (const { module: from, name, kind } of module.imports) {
      if (kind === ExternalKind.memory) continue;
      const value = imports[from]?.[name];
      wrapped[from] ??= {};
      if (kind !== ExternalKind.function || typeof value !== 'function') {
        if (kind === ExternalKind.function) f++;
        wrapped[from][name] = value;
        continue;
      }
      const zeros = zeroResults(functionType(module, f++).results);
      wrapped[from][name] = (...args: readonly unknown[]): unknown => {
        if (!this.#plan.interrupts()) {
          const result = (value as (...args: readonly unknown[]) => unknown)(...args);
          if (this.#plan.requests()) this.#instance.requestCapture();
          return result;
        }
        this.figures.interrupts++;
        this.#instance.beginUnwinding();
        return zeros;
      };
    }
    return wrapped;
  }

  #exportIndex(name: string): number {
    const entry = this.#program.module.exports.find(
      (candidate) => candidate.kind === ExternalKind.function && candidate.name === name,
    );
    if (entry === undefined) throw new Error(`the module exports no function ${name}`);
    return entry.index;
  }

  readonly #numberOf: FunctionNumber = (reference) => String(this.#instance.functionOf(reference) ?? 'of the host');

  #finalState(): Pick<Observation, 'memory' | 'globals' | 'tables'> {
    const instance = this.#instance;
    const { module } = this.#program;
    this.#pager?.settle();
    instance.callRuntime(RuntimeKey.saveGlobals);
    const view = new DataView(instance.memory.buffer);
    let cell = controlRegion.globals;
    const globals = module.globals.flatMap(({ type, mutable }, index) => {
      if (!mutable) return [];
      if (isReferenceType(type)) {
        return [
          describeReference(
            type,
            () => (instance.exports[globalExport(index)] as WebAssembly.Global).value,
            this.#numberOf,
          ),
        ];
      }
      const at = cell;
      cell += 16;
      if (type === ValueType.i32 || type === ValueType.f32) return [cellText(BigInt(view.getUint32(at, true)), 0n)];
      const high = type === ValueType.v128 ? view.getBigUint64(at + 8, true) : 0n;
      return [cellText(view.getBigUint64(at, true), high)];
    });
    const tables = module.tables.map(({ type }, index) => {
      const table = instance.exports[tableExport(index)] as WebAssembly.Table;
      return Array.from({ length: table.length }, (_, k) =>
        describeReference(type, () => table.get(k), this.#numberOf),
      );
    });
    return { memory: instance.guestMemory.bytes.slice(BIAS_BYTES), globals, tables };
  }
}

const zeroPage = new Uint8Array(PAGE_BYTES);

function zeroResults(types: Uint8Array): unknown {
  const zeros = Array.from(types, (type) => {
    if (type === ValueType.i64) return 0n;
    return isReferenceType(type) ? null : 0;
  });
  return zeros.length === 1 ? zeros[0] : zeros;
}
