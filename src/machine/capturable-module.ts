import { type RewrittenModule, rewriteModule } from '../rewrite/rewrite.ts';
import { decodeModule } from '../wasm/module.ts';
import { digestOf } from './saved-instance.ts';

export interface CapturableOptions {
  readonly counting?: boolean;
  /** Arithmetic gives the canonical NaN where it gives any; costs run time, and relaxed SIMD is refused. */
  readonly canonicalNan?: boolean;
}

/** A module made ready for any number of capturable instances; takes the place of `WebAssembly.Module`. */
export class CapturableModule {
  readonly rewritten: RewrittenModule;
  readonly compiled: WebAssembly.Module;
  /** Of the original bytes and of what their results depend on: saved instances name it. */
  readonly digest: Uint8Array;
  /** Whether instances can be captured after a number of safepoints; costs run time. */
  readonly counting: boolean;
  /** Whether NaNs that the module can see have the same bits on every processor. */
  readonly canonicalNan: boolean;

  /**
   * @throws WebAssembly.CompileError, V8's own, for bytes that it does not take; UnsupportedModuleError for features that
   * Continuo does not take.
   */
  constructor(source: ArrayBuffer | ArrayBufferView, options: CapturableOptions = {}) {
    // A copy: the embedder may change its buffer, and function bodies are read again when frames are resumed.
    const bytes = ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice()
      : new Uint8Array(source).slice();
    if (!WebAssembly.validate(bytes)) void new WebAssembly.Module(bytes);
    this.counting = options.counting === true;
    this.canonicalNan = options.canonicalNan === true;
    const digest = digestOf(bytes);
    this.digest = this.canonicalNan ? digestOf(Uint8Array.of(...digest, 1)) : digest;
    const { counting, canonicalNan } = this;
    this.rewritten = rewriteModule(decodeModule(bytes), { tracking: 'none', counting, doors: true, canonicalNan });
    this.compiled = new WebAssembly.Module(this.rewritten.bytes);
  }
}
