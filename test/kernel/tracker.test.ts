/** The kernel's tracker finds exactly the pages that were written: by whomever, however many, in memory that grows. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { mapPages, unmapPages } from '../../src/kernel/c-library.ts';
import { openUffd, UffdFeature } from '../../src/kernel/uffd.ts';
import { WriteNotes } from '../../src/kernel/write-notes.ts';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, PAGES_PER_WASM_PAGE } from '../../src/memory/layout.ts';
import { KernelTracker } from '../../src/pager/kernel-tracker.ts';
import { kernelTracks } from './kernel-tracking.ts';

const WASM_PAGES_MAX = 4096;
const trackers: KernelTracker[] = [];

/** Memory of a guest, and a tracker of it whose scans find a few regions at a time. */
function guestOf(wasmPages: number, regionsMax = 3): { memory: GuestMemory; tracker: KernelTracker } {
  const initial = BIAS_WASM_PAGES + wasmPages;
  const memory = new GuestMemory(
    new WebAssembly.Memory({ initial, maximum: BIAS_WASM_PAGES + WASM_PAGES_MAX, shared: true }),
  );
  const tracker = new KernelTracker(memory, WASM_PAGES_MAX * PAGES_PER_WASM_PAGE, regionsMax);
  trackers.push(tracker);
  return { memory, tracker };
}

function found({ memory, tracker }: ReturnType<typeof guestOf>): number[] {
  const count = tracker.collect(memory.pageCount);
  return [...tracker.pages.subarray(0, count)];
}

const rearm = ({ memory, tracker }: ReturnType<typeof guestOf>): void => {
  tracker.rearm(memory.pageCount, tracker.pages, 0);
};

const write = (memory: GuestMemory, page: number, value: number): void => {
  memory.bytes[BIAS_BYTES + page * PAGE_BYTES + (value % PAGE_BYTES)] = value;
};

afterEach(() => {
  for (const tracker of trackers.splice(0)) tracker.close();
});

describe.runIf(kernelTracks)('the tracker that asks the kernel', () => {
  it('finds the pages whose bytes changed and no other, while the memory grows', () => {
    const step = fc.oneof(
      { weight: 8, arbitrary: fc.record({ kind: fc.constant('write' as const), page: fc.nat(), value: fc.nat() }) },
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('read' as const), page: fc.nat() }) },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant('stride' as const), by: fc.integer({ min: 1, max: 9 }) }),
      },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant('collect' as const), kept: fc.nat({ max: 3 }) }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('grow' as const), by: fc.integer({ min: 1, max: 3 }) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
        const guest = guestOf(4);
        const { memory, tracker } = guest;
        let before = memory.bytes.slice(BIAS_BYTES);
        let kept: number[] = [];
        let nextValue = 1;
        const check = (keptCount: number): void => {
          const expected = new Set(kept);
          const now = memory.bytes.subarray(BIAS_BYTES);
          for (let page = 0; page < memory.pageCount; page++) {
            const at = page * PAGE_BYTES;
            const old = before.subarray(at, at + PAGE_BYTES);
            const same = Buffer.compare(
              now.subarray(at, at + PAGE_BYTES),
              old.length > 0 ? old : new Uint8Array(PAGE_BYTES),
            );
            if (same !== 0) expected.add(page);
          }
          const pages = found(guest);
          expect(pages).toEqual([...expected].toSorted((a, b) => a - b));
          const cleanCount = Math.max(0, pages.length - keptCount);
          kept = pages.slice(cleanCount);
          tracker.rearm(memory.pageCount, tracker.pages, cleanCount, pages.length);
          before = memory.bytes.slice(BIAS_BYTES);
        };
        check(0);
        for (const action of steps) {
          const { pageCount } = memory;
          switch (action.kind) {
            case 'write':
              memory.bytes[BIAS_BYTES + (action.page % pageCount) * PAGE_BYTES + (action.value % PAGE_BYTES)] ^=
                1 + (nextValue++ % 255);
              break;
            case 'read':
              expect(memory.bytes[BIAS_BYTES + (action.page % pageCount) * PAGE_BYTES]).toBeGreaterThanOrEqual(0);
              break;
            case 'stride':
              for (let page = 0; page < pageCount; page += action.by) memory.bytes[BIAS_BYTES + page * PAGE_BYTES] ^= 1;
              // A second write to the same page, so that the bytes differ for certain.
              for (let page = 0; page < pageCount; page += action.by) {
                memory.bytes[BIAS_BYTES + page * PAGE_BYTES + 8] = nextValue % 256;
                memory.bytes[BIAS_BYTES + page * PAGE_BYTES + 9] = nextValue >>> 8;
              }
              nextValue++;
              break;
            case 'grow':
              memory.memory.grow(action.by);
              break;
            case 'collect':
              check(action.kept);
          }
        }
        check(0);
        tracker.close();
        trackers.splice(trackers.indexOf(tracker), 1);
      }),
      { numRuns: 60 },
    );
  });

  it.each([3, 1024])('finds thousands of separate pages, %i at a call', (regionsMax) => {
    const guest = guestOf(512, regionsMax);
    rearm(guest);
    const expected: number[] = [];
    for (let page = 1; page < guest.memory.pageCount; page += 2) {
      write(guest.memory, page, page);
      expected.push(page);
    }
    expect(expected.length).toBeGreaterThan(4000);
    expect(found(guest)).toEqual(expected);
    rearm(guest);
    expect(found(guest)).toEqual([]);
  });

  it('finds a write that changes nothing, atomic ones, and those of memory that was never touched before', () => {
    const guest = guestOf(4);
    const { memory } = guest;
    write(memory, 3, 7);
    rearm(guest);
    write(memory, 3, 7);
    Atomics.add(new Int32Array(memory.memory.buffer), (BIAS_BYTES + 9 * PAGE_BYTES) >> 2, 1);
    memory.memory.grow(4);
    write(memory, 100, 1);
    expect(memory.bytes[BIAS_BYTES + 90 * PAGE_BYTES]).toBe(0);
    expect(found(guest)).toEqual([3, 9, 100]);
    rearm(guest);
    write(memory, 90, 1);
    expect(found(guest)).toEqual([90]);
  });

  it('finds what a system call writes into the memory', () => {
    const guest = guestOf(4);
    rearm(guest);
    const folder = mkdtempSync(join(tmpdir(), 'continuo-tracker-'));
    try {
      writeFileSync(join(folder, 'in'), new Uint8Array(3 * PAGE_BYTES).fill(5));
      const file = openSync(join(folder, 'in'), 'r');
      const view = guest.memory.bytes.subarray(BIAS_BYTES + 10 * PAGE_BYTES + 100);
      expect(readSync(file, view, 0, 3 * PAGE_BYTES, 0)).toBe(3 * PAGE_BYTES);
      closeSync(file);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
    expect(found(guest)).toEqual([10, 11, 12, 13]);
  });

  it('finds again what was found and neither saved nor kept', () => {
    const guest = guestOf(4);
    rearm(guest);
    write(guest.memory, 5, 1);
    expect(found(guest)).toEqual([5]);
    write(guest.memory, 2, 1);
    expect(found(guest)).toEqual([2, 5]);
    guest.tracker.rearm(guest.memory.pageCount, Uint32Array.of(5, 2), 1, 2);
    write(guest.memory, 60, 1);
    expect(found(guest)).toEqual([2, 60]);
  });

  it('takes what was written before the first `rearm` for loaded', () => {
    const guest = guestOf(4);
    for (let page = 0; page < 30; page++) write(guest.memory, page, page + 1);
    rearm(guest);
    write(guest.memory, 29, 1);
    expect(found(guest)).toEqual([29]);
  });

  it('works in programs of anybody', () => {
    const probe = new URL('../../dist/kernel/tracking-probe.js', import.meta.url).href;
    const script = `
      const { kernelTrackingObstacle } = await import(${JSON.stringify(probe)});
      console.log(kernelTrackingObstacle() ?? 'works for ' + process.getuid());
    `;
    const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
    const options = { encoding: 'utf8', cwd: '/', ...user } as const;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], options);
    expect(stdout, stderr).toBe(`works for ${user.uid ?? process.getuid?.()}\n`);
  });

  it('says what the system refused', () => {
    expect(() => openUffd('user-mode', 2 ** 40)).toThrow('the system refuses UFFDIO_API (EINVAL)');
    const at = mapPages(PAGE_BYTES);
    unmapPages(at, PAGE_BYTES);
    expect(() => new WriteNotes(at, PAGE_BYTES)).toThrow('the system refuses');
    expect(UffdFeature.wpAsync).toBe(0x8000);
  });
});
