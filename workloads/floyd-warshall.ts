// All pairs of shortest paths by Floyd and Warshall's triple loop, in place.
//
//   floyd-warshall SIZE SEED
//
// SIZE       nodes, 2 … 20000. About 10 s on plain Node 20 at SIZE 1600.
// Memory     one matrix of n × n f64. In pages of 4096 bytes: ⌈n²·8/4096⌉, plus one of constants and one of arguments.
// Access     n sweeps over the whole matrix in row order, each with one row read again and again. Writes grow rare as the
//            distances settle, but early sweeps dirty nearly every page.
// Weights    whole numbers 1 … 2²⁰, so that all sums are exact; the same matrix as apsp's for a size and seed, and the
//            same digest.
//
// Expected digests (checked by test/workloads):
//   floyd-warshall 2 1    1c2ade8d4c2c5c2f
//   floyd-warshall 50 7   514fbed67caa948d
//   floyd-warshall 400 1  e48ff3a85574924f

import { allocate } from './common/arena';
import { givenCount, numberArgument, openArguments } from './common/arguments';
import { addWordsToDigest, EMPTY_DIGEST } from './common/digest';
import { fillWeights } from './common/graph';
import { fail, printResult } from './common/output';
import { reportProgress } from './common/progress';

const USAGE = 'usage: floyd-warshall SIZE SEED   (SIZE 2 to 20000, SEED 0 to 4294967295)';

function sweep(matrix: usize, n: usize, middle: usize): void {
  const middleRow = matrix + ((middle * n) << 3);
  for (let i: usize = 0; i < n; i++) {
    const row = matrix + ((i * n) << 3);
    const toMiddle = load<f64>(row + (middle << 3));
    for (let j: usize = 0; j < n << 3; j += 8) {
      const through = toMiddle + load<f64>(middleRow + j);
      if (through < load<f64>(row + j)) store<f64>(row + j, through);
    }
  }
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 2, 20000, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  if (givenCount() != 2) fail(USAGE);

  const n = <usize>size;
  const matrix = allocate(<u64>n * n * 8);
  fillWeights(matrix, n, seed);
  for (let middle: usize = 0; middle < n; middle++) {
    sweep(matrix, n, middle);
    reportProgress(middle + 1, n);
  }
  printResult('floyd-warshall', size, seed, addWordsToDigest(EMPTY_DIGEST, matrix, n * n));
}
