import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FileDevice } from '../../src/device/file-device.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { createRelease } from '../../src/memory/memory-release.ts';
import { gather, scatter, type Mover } from '../../src/wasi/transfer.ts';
import { CrashDevice } from '../store/crash-device.ts';
import { PagedGuest } from './paged-guest.ts';

const PAGES = 256;
const BYTES = PAGES * PAGE_BYTES;
/** Behind what is moved. */
const LIST = BYTES;

function newGuest(): PagedGuest {
  const paged = PagedGuest.create(new CrashDevice(), PAGES / 16 + 1, { frameCount: 16 });
  for (let page = 0; page < PAGES; page++) paged.fillPage(page, page + 1);
  return paged;
}

/** Stores a scatter or gather list. */
function storeList(paged: PagedGuest, pieces: readonly (readonly [address: number, lengthBytes: number])[]): void {
  const words = Uint32Array.from(pieces.flat());
  const bytes = new Uint8Array(words.buffer);
  for (let at = 0; at < bytes.length; at += 4) paged.store8(LIST + at, bytes.subarray(at, at + 4));
}

class Sink implements Mover {
  readonly mayWait = true;
  readonly goesOn = false;
  readonly parts: Uint8Array[] = [];

  move(view: Uint8Array): number {
    this.parts.push(Uint8Array.from(view));
    return view.length;
  }
}

class Source implements Mover {
  readonly goesOn = false;
  givenBytes = 0;
  readonly #lengthBytes: number;
  readonly mayWait: boolean;

  constructor(lengthBytes: number, mayWait: boolean) {
    this.#lengthBytes = lengthBytes;
    this.mayWait = mayWait;
  }

  move(view: Uint8Array): number {
    const count = Math.min(view.length, this.#lengthBytes - this.givenBytes);
    for (let i = 0; i < count; i++) view[i] = (this.givenBytes + i) % 251;
    this.givenBytes += count;
    return count;
  }
}

describe('host calls of a guest with 16 frames', () => {
  test('write a buffer of 256 pages whole, with a few of them in memory at a time', () => {
    const paged = newGuest();
    const image = paged.image().subarray(0, BYTES);
    storeList(paged, [[5, BYTES - 5]]);
    const sink = new Sink();
    expect(gather(paged.guest.memory, LIST, 1, sink)).toBe(BYTES - 5);
    expect(Buffer.compare(Buffer.concat(sink.parts), image.subarray(5))).toBe(0);
    expect(sink.parts.length).toBeGreaterThan(10);
    paged.guest.memory.releaseHolds();
    expect(paged.pager.stats().heldOverflowMax).toBe(0);
    paged.assertInvariants();
  });

  test('write many small pieces from as many pages at once, in order', () => {
    const paged = newGuest();
    const image = paged.image();
    const pieces = Array.from({ length: 250 }, (_, i): [number, number] => [((i * 77) % 250) * PAGE_BYTES + 4000, 200]);
    storeList(paged, pieces);
    const sink = new Sink();
    expect(gather(paged.guest.memory, LIST, pieces.length, sink)).toBe(50_000);
    const expected = pieces.map(([address, lengthBytes]) => image.subarray(address, address + lengthBytes));
    expect(Buffer.compare(Buffer.concat(sink.parts), Buffer.concat(expected))).toBe(0);
    expect(sink.parts.length).toBe(1);
    paged.guest.memory.releaseHolds();
    expect(paged.pager.stats().heldOverflowMax).toBe(0);
  });

  test('read a file into pieces as large as the guest likes, up to its end', () => {
    const paged = newGuest();
    storeList(paged, [
      [100, 3 * PAGE_BYTES],
      [20 * PAGE_BYTES + 9, 100 * PAGE_BYTES],
      [200 * PAGE_BYTES, 10 * PAGE_BYTES],
    ]);
    const source = new Source(50 * PAGE_BYTES, false);
    expect(scatter(paged.guest.memory, LIST, 3, source)).toBe(50 * PAGE_BYTES);
    paged.guest.memory.releaseHolds();
    const image = paged.image();
    for (let i = 0; i < 3 * PAGE_BYTES; i++) expect(image[100 + i]).toBe(i % 251);
    for (let i = 0; i < 47 * PAGE_BYTES; i++) expect(image[20 * PAGE_BYTES + 9 + i]).toBe((3 * PAGE_BYTES + i) % 251);
    paged.assertInvariants();
  });

  test('read no more from what may have to wait than one read would have given', () => {
    const paged = newGuest();
    storeList(paged, [[0, 100 * PAGE_BYTES]]);
    const source = new Source(50 * PAGE_BYTES, true);
    const moved = scatter(paged.guest.memory, LIST, 1, source);
    expect(moved).toBe(source.givenBytes);
    expect(moved).toBeGreaterThan(0);
    expect(moved).toBeLessThan(50 * PAGE_BYTES);
  });

  test('hold more pages than there are frames when one view asks for them, and give them back', () => {
    const paged = newGuest();
    const view = paged.guest.memory.viewForReading(0, 40 * PAGE_BYTES);
    expect(Buffer.compare(view, Buffer.from(view))).toBe(0);
    expect(paged.pager.residentCount).toBeGreaterThanOrEqual(40);
    paged.pager.assertInvariants();
    paged.guest.memory.releaseHolds();
    expect(paged.pager.residentCount).toBeLessThanOrEqual(16);
    expect(paged.pager.stats().heldOverflowMax).toBe(24);
    paged.assertInvariants();
  });
});

test('a view of 64 MB in 16 frames takes time by its length, not by its square', () => {
  const wasmPages = 1024;
  const paged = PagedGuest.create(new CrashDevice(), wasmPages, { frameCount: 16 });
  const startMs = performance.now();
  expect(paged.guest.memory.viewForWriting(0, wasmPages * 65536).length).toBe(wasmPages * 65536);
  paged.pager.assertInvariants();
  paged.guest.memory.releaseHolds();
  // 16384 pages; by the square it is 268 million steps.
  expect(performance.now() - startMs).toBeLessThan(1000);
  paged.assertInvariants();
});

describe('memory that is given back', () => {
  test.runIf(process.platform === 'linux')('leaves the process: 128 MB of guest in 1 MB of frames', () => {
    const directory = mkdtempSync(join(tmpdir(), 'continuo-pager-'));
    try {
      const wasmPages = 2048;
      const before = process.memoryUsage().rss;
      const paged = PagedGuest.create(new FileDevice(directory), wasmPages, {
        frameCount: 256,
        release: createRelease,
      });
      for (let page = 0; page < wasmPages * 16; page++) paged.fillPage(page, page + 1);
      const grownBytes = process.memoryUsage().rss - before;
      console.log(`128 MB of guest in 256 frames: the process grew by ${(grownBytes / 2 ** 20).toFixed(1)} MB`);
      // Garbage of the test itself included.
      expect(grownBytes).toBeLessThan(64 * 2 ** 20);
      for (let page = 0; page < wasmPages * 16; page += 97) {
        expect(paged.load(page * PAGE_BYTES, 1)[0]).toBe(((Math.imul(page + 1, 1664525) + 1013904223) >>> 0) & 255);
      }
      paged.assertInvariants();
      paged.store.close();
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
