// A guest that writes to every second page of more memory than the system has mappings for, while it is saved by another thread and while it is
// not: nothing that it writes is missed, and no page is saved as it was later.
//   node test/kernel/scattered-writes.mjs [MAPPINGS]
// Without a bound, the system's own is met (vm.max_map_count).
import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES } from '../../dist/memory/layout.js';
import { CopyOnWrite } from '../../dist/save/copy-on-write.js';
import { PendingPages, roomForCopies } from '../../dist/save/pending-pages.js';
import { protect } from './protection-mechanisms.mjs';

const WASM_PAGES = 5120;
const BOUNDLESS = 2 ** 40;
const mappingsMax = process.argv[2] === undefined ? BOUNDLESS : Number(process.argv[2]);
const size = BIAS_WASM_PAGES + WASM_PAGES;
const memory = new GuestMemory(new WebAssembly.Memory({ initial: size, maximum: size, shared: true }));
const { pageCount } = memory;
const { pages, notices, end } = protect('mprotect', memory, { wasmPagesMax: WASM_PAGES, knowsAll: true, mappingsMax });

function writeEverySecond(value) {
  for (let page = 0; page < pageCount; page += 2) memory.bytes[BIAS_BYTES + page * PAGE_BYTES] = value;
}

/** What was written, and more where it took too many mappings; from then on as if a checkpoint had been taken. */
function collect() {
  const count = pages.collect(pageCount);
  const found = new Set(pages.pages.subarray(0, count));
  for (let page = 0; page < pageCount; page += 2) assert(found.has(page), `page ${page} was written, and nobody knows`);
  const list = pages.pages.slice(0, count);
  pages.rearm(pageCount, list, count);
  return list;
}

writeEverySecond(1);
const first = pages.stats();
const list = collect();

const done = new Int32Array(new SharedArrayBuffer(8));
const guard = new CopyOnWrite(memory, roomForCopies(), () => assert.fail('nobody waits'));
const pending = PendingPages.ofCount(list.length, guard.room);
pending.pages.set(list);
const saver = new Worker(
  `const { workerData: { memory, buffers, done, source, pending } } = require('node:worker_threads');
  Promise.all([import(source), import(pending)]).then(([{ PageSource }, { PendingPages }]) => {
    const pages = new PendingPages(buffers);
    const from = new PageSource(memory, pages, undefined);
    const room = new Uint8Array(64 * ${PAGE_BYTES});
    let late = 0;
    for (let k = 0; k < pages.count; k += 64) {
      const count = Math.min(64, pages.count - k);
      from.take(k, count, room);
      for (let i = 0; i < count; i++) if (room[i * ${PAGE_BYTES}] !== 1 - pages.pages[k + i] % 2) late += 1;
    }
    Atomics.store(done, 1, late);
    Atomics.store(done, 0, 1);
    Atomics.notify(done, 0);
  });`,
  {
    eval: true,
    workerData: {
      memory: memory.memory,
      buffers: pending.buffers,
      done,
      source: new URL('../../dist/save/page-source.js', import.meta.url).href,
      pending: new URL('../../dist/save/pending-pages.js', import.meta.url).href,
    },
  },
);
guard.start(pending, false);
pages.guardSave(guard, pending);
writeEverySecond(2);
assert.notEqual(Atomics.wait(done, 0, 0, 60_000), 'timed-out', 'the pages were not all saved');
assert.equal(done[1], 0, 'pages were saved as they were later');
pages.guardSave(undefined);
guard.stop();
const second = pages.stats();
collect();
end();
await saver.terminate();
const told = ({ protectionFaults, mappingOverflows }) => ({
  faults: protectionFaults,
  overflows: mappingOverflows,
});
console.log(JSON.stringify({ pageCount, first: told(first), second: told(second), notices: notices.length }));
