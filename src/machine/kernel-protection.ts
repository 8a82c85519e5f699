import { assert } from '../error/errors.ts';
import { addressOf } from '../kernel/c-library.ts';
import type { UserFaults } from '../kernel/user-faults.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, controlRegion, PAGE_BYTES, PAGE_SHIFT, PageAccess } from '../memory/layout.ts';
import type { MemoryRelease } from '../memory/memory-release.ts';
import type { PageProtection } from '../pager/page-protection.ts';

/** Where a page of the guest is, and what the guest can do with it. */
const Place = {
  /** Nowhere: no frame. */
  absent: 0,
  /** In memory, but not at its place: the guest's next use of it is a fault, and moves it back. */
  aside: 1,
  /** At its place; a write is let through and noted by the system. */
  readable: 2,
  /** At its place, and written. */
  writable: 3,
} as const;

/** Longer lists are sorted by the engine. */
const INSERTION_SORT_MAX = 48;
const NO_PAGE = -1;
/** A look at one page takes as long as one at a thousand. */
const LOOKS_MAX = 4;
const LOOKS_SHIFT = 10;

/**
 * Access to pages by the kernel. A page that is to have no access is moved out of the guest's memory, to the same place of a range of
 * addresses beside it, which costs no copy; to take pages away and give them back is all that the pager does, so the
 * replacement policies see the same touches as with checks in the guest's code.
 *
 * The pager changes its mind often while it serves a fault: a page loses its access and then its frame. The guest stands
 * still for all of that time. So changes of access bytes are only listed, and `settle` makes them true before the guest goes on.
 *
 * Invariants, between two calls of `settle`:
 *
 * (p) Every resident page is in one place, and no other page is in any: frames are counted exactly.
 * (q) A page is at its place exactly when its access byte is not `none`.
 * (r) The pager's thread touches the guest's memory only at places of pages that it knows to be there: what is written to the
 *     paging file is copied first, so that no system call meets an absent page.
 */
export class KernelProtection implements PageProtection, MemoryRelease {
  readonly hostPagePages = 1;
  readonly readsAsZeros = true;
  readonly reason = '';
  readonly #faults: UserFaults;
  readonly #access: Uint8Array;
  readonly #firstWrites: Int32Array;
  readonly #memoryAddress: number;
  readonly #guestAddress: number;
  readonly #asideAddress: number = 0;
  readonly #lengthBytes: number;
  readonly #places: Uint8Array;
  /** Pages whose access byte was changed, each once. */
  #changed = new Uint32Array(1024);
  #changedCount = 0;
  readonly #isListed: Uint8Array;
  /** Behind the last page that ever had a frame. */
  #end = 0;
  /** Pages asked about since the guest stands still, and the last time that there were several; whether all were looked at. */
  #asks = 0;
  #asksBefore = 0;
  #allNoted = false;
  /** Pages that get a frame, and where their contents lie; 0: zeros. */
  #arrivedFirst = NO_PAGE;
  #arrivedCount = 0;
  #arrivedAddress = 0;

  /** `guestBytesMax` is what the guest's memory may grow to. */
  constructor(faults: UserFaults, memory: GuestMemory, guestBytesMax: number) {
    this.#faults = faults;
    const { buffer } = memory.memory;
    this.#access = new Uint8Array(buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#firstWrites = new Int32Array(buffer, controlRegion.firstWrites, 1);
    const address = addressOf(memory.bytes);
    this.#memoryAddress = address;
    this.#guestAddress = address + BIAS_BYTES;
    this.#lengthBytes = guestBytesMax;
    this.#places = new Uint8Array(guestBytesMax >>> PAGE_SHIFT);
    this.#isListed = new Uint8Array(guestBytesMax >>> PAGE_SHIFT);
    if (guestBytesMax === 0) return;
    this.#asideAddress = faults.map(guestBytesMax);
    faults.register(this.#asideAddress, guestBytesMax);
    faults.register(this.#guestAddress, guestBytesMax);
  }

  /** The page that an address of this process lies in; −1: none of the guest's. */
  pageAt(address: number): number {
    const offset = address - this.#guestAddress;
    return offset >= 0 && offset < this.#lengthBytes ? Math.floor(offset / PAGE_BYTES) : NO_PAGE;
  }

  accessChanged(page: number): void {
    if (this.#isListed[page] !== 0) return;
    this.#isListed[page] = 1;
    if (this.#changedCount === this.#changed.length) {
      const longer = new Uint32Array(2 * this.#changed.length);
      longer.set(this.#changed);
      this.#changed = longer;
    }
    this.#changed[this.#changedCount++] = page;
  }

  wasWritten(page: number): boolean {
    if (this.#places[page] !== Place.readable) return false;
    this.#asks += 1;
    if (this.#allNoted) return false;
    // One look at all pages is worth many at one: after so many, or where so many are to be expected.
    const looksMax = LOOKS_MAX + (this.#end >>> LOOKS_SHIFT);
    if (this.#asks > (this.#asksBefore > looksMax ? 1 : looksMax)) {
      this.noteWrites(this.#end);
      this.#allNoted = true;
      return this.#places[page] !== Place.readable;
    }
    if (!this.#faults.isWritten(this.#guestAddress + page * PAGE_BYTES)) return false;
    this.#noteWritten(page);
    return true;
  }

  noteWrites(pageCount: number): void {
    const faults = this.#faults;
    const ranges = faults.writtenRanges;
    for (let from = 0; from < pageCount; from = faults.scanEnd) {
      const count = faults.scanWritten(this.#guestAddress, from, pageCount);
      for (let i = 0; i < count; i++) {
        for (let page = ranges[2 * i]; page < ranges[2 * i + 1]; page++) {
          if (this.#access[page] !== PageAccess.readable || this.#places[page] !== Place.readable) continue;
          this.#noteWritten(page);
          this.#access[page] = PageAccess.writable;
        }
      }
    }
  }

  stage(pages: Uint32Array, from: number, count: number, at: number): void {
    const places = this.#places;
    const end = from + count;
    let next = from;
    while (next < end) {
      const first = next++;
      const page = pages[first];
      const isAside = places[page] === Place.aside;
      assert(places[page] !== Place.absent, 'a page is to be read and has no frame');
      while (next < end && pages[next] === pages[next - 1] + 1) {
        if (places[pages[next]] === Place.absent || (places[pages[next]] === Place.aside) !== isAside) break;
        next += 1;
      }
      const base = isAside ? this.#asideAddress : this.#guestAddress;
      const to = this.#memoryAddress + at + (first - from) * PAGE_BYTES;
      this.#faults.copyBytes(to, base + page * PAGE_BYTES, (next - first) * PAGE_BYTES);
    }
  }

  arrived(firstPage: number, count: number, at: number): void {
    this.#arrive(firstPage, count, this.#memoryAddress + at);
  }

  arrivedAsZeros(firstPage: number, count: number): void {
    this.#arrive(firstPage, count, 0);
  }

  /** The pager gives the memory of pages back that have left, wherever they were: when the changes are settled. */
  release(firstPage: number, pageCount: number): void {
    const end = firstPage + pageCount;
    let page = firstPage;
    while (page < end) {
      const isAside = this.#places[page] === Place.aside;
      let next = page + 1;
      while (next < end && (this.#places[next] === Place.aside) === isAside) next += 1;
      const base = isAside ? this.#asideAddress : this.#guestAddress;
      this.#faults.discardLater(base + page * PAGE_BYTES, (next - page) * PAGE_BYTES);
      this.#places.fill(Place.absent, page, next);
      page = next;
    }
  }

  /** Makes all changes of access true, those of the page that the guest waits for at last, and lets it go on; −1: it waits for none. */
  settle(waitedFor: number): void {
    this.#faults.discardNow();
    if (this.#asks > 1) this.#asksBefore = this.#asks;
    this.#asks = 0;
    this.#allNoted = false;
    const changed = this.#sorted();
    const count = this.#changedCount;
    let next = 0;
    let waits = waitedFor !== NO_PAGE;
    while (next < count) {
      const page = changed[next++];
      const from = this.#places[page];
      const to = this.#wantedPlace(page);
      this.#isListed[page] = 0;
      if (from === to || page === waitedFor) continue;
      let end = page + 1;
      while (next < count && changed[next] === end && end !== waitedFor) {
        if (this.#places[end] !== from || this.#wantedPlace(end) !== to) break;
        this.#isListed[end] = 0;
        next += 1;
        end += 1;
      }
      this.#put(page, end, from, to, true);
    }
    this.#changedCount = 0;
    if (waits) {
      const from = this.#places[waitedFor];
      const to = this.#wantedPlace(waitedFor);
      if (from !== to) waits = this.#put(waitedFor, waitedFor + 1, from, to, false);
      if (waits) this.#faults.wake(this.#guestAddress + waitedFor * PAGE_BYTES);
    }
    this.#arrivedFirst = NO_PAGE;
    this.#arrivedCount = 0;
  }

  /** Nothing more can be served: the guest gets zeros until it is stopped, so that it comes to a place where it can be. */
  giveUp(page: number): void {
    this.#arrivedCount = 0;
    if (this.#places[page] >= Place.readable) return this.#faults.wake(this.#guestAddress + page * PAGE_BYTES);
    this.#faults.copyZeros(this.#guestAddress + page * PAGE_BYTES, PAGE_BYTES, true, false);
    this.#places[page] = Place.writable;
  }

  close(): void {
    if (this.#asideAddress !== 0) this.#faults.unmap(this.#asideAddress, this.#lengthBytes);
  }

  /** Asserts that what is settled is so, for pages that are resident or not by `isResident`; costs a walk over all pages. */
  assertInvariants(pageCount: number, isResident: (page: number) => boolean): void {
    for (let page = 0; page < pageCount; page++) {
      const place = this.#places[page];
      assert(isResident(page) === (place !== Place.absent), `(p) page ${page} is at place ${place}`);
      const isOpen = place === Place.readable || place === Place.writable;
      assert(isOpen === (this.#access[page] !== PageAccess.none), `(q) page ${page} is at place ${place}`);
    }
  }

  #noteWritten(page: number): void {
    this.#places[page] = Place.writable;
    this.#firstWrites[0] += 1;
  }

  #arrive(firstPage: number, count: number, address: number): void {
    this.#arrivedFirst = firstPage;
    this.#arrivedCount = count;
    this.#arrivedAddress = address;
    for (let page = firstPage; page < firstPage + count; page++) this.accessChanged(page);
  }

  #hasArrived(page: number): boolean {
    return page >= this.#arrivedFirst && page < this.#arrivedFirst + this.#arrivedCount;
  }

  #wantedPlace(page: number): number {
    const access = this.#access[page];
    if (access === PageAccess.writable) return Place.writable;
    if (access === PageAccess.readable) return Place.readable;
    return this.#places[page] === Place.absent && !this.#hasArrived(page) ? Place.absent : Place.aside;
  }

  #sorted(): Uint32Array {
    const list = this.#changed;
    const count = this.#changedCount;
    if (count > INSERTION_SORT_MAX) return list.subarray(0, count).sort();
    for (let i = 1; i < count; i++) {
      const page = list[i];
      let at = i;
      for (; at > 0 && list[at - 1] > page; at--) list[at] = list[at - 1];
      list[at] = page;
    }
    return list;
  }

  /** Puts neighbours from one place to another; returns whether the guest is still to be woken. */
  #put(first: number, end: number, from: number, to: number, quietly: boolean): boolean {
    const faults = this.#faults;
    const at = this.#guestAddress + first * PAGE_BYTES;
    const lengthBytes = (end - first) * PAGE_BYTES;
    const isProtected = to === Place.readable;
    let isWoken = false;
    if (from === Place.absent) {
      this.#fill(first, end, to, quietly);
      isWoken = !quietly;
    } else if (to === Place.aside) {
      faults.move(this.#asideAddress + first * PAGE_BYTES, at, lengthBytes, true);
    } else if (from === Place.aside) {
      this.#moveBack(first, end, quietly || isProtected);
      if (isProtected) faults.protect(at, lengthBytes, true);
      isWoken = !quietly && !isProtected;
    } else faults.protect(at, lengthBytes, isProtected);
    // One at a time: to fill one byte by the engine's own function takes as long as fifty of them.
    for (let page = first; page < end; page++) this.#places[page] = to;
    if (end > this.#end) this.#end = end;
    return !isWoken;
  }

  #moveBack(first: number, end: number, quietly: boolean): void {
    const offset = first * PAGE_BYTES;
    this.#faults.move(this.#guestAddress + offset, this.#asideAddress + offset, (end - first) * PAGE_BYTES, quietly);
    for (let page = first; page < end; page++) this.#places[page] = Place.writable;
  }

  /** Contents that have arrived go to the place, or aside. */
  #fill(first: number, end: number, to: number, quietly: boolean): void {
    assert(this.#hasArrived(first) && this.#hasArrived(end - 1), 'a page has access and no contents');
    const base = to === Place.aside ? this.#asideAddress : this.#guestAddress;
    const at = base + first * PAGE_BYTES;
    const lengthBytes = (end - first) * PAGE_BYTES;
    const writable = to !== Place.readable;
    if (this.#arrivedAddress === 0) return this.#faults.copyZeros(at, lengthBytes, writable, quietly);
    const source = this.#arrivedAddress + (first - this.#arrivedFirst) * PAGE_BYTES;
    this.#faults.copy(at, source, lengthBytes, writable, quietly);
  }
}
