import { readFileSync } from 'node:fs';
import { instantiateSync } from '@assemblyscript/loader';
import { assert } from '../error/errors.ts';

/**
 * The kernels of `assembly/page-kernels.ts` on one memory. Addresses are bytes of that memory; see there for the
 * layout of lists and results. The index and address arguments are u32.
 */
export type PageKernels = {
  checksumBytes(at: number, lengthBytes: number): bigint;
  examinePages(indices: number, count: number, base: number, results: number): void;
  checksumRun(at: number, count: number, results: number): void;
  scanStates(states: number, from: number, to: number, indices: number, capacity: number): number;
  scanWritable(states: number, from: number, to: number, indices: number, capacity: number): number;
  gatherPages(indices: number, count: number, base: number, to: number): void;
  scatterPages(from: number, indices: number, count: number, base: number): void;
};

const KERNEL_NAMES: readonly (keyof PageKernels)[] = [
  'checksumBytes',
  'examinePages',
  'checksumRun',
  'scanStates',
  'scanWritable',
  'gatherPages',
  'scatterPages',
];

/** The same place seen from `src/format` and from `dist/format`, so that tests can import the sources. */
const MODULE_URL = new URL('../../dist/assembly/page-kernels.wasm', import.meta.url);

let compiled: WebAssembly.Module | undefined;

/** The page kernels on a shared memory; compiled once per thread. */
export function instantiateKernels(memory: WebAssembly.Memory): PageKernels {
  compiled ??= new WebAssembly.Module(readFileSync(MODULE_URL));
  const { exports } = instantiateSync<PageKernels>(compiled, { env: { memory } });
  for (const name of KERNEL_NAMES) assert(typeof exports[name] === 'function', `page kernel ${name} is missing`);
  return exports;
}
