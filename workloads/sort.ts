// Sorts an array of 64-bit numbers twice, by a recursive quicksort in place and by a bottom-up merge sort of a copy, and
// compares the two.
//
//   sort SIZE SEED
//
// SIZE       numbers, 1 … 134217728. About 10 s on plain Node 20 at SIZE 29000000.
// Memory     three arrays of n u64. In pages of 4096 bytes: 3·⌈n·8/4096⌉, plus one of constants and one of arguments.
// Access     quicksort: two ends of ever shorter ranges, the stack at most log₂ n frames; merge sort: log₂ n sequential
//            sweeps, each of which writes a whole array.
//
// Expected digests (checked by test/workloads):
//   sort 1 1        40ad21c591a326cd
//   sort 1000 7     4bae35fd308cbd11
//   sort 100000 1   0d23bdabea9f9fc5

import { allocate } from './common/arena';
import { givenCount, numberArgument, openArguments } from './common/arguments';
import { addWordsToDigest, EMPTY_DIGEST } from './common/digest';
import { fail, printResult } from './common/output';
import { reportProgress } from './common/progress';
import { random, seedRandom } from './common/random';

const USAGE = 'usage: sort SIZE SEED   (SIZE 1 to 134217728, SEED 0 to 4294967295)';
/** Bytes of a range that insertion sort finishes. */
const SHORT_BYTES: usize = 16 * 8;

function insertionSort(first: usize, last: usize): void {
  for (let at = first + 8; at <= last; at += 8) {
    const value = load<u64>(at);
    let place = at;
    while (place > first && load<u64>(place - 8) > value) {
      store<u64>(place, load<u64>(place - 8));
      place -= 8;
    }
    store<u64>(place, value);
  }
}

/** Sorts the numbers at addresses `first` to `last`, both included; recursion takes the shorter part. */
function quickSort(first: usize, last: usize): void {
  while (first + SHORT_BYTES <= last) {
    const pivot = load<u64>(first + (((last - first) >> 4) << 3));
    let left = first;
    let right = last;
    while (left <= right) {
      while (load<u64>(left) < pivot) left += 8;
      while (load<u64>(right) > pivot) right -= 8;
      if (left > right) break;
      const value = load<u64>(left);
      store<u64>(left, load<u64>(right));
      store<u64>(right, value);
      left += 8;
      right -= 8;
    }
    // An end may have passed the bound of its range by one number, so lengths are compared, never differences of ends.
    if (right + 8 - first < last + 8 - left) {
      quickSort(first, right);
      first = left;
    } else {
      quickSort(left, last);
      last = right;
    }
  }
  insertionSort(first, last);
}

/** Merges the sorted ranges [left, middle) and [middle, end) to `target`. */
function merge(left: usize, middle: usize, end: usize, target: usize): void {
  let right = middle;
  const leftEnd = middle;
  while (left < leftEnd || right < end) {
    const takeLeft = right == end || (left < leftEnd && load<u64>(left) <= load<u64>(right));
    store<u64>(target, takeLeft ? load<u64>(left) : load<u64>(right));
    if (takeLeft) left += 8;
    else right += 8;
    target += 8;
  }
}

/** Sorts `lengthBytes` at `source` with the help of as many bytes at `other`; returns which of the two holds the result. */
function mergeSort(source: usize, other: usize, lengthBytes: usize): usize {
  for (let width: usize = 8; width < lengthBytes; width <<= 1) {
    for (let start: usize = 0; start < lengthBytes; start += width << 1) {
      const middle = min(start + width, lengthBytes);
      const end = min(middle + width, lengthBytes);
      merge(source + start, source + middle, source + end, other + start);
    }
    const sorted = other;
    other = source;
    source = sorted;
  }
  return source;
}

export function _start(): void {
  openArguments();
  const size = numberArgument(0, 1, 134217728, USAGE);
  const seed = numberArgument(1, 0, u32.MAX_VALUE, USAGE);
  if (givenCount() != 2) fail(USAGE);

  const lengthBytes = (<usize>size) << 3;
  const numbers = allocate(lengthBytes);
  const copy = allocate(lengthBytes);
  const other = allocate(lengthBytes);
  seedRandom(seed);
  for (let at: usize = 0; at < lengthBytes; at += 8) {
    const value = random();
    store<u64>(numbers + at, value);
    store<u64>(copy + at, value);
  }
  quickSort(numbers, numbers + lengthBytes - 8);
  reportProgress(1, 2);
  const merged = mergeSort(copy, other, lengthBytes);
  reportProgress(2, 2);
  for (let at: usize = 0; at < lengthBytes; at += 8) {
    if (load<u64>(numbers + at) != load<u64>(merged + at)) fail('quicksort and merge sort disagree');
  }
  printResult('sort', size, seed, addWordsToDigest(EMPTY_DIGEST, merged, size));
}
