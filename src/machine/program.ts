import { UnsupportedModuleError, UsageError } from '../error/errors.ts';
import { type RewriteOptions, type RewrittenModule, rewriteModule } from '../rewrite/rewrite.ts';
import { refuseWhatEngineLacks } from './engine-features.ts';
import { rewriteCached } from './rewrite-cache.ts';
import { ExternalKind, type Module, decodeModule, functionType } from '../wasm/module.ts';
import type { FunctionType } from '../wasm/value-type.ts';
import { DIRECTED_FUNCTIONS, DIRECTED_MODULE } from './directed-calls.ts';
import { THREADS_MODULE, isThreadFunction } from './thread-calls.ts';

/** A program ready to be instantiated. */
export interface Program {
  readonly rewritten: RewrittenModule;
  readonly compiled: WebAssembly.Module;
  /** Functions that make up a run, in order: the start function if there is one, then `_start`. */
  readonly calls: readonly number[];
}

/**
 * Checks and rewrites a program.
 * @throws UsageError `not-wasm`, `truncated-module`, `invalid-module`, `no-start-function`; UnsupportedModuleError.
 */
export function prepareProgram(bytes: Uint8Array, options: RewriteOptions): Program {
  const module = decodeModule(bytes);
  if (!WebAssembly.validate(bytes as Uint8Array<ArrayBuffer>)) throw explainInvalid(bytes, module, options);
  const entry = module.exports.find(({ kind, name }) => kind === ExternalKind.function && name === '_start');
  if (entry === undefined) {
    const names = module.exports.filter(({ kind }) => kind === ExternalKind.function).map(({ name }) => name);
    throw new UsageError(
      'no-start-function',
      `the program exports no function _start, which a WASI command begins with; it exports ${names.join(', ') || 'no functions'}`,
      { exports: names },
    );
  }
  const rewritten = rewriteCached(module, options);
  const compiled = new WebAssembly.Module(rewritten.bytes);
  const calls = module.startFunction === undefined ? [entry.index] : [module.startFunction, entry.index];
  return { rewritten, compiled, calls };
}

/** Why V8 refuses a module: a feature that we can name, or what V8 says. */
function explainInvalid(bytes: Uint8Array, module: Module, options: RewriteOptions): Error {
  try {
    rewriteModule(module, options);
    refuseWhatEngineLacks(module);
  } catch (error) {
    if (error instanceof UnsupportedModuleError) return error;
  }
  let reason = 'this Node.js does not accept it';
  try {
    void new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  } catch (error) {
    reason = String(error instanceof Error ? error.message : error).replace(/^WebAssembly\.Module\(\): /, '');
  }
  return new UsageError('invalid-module', `the program is not a valid WebAssembly module: ${reason}`, { reason });
}

/** The module that WASI preview 1 programs import their host functions from, and all that it has. */
export const WASI_MODULE = 'wasi_snapshot_preview1';
export const WASI_FUNCTIONS: ReadonlySet<string> = new Set(
  (
    'args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get fd_advise fd_allocate fd_close ' +
    'fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size ' +
    'fd_filestat_set_times fd_pread fd_prestat_get fd_prestat_dir_name fd_pwrite fd_read fd_readdir fd_renumber fd_seek ' +
    'fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open ' +
    'path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit proc_raise ' +
    'sched_yield random_get sock_accept sock_recv sock_send sock_shutdown'
  ).split(' '),
);

/** @throws UsageError `missing-import` that lists all that the host does not have. */
export function checkImports(module: Module): void {
  let functions = 0;
  const missing = module.imports
    .filter(({ kind, module: from, name }) => {
      // A memory for threads is the host's to make, and is made as the program says.
      if (kind === ExternalKind.memory) return module.memory?.shared !== true;
      if (kind !== ExternalKind.function) return true;
      const type = functionType(module, functions++);
      if (from === THREADS_MODULE) return !isThreadFunction(name, type);
      if (from === DIRECTED_MODULE) return !isDirectedFunction(name, type);
      return from !== WASI_MODULE || !WASI_FUNCTIONS.has(name);
    })
    .map(({ module: from, name }) => `${from}.${name}`);
  if (missing.length === 0) return;
  throw new UsageError(
    'missing-import',
    `the program imports what Continuo does not provide: ${missing.slice(0, 8).join(', ')}${missing.length > 8 ? ` and ${missing.length - 8} more` : ''}`,
    { missing },
  );
}

/** Whether the program imports what it may tell Continuo. */
export function isDirected(module: Module): boolean {
  return module.imports.some(({ module: from }) => from === DIRECTED_MODULE);
}

function isDirectedFunction(name: string, { params, results }: FunctionType): boolean {
  const wanted = DIRECTED_FUNCTIONS.get(name);
  return wanted !== undefined && wanted.params.join() === params.join() && wanted.results.join() === results.join();
}
