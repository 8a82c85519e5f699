/** Moves of pages that another thread touches meanwhile, as compaction of memory would. */
import { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { addressOf, libraryCalls } from '../../src/kernel/c-library.ts';
import { UserFaults } from '../../src/kernel/user-faults.ts';
import { HANG_MS, kernelPages } from './kernel-paging.ts';

const PAGE_BYTES = 4096;
const WASM_PAGES = 4;
const PAGES = 16 * WASM_PAGES;
const LENGTH_BYTES = PAGES * PAGE_BYTES;
const MADV_COLD = 20;
const STARTED = 0;
const STOP = 1;

const TOUCH_ALL = `
  const { memory, words, pages } = require('node:worker_threads').workerData;
  const bytes = new Uint8Array(memory.buffer);
  Atomics.store(words, ${STARTED}, 1);
  Atomics.notify(words, ${STARTED});
  while (Atomics.load(words, ${STOP}) === 0) for (let page = 0; page < pages; page++) bytes[page * ${PAGE_BYTES} + 1];
`;

describe.runIf(kernelPages)('faults of this process', { timeout: HANG_MS }, () => {
  it('pages that are touched while they move arrive all the same, and whoever waits for one is woken', async () => {
    const faults = new UserFaults();
    const memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: WASM_PAGES, shared: true });
    const bytes = new Uint8Array(memory.buffer);
    const place = addressOf(bytes);
    const aside = faults.map(LENGTH_BYTES);
    faults.register(place, LENGTH_BYTES);
    faults.register(aside, LENGTH_BYTES);
    faults.copy(place, addressOf(new Uint8Array(LENGTH_BYTES)), LENGTH_BYTES, true, true);
    for (let page = 0; page < PAGES; page++) bytes[page * PAGE_BYTES] = 1 + page;

    const words = new Int32Array(new SharedArrayBuffer(8));
    const toucher = new Worker(TOUCH_ALL, { eval: true, workerData: { memory, words, pages: PAGES } });
    const ended = new Promise((resolve) => toucher.once('exit', resolve));
    onTestFinished(async () => {
      Atomics.store(words, STOP, 1);
      // Closed, it lets everybody go on.
      faults.close();
      await ended;
      faults.unmap(aside, LENGTH_BYTES);
    });
    Atomics.wait(words, STARTED, 0);

    const endMs = performance.now() + 2000;
    while (performance.now() < endMs) {
      // What is told to be cold is noted as touched at its next touch: the system sees the entry of the page change.
      libraryCalls().madvise(place, LENGTH_BYTES, MADV_COLD);
      for (let at = 0; at < LENGTH_BYTES; at += PAGE_BYTES) faults.move(aside + at, place + at, PAGE_BYTES, true);
      expect(faults.scanWritten(place, 0, PAGES)).toBe(0);
      libraryCalls().madvise(aside, LENGTH_BYTES, MADV_COLD);
      faults.move(place, aside, LENGTH_BYTES, false);
      faults.readFaults();
      expect(faults.scanWritten(aside, 0, PAGES)).toBe(0);
      for (let page = 0; page < PAGES; page++) {
        if (bytes[page * PAGE_BYTES] !== 1 + page) expect.fail(`page ${page} holds ${bytes[page * PAGE_BYTES]}`);
      }
    }
  });

  it('what is in the way of a move stays, and so does what should move', () => {
    const faults = new UserFaults();
    const from = faults.map(4 * PAGE_BYTES);
    const to = faults.map(4 * PAGE_BYTES);
    onTestFinished(() => {
      faults.close();
      faults.unmap(from, 4 * PAGE_BYTES);
      faults.unmap(to, 4 * PAGE_BYTES);
    });
    faults.register(from, 4 * PAGE_BYTES);
    faults.register(to, 4 * PAGE_BYTES);
    faults.copyZeros(from, 4 * PAGE_BYTES, true, true);
    faults.copyZeros(to + 2 * PAGE_BYTES, PAGE_BYTES, true, true);
    expect(() => faults.move(to, from, 4 * PAGE_BYTES, true)).toThrow(/UFFDIO_MOVE of 16384 bytes \(EEXIST\)/);
    expect(faults.scanWritten(from, 0, 4)).toBe(1);
    expect([...faults.writtenRanges.subarray(0, 2)]).toEqual([2, 4]);
    expect(faults.scanWritten(to, 0, 4)).toBe(1);
    expect([...faults.writtenRanges.subarray(0, 2)]).toEqual([0, 3]);
  });
});
