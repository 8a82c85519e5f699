import { UsageError } from '../error/errors.ts';
import { CapturableModule } from './capturable-module.ts';
import type { EmbeddedImports } from './embedded-imports.ts';
import { EmbeddedInstance, type InstantiateOptions } from './embedded-instance.ts';

export interface InstantiatedSource {
  readonly module: CapturableModule;
  readonly instance: EmbeddedInstance;
}

/**
 * Takes the place of `WebAssembly.instantiate` for an instance that can be captured, saved and restored, in the caller's
 * thread. Exported functions are called as always; when a capture was requested, the call is captured at its next safepoint,
 * `options.onCapture` is called, and the call goes on.
 *
 * What differs from plain V8: memories are `EmbeddedMemory`, exported or imported; exported functions have other numbers
 * as their names; tables shared with plain `WebAssembly` instances must not hold functions of those that call back.
 *
 * @throws (rejects with) what `WebAssembly.instantiate` does, and UnsupportedModuleError for features that Continuo
 * does not take.
 */
export async function instantiate(
  source: ArrayBuffer | ArrayBufferView | CapturableModule,
  imports?: EmbeddedImports,
  options: InstantiateOptions = {},
): Promise<InstantiatedSource> {
  // Errors of the compiler reach the caller as a rejected promise, too.
  await Promise.resolve();
  try {
    return instantiateNow(source, imports, options);
  } catch (error) {
    if (error instanceof Error) {
      error.message = error.message.replace(/^WebAssembly\.(Instance|Module)\(\)/, 'WebAssembly.instantiate()');
    }
    throw error;
  }
}

/** `instantiate` without a promise; takes the place of `new WebAssembly.Instance(new WebAssembly.Module(bytes), imports)`. */
export function instantiateNow(
  source: ArrayBuffer | ArrayBufferView | CapturableModule,
  imports?: EmbeddedImports,
  options: InstantiateOptions = {},
): InstantiatedSource {
  const counting = checkedInterval(options) !== undefined;
  const { canonicalNan } = options;
  const module =
    source instanceof CapturableModule
      ? source
      : new CapturableModule(source, { counting, canonicalNan: canonicalNan === true });
  if (canonicalNan !== undefined && module.canonicalNan !== canonicalNan) {
    throw new UsageError(
      'bad-argument',
      `canonicalNan is ${canonicalNan} here and ${module.canonicalNan} for the module`,
    );
  }
  if (counting && !module.counting) {
    throw new UsageError(
      'bad-argument',
      'captureEverySafepoints needs a module that counts: new CapturableModule(bytes, { counting: true })',
    );
  }
  const { module: decoded } = module.rewritten;
  if (decoded.imports.length > 0 && (typeof imports !== 'object' || imports === null)) {
    throw new TypeError('WebAssembly.Instance(): Imports argument must be present and must be an object');
  }
  return { module, instance: new EmbeddedInstance(module, imports ?? {}, options) };
}

function checkedInterval({ captureEverySafepoints: every }: InstantiateOptions): number | undefined {
  if (every === undefined || (Number.isInteger(every) && every >= 1 && every < 2 ** 31)) return every;
  throw new UsageError('bad-argument', `captureEverySafepoints is ${every}; it must be a whole number from 1 up`);
}
