// Floyd and Warshall's shortest paths on a 512 × 512 matrix of i32, as AssemblyScript compiles it: static arrays, whose
// elements are reached through a pointer and without bounds checks.
// Result: 0x09686ab7

import { addToDigest, nextRandom } from './common/kernel';

const SIZE: i32 = 512;
const distances = new StaticArray<i32>(SIZE * SIZE);
const weights = new StaticArray<i32>(SIZE * SIZE);

export function setup(): void {
  for (let at = 0; at < SIZE * SIZE; at++) weights[at] = <i32>(nextRandom() & 1023) + 1;
}

function shorten(matrix: StaticArray<i32>, size: i32): void {
  for (let middle = 0; middle < size; middle++) {
    for (let i = 0; i < size; i++) {
      const toMiddle = matrix[i * size + middle];
      for (let j = 0; j < size; j++) {
        const through = toMiddle + matrix[middle * size + j];
        if (through < matrix[i * size + j]) matrix[i * size + j] = through;
      }
    }
  }
}

export function run(): i32 {
  for (let at = 0; at < SIZE * SIZE; at++) distances[at] = weights[at];
  shorten(distances, SIZE);
  let digest: u32 = 0;
  for (let at = 0; at < SIZE * SIZE; at += 7) digest = addToDigest(digest, <u32>distances[at]);
  return <i32>digest;
}
