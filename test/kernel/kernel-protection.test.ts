/** The pager over pages that the kernel moves, played by one thread: it asks for a page before it touches it, as a fault would. */
import { onTestFinished, describe, expect, it } from 'vitest';
import { Store } from '../../src/checkpoint/store.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { UserFaults } from '../../src/kernel/user-faults.ts';
import { KernelProtection } from '../../src/machine/kernel-protection.ts';
import { NOT_PINNED, PAGE_BYTES, PINS_MAX, PageAccess, controlRegion } from '../../src/memory/layout.ts';
import { BounceBuffers } from '../../src/memory/bounce-buffers.ts';
import { scratch } from '../cli/continuo.ts';
import { FakeGuest, seededRandom } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';
import { kernelPages } from './kernel-paging.ts';

const WASM_PAGES = 8;
const WASM_PAGES_MAX = 20;

/** A guest that is paged by the kernel, with what its pages should hold. */
class PlayedGuest {
  readonly guest = new FakeGuest(WASM_PAGES, WASM_PAGES_MAX);
  readonly faults = new UserFaults();
  readonly protection = new KernelProtection(this.faults, this.guest.memory, WASM_PAGES_MAX * 65536);
  readonly store: Store;
  readonly pager;
  readonly model: Uint8Array;
  readonly #access = new Uint8Array(this.guest.memory.memory.buffer, controlRegion.pageStates, 65536);

  constructor(store: Store, frameCount: number, replacement: 'lirs' | 'second-chance', model?: Uint8Array) {
    this.store = store;
    new Uint32Array(this.guest.memory.memory.buffer, controlRegion.pins, PINS_MAX).fill(NOT_PINNED);
    const { protection } = this;
    this.pager = store.attach(this.guest.memory, { frameCount, replacement, protection, release: protection });
    this.model = model ?? new Uint8Array(WASM_PAGES_MAX * 65536);
    onTestFinished(() => {
      protection.close();
      this.faults.close();
    });
  }

  access(page: number, write: boolean): void {
    if (this.#access[page] !== PageAccess.none) return;
    expect(this.pager.fault(page * PAGE_BYTES, 1, write ? 1 : 0)).toBe(0);
    this.protection.settle(page);
  }

  write(at: number, value: number): void {
    this.access(Math.floor(at / PAGE_BYTES), true);
    this.guest.bytes[at] = value;
    this.model[at] = value;
  }

  expectRead(at: number): void {
    this.access(Math.floor(at / PAGE_BYTES), false);
    expect(this.guest.bytes[at], `byte ${at}`).toBe(this.model[at]);
  }

  assertInvariants(): void {
    this.pager.assertInvariants();
    this.store.assertInvariants();
    this.protection.assertInvariants(this.guest.memory.pageCount, (page) => this.pager.isResident(page));
    expect(this.pager.residentCount).toBeLessThanOrEqual(this.pager.frameCount);
  }
}

describe.runIf(kernelPages)('pages moved by the kernel', { timeout: 240_000 }, () => {
  it.each([
    { frameCount: 16, replacement: 'lirs' as const },
    { frameCount: 40, replacement: 'second-chance' as const },
    { frameCount: 70, replacement: 'lirs' as const },
  ])(
    '(p) (q) each resident page is in one place, $frameCount frames with $replacement',
    ({ frameCount, replacement }) => {
      const random = seededRandom(frameCount);
      const below = (bound: number): number => Math.floor(random() * bound);
      const device = new FileDevice(scratch());
      let played = new PlayedGuest(Store.create(device, IDENTITY, PROGRAM), frameCount, replacement);
      let committed = played.model.slice();
      for (let step = 0; step < 6000; step++) {
        const bytes = played.guest.bytes.length;
        // Some pages are used more often than others.
        const at = random() < 0.5 ? below(bytes) : below(bytes >>> 3);
        if (random() < 0.4) played.write(at, below(4) === 0 ? 0 : below(256));
        else played.expectRead(at);
        if (below(60) === 0) played.assertInvariants();
        if (below(200) === 0) {
          played.store.commit({ state: new Uint8Array(8), trigger: 'test' });
          played.protection.settle(-1);
          committed = played.model.slice();
        }
        if (below(150) === 0) {
          played.pager.writeAhead(64);
          played.protection.settle(-1);
        }
        if (below(1000) === 0) played.guest.memory.memory.grow(1);
      }
      played.assertInvariants();
      played.store.commit({ state: new Uint8Array(8), trigger: 'test' });
      committed = played.model.slice();
      played.store.close();
      // What a restart finds, without any paging by the kernel before.
      const pages = played.guest.memory.pageCount;
      played = new PlayedGuest(Store.open(device), frameCount, replacement, committed);
      played.guest.memory.memory.grow(pages / 16 - WASM_PAGES);
      played.store.loadPages();
      for (let at = 0; at < pages * PAGE_BYTES; at += 509) played.expectRead(at);
      played.store.close();
    },
  );
});

describe('copies for system calls', () => {
  it('come back when they are put back, and only once', () => {
    const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
    const bounce = new BounceBuffers();
    const first = bounce.forWriting(bytes, 10, 4);
    first[1] = 200;
    expect(bytes[11]).toBe(11);
    bounce.putBack(bytes);
    expect([...bytes.subarray(9, 15)]).toEqual([9, 10, 200, 12, 13, 14]);
    bytes[11] = 7;
    bounce.putBack(bytes);
    expect(bytes[11]).toBe(7);
    const read = bounce.forReading(bytes, 10, 2);
    read[0] = 99;
    bounce.putBack(bytes);
    expect(bytes[10]).toBe(10);
  });
});
