// A guest that changes more pages than can be copied while they are saved: it is stopped in its write until the thread that saves has taken the
// page, which that thread begins only after a while.
//   node test/kernel/full-copy-room.mjs TRACKER
import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, PAGES_PER_WASM_PAGE } from '../../dist/memory/layout.js';
import { CopyOnWrite } from '../../dist/save/copy-on-write.js';
import { PendingPages, roomForCopies } from '../../dist/save/pending-pages.js';
import { protect } from './protection-mechanisms.mjs';

const COPIES = 2;
const SAVER_REST_MS = 300;
const limits = { initial: BIAS_WASM_PAGES + 1, maximum: BIAS_WASM_PAGES + 1, shared: true };
const memory = new GuestMemory(new WebAssembly.Memory(limits));
const saved = new SharedArrayBuffer(PAGES_PER_WASM_PAGE * PAGE_BYTES);
const done = new Int32Array(new SharedArrayBuffer(4));

const { pages, end } = protect(process.argv[2], memory, { wasmPagesMax: 1, knowsAll: true });
memory.bytes.fill(1, BIAS_BYTES);
const writtenCount = pages.collect(memory.pageCount);
assert.equal(writtenCount, memory.pageCount);
pages.rearm(memory.pageCount, pages.pages, writtenCount);

const room = { ...roomForCopies(pages.lostWord), copies: new SharedArrayBuffer(COPIES * PAGE_BYTES) };
const guard = new CopyOnWrite(memory, room, () => assert.fail('nobody waits'));
const pending = PendingPages.ofCount(memory.pageCount, room);
pending.pages.set(Array.from({ length: memory.pageCount }, (_, page) => page));
const saver = new Worker(
  `const { workerData } = require('node:worker_threads');
  const { memory, buffers, saved, done, restMs, source, pending } = workerData;
  Promise.all([import(source), import(pending)]).then(([{ PageSource }, { PendingPages }]) => {
    const pages = new PendingPages(buffers);
    Atomics.wait(done, 0, 0, restMs);
    new PageSource(memory, pages, undefined).take(0, pages.count, new Uint8Array(saved));
    Atomics.store(done, 0, 1);
    Atomics.notify(done, 0);
  });`,
  {
    eval: true,
    workerData: {
      memory: memory.memory,
      buffers: pending.buffers,
      saved,
      done,
      restMs: SAVER_REST_MS,
      source: new URL('../../dist/save/page-source.js', import.meta.url).href,
      pending: new URL('../../dist/save/pending-pages.js', import.meta.url).href,
    },
  },
);
guard.start(pending, false);
pages.guardSave(guard, pending);
const startMs = performance.now();
memory.bytes.fill(2, BIAS_BYTES);
const waited = performance.now() - startMs >= SAVER_REST_MS / 2;
Atomics.wait(done, 0, 0, 30_000);
assert(
  new Uint8Array(saved).every((byte) => byte === 1),
  'a page was saved as it was later',
);
assert(memory.bytes.subarray(BIAS_BYTES).every((byte) => byte === 2));
pages.guardSave(undefined);
end();
await saver.terminate();
console.log(JSON.stringify({ copies: guard.copyFaults, waited }));
