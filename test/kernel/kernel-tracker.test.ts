/** The kernel's sets of written pages are exact: each is held against a comparison of all pages with what they were. */
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { KernelTracker } from '../../src/machine/kernel-tracker.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, PAGES_PER_WASM_PAGE } from '../../src/memory/layout.ts';
import { SoftwareTracker } from '../../src/pager/dirty-tracker.ts';
import { instantiateKernels } from '../../src/format/page-kernels.ts';
import { scratch } from '../cli/continuo.ts';
import { seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { kernelTracks } from './kernel-tracking.ts';

console.log(`Random writes: CONTINUO_TEST_SEED=${seed}`);

/** A guest's memory under the tracker, and what it was when its pages were last collected. */
class TrackedMemory {
  readonly memory: GuestMemory;
  readonly tracker: KernelTracker;
  #before = new Uint8Array(0);

  constructor(wasmPages: number, wasmPagesMax = wasmPages) {
    const initial = BIAS_WASM_PAGES + wasmPages;
    const maximum = BIAS_WASM_PAGES + wasmPagesMax;
    this.memory = new GuestMemory(new WebAssembly.Memory({ initial, maximum, shared: true }));
    this.tracker = new KernelTracker(this.memory, wasmPagesMax * PAGES_PER_WASM_PAGE * PAGE_BYTES);
    this.rearm([]);
  }

  /** Guest bytes, as far as they go now. */
  get bytes(): Uint8Array {
    return this.memory.bytes.subarray(BIAS_BYTES);
  }

  collect(): number[] {
    const count = this.tracker.collect(this.memory.pageCount);
    return [...this.tracker.pages.subarray(0, count)];
  }

  /** All is clean but for `kept`. */
  rearm(kept: readonly number[]): void {
    this.tracker.rearm(this.memory.pageCount, Uint32Array.from(kept), 0, kept.length);
    this.#before = this.bytes.slice();
  }

  /** Pages that are not what they were; those that did not exist were zeros. */
  changed(): number[] {
    const bytes = this.bytes;
    const before = new Uint8Array(bytes.length);
    before.set(this.#before);
    const pages = Array.from({ length: this.memory.pageCount }, (_, page) => page);
    return pages.filter((page) => {
      const [at, end] = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES];
      return Buffer.compare(bytes.subarray(at, end), before.subarray(at, end)) !== 0;
    });
  }
}

describe.runIf(kernelTracks)('the tracker of the kernel', () => {
  let tracked: TrackedMemory;
  afterEach(() => tracked.tracker.close());

  it('finds exactly the pages of random writes, whatever was read, and all that changed', () => {
    const random = new Random(seed);
    tracked = new TrackedMemory(64, 256);
    for (let round = 0; round < 120; round++) {
      if (random.chance(0.1)) tracked.memory.memory.grow(random.below(4));
      const { bytes } = tracked;
      const written = new Set<number>();
      let sum = 0;
      for (let k = random.below(random.chance(0.1) ? 3000 : 60); k > 0; k--) {
        const at = random.below(bytes.length);
        if (random.chance(0.4)) {
          sum += bytes[at];
          continue;
        }
        const end = Math.min(bytes.length, at + (random.chance(0.1) ? 1 + random.below(20 * PAGE_BYTES) : 1));
        bytes.fill(random.next(), at, end);
        for (let page = Math.floor(at / PAGE_BYTES); page * PAGE_BYTES < end; page++) written.add(page);
      }
      expect(tracked.collect(), `seed ${seed}, round ${round}, sum ${sum}`).toEqual([...written].sort((x, y) => x - y));
      expect(tracked.changed().every((page) => written.has(page))).toBe(true);
      tracked.rearm([]);
      expect(tracked.collect(), `seed ${seed}, round ${round}`).toEqual([]);
    }
  });

  it('finds several thousand separate pages in one go, more than the room for regions', () => {
    tracked = new TrackedMemory(1024);
    const { bytes } = tracked;
    const written: number[] = [];
    for (let page = 0; page < tracked.memory.pageCount; page += 3) written.push(page);
    expect(written.length).toBeGreaterThan(5000);
    for (let round = 1; round < 4; round++) {
      for (const page of written) bytes[page * PAGE_BYTES + round] = round;
      expect(tracked.collect()).toEqual(written);
      tracked.rearm([]);
    }
    bytes[7 * PAGE_BYTES] = 1;
    expect(tracked.collect()).toEqual([7]);
  });

  it('finds nothing in memory that has grown, and what is written there', () => {
    tracked = new TrackedMemory(2, 4000);
    tracked.memory.memory.grow(3000);
    expect(tracked.collect()).toEqual([]);
    expect(tracked.bytes[100 * PAGE_BYTES]).toBe(0);
    tracked.bytes[31 * PAGE_BYTES] = 1;
    tracked.bytes[32 * PAGE_BYTES] = 1;
    tracked.bytes[40_000 * PAGE_BYTES] = 1;
    expect(tracked.collect()).toEqual([31, 32, 40_000]);
    tracked.rearm([]);
    tracked.memory.memory.grow(998);
    tracked.bytes[100 * PAGE_BYTES] = 1;
    tracked.bytes[63_999 * PAGE_BYTES] = 1;
    expect(tracked.collect()).toEqual([100, 63_999]);
  });

  it('finds what a system call wrote, and nothing of what one has read', () => {
    tracked = new TrackedMemory(8);
    const path = join(scratch(), 'file');
    writeFileSync(path, 'x'.repeat(3 * PAGE_BYTES));
    const file = openSync(path, 'r+');
    try {
      readSync(file, tracked.memory.viewForWriting(20 * PAGE_BYTES - 5, 2 * PAGE_BYTES));
      expect(tracked.collect()).toEqual([19, 20, 21]);
      tracked.rearm([]);
      readSync(file, tracked.memory.viewForWriting(20 * PAGE_BYTES, 10));
      writeFileSync(file, tracked.memory.viewForReading(40 * PAGE_BYTES, 9 * PAGE_BYTES));
      expect(tracked.collect()).toEqual([20]);
    } finally {
      closeSync(file);
    }
  });

  it('tells again what was kept or not taken, and forgets what is rearmed', () => {
    tracked = new TrackedMemory(8);
    const { bytes } = tracked;
    for (const page of [3, 9, 60]) bytes[page * PAGE_BYTES] = 1;
    expect(tracked.collect()).toEqual([3, 9, 60]);
    bytes[10 * PAGE_BYTES] = 1;
    // A checkpoint that failed after it had collected leaves nothing forgotten.
    expect(tracked.collect()).toEqual([3, 9, 10, 60]);
    const { pages } = tracked.tracker;
    pages.set([9, 60, 10, 3]);
    tracked.tracker.rearm(tracked.memory.pageCount, pages, 2, 4);
    expect(tracked.collect()).toEqual([3, 10]);
    bytes[4 * PAGE_BYTES] = 1;
    bytes[10 * PAGE_BYTES] = 2;
    expect(tracked.collect()).toEqual([3, 4, 10]);
    tracked.rearm([]);
    expect(tracked.collect()).toEqual([]);
    tracked.rearm([]);
    // What was loaded is clean, though nobody collected it.
    bytes.fill(5, 0, 30 * PAGE_BYTES);
    tracked.rearm([]);
    expect(tracked.collect()).toEqual([]);
  });

  it('finds what the software tracker finds of what a host function wrote', () => {
    tracked = new TrackedMemory(16);
    const software = new SoftwareTracker(tracked.memory, instantiateKernels(tracked.memory.memory));
    const random = new Random(seed);
    for (let round = 0; round < 50; round++) {
      for (let k = random.below(20); k > 0; k--) {
        const at = random.below(tracked.memory.lengthBytes - 3 * PAGE_BYTES);
        tracked.memory.write(at, random.bytes(1 + random.below(2 * PAGE_BYTES)));
      }
      const { pageCount } = tracked.memory;
      const expected = software.collect(pageCount);
      expect(tracked.collect(), `seed ${seed}, round ${round}`).toEqual([...software.pages.subarray(0, expected)]);
      software.rearm(pageCount, software.pages, expected);
      tracked.rearm([]);
    }
  });
});
