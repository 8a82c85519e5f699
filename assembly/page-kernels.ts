/**
 * Page kernels: the inner loops of the pager, run by AssemblyScript beside the guest on the guest's own memory.
 *
 * The module keeps nothing in that memory: it has no static data and no heap, and touches only the addresses it is
 * given. All addresses and lengths are bytes of the machine's memory; a page index counts pages of 4096 bytes from
 * `base`. Checksums are XXH64 with seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md): fast on four lanes
 * of 64-bit multiplication, which Wasm has, and strong enough to tell a torn page, which is all that is asked of it.
 */

const PAGE_BYTES: usize = 4096;

const PRIME_1: u64 = 0x9e3779b185ebca87;
const PRIME_2: u64 = 0xc2b2ae3d27d4eb4f;
const PRIME_3: u64 = 0x165667b19e3779f9;
const PRIME_4: u64 = 0x85ebca77c2b2ae63;
const PRIME_5: u64 = 0x27d4eb2f165667c5;

function round(lane: u64, input: u64): u64 {
  return rotl<u64>(lane + input * PRIME_2, 31) * PRIME_1;
}

function mergeRound(accumulator: u64, lane: u64): u64 {
  return (accumulator ^ round(0, lane)) * PRIME_1 + PRIME_4;
}

/** XXH64 of any number of bytes, seed 0. */
export function checksumBytes(at: usize, lengthBytes: usize): u64 {
  const end = at + lengthBytes;
  let hash: u64;
  if (lengthBytes >= 32) {
    let lane1: u64 = PRIME_1 + PRIME_2;
    let lane2: u64 = PRIME_2;
    let lane3: u64 = 0;
    let lane4: u64 = 0 - PRIME_1;
    const stripesEnd = end - 32;
    do {
      lane1 = round(lane1, load<u64>(at));
      lane2 = round(lane2, load<u64>(at, 8));
      lane3 = round(lane3, load<u64>(at, 16));
      lane4 = round(lane4, load<u64>(at, 24));
      at += 32;
    } while (at <= stripesEnd);
    hash = rotl<u64>(lane1, 1) + rotl<u64>(lane2, 7) + rotl<u64>(lane3, 12) + rotl<u64>(lane4, 18);
    hash = mergeRound(hash, lane1);
    hash = mergeRound(hash, lane2);
    hash = mergeRound(hash, lane3);
    hash = mergeRound(hash, lane4);
  } else {
    hash = PRIME_5;
  }
  hash += lengthBytes as u64;
  while (at + 8 <= end) {
    hash = rotl<u64>(hash ^ round(0, load<u64>(at)), 27) * PRIME_1 + PRIME_4;
    at += 8;
  }
  if (at + 4 <= end) {
    hash = rotl<u64>(hash ^ ((load<u32>(at) as u64) * PRIME_1), 23) * PRIME_2 + PRIME_3;
    at += 4;
  }
  while (at < end) {
    hash = rotl<u64>(hash ^ ((load<u8>(at) as u64) * PRIME_5), 11) * PRIME_1;
    at += 1;
  }
  hash = (hash ^ (hash >> 33)) * PRIME_2;
  hash = (hash ^ (hash >> 29)) * PRIME_3;
  return hash ^ (hash >> 32);
}

function isZeroPage(at: usize): bool {
  const end = at + PAGE_BYTES;
  do {
    const first = v128.or(v128.load(at), v128.load(at, 16));
    const second = v128.or(v128.load(at, 32), v128.load(at, 48));
    if (v128.any_true(v128.or(first, second))) return false;
    at += 64;
  } while (at < end);
  return true;
}

/**
 * For each page of the list, 16 bytes of result: {checksum u64, allZero u32, unused u32}. The checksum of a page of
 * zeros is given as 0, because such a page has no slot to be checked.
 */
export function examinePages(indices: usize, count: u32, base: usize, results: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    const at = base + ((load<u32>(indices) as usize) << 12);
    const allZero = isZeroPage(at);
    store<u64>(results, allZero ? 0 : checksumBytes(at, PAGE_BYTES));
    store<u32>(results, allZero ? 1 : 0, 8);
    indices += 4;
    results += 16;
  }
}

/** The checksum (u64) of each of `count` pages that lie one after another at `at`, zero pages included. */
export function checksumRun(at: usize, count: u32, results: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    store<u64>(results, checksumBytes(at, PAGE_BYTES));
    at += PAGE_BYTES;
    results += 8;
  }
}

/**
 * Writes the indices of the pages whose state byte is not zero, ascending, from page `from` on, until `to` is reached
 * or `capacity` indices are written; returns their count. `states` is 16-byte aligned, and so is the room of the state
 * bytes, so that reading whole vectors never leaves it.
 */
export function scanStates(states: usize, from: u32, to: u32, indices: usize, capacity: u32): u32 {
  let count: u32 = 0;
  let page = from;
  while (page < to) {
    if ((page & 15) == 0) {
      while (page + 64 <= to) {
        const at = states + (page as usize);
        const first = v128.or(v128.load(at), v128.load(at, 16));
        const second = v128.or(v128.load(at, 32), v128.load(at, 48));
        if (v128.any_true(v128.or(first, second))) break;
        page += 64;
      }
      while (page + 16 <= to && !v128.any_true(v128.load(states + (page as usize)))) page += 16;
      if (page >= to) break;
    }
    if (load<u8>(states + (page as usize)) != 0) {
      if (count == capacity) break;
      store<u32>(indices + ((count as usize) << 2), page);
      count += 1;
    }
    page += 1;
  }
  return count;
}

/** As `scanStates`, for the pages whose state byte is `PageAccess.writable`: those whose second bit is set. */
export function scanWritable(states: usize, from: u32, to: u32, indices: usize, capacity: u32): u32 {
  const writable = i8x16.splat(2);
  let count: u32 = 0;
  let page = from;
  while (page < to) {
    if ((page & 15) == 0) {
      while (page + 64 <= to) {
        const at = states + (page as usize);
        const first = v128.or(v128.load(at), v128.load(at, 16));
        const second = v128.or(v128.load(at, 32), v128.load(at, 48));
        if (v128.any_true(v128.and(v128.or(first, second), writable))) break;
        page += 64;
      }
      while (page + 16 <= to && !v128.any_true(v128.and(v128.load(states + (page as usize)), writable))) page += 16;
      if (page >= to) break;
    }
    if ((load<u8>(states + (page as usize)) & 2) != 0) {
      if (count == capacity) break;
      store<u32>(indices + ((count as usize) << 2), page);
      count += 1;
    }
    page += 1;
  }
  return count;
}

/** Copies the pages of the list one after another to `to`. */
export function gatherPages(indices: usize, count: u32, base: usize, to: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    memory.copy(to, base + ((load<u32>(indices) as usize) << 12), PAGE_BYTES);
    indices += 4;
    to += PAGE_BYTES;
  }
}

/** Copies pages that lie one after another at `from` to the places of the list; the index 2³² − 1 skips a page. */
export function scatterPages(from: usize, indices: usize, count: u32, base: usize): void {
  for (let i: u32 = 0; i < count; i++) {
    const page = load<u32>(indices);
    if (page != u32.MAX_VALUE) memory.copy(base + ((page as usize) << 12), from, PAGE_BYTES);
    indices += 4;
    from += PAGE_BYTES;
  }
}
