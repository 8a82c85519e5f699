// Faults that are none of a guest's, in a process where a guest's memory is protected by mprotect: what would happen without it must happen.
//   node test/kernel/outside-faults.mjs KIND
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import { addressOf, libraryCalls, loadLibrary, mapPages } from '../../dist/kernel/c-library.js';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES } from '../../dist/memory/layout.js';
import { protect } from './protection-mechanisms.mjs';

const WASM_PAGES = 4;
const PROT_READ = 1;
const [kind] = process.argv.slice(2);
const limits = { initial: BIAS_WASM_PAGES + WASM_PAGES, maximum: BIAS_WASM_PAGES + 2 * WASM_PAGES, shared: true };
const memory = new GuestMemory(new WebAssembly.Memory(limits));
const { pages } = protect('mprotect', memory, { wasmPagesMax: 2 * WASM_PAGES, knowsAll: true });
memory.bytes[BIAS_BYTES] = 1;
assert.equal(pages.stats().protectionFaults, 1);

const bytes = new Uint8Array(8).fill(1);
const poke = (address) => libraryCalls().moveBytes(address, addressOf(bytes), bytes.length);

/** (module (memory (import "" "memory") … shared) (func (export "store") (param i32) …)): one store at an address, and one load. */
function accesses(imported, { initial, maximum }) {
  const varint = (value) => {
    const out = [];
    for (let rest = value; ; rest >>>= 7) {
      out.push(rest < 128 ? rest : (rest & 127) | 128);
      if (rest < 128) return out;
    }
  };
  const shared = [3, ...varint(initial), ...varint(maximum)];
  const section = (id, ...content) => [id, ...varint(content.length), ...content];
  const store = [0, 0x20, 0, 0x41, 1, 0x36, 2, 0, 0x0b];
  const load = [0, 0x20, 0, 0x28, 2, 0, 0x0b];
  const module = Uint8Array.of(
    ...Buffer.from('\0asm\x01\0\0\0', 'latin1'),
    ...section(1, 2, 0x60, 1, 0x7f, 0, 0x60, 1, 0x7f, 1, 0x7f),
    ...section(2, 1, 0, 6, ...Buffer.from('memory'), 2, ...shared),
    ...section(3, 2, 0, 1),
    ...section(7, 2, 5, ...Buffer.from('store'), 0, 0, 4, ...Buffer.from('load'), 0, 1),
    ...section(10, 2, store.length, ...store, load.length, ...load),
  );
  return new WebAssembly.Instance(new WebAssembly.Module(module), { '': { memory: imported } }).exports;
}

const traps = (access, address) =>
  assert.throws(() => access(address), { name: 'RuntimeError', message: 'memory access out of bounds' });

switch (kind) {
  case 'trap': {
    const { store, load } = accesses(memory.memory, limits);
    for (const access of [store, load]) {
      for (const end of [limits.initial * 65536, limits.maximum * 65536 + 4, 0x7fff0000]) traps(access, end | 0);
      traps(access, -4);
    }
    const faults = pages.stats().protectionFaults;
    store(BIAS_BYTES + 3 * PAGE_BYTES);
    assert.equal(load(BIAS_BYTES + 3 * PAGE_BYTES), 1);
    assert.equal(pages.stats().protectionFaults, faults + 1);
    memory.memory.grow(1);
    pages.memoryGrown();
    traps(load, (limits.initial + 1) * 65536);
    store((limits.initial + 1) * 65536 - 4);
    store(BIAS_BYTES + 5 * PAGE_BYTES);
    assert.equal(pages.stats().protectionFaults, faults + 3);
    // A memory that has nothing to do with it.
    const small = { initial: 1, maximum: 1, shared: true };
    const other = accesses(new WebAssembly.Memory(small), small);
    traps(other.store, 65536);
    assert.equal(other.load(0), 0);
    pages.close();
    traps(load, (limits.initial + 1) * 65536);
    console.log('trapped');
    break;
  }
  case 'null':
    poke(8);
    break;
  case 'read-only': {
    // The kind of fault that the handler looks for, and yet at none of its pages.
    const place = mapPages(PAGE_BYTES);
    const mprotect = loadLibrary('libc.so.6').func('int mprotect(uintptr_t address, size_t length, int access)');
    assert.equal(mprotect(place, PAGE_BYTES, PROT_READ), 0);
    poke(place);
    break;
  }
  case 'sent':
    process.kill(process.pid, 'SIGSEGV');
    setTimeout(() => console.log('survived'), 1000);
    break;
  case 'abandoned': {
    // The thread of a guest is gone without a word: its pages stay protected, and it is nobody's matter that they are.
    const other = new GuestMemory(new WebAssembly.Memory(limits));
    const worker = new Worker(
      `const { workerData: { memory, mechanisms, layout } } = require('node:worker_threads');
      Promise.all([import(mechanisms), import(layout)]).then(([{ protect }, { GuestMemory }]) => {
        const guest = new GuestMemory(memory);
        const { pages } = protect('mprotect', guest, { wasmPagesMax: ${2 * WASM_PAGES}, knowsAll: true });
        guest.bytes[${BIAS_BYTES}] = 1;
        process.exit(pages.stats().protectionFaults);
      });`,
      {
        eval: true,
        workerData: {
          memory: other.memory,
          mechanisms: new URL('protection-mechanisms.mjs', import.meta.url).href,
          layout: new URL('../../dist/memory/guest-memory.js', import.meta.url).href,
        },
      },
    );
    assert.deepEqual(await once(worker, 'exit'), [1]);
    const { store, load } = accesses(other.memory, limits);
    traps(load, limits.initial * 65536);
    assert.equal(load(BIAS_BYTES), 1);
    store(BIAS_BYTES);
    // V8 takes every fault of a program for an access out of bounds.
    traps(store, BIAS_BYTES + PAGE_BYTES);
    fs.writeSync(1, 'trapped\n');
    other.bytes[BIAS_BYTES + PAGE_BYTES] = 1;
    break;
  }
  case 'replaced':
    process.on('SIGSEGV', () => {});
    pages.collect(memory.pageCount);
    assert.throws(() => pages.rearm(memory.pageCount, pages.pages, 1), /installed a handler of SIGSEGV/);
    console.log('told');
    process.exit(0);
    break;
  default:
    assert.fail(`what is ${kind}?`);
}
