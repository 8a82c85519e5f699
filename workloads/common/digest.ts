// A 64-bit digest of a sequence of 64-bit words, sensitive to their order. Floating-point results enter by their bits;
// no workload yields a NaN or a negative zero, so that the digest is the same on every engine.

import { mix } from './random';

export const EMPTY_DIGEST: u64 = 0x9ae16a3b2f90404f;

export function addToDigest(digest: u64, word: u64): u64 {
  return mix(digest ^ word) + 0x9e3779b97f4a7c15;
}

/** Adds `wordCount` words of 8 bytes that start at an address. */
export function addWordsToDigest(digest: u64, address: usize, wordCount: usize): u64 {
  const end = address + (wordCount << 3);
  for (let word = address; word < end; word += 8) digest = addToDigest(digest, load<u64>(word));
  return digest;
}
