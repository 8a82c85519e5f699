// The random numbers and the digest of kernel.h, for the kernels in AssemblyScript: the same inputs, the same results.

let randomState: u32 = 12345;

/** Marsaglia's xorshift with 32 bits of state. */
export function nextRandom(): u32 {
  randomState ^= randomState << 13;
  randomState ^= randomState >> 17;
  randomState ^= randomState << 5;
  return randomState;
}

/** Adds a word to a digest of a sequence, sensitive to the order. */
export function addToDigest(digest: u32, word: u32): u32 {
  return rotr<u32>(digest ^ word, 27) * 0x9e3779b1 + 0x7f4a7c15;
}

/** What the compiler calls in place of `env.abort`: kernels import nothing. */
export function stop(_message: string | null, _file: string | null, _line: u32, _column: u32): void {
  unreachable();
}
