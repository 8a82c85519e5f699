// Linear memory for a workload's data, by size, never freed: what a workload allocates it keeps to its end. Every
// allocation starts on a page of 4096 bytes, so that the memory formulas of the workloads' heads count whole pages.

import { fail } from './output';

const PAGE_BYTES: usize = 4096;
const WASM_PAGE_SHIFT: usize = 16;
const WASM_PAGE_BYTES: usize = 1 << WASM_PAGE_SHIFT;

let next: usize = 0;

/** Start of `lengthBytes` zeroed bytes; ends the program with exit code 1 when the memory cannot grow so far. */
export function allocate(lengthBytes: u64): usize {
  if (next == 0) next = (__heap_base + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
  const end = <u64>next + ((lengthBytes + PAGE_BYTES - 1) & ~(<u64>PAGE_BYTES - 1));
  const wasmPages = (end + WASM_PAGE_BYTES - 1) >> WASM_PAGE_SHIFT;
  const missing = <i64>wasmPages - <i64>memory.size();
  if (wasmPages > 65535 || (missing > 0 && memory.grow(<i32>missing) < 0)) fail('not enough memory for this size');
  const start = next;
  next = <usize>end;
  return start;
}
