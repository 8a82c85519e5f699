// Product of two 512 × 512 matrices of f64, row by row, as AssemblyScript compiles it.
// Result: 0xc2359980

import { addToDigest, nextRandom } from './common/kernel';

const SIZE: i32 = 512;
const left = new StaticArray<f64>(SIZE * SIZE);
const right = new StaticArray<f64>(SIZE * SIZE);
const product = new StaticArray<f64>(SIZE * SIZE);

export function setup(): void {
  for (let at = 0; at < SIZE * SIZE; at++) {
    left[at] = <f64>(nextRandom() & 255) / 16;
    right[at] = <f64>(nextRandom() & 255) / 16;
  }
}

function multiply(a: StaticArray<f64>, b: StaticArray<f64>, c: StaticArray<f64>, size: i32): void {
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const factor = a[i * size + k];
      for (let j = 0; j < size; j++) c[i * size + j] += factor * b[k * size + j];
    }
  }
}

export function run(): i32 {
  for (let at = 0; at < SIZE * SIZE; at++) product[at] = 0;
  multiply(left, right, product, SIZE);
  let digest: u32 = 0;
  for (let at = 0; at < SIZE * SIZE; at += 7) digest = addToDigest(digest, <u32>(product[at] * 256));
  return <i32>digest;
}
