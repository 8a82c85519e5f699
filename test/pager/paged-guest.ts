import { Store } from '../../src/checkpoint/store.ts';
import type { Device } from '../../src/device/device.ts';
import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, controlRegion, NOT_PINNED, PAGE_BYTES, PageAccess, PINS_MAX } from '../../src/memory/layout.ts';
import type { MemoryRelease } from '../../src/memory/memory-release.ts';
import type { Pager } from '../../src/pager/pager.ts';
import type { ReplacementName } from '../../src/pager/replacement.ts';
import { FakeGuest } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';

export interface Budget {
  readonly frameCount: number;
  readonly replacement?: ReplacementName;
  /** Makes what gives back the memory of this guest; undefined: nothing does. */
  readonly release?: (memory: GuestMemory) => MemoryRelease;
}

/**
 * A system with pages four times as large as the guest's, which refuses to take a page that is in use, and leaves in
 * what it took zeros or anything.
 */
export class LargePageRelease implements MemoryRelease {
  readonly hostPagePages = 4;
  readonly reason = '';
  readonly readsAsZeros: boolean;
  releasedCount = 0;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory, readsAsZeros: boolean) {
    this.#memory = memory;
    this.readsAsZeros = readsAsZeros;
  }

  release(firstPage: number, pageCount: number): void {
    const { bytes } = this.#memory;
    if (firstPage % 4 !== 0 || pageCount % 4 !== 0) throw new Error('a part of a page was released');
    for (let page = firstPage; page < firstPage + pageCount; page++) {
      if (bytes[controlRegion.pageStates + page] !== PageAccess.none) throw new Error('a page in use was released');
    }
    const from = BIAS_BYTES + firstPage * PAGE_BYTES;
    bytes.fill(this.readsAsZeros ? 0 : 0xaa, from, from + pageCount * PAGE_BYTES);
    this.releasedCount += pageCount;
  }
}

/** Plays the rewritten program: looks at the access bytes, raises them at first writes and asks the pager for the rest. */
export class PagedGuest {
  readonly guest: FakeGuest;
  readonly store: Store;
  readonly pager: Pager;
  readonly #access: Uint8Array;
  readonly #firstWrites: Int32Array;
  readonly #pins: Int32Array;

  private constructor(store: Store, guest: FakeGuest, budget: Budget) {
    this.store = store;
    this.guest = guest;
    const { buffer } = guest.memory.memory;
    this.#access = new Uint8Array(buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#firstWrites = new Int32Array(buffer, controlRegion.firstWrites, 1);
    this.#pins = new Int32Array(buffer, controlRegion.pins, PINS_MAX).fill(NOT_PINNED);
    const { release, ...options } = budget;
    this.pager = store.attach(guest.memory, { ...options, ...(release && { release: release(guest.memory) }) });
  }

  static create(device: Device, wasmPages: number, budget: Budget, wasmPagesMax = wasmPages): PagedGuest {
    const store = Store.create(device, IDENTITY, PROGRAM);
    return new PagedGuest(store, new FakeGuest(wasmPages, wasmPagesMax), budget);
  }

  /** Opens a job as a new process would; `whenEmpty` is the size of a guest that has no checkpoint. */
  static open(device: Device, budget: Budget, whenEmpty: number, wasmPagesMax?: number): PagedGuest {
    const store = Store.open(device);
    const wasmPages = store.latest === undefined ? whenEmpty : store.latest.guestPageCount / 16;
    const paged = new PagedGuest(store, new FakeGuest(wasmPages, wasmPagesMax ?? wasmPages), budget);
    if (store.latest !== undefined) store.loadPages();
    return paged;
  }

  get lengthBytes(): number {
    return this.guest.memory.lengthBytes;
  }

  pin(pages: readonly number[]): void {
    this.#pins.fill(NOT_PINNED);
    pages.forEach((page, i) => (this.#pins[i] = page));
  }

  isAccessible(page: number): boolean {
    return this.#access[page] !== PageAccess.none;
  }

  /** A store of at most 4096 bytes inside of the memory. @throws what has made the pager fail. */
  store8(address: number, bytes: Uint8Array): void {
    this.#ensure(address, bytes.length, true);
    this.guest.memory.bytes.set(bytes, BIAS_BYTES + address);
  }

  load(address: number, lengthBytes: number): Uint8Array {
    this.#ensure(address, lengthBytes, false);
    const from = BIAS_BYTES + address;
    return Uint8Array.from(this.guest.memory.bytes.subarray(from, from + lengthBytes));
  }

  /** Reads all of the guest's memory as the guest would. */
  image(): Uint8Array {
    const image = new Uint8Array(this.lengthBytes);
    for (let at = 0; at < image.length; at += PAGE_BYTES) image.set(this.load(at, PAGE_BYTES), at);
    return image;
  }

  fillPage(page: number, seed: number): void {
    const bytes = new Uint8Array(PAGE_BYTES);
    let state = seed >>> 0;
    for (let i = 0; i < bytes.length; i += 64) {
      state = (Math.imul(state, 1664525) + (seed === 0 ? 0 : 1013904223)) >>> 0;
      bytes.fill(state & 255, i, i + 64);
    }
    this.store8(page * PAGE_BYTES, bytes);
  }

  assertInvariants(): void {
    this.pager.assertInvariants();
    this.store.assertInvariants();
  }

  #ensure(address: number, lengthBytes: number, write: boolean): void {
    const first = Math.floor(address / PAGE_BYTES);
    const last = Math.floor((address + lengthBytes - 1) / PAGE_BYTES);
    let isMissing = false;
    for (let page = first; page <= last; page++) {
      const access = this.#access[page];
      if (access === PageAccess.none) isMissing = true;
      else if (write && access === PageAccess.readable) {
        this.#access[page] = PageAccess.writable;
        this.#firstWrites[0] += 1;
      }
    }
    if (isMissing && this.pager.fault(address | 0, lengthBytes, write ? 1 : 0) !== 0) throw this.pager.failure!;
  }
}
