// SplitMix64 (Steele, Lea, Flood 2014): any seed is good, zero included, and the state is one number.

let state: u64 = 0;

export function seedRandom(seed: u32): void {
  state = seed;
}

export function random(): u64 {
  state += 0x9e3779b97f4a7c15;
  return mix(state);
}

/** A permutation of the 64-bit numbers that looks random. */
export function mix(value: u64): u64 {
  let z = value;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
