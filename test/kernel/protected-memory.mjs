// A guest's memory under protection, written at random by the program's thread, by host functions and by system calls, while
// it grows and while pages of it are saved. Held against a list of what was written, and against a copy of every page.
//   node test/kernel/protected-memory.mjs TRACKER SEED ROUNDS [MAPPINGS]
// With a bound of the mappings that `mprotect` may take, more than was written may be found.
import assert from 'node:assert/strict';
import { closeSync, openSync, readSync } from 'node:fs';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, PAGES_PER_WASM_PAGE } from '../../dist/memory/layout.js';
import { CopyOnWrite } from '../../dist/save/copy-on-write.js';
import { PageSource } from '../../dist/save/page-source.js';
import { PendingPages, roomForCopies } from '../../dist/save/pending-pages.js';
import { protect } from './protection-mechanisms.mjs';

const WASM_PAGES = 16;
const WASM_PAGES_MAX = 160;
const OPERATIONS = 60;
const [tracker] = process.argv.slice(2);
const [seed, rounds, mappingsMax] = process.argv.slice(3).map(Number);
const isBounded = mappingsMax !== undefined;

let state = seed >>> 0 || 1;
function below(limit) {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % limit;
}

const random = openSync('/dev/urandom', 'r');
const totals = { checkpoints: 0, faults: 0, copies: 0, pages: 0, saved: 0, refused: 0, overflows: 0, notices: 0 };
for (const knowsAll of [true, false]) run(knowsAll);
closeSync(random);
console.log(JSON.stringify(totals));

function run(knowsAll) {
  const initial = BIAS_WASM_PAGES + WASM_PAGES;
  const maximum = BIAS_WASM_PAGES + WASM_PAGES_MAX;
  const memory = new GuestMemory(new WebAssembly.Memory({ initial, maximum, shared: true }));
  const { pages, notices, end } = protect(tracker, memory, { wasmPagesMax: WASM_PAGES_MAX, knowsAll, mappingsMax });
  const guard = new CopyOnWrite(memory, roomForCopies(pages.lostWord), () => assert.fail('nobody waits'));
  /** Pages written since the last checkpoint, and since protected pages were last told of: those that cost a fault. */
  const written = new Set();
  try {
    for (let round = 0; round < rounds; round++) {
      const before = memory.bytes.slice(BIAS_BYTES);
      const faultsBefore = pages.stats().protectionFaults;
      const writtenBefore = written.size;
      for (let i = 0; i < below(OPERATIONS); i++) operate(memory, pages, written);
      const faults = pages.stats().protectionFaults - faultsBefore;
      const firstWrites = knowsAll ? written.size - writtenBefore : 0;
      if (isBounded) assert(faults <= firstWrites, 'a first write is told of once');
      else assert.equal(faults, firstWrites, 'each first write is told of once');
      if (knowsAll && !isBounded) expectRefused(memory, written);
      expectCovered(memory, before, written);
      checkpoint(memory, pages, guard, written, knowsAll);
      totals.checkpoints += 1;
      totals.faults += faults;
    }
    totals.copies += guard.copyFaults;
    totals.overflows += pages.stats().mappingOverflows;
  } finally {
    end();
  }
  totals.notices += notices.length;
  // Nothing is protected any more.
  memory.bytes.fill(1, BIAS_BYTES);
}

/** A system call that would write to a page which nobody opened for it fails, and changes nothing. */
function expectRefused(memory, written) {
  const page = Array.from({ length: memory.pageCount }, (_, k) => k).find((k) => !written.has(k));
  if (page === undefined) return;
  const at = BIAS_BYTES + page * PAGE_BYTES;
  assert.throws(() => readSync(random, memory.bytes.subarray(at, at + 8)), { code: 'EFAULT' });
  totals.refused += 1;
}

/** Every page that is not as it was counts as written. */
function expectCovered(memory, before, written) {
  const now = memory.bytes.subarray(BIAS_BYTES);
  for (let page = 0; page < memory.pageCount; page++) {
    const range = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES];
    const was = before.subarray(...range);
    const isSame =
      was.length === 0 ? isZero(now.subarray(...range)) : Buffer.compare(was, now.subarray(...range)) === 0;
    assert(isSame || written.has(page), `page ${page} changed, and nobody wrote it`);
  }
}

function isZero(bytes) {
  return bytes.every((byte) => byte === 0);
}

function checkpoint(memory, pages, guard, written, knowsAll) {
  const { pageCount } = memory;
  const count = pages.collect(pageCount);
  const found = pages.pages.slice(0, count);
  const expected = knowsAll ? [...written].sort((a, b) => a - b) : Array.from({ length: pageCount }, (_, page) => page);
  const wanted = isBounded && knowsAll ? found.filter((page) => written.has(page)) : found;
  assert.deepEqual([...wanted], expected);
  totals.pages += count;
  // Some are left out now and then: they stay written.
  const leavesOut = knowsAll && below(3) === 0;
  const saved = leavesOut ? found.filter((page) => page % 5 !== 0) : found;
  const kept = leavesOut ? found.filter((page) => page % 5 === 0) : found.subarray(0, 0);
  const list = new Uint32Array(count);
  list.set(saved);
  list.set(kept, saved.length);
  pages.rearm(pageCount, list, saved.length, count);
  written.clear();
  for (const page of kept) written.add(page);
  if (below(4) !== 0) save(memory, pages, guard, saved, written);
}

/** Saves pages while others are written, and holds what was saved against what they were. */
function save(memory, pages, guard, saved, written) {
  const wanted = memory.bytes.slice(BIAS_BYTES);
  const pending = PendingPages.ofCount(saved.length, guard.room);
  pending.pages.set(saved);
  guard.start(pending, false);
  pages.guardSave(guard, pending);
  const source = new PageSource(memory.memory, pending, undefined);
  const room = new Uint8Array(16 * PAGE_BYTES);
  for (let from = 0; from < saved.length;) {
    for (let i = below(8); i > 0; i--) operate(memory, pages, written);
    const count = Math.min(1 + below(16), saved.length - from);
    source.take(from, count, room);
    for (let i = 0; i < count; i++) {
      const page = saved[from + i];
      const was = wanted.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
      assert.equal(
        Buffer.compare(room.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), was),
        0,
        `page ${page} was saved late`,
      );
    }
    from += count;
    totals.saved += count;
  }
  guard.stop();
  pages.guardSave(undefined);
}

function operate(memory, pages, written) {
  const { bytes, lengthBytes } = memory;
  const at = below(lengthBytes);
  const length = Math.min(1 + below(3 * PAGE_BYTES), lengthBytes - at);
  const note = (from, count) => {
    for (let page = Math.floor(from / PAGE_BYTES); page <= Math.floor((from + count - 1) / PAGE_BYTES); page++)
      written.add(page);
  };
  switch (below(8)) {
    case 0:
      bytes[BIAS_BYTES + at] = below(256);
      return note(at, 1);
    case 1:
      // The value that is there: a write all the same.
      bytes[BIAS_BYTES + at] = bytes[BIAS_BYTES + at];
      return note(at, 1);
    case 2:
      bytes.fill(below(256), BIAS_BYTES + at, BIAS_BYTES + at + length);
      return note(at, length);
    case 3:
      memory.write(at, new Uint8Array(length).fill(below(256)));
      memory.releaseHolds();
      return note(at, length);
    case 4:
      assert.equal(readSync(random, memory.viewForWriting(at, length)), length);
      memory.releaseHolds();
      return note(at, length);
    case 5: {
      const value = Atomics.add(new Int32Array(bytes.buffer), (BIAS_BYTES + at) >>> 2, below(3));
      assert(Number.isInteger(value));
      return note(at, 1);
    }
    case 6:
      memory.read(at, length);
      return memory.releaseHolds();
    case 7: {
      if (below(10) !== 0 || memory.pageCount >= WASM_PAGES_MAX * PAGES_PER_WASM_PAGE) return;
      memory.memory.grow(1);
      if (tracker === 'mprotect') pages.memoryGrown();
      const first = lengthBytes + below(PAGES_PER_WASM_PAGE) * PAGE_BYTES;
      memory.bytes[BIAS_BYTES + first] = 1;
      return note(first, 1);
    }
  }
}
