// All pairs of shortest paths: Dijkstra from every source over a dense matrix of weights, by array scan, O(n²) a source
// (the first program of Hsu & Chang 1997, "Performance evaluation").
//
//   apsp SIZE SEED [--print-rows]
//
// SIZE       nodes, 2 … 16000. About 10 s on plain Node 20 at SIZE 1150, half of it in V8's optimising tier.
// Option     --print-rows prints a digest of each source's row as soon as it is known, so that output flows while it runs.
// Memory     weights and result, n × n f64 each; a mark per node. In pages of 4096 bytes: 2·⌈n²·8/4096⌉ + ⌈n/4096⌉,
//            plus one of constants and one of arguments.
// Access     per source: every row of the weights once, in the order of distance, and one row of the result, again and
//            again. A checkpoint finds the rows of the sources since the last one dirty, and the marks.
// Weights    whole numbers 1 … 2²⁰, so that all sums are exact.
//
// Expected digests (checked by test/workloads):
//   apsp 2 1    1c2ade8d4c2c5c2f
//   apsp 50 7   514fbed67caa948d
//   apsp 400 1  e48ff3a85574924f

import { allocate } from './common/arena';
import { givenCount, isArgument, numberArgument, openArguments } from './common/arguments';
import { addWordsToDigest, EMPTY_DIGEST } from './common/digest';
import { fillWeights } from './common/graph';
import { fail, printLine, printResult, putHex, putNumber, putText } from './common/output';
import { reportProgress } from './common/progress';

const USAGE = 'usage: apsp SIZE SEED [--print-rows]   (SIZE 2 to 16000, SEED 0 to 4294967295)';
const FARTHEST: f64 = f64.MAX_VALUE;

/** Distances from one source into `distances`; `done` holds a byte per node, nonzero once its distance is final. */
function shortestPaths(weights: usize, distances: usize, done: usize, n: usize, source: usize): void {
  for (let node: usize = 0; node < n; node++) {
    store<f64>(distances + (node << 3), FARTHEST);
    store<u8>(done + node, 0);
  }
  store<f64>(distances + (source << 3), 0);

  for (let round: usize = 0; round < n; round++) {
    let nearest: usize = 0;
    let shortest = Infinity;
    for (let node: usize = 0; node < n; node++) {
      const distance = load<f64>(distances + (node << 3));
      if (distance < shortest && load<u8>(done + node) == 0) {
        shortest = distance;
        nearest = node;
      }
    }
    store<u8>(done + nearest, 1);

    const row = weights + ((nearest * n) << 3);
    for (let node: usize = 0; node < n; node++) {
      const through = shortest + load<f64>(row + (node << 3));
      if (through < load<f64>(distances + (node << 3))) store<f64>(distances + (node << 3), through);
    }
  }
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 2, 16000, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  const printRows = isArgument(2, '--print-rows');
  if (givenCount() != (printRows ? 3 : 2)) fail(USAGE);

  const n = <usize>size;
  const matrixBytes = <u64>n * n * 8;
  const weights = allocate(matrixBytes);
  const result = allocate(matrixBytes);
  const done = allocate(n);
  fillWeights(weights, n, seed);

  for (let source: usize = 0; source < n; source++) {
    const distances = result + ((source * n) << 3);
    shortestPaths(weights, distances, done, n, source);
    reportProgress(source + 1, n);
    if (printRows) {
      putText('row ');
      putNumber(<u32>source);
      putText(' ');
      putHex(addWordsToDigest(EMPTY_DIGEST, distances, n));
      printLine();
    }
  }
  printResult('apsp', size, seed, addWordsToDigest(EMPTY_DIGEST, result, n * n));
}
