// Deep recursion: a linear descent of 96·SIZE frames, at whose bottom the naive Fibonacci recursion of SIZE runs.
//
//   fib SIZE SEED
//
// SIZE       0 … 60. About 10 s on plain Node 20 at SIZE 45.
// Memory     one page of constants and one of arguments, at every size: the state is on the call stack.
// Access     none to speak of; the stack is 96·SIZE + SIZE frames deep nearly all of the time, and each frame of the
//            descent holds a number of its own that its return needs.
//
// Expected digests (checked by test/workloads):
//   fib 0 1    93cfacf6ff7072d8
//   fib 20 7   1eb8a98aaab5cf65
//   fib 30 1   3783fce7dc301e27

import { givenCount, numberArgument, openArguments } from './common/arguments';
import { addToDigest, EMPTY_DIGEST } from './common/digest';
import { fail, printResult } from './common/output';
import { reportProgress } from './common/progress';
import { random, seedRandom } from './common/random';

const USAGE = 'usage: fib SIZE SEED   (SIZE 0 to 60, SEED 0 to 4294967295)';
/** Frames of the descent per unit of SIZE: 5760 at most, which V8 bears with half of its default stack of 984 kB. */
const LEVELS_PER_SIZE: u32 = 96;

function fib(n: u32): u64 {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

function descend(level: u32, size: u32): u64 {
  if (level == 0) return addToDigest(EMPTY_DIGEST, fib(size));
  const own = random();
  const below = descend(level - 1, size);
  return addToDigest(below, own);
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 0, 60, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  if (givenCount() != 2) fail(USAGE);

  seedRandom(seed);
  const digest = descend(size * LEVELS_PER_SIZE, size);
  reportProgress(1, 1);
  printResult('fib', size, seed, digest);
}
