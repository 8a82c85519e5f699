import { type RewrittenModule, rewriteModule } from '../rewrite/rewrite.ts';
import { decodeModule } from '../wasm/module.ts';
import { digestOf } from './saved-instance.ts';

/** A module made ready for any number of capturable instances; takes the place of `WebAssembly.Module`. */
export class CapturableModule {
  readonly rewritten: RewrittenModule;
  readonly compiled: WebAssembly.Module;
  /** SHA-256 of the original bytes: saved instances name it. */
  readonly digest: Uint8Array;
  /** Whether instances can be captured after a number of safepoints; costs run time. */
  readonly counting: boolean;

  /**
   * @throws WebAssembly.CompileError, V8's own, for bytes that it does not take; UnsupportedModuleError for features that
   * Continuo does not take.
   */
  constructor(source: ArrayBuffer | ArrayBufferView, options: { readonly counting?: boolean } = {}) {
    // A copy: the embedder may change its buffer, and function bodies are read again when frames are resumed.
    const bytes = ArrayBuffer.isView(source)
      ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice()
      : new Uint8Array(source).slice();
    if (!WebAssembly.validate(bytes)) void new WebAssembly.Module(bytes);
    this.counting = options.counting === true;
    this.digest = digestOf(bytes);
    this.rewritten = rewriteModule(decodeModule(bytes), { tracking: 'none', counting: this.counting, doors: true });
    this.compiled = new WebAssembly.Module(this.rewritten.bytes);
  }
}
