// B = A × A for a dense matrix of f64, the rows of B in order (the second program of Hsu & Chang 1997).
//
//   matmul SIZE SEED
//
// SIZE       rows and columns, 1 … 16000. About 10 s on plain Node 20 at SIZE 1650.
// Memory     A and B, n × n f64 each. In pages of 4096 bytes: 2·⌈n²·8/4096⌉, plus one of constants and one of arguments.
// Access     per row of B: the whole of A, row by row, and that row of B again and again. A checkpoint finds only the rows
//            of B since the last one dirty.
// Entries    whole numbers −512 … 511, so that all sums are exact and their order does not matter.
//
// Expected digests (checked by test/workloads):
//   matmul 1 1    5d1d555bb81b0824
//   matmul 50 7   40601b2f8535a9b0
//   matmul 400 1  e63549735dd53f56

import { allocate } from './common/arena';
import { givenCount, numberArgument, openArguments } from './common/arguments';
import { addWordsToDigest, EMPTY_DIGEST } from './common/digest';
import { fail, printResult } from './common/output';
import { reportProgress } from './common/progress';
import { random, seedRandom } from './common/random';

const USAGE = 'usage: matmul SIZE SEED   (SIZE 1 to 16000, SEED 0 to 4294967295)';

function multiplyRow(a: usize, b: usize, n: usize, row: usize): void {
  const aRow = a + ((row * n) << 3);
  const bRow = b + ((row * n) << 3);
  for (let k: usize = 0; k < n; k++) {
    const factor = load<f64>(aRow + (k << 3));
    const kRow = a + ((k * n) << 3);
    for (let j: usize = 0; j < n << 3; j += 8) {
      store<f64>(bRow + j, load<f64>(bRow + j) + factor * load<f64>(kRow + j));
    }
  }
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 1, 16000, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  if (givenCount() != 2) fail(USAGE);

  const n = <usize>size;
  const matrixBytes = <u64>n * n * 8;
  const a = allocate(matrixBytes);
  const b = allocate(matrixBytes);
  seedRandom(seed);
  for (let entry: usize = 0; entry < n * n; entry++) {
    store<f64>(a + (entry << 3), <f64>(<i64>(random() >> 54) - 512));
  }
  for (let row: usize = 0; row < n; row++) {
    multiplyRow(a, b, n, row);
    reportProgress(row + 1, n);
  }
  printResult('matmul', size, seed, addWordsToDigest(EMPTY_DIGEST, b, n * n));
}
