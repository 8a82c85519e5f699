import { UsageError } from '../error/errors.ts';
import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import { enterKey } from '../rewrite/door-code.ts';
import { FinishExport, finishModule } from '../rewrite/finish-module.ts';
import { PositionKind } from '../rewrite/function-plan.ts';
import { ImportModule, InsideExport } from '../rewrite/names.ts';
import { ResumeTableImport, resumeImports } from '../rewrite/resume-module.ts';
import type { Position } from '../rewrite/resume-position.ts';
import { ExternalKind, functionType } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';
import type { CapturableModule } from './capturable-module.ts';
import {
  type EmbeddedImports,
  type LinkedImports,
  isFunctionOfInstance,
  linkImports,
  noteFunctionOfInstance,
  numberedAsOriginal,
} from './embedded-imports.ts';
import { EmbeddedMemory } from './embedded-memory.ts';
import { GuestInstance } from './guest-instance.ts';
import { decodeSavedInstance, encodeSavedInstance } from './saved-instance.ts';
import { captureState, restoreState } from './state-capture.ts';

export interface InstantiateOptions {
  /**
   * Called whenever the instance is captured: its whole state lies open, `save` can be called. When it returns, the
   * interrupted call goes on; when it throws, that call is given up and throws the same.
   */
  readonly onCapture?: (instance: EmbeddedInstance) => void;
  /** Captures the instance each time that it has passed so many safepoints (loop heads and calls). */
  readonly captureEverySafepoints?: number;
  /** As for `CapturableModule`, for an instance made from bytes. */
  readonly canonicalNan?: boolean;
  /** Imported functions, as `module.name`, that may return `Interrupted` to be called again when the guest goes on. */
  readonly interruptible?: readonly string[];
  /** What `save` gave: the new instance stands where that one stood. Its start function is not called. */
  readonly restore?: Uint8Array;
  /** Told when a requested capture has been waiting long; see `EmbeddedInstance.requestCapture`. */
  readonly onNotice?: (text: string) => void;
}

/** What an instance exports; a caller knows which of these it is. */
export type EmbeddedExport = ((...args: never[]) => unknown) | WebAssembly.Global | WebAssembly.Table | EmbeddedMemory;
export type EmbeddedExports = Readonly<Record<string, EmbeddedExport>>;

/** For a thread that has no instance: lets `requestCapture` ask from there. Can be sent by `postMessage`. */
export interface CaptureHandle {
  readonly requests: Int32Array;
  readonly words: Int32Array;
  readonly pollIndex: number;
}

/** How long a request waits for a frame of the host before a notice says so, milliseconds. */
const WAIT_NOTICE_MS = 1000;

/** A module that exports the function it imports: only functions of modules can be entries of tables. */
const gate = new WebAssembly.Module(
  Uint8Array.of(
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    1, 5, 1, 0x60, 1, ValueType.i32, 0,
    2, 5, 1, 0, 0, ExternalKind.function, 0,
    7, 4, 1, 0, ExternalKind.function, 0,
  ), // prettier-ignore
);

interface Finish {
  readonly finish: (slot: number) => void;
  readonly results: () => unknown;
}

/**
 * An instance of `instantiate`: called as any other, and captured, saved and resumed meanwhile without its callers
 * knowing.
 *
 * A *run* is one call from outside, from its door to its end, however often it is captured. Runs nest when the guest calls
 * the host and the host the guest. The states of an instance:
 *
 *     idle ── door, resume ──► running ── a safepoint finds a request ──► captured ── onCapture returns ──► running
 *
 * Invariants:
 *   (1) at most one instance of a thread is `running`; its `inside` global is 1, those of all others are 0;
 *   (2) frames of one run at most are in the save area, and only between its unwinding and its resuming;
 *   (3) only the outermost run of an instance is ever captured for the embedder: of a nested run, frames of the host lie
 *       below. It is resumed at once, and the request raised again when the outermost run goes on.
 */
export class EmbeddedInstance {
  /** The guest's exports, as of a `WebAssembly.Instance`; memories as `EmbeddedMemory`. */
  readonly exports: EmbeddedExports;
  /** The guest's memory, exported or not; undefined when the module has none. */
  readonly memory: EmbeddedMemory | undefined;
  static #running: EmbeddedInstance | undefined;
  readonly #module: CapturableModule;
  readonly #options: InstantiateOptions;
  readonly #guest: GuestInstance;
  readonly #inside: WebAssembly.Global;
  readonly #requests = new Int32Array(new SharedArrayBuffer(4));
  readonly #finishes = new Map<string, Finish>();
  readonly #enters = new Map<number, () => void>();
  #depth = 0;
  #captured = false;
  #interrupted = false;
  #waitingSinceMs: number | undefined;

  constructor(module: CapturableModule, imports: EmbeddedImports, options: InstantiateOptions) {
    const { rewritten, compiled } = module;
    this.#module = module;
    this.#options = options;
    const linked = linkImports(rewritten.module, imports, {
      interruptible: options.interruptible ?? [],
      crossing: {
        leave: () => void EmbeddedInstance.#switchTo(undefined),
        enter: () => void EmbeddedInstance.#switchTo(this),
      },
      outside: (call) => EmbeddedInstance.#outside(call),
      interrupt: (name) => this.#interrupt(name),
    });
    const saved = options.restore === undefined ? undefined : decodeSavedInstance(module.digest, options.restore);
    const memory = this.#makeMemory(linked, saved?.wasmPageCount);
    if (rewritten.module.memory !== undefined) this.memory = memory;
    const isRequested = (): boolean => this.#isRequested;
    try {
      this.#guest = new GuestInstance(rewritten, compiled, memory.guestMemory, linked.imports, isRequested);
    } catch (error) {
      throw numberedAsOriginal(error, rewritten.module.imports);
    }
    this.#inside = this.#guest.exports[InsideExport] as WebAssembly.Global;
    if (rewritten.doors.size > 0) this.#openDoors();
    this.exports = this.#makeExports(imports);
    if (saved === undefined) {
      this.#initialiseMemory();
      this.#start();
      return;
    }
    for (const { firstPage, bytes } of saved.runs) memory.guestMemory.write(firstPage * PAGE_BYTES, bytes);
    restoreState(this.#guest, saved.state);
  }

  #makeMemory(linked: LinkedImports, savedWasmPages: number | undefined): EmbeddedMemory {
    const { memory: limits } = this.#module.rewritten.module;
    const { memory } = linked;
    if (memory === undefined) {
      const { initial, maximum, shared } = limits ?? { initial: 0, maximum: 0, shared: false };
      const sizes = { initial: savedWasmPages ?? initial, ...(maximum === undefined ? {} : { maximum }) };
      return new EmbeddedMemory({ ...sizes, shared });
    }
    if (savedWasmPages !== undefined) {
      if (memory.wasmPageCount < savedWasmPages) memory.grow(savedWasmPages - memory.wasmPageCount);
      memory.guestMemory.bytes.fill(0, BIAS_BYTES);
    }
    return memory;
  }

  #openDoors(): void {
    const { functions } = this.#guest;
    const entered = (functionIndex: number): void => this.#enter(functionIndex);
    const instance = new WebAssembly.Instance(gate, { '': { '': entered } });
    functions.grow(1);
    functions.set(functions.length - 1, instance.exports['']);
  }

  #makeExports(imports: EmbeddedImports): EmbeddedExports {
    const { module } = this.#guest.rewritten;
    const functionImports = module.imports.filter(({ kind }) => kind === ExternalKind.function);
    const exports = Object.create(null) as Record<string, EmbeddedExport>;
    for (const { name, kind, index } of module.exports) {
      if (kind === ExternalKind.memory) {
        exports[name] = this.memory!;
        continue;
      }
      let value: unknown = this.#guest.exports[name];
      if (kind === ExternalKind.function) {
        const from = functionImports[index];
        const imported = from === undefined ? undefined : imports[from.module][from.name];
        // A function of another instance that passes through stays the same function.
        if (isFunctionOfInstance(imported)) value = imported;
        else noteFunctionOfInstance(value as object);
      }
      exports[name] = value as EmbeddedExport;
    }
    return Object.freeze(exports);
  }

  #initialiseMemory(): void {
    try {
      this.#guest.initialiseMemory();
    } catch (error) {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error;
      throw new WebAssembly.RuntimeError('WebAssembly.Instance(): data segment is out of bounds');
    }
  }

  #start(): void {
    const { startFunction } = this.#guest.rewritten.module;
    if (startFunction !== undefined) (this.#guest.referenceTo(startFunction) as () => void)();
  }

  /**
   * Asks for a capture at the guest's next safepoint; when it does not run, at the first one of its next call. While a
   * host function that the guest called has called the guest in turn, the request waits until the outer call goes on.
   */
  requestCapture(): void {
    requestCapture(this.captureHandle);
  }

  /** For `requestCapture` in another thread. */
  get captureHandle(): CaptureHandle {
    return { requests: this.#requests, ...this.#guest.pollPlace };
  }

  /** Whether a host function called now may return `Interrupted`: no frame of the host lies below the guest's. */
  get canCapture(): boolean {
    return this.#depth === 1 && !this.#captured;
  }

  /** Whether an interrupted call is on the captured stack, to go on by `resume`: so with a restored instance. */
  get canResume(): boolean {
    return this.#depth === 0 && this.#guest.hasCapturedStack;
  }

  /**
   * The whole state: memory (pages of zeros left out), globals, tables, dropped segments, and the interrupted call with
   * its stack. Processor, operating system, Node version do not matter to it. Imported globals, tables and memory count
   * as the instance's; what the host functions hold does not.
   * @throws UsageError `instance-busy` while the guest runs: save in `onCapture`, or when no call is going on;
   * ContinuoError `unsupported-feature` while the guest holds references to objects of the host.
   */
  save(): Uint8Array {
    if (this.#depth > 0 && !this.#captured) {
      throw new UsageError(
        'instance-busy',
        'the instance is running and its stack is not captured: request a capture and save in onCapture',
      );
    }
    const phase = { call: 0, finished: false, exitCode: 0, guestMs: 0 };
    const state = captureState(this.#guest, phase, new Uint8Array(0));
    return encodeSavedInstance(this.#module.digest, state, this.#guest.guestMemory.bytes);
  }

  /**
   * Goes on with the interrupted call of a restored instance and returns its result.
   * @throws UsageError `instance-busy` when no interrupted call is there to go on.
   */
  resume(): unknown {
    if (!this.canResume) {
      throw new UsageError('instance-busy', 'there is no interrupted call to resume: see canResume');
    }
    const finish = this.#run(undefined);
    return finish!.results();
  }

  /** Called by every door: the parameters lie in the cells. */
  #enter(functionIndex: number): void {
    if (this.#captured || this.canResume) {
      const what = this.#captured ? 'it is captured: return from onCapture' : 'it was restored: call resume()';
      throw new UsageError('instance-busy', `the instance cannot be called now, because ${what} first`);
    }
    let enter = this.#enters.get(functionIndex);
    if (enter === undefined) {
      const { rewritten, functions } = this.#guest;
      enter = functions.get(rewritten.runtimeFunctions.get(enterKey(functionIndex))!) as () => void;
      this.#enters.set(functionIndex, enter);
    }
    this.#run(enter);
  }

  /** One run: from `enter`, or from the captured stack. The results lie in the cells; what takes them is returned, if known. */
  #run(enter: (() => void) | undefined): Finish | undefined {
    const before = EmbeddedInstance.#switchTo(this);
    const depth = this.#depth;
    let finish: Finish | undefined;
    let completed = false;
    try {
      this.#depth = depth + 1;
      if (enter === undefined) {
        finish = this.#resumeStack();
      } else {
        this.#countDown(undefined);
        this.#guest.ready();
        enter();
      }
      while (this.#guest.isUnwinding) {
        if (this.#depth === 1) this.#handleCapture();
        else this.#deferCapture();
        finish = this.#resumeStack();
      }
      completed = true;
      return finish;
    } finally {
      this.#depth = depth;
      // After a trap or an error of the host, frames that were to go on mean nothing.
      if (!completed) this.#guest.dropStack();
      EmbeddedInstance.#switchTo(before);
    }
  }

  #resumeStack(): Finish {
    const { slot, outermost, innermost } = this.#guest.prepareResume();
    this.#countDown(innermost);
    this.#guest.ready();
    const finish = this.#finishOf(outermost);
    finish.finish(slot);
    return finish;
  }

  #handleCapture(): void {
    const isOurs = this.#interrupted || this.#options.captureEverySafepoints !== undefined;
    // An instance that shares this one's memory may have been meant.
    if (Atomics.exchange(this.#requests, 0, 0) === 0 && !isOurs) return;
    this.#interrupted = false;
    this.#waitingSinceMs = undefined;
    this.#captured = true;
    EmbeddedInstance.#switchTo(undefined);
    try {
      this.#options.onCapture?.(this);
    } finally {
      this.#captured = false;
      EmbeddedInstance.#switchTo(this);
    }
  }

  #deferCapture(): void {
    Atomics.store(this.#requests, 0, 1);
    const nowMs = performance.now();
    this.#waitingSinceMs ??= nowMs;
    if (nowMs - this.#waitingSinceMs < WAIT_NOTICE_MS) return;
    this.#waitingSinceMs = Infinity;
    this.#options.onNotice?.(
      'a capture is waiting: a function of the host that the guest called has called the guest, and cannot be captured itself',
    );
  }

  /** Arms the counter; a guest that stands at a loop's head passes that safepoint again first. */
  #countDown(innermost: Position | undefined): void {
    const every = this.#options.captureEverySafepoints;
    if (every === undefined) return;
    const standsAtLoop =
      innermost !== undefined &&
      innermost.kind === PositionKind.before &&
      innermost.position !== 0 &&
      this.#guest.rewritten.module.bytes[innermost.position] === Op.loop;
    this.#guest.captureAfterSafepoints(every - 1 + (standsAtLoop ? 1 : 0));
  }

  get #isRequested(): boolean {
    return this.#depth === 1 && Atomics.load(this.#requests, 0) !== 0;
  }

  /** A nested run, or another instance on the same memory, may have taken the request off the poll word. */
  #raiseAgain(): void {
    if (this.#isRequested) this.#guest.requestCapture();
  }

  #interrupt(name: string): void {
    if (this.#depth !== 1) {
      throw new UsageError(
        'instance-busy',
        `${name} returned Interrupted while a frame of the host lies below the guest's: look at canCapture first`,
        { import: name },
      );
    }
    this.#interrupted = true;
    this.#guest.beginUnwinding();
  }

  #finishOf({ functionIndex }: Position): Finish {
    const { rewritten } = this.#guest;
    const { results } = functionType(rewritten.module, functionIndex);
    const key = results.join();
    let finish = this.#finishes.get(key);
    if (finish === undefined) {
      const { bytes, functions } = finishModule(rewritten, results);
      const imports: Record<string, WebAssembly.ImportValue> = {
        [resumeImports.memory]: this.#guest.memory,
        [ResumeTableImport]: this.#guest.resumeTable,
      };
      for (const [type, table] of this.#guest.savedReferences) imports[resumeImports.savedReferences(type)] = table;
      for (const index of functions) imports[String(index)] = this.#guest.functions.get(index) as () => unknown;
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { [ImportModule]: imports });
      finish = {
        finish: exports[FinishExport.finish] as Finish['finish'],
        results: exports[FinishExport.results] as Finish['results'],
      };
      this.#finishes.set(key, finish);
    }
    return finish;
  }

  /** Which instance's code runs from now on in this thread; returns the one before. */
  static #switchTo(next: EmbeddedInstance | undefined): EmbeddedInstance | undefined {
    const before = EmbeddedInstance.#running;
    if (before !== undefined) before.#inside.value = 0;
    if (next !== undefined) {
      next.#inside.value = 1;
      next.#raiseAgain();
    }
    EmbeddedInstance.#running = next;
    return before;
  }

  /** A host function, during which no guest's own code runs. */
  static #outside(call: (...args: readonly unknown[]) => unknown): (...args: readonly unknown[]) => unknown {
    return (...args) => {
      const guest = EmbeddedInstance.#switchTo(undefined);
      try {
        return call(...args);
      } finally {
        EmbeddedInstance.#switchTo(guest);
      }
    };
  }
}

/** Asks an instance for a capture, from any thread. */
export function requestCapture({ requests, words, pollIndex }: CaptureHandle): void {
  // The request is noted before the poll word is touched: one of the two is seen, whatever the guest does meanwhile.
  Atomics.store(requests, 0, 1);
  Atomics.compareExchange(words, pollIndex, 0, 1);
}
