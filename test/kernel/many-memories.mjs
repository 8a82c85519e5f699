// As many memories as a process can have protected by mprotect at once, and one more; each finds its own writes, and none another's.
//   node test/kernel/many-memories.mjs
import assert from 'node:assert/strict';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES } from '../../dist/memory/layout.js';
import { protect } from './protection-mechanisms.mjs';

const MEMORIES = 64;
const limits = { initial: BIAS_WASM_PAGES + 1, maximum: BIAS_WASM_PAGES + 1, shared: true };
const guard = (memory) => ({ memory, ...protect('mprotect', memory, { wasmPagesMax: 1, knowsAll: true }) });
const memories = Array.from({ length: MEMORIES }, () => new GuestMemory(new WebAssembly.Memory(limits)));
const one = new GuestMemory(new WebAssembly.Memory(limits));

const write = ({ bytes }, page) => (bytes[BIAS_BYTES + page * PAGE_BYTES] = 1);
function expectFound({ memory, pages }, expected) {
  const count = pages.collect(memory.pageCount);
  assert.deepEqual([...pages.pages.subarray(0, count)], expected);
}

const guards = memories.map(guard);
assert.throws(() => guard(one), /no more than 64 memories/);
memories.forEach((memory, k) => write(memory, k % 16));
guards.forEach((each, k) => expectFound(each, [k % 16]));

// One is given back, and another takes its place.
guards[5].end();
write(memories[5], 3);
const late = guard(one);
write(one, 9);
expectFound(late, [9]);
expectFound(guards[6], [6]);

// A memory whose thread ended without a word: whoever protects it anew has its faults.
const again = guard(memories[7]);
write(memories[7], 12);
expectFound(again, [12]);
assert.equal(guards[7].pages.stats().protectionFaults, 1);
for (const each of [...guards.slice(0, 5), guards[6], ...guards.slice(8), late, again]) each.end();
console.log('each its own');
