/** Instances of plain V8 and of `instantiate`, side by side. */
import {
  type EmbeddedImports,
  type EmbeddedInstance,
  type InstantiateOptions,
  instantiateNow,
} from '../../src/index.ts';

export type Callable = (...args: readonly unknown[]) => unknown;
export interface Exporting {
  readonly exports: Readonly<Record<string, unknown>>;
}

export const call = (instance: Exporting, name: string, ...args: readonly unknown[]): unknown =>
  (instance.exports[name] as Callable)(...args);

/** Passes some safepoints, several of them in recursion. */
export const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (i32.const 1))
  (func $fib (param $n i32) (result i32)
    (if (i32.lt_u (local.get $n) (i32.const 2)) (then (return (local.get $n))))
    (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1))) (call $fib (i32.sub (local.get $n) (i32.const 2)))))`;

export const everySafepoint: InstantiateOptions = { captureEverySafepoints: 1 };

export function plain(wasm: Uint8Array<ArrayBuffer>, ...imports: readonly (WebAssembly.Imports | undefined)[]) {
  return new WebAssembly.Instance(new WebAssembly.Module(wasm), ...(imports as [WebAssembly.Imports?]));
}

/** Number of captures of a run besides what it returns. */
export function counted(wasm: Uint8Array, imports: EmbeddedImports = {}, options: InstantiateOptions = {}) {
  const figures = { captures: 0 };
  const onCapture = (instance: EmbeddedInstance): void => {
    figures.captures++;
    options.onCapture?.(instance);
  };
  const { instance } = instantiateNow(wasm, imports, { ...everySafepoint, ...options, onCapture });
  return { instance, figures };
}

export function thrownBy(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof Error ? `${error.constructor.name}: ${error.message}` : String(error);
  }
  return 'nothing thrown';
}
