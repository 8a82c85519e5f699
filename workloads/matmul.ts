// B = A × A for a dense matrix of f64, the rows of B in order (the second program of Hsu & Chang 1997).
//
//   matmul SIZE SEED [--int32]
//
// SIZE       rows and columns, 1 … 16000. About 10 s on plain Node 20 at SIZE 1650.
// Option     --int32 takes entries of 4 bytes, which is what the paper's page counts say it had: modulo 2³², so as exact.
// Memory     A and B, n × n f64 each. In pages of 4096 bytes: 2·⌈n²·8/4096⌉, plus one of constants and one of arguments.
// Access     per row of B: the whole of A, row by row, and that row of B again and again. A checkpoint finds only the rows
//            of B since the last one dirty.
// Entries    whole numbers −512 … 511, so that all sums are exact and their order does not matter.
//
// Expected digests (checked by test/workloads):
//   matmul 1 1    5d1d555bb81b0824
//   matmul 50 7   40601b2f8535a9b0
//   matmul 400 1  e63549735dd53f56
//   matmul 400 1 --int32  a7fc34adfc4196ba

import { allocate } from './common/arena';
import { givenCount, isArgument, numberArgument, openArguments } from './common/arguments';
import { addWordsToDigest, EMPTY_DIGEST } from './common/digest';
import { fail, printResult } from './common/output';
import { reportProgress } from './common/progress';
import { random, seedRandom } from './common/random';

const USAGE = 'usage: matmul SIZE SEED [--int32]   (SIZE 1 to 16000, SEED 0 to 4294967295)';

function multiplyRow(a: usize, b: usize, n: usize, row: usize): void {
  const aRow = a + ((row * n) << 3);
  const bRow = b + ((row * n) << 3);
  const rowBytes = n << 3;
  for (let k: usize = 0; k < n; k++) {
    const factor = load<f64>(aRow + (k << 3));
    const kRow = a + ((k * n) << 3);
    for (let j: usize = 0; j < rowBytes; j += 8) {
      store<f64>(bRow + j, load<f64>(bRow + j) + factor * load<f64>(kRow + j));
    }
  }
}

function multiplyIntegerRow(a: usize, b: usize, n: usize, row: usize): void {
  const aRow = a + ((row * n) << 2);
  const bRow = b + ((row * n) << 2);
  const rowBytes = n << 2;
  for (let k: usize = 0; k < n; k++) {
    const factor = load<i32>(aRow + (k << 2));
    const kRow = a + ((k * n) << 2);
    for (let j: usize = 0; j < rowBytes; j += 4) {
      store<i32>(bRow + j, load<i32>(bRow + j) + factor * load<i32>(kRow + j));
    }
  }
}

function fillMatrix(a: usize, entries: usize, isInteger: bool): void {
  for (let entry: usize = 0; entry < entries; entry++) {
    const value = <i32>(<i64>(random() >> 54) - 512);
    if (isInteger) store<i32>(a + (entry << 2), value);
    else store<f64>(a + (entry << 3), <f64>value);
  }
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 1, 16000, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  const isInteger = isArgument(2, '--int32');
  if (givenCount() != (isInteger ? 3 : 2)) fail(USAGE);

  const n = <usize>size;
  const entries = n * n;
  // Whole words of 8 bytes, which the digest goes by.
  const words: usize = isInteger ? (entries + 1) >> 1 : entries;
  const a = allocate((<u64>words) << 3);
  const b = allocate((<u64>words) << 3);
  seedRandom(seed);
  fillMatrix(a, entries, isInteger);
  for (let row: usize = 0; row < n; row++) {
    if (isInteger) multiplyIntegerRow(a, b, n, row);
    else multiplyRow(a, b, n, row);
    reportProgress(row + 1, n);
  }
  printResult('matmul', size, seed, addWordsToDigest(EMPTY_DIGEST, b, words));
}
