import { assert } from '../error/errors.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_WASM_PAGES, NOT_PINNED, PINS_MAX, PollState, controlRegion } from '../memory/layout.ts';
import { savedReferenceTypes } from '../rewrite/call-graph.ts';
import { FunctionPlan, PositionKind, FRAME_HEADER_BYTES } from '../rewrite/function-plan.ts';
import { memoryLimits } from '../rewrite/module-encoder.ts';
import {
  FunctionsExport,
  ImportModule,
  MemoryImport,
  globalExport,
  savedReferencesExport,
  tagExport,
  tableExport,
} from '../rewrite/names.ts';
import { type ResumeModule, ResumeModuleBuilder, ResumeTableImport, resumeImports } from '../rewrite/resume-module.ts';
import { type Position, positionKey } from '../rewrite/resume-position.ts';
import { type RewrittenModule, referenceIndex } from '../rewrite/rewrite.ts';
import { RuntimeKey, runtimeTypes } from '../rewrite/runtime-functions.ts';
import type { Module } from '../wasm/module.ts';
import type { FunctionType } from '../wasm/value-type.ts';
import { compileForOneRun, compileInTiers, compileOptimised } from './compilation.ts';
import { asExportedFunction } from './function-bridge.ts';
import { type KnownPosition, StackArea } from './stack-area.ts';

/** How a run of the guest ended: it returned, or its stack lies captured in the save area. */
export type RunOutcome = { readonly captured: false; readonly result: unknown } | { readonly captured: true };

/** Resume functions above this many bytes are left to V8's own tiers: optimising them at once would stop the guest long. */
const OPTIMISE_AT_ONCE_BYTES = 64 * 1024;

/**
 * A rewritten program on V8: runs until it ends or is captured, and resumes.
 *
 * Control flow: `call` or `resume` → the guest runs → a safepoint finds the poll word not `running` → frames are saved
 * one by one and each function returns → `call` or `resume` returns `captured`. Between capture and resume the
 * machine's state is complete in the memory, globals and tables.
 */
export class GuestInstance {
  readonly rewritten: RewrittenModule;
  readonly memory: WebAssembly.Memory;
  readonly guestMemory: GuestMemory;
  readonly stackArea: StackArea;
  readonly exports: WebAssembly.Exports;
  /** All functions of the rewritten module by index; imported ones are represented by their trampolines. */
  readonly functions: WebAssembly.Table;
  /** Tables of what captured stacks refer to, by the type of reference. */
  readonly savedReferences: ReadonlyMap<number, WebAssembly.Table>;
  /** Resume functions by slot. */
  readonly resumeTable: WebAssembly.Table;
  readonly #words: Int32Array;
  readonly #resumeModules: ResumeModuleBuilder;
  readonly #functionOfDoor = new Map<number, number>();
  readonly #hasPendingRequest: () => boolean;

  constructor(
    rewritten: RewrittenModule,
    compiled: WebAssembly.Module,
    guestMemory: GuestMemory,
    imports: WebAssembly.Imports,
    hasPendingRequest: () => boolean = () => false,
  ) {
    this.rewritten = rewritten;
    this.memory = guestMemory.memory;
    this.guestMemory = guestMemory;
    this.#hasPendingRequest = hasPendingRequest;
    this.#words = new Int32Array(this.memory.buffer, 0, controlRegion.scratch >> 2);
    this.#words[controlRegion.saveAreaPointer >> 2] = controlRegion.saveArea;
    this.#words[controlRegion.safepointCountdown >> 2] = 0x7fffffff;
    const instance = new WebAssembly.Instance(compiled, {
      ...imports,
      [ImportModule]: { ...imports[ImportModule], [MemoryImport]: this.memory },
    });
    this.exports = instance.exports;
    this.functions = this.exports[FunctionsExport] as WebAssembly.Table;
    this.savedReferences = new Map(
      savedReferenceTypes(rewritten.graph).map((type) => [
        type,
        this.exports[savedReferencesExport(type)] as WebAssembly.Table,
      ]),
    );
    const plan = new FunctionPlan(rewritten.module, rewritten.graph);
    this.stackArea = new StackArea(rewritten.module, plan);
    this.#resumeModules = new ResumeModuleBuilder(rewritten, plan);
    this.resumeTable = new WebAssembly.Table({ element: 'anyfunc', initial: 0 });
    for (const [original, door] of rewritten.doors) this.#functionOfDoor.set(door, original);
  }

  /** The memory of a program's machine, at its initial size or at `guestWasmPages`. */
  static createMemory(module: Module, guestWasmPages?: number): GuestMemory {
    const { initial, maximum } = memoryLimits(module);
    const size = guestWasmPages === undefined ? initial : guestWasmPages + BIAS_WASM_PAGES;
    return new GuestMemory(new WebAssembly.Memory({ initial: size, maximum, shared: true }));
  }

  /** Gives a paged guest its pager: (address, bytes, write) → 0, or anything else to make the guest trap. */
  attachFault(fault: (address: number, lengthBytes: number, write: number) => number): void {
    new Uint32Array(this.memory.buffer, controlRegion.pins, PINS_MAX).fill(NOT_PINNED);
    this.#addMachineEntry(fault, runtimeTypes.i32x3ToI32);
  }

  /** What a guest calls that was rewritten to tell that its memory has grown. */
  attachGrowth(grown: () => void): void {
    this.#addMachineEntry(grown, runtimeTypes.nothing);
  }

  /** The rewritten module knows this entry by its index, so there is one at most. */
  #addMachineEntry(f: (...args: number[]) => number | void, type: FunctionType): void {
    this.functions.grow(1);
    this.functions.set(this.functions.length - 1, asExportedFunction(f, type));
  }

  /** Copies the active data segments into memory, as instantiation does; not to be repeated on a restart. */
  initialiseMemory(): void {
    this.callRuntime(RuntimeKey.initialise);
  }

  /** A runtime function that the module has, by key. */
  runtimeFunction(key: string): (...args: number[]) => number {
    return this.#function(this.rewritten.runtimeFunctions.get(key)!) as (...args: number[]) => number;
  }

  /** Calls a runtime function by key; nothing happens when the module has no need of it. */
  callRuntime(key: string): void {
    const index = this.rewritten.runtimeFunctions.get(key);
    if (index !== undefined) this.#function(index)();
  }

  #function(index: number): (...args: unknown[]) => unknown {
    return this.functions.get(index) as (...args: unknown[]) => unknown;
  }

  /** What the guest has where it refers to a function of the original program. */
  referenceTo(original: number): unknown {
    return this.#function(referenceIndex(this.rewritten, original));
  }

  /** The function of the original program that a reference names; undefined when it is none of this instance's. */
  functionOf(reference: { readonly name: string }): number | undefined {
    // The name of an exported function is its index in the module that defines it (JavaScript API, 5.6).
    const index = Number(reference.name);
    if (!(index >= 0 && index < this.functions.length) || this.functions.get(index) !== reference) return undefined;
    const { functionTypes } = this.rewritten.module;
    return this.#functionOfDoor.get(index) ?? (index < functionTypes.length ? index : index - functionTypes.length);
  }

  /** Whether the guest's stack lies, wholly or in part, in the save area instead of the engine's stack. */
  get isUnwinding(): boolean {
    return this.#words[controlRegion.unwindingWord >> 2] !== 0;
  }

  /** Whether there are captured frames to resume. */
  get hasCapturedStack(): boolean {
    return this.#words[controlRegion.saveAreaPointer >> 2] !== controlRegion.saveArea;
  }

  /** Gives up the captured frames: the call that they belong to will not go on. */
  dropStack(): void {
    this.#words[controlRegion.saveAreaPointer >> 2] = controlRegion.saveArea;
    this.#words[controlRegion.savedReferenceCount >> 2] = 0;
    this.#words[controlRegion.unwindingWord >> 2] = 0;
    Atomics.compareExchange(this.#words, controlRegion.pollWord >> 2, PollState.unwinding, PollState.running);
  }

  /** References that captured stacks hold: the next one is saved behind so many. */
  get savedReferenceCount(): number {
    return this.#words[controlRegion.savedReferenceCount >> 2];
  }

  set savedReferenceCount(count: number) {
    this.#words[controlRegion.savedReferenceCount >> 2] = count;
  }

  /** The poll word, for threads that ask for a capture by themselves. */
  get pollPlace(): { readonly words: Int32Array; readonly pollIndex: number } {
    return { words: this.#words, pollIndex: controlRegion.pollWord >> 2 };
  }

  /** Asks for a capture at the next safepoint. Any thread may do the same on the shared memory. */
  requestCapture(): void {
    Atomics.compareExchange(this.#words, controlRegion.pollWord >> 2, PollState.running, PollState.requested);
  }

  /** Makes a counting module capture itself after passing so many safepoints. */
  captureAfterSafepoints(count: number): void {
    this.#words[controlRegion.safepointCountdown >> 2] = count;
  }

  /**
   * Safepoints that a captured guest has yet to pass; negative when that made it capture itself. A poll at which it stands
   * is passed again, and so counts as one to come.
   */
  safepointsLeft(): number {
    const left = this.#words[controlRegion.safepointCountdown >> 2];
    if (left < 0) return left;
    const memory = new Int32Array(this.memory.buffer, 0, this.#words[controlRegion.saveAreaPointer >> 2] >> 2);
    return left + (this.stackArea.walk(memory).positions.at(-1)?.kind === PositionKind.before ? 1 : 0);
  }

  /** For a host function that was interrupted: the guest unwinds when it returns. */
  beginUnwinding(): void {
    this.#words[controlRegion.unwindingWord >> 2] = 1;
    Atomics.store(this.#words, controlRegion.pollWord >> 2, PollState.unwinding);
  }

  /** Calls a function of the program by its index. */
  call(functionIndex: number, args: readonly unknown[] = []): RunOutcome {
    return this.#run(this.#function(functionIndex), args);
  }

  /** Goes on from the captured stack. */
  resume(): RunOutcome {
    const { slot } = this.prepareResume();
    return this.#run(this.resumeTable.get(slot) as () => unknown, []);
  }

  /** Makes what the captured frames need to go on: the slot of the outermost one's resume function, and the frames' ends. */
  prepareResume(): { readonly slot: number; readonly outermost: Position; readonly innermost: Position } {
    const words = this.#words;
    const memory = new Int32Array(this.memory.buffer, 0, words[controlRegion.saveAreaPointer >> 2] >> 2);
    const { positions, starts } = this.stackArea.walk(memory);
    assert(positions.length > 0, 'there is no captured stack to resume');
    this.#makeResumeFunctions(positions);
    for (let k = 0; k < positions.length; k++) {
      const header = (starts[k] + positions[k].layout.bytes - FRAME_HEADER_BYTES) >> 2;
      memory[header] = this.#resumeModules.slotOf(positionKey(positions[k]))!;
    }
    words[controlRegion.savedReferenceCount >> 2] = 0;
    const outermost = positions[0];
    const slot = this.#resumeModules.slotOf(positionKey(outermost))!;
    return { slot, outermost, innermost: positions[positions.length - 1] };
  }

  #run(f: (...args: unknown[]) => unknown, args: readonly unknown[]): RunOutcome {
    this.ready();
    const result = f(...args);
    if (!this.isUnwinding) return { captured: false, result };
    return { captured: true };
  }

  /** Sets the control words for the guest to run. */
  ready(): void {
    this.#words[controlRegion.unwindingWord >> 2] = 0;
    Atomics.store(this.#words, controlRegion.pollWord >> 2, PollState.running);
    // A request that came since the capture found the poll word taken: raise it again. Another thread notes its request
    // before it touches the poll word, so one of the two orders sees it.
    if (this.#hasPendingRequest()) this.requestCapture();
  }

  /** Compiles what the captured positions need and do not have yet: loop heads optimised, since loops stay there. */
  #makeResumeFunctions(positions: readonly KnownPosition[]): void {
    const heads: Position[] = [];
    const others: Position[] = [];
    for (const position of positions) {
      if (!this.#resumeModules.isMissing(position)) continue;
      (position.kind === PositionKind.before && position.position !== 0 ? heads : others).push(position);
    }
    for (const made of this.#resumeModules.build(heads, true)) {
      const atOnce = made.longRunning && made.bytes.length <= OPTIMISE_AT_ONCE_BYTES;
      this.#addResumeModule(made, atOnce ? compileOptimised : made.longRunning ? compileInTiers : compileForOneRun);
    }
    for (const made of this.#resumeModules.build(others, false)) {
      this.#addResumeModule(made, made.longRunning ? compileInTiers : compileForOneRun);
    }
  }

  #addResumeModule(made: ResumeModule, compile: (bytes: Uint8Array<ArrayBuffer>) => WebAssembly.Module): void {
    const module = compile(made.bytes);
    this.resumeTable.grow(this.#resumeModules.slotCount - this.resumeTable.length);
    const imports: Record<string, WebAssembly.ImportValue> = {
      [resumeImports.memory]: this.memory,
      [ResumeTableImport]: this.resumeTable,
    };
    for (const [type, table] of this.savedReferences) imports[resumeImports.savedReferences(type)] = table;
    for (const index of made.functions) imports[String(index)] = this.#function(index);
    const { tables, globals, tagTypes } = this.rewritten.module;
    tagTypes.forEach((_, k) => (imports[resumeImports.tag(k)] = this.exports[tagExport(k)]));
    tables.forEach((_, k) => (imports[resumeImports.table(k)] = this.exports[tableExport(k)]));
    globals.forEach((_, k) => (imports[resumeImports.global(k)] = this.exports[globalExport(k)]));
    void new WebAssembly.Instance(module, { [ImportModule]: imports });
  }
}
