import { UnsupportedModuleError } from '../error/errors.ts';
import { type FunctionType, ValueType } from '../wasm/value-type.ts';

/** Where programs of wasi-threads ask for threads. They import the memory that these would share as well. */
export const THREADS_MODULE = 'wasi';
const SPAWN_FUNCTION = 'thread-spawn';

/** What stands for `thread-spawn`: a program that has it may run, until it calls it. */
export const threadImports = {
  [SPAWN_FUNCTION]: (): number => {
    throw new UnsupportedModuleError(
      'threads',
      'import',
      0,
      `the program starts a thread (${THREADS_MODULE}.${SPAWN_FUNCTION}), which Continuo does not support: ` +
        'a program that is built for threads runs as long as it starts none',
    );
  },
} as const;

export function isThreadFunction(name: string, { params, results }: FunctionType): boolean {
  return name === SPAWN_FUNCTION && params.join() === String(ValueType.i32) && results.join() === String(ValueType.i32);
}
