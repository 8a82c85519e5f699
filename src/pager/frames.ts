/**
 * Which pages of the guest have a frame, and what is known of each.
 *
 * A frame is the page's own place in the machine's memory, so that nothing is translated: the budget is on how many
 * pages are *resident* at a time. What the guest may do with a page without asking is its access byte in the control
 * region (`PageAccess`); everything else lies in `flags` here. The guest raises a byte from `readable` to `writable`
 * by itself, so a page is dirty when its byte says `writable` or its flag says dirty. Where the kernel keeps the guest from
 * pages instead of its own code, a `PageProtection` is told of each change of a byte and asked for the guest's writes.
 *
 * Invariants:
 *
 * (a) A page with access is resident, and so is a dirty one.
 * (b) Access is taken only from a page that the guest asks for again: not from a pinned one, not from one of the fault
 *     that is being served. A held page, which a host function has a view of, may lose its access, but not its frame.
 * (c) More pages than frames are resident only while a host function holds pages.
 */
import { assert } from '../error/errors.ts';
import type { PageKernels } from '../format/page-kernels.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { controlRegion, PageAccess, PINS_MAX } from '../memory/layout.ts';
import type { PageProtection } from './page-protection.ts';

export const PageFlag = {
  resident: 1,
  /** Differs from its slot, or may; also set while the access byte alone would say so. */
  dirty: 2,
  /** A host function has a view of it. */
  held: 4,
  /** Read in before anybody asked for it. */
  ahead: 8,
  /** Written since the last checkpoint, resident or not. */
  changed: 16,
  /** Not resident, and its place still holds old bytes, because memory could not be given back. */
  stale: 32,
  /** Written ahead of the next checkpoint, and not changed since. */
  early: 64,
  /** Not asked for since `selectUntouched` looked at it. */
  untouched: 128,
} as const;

const SCAN_CAPACITY = controlRegion.scratchBytes / 4;
const DIRTY_WORD = 0x0101_0101 * PageFlag.dirty;
/** Differs from its slot, and was written since the last checkpoint: the first need not mean the second. */
const WRITTEN = PageFlag.dirty | PageFlag.changed;
const CHANGED_WORD = 0x0101_0101 * PageFlag.changed;
const CHANGE_WORD = 0x0101_0101 * (PageFlag.changed | PageFlag.early);

export class Frames {
  readonly frameCount: number;
  residentCount = 0;
  /** Pages written since the last checkpoint, as far as the access bytes were looked at. */
  changedCount = 0;
  /** Pages written ahead since the last checkpoint and changed again: work for nothing. */
  spoiledCount = 0;
  capacity = 0;
  /** A byte per page of the guest, `PageFlag`s; in whole words, so that it can be searched by words. */
  flags = new Uint8Array(0);
  readonly access: Uint8Array;
  /** The pages that the fault being served asked for, which the daemon must leave alone; −1: none. */
  servedFirst = -1;
  servedSecond = -1;
  readonly #pins: Int32Array;
  readonly #scanned: Uint32Array;
  readonly #kernels: PageKernels;
  readonly #protection: PageProtection | undefined;

  constructor(memory: GuestMemory, kernels: PageKernels, frameCount: number, protection?: PageProtection) {
    this.frameCount = frameCount;
    this.#protection = protection;
    this.#kernels = kernels;
    // The memory is shared: its growth leaves views of what lies before the guest's part as they are.
    const { buffer } = memory.memory;
    this.access = new Uint8Array(buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#pins = new Int32Array(buffer, controlRegion.pins, PINS_MAX);
    this.#scanned = new Uint32Array(buffer, controlRegion.scratch, SCAN_CAPACITY);
  }

  get freeCount(): number {
    return this.frameCount - this.residentCount;
  }

  grow(capacity: number): void {
    const flags = new Uint8Array(capacity);
    flags.set(this.flags);
    this.flags = flags;
    this.capacity = capacity;
  }

  isResident(page: number): boolean {
    return (this.flags[page] & PageFlag.resident) !== 0;
  }

  isDirty(page: number): boolean {
    return (this.flags[page] & PageFlag.dirty) !== 0 || this.#isWritten(page);
  }

  /** The guest may be about to access it without asking again. */
  isPinned(page: number): boolean {
    if (page === this.servedFirst || page === this.servedSecond) return true;
    for (let i = 0; i < PINS_MAX; i++) if (this.#pins[i] === page) return true;
    return false;
  }

  /** Its frame must stay. */
  isBusy(page: number): boolean {
    return (this.flags[page] & PageFlag.held) !== 0 || this.isPinned(page);
  }

  /** Takes access from a page, so that its next use is seen; false where that must not be. */
  takeAccess(page: number): boolean {
    if (this.isPinned(page)) return false;
    if (this.#isWritten(page)) this.noteWritten(page);
    this.#setAccess(page, PageAccess.none);
    return true;
  }

  /** Gives access to a resident page. One that is known to be written may be at once: there is nothing to note any more. */
  giveAccess(page: number, write: boolean): void {
    this.flags[page] &= ~PageFlag.untouched;
    if (write) this.noteWritten(page);
    this.#setAccess(page, (this.flags[page] & WRITTEN) === WRITTEN ? PageAccess.writable : PageAccess.readable);
  }

  #setAccess(page: number, access: number): void {
    this.access[page] = access;
    this.#protection?.accessChanged(page);
  }

  /** Whether the guest has written the page, or may have, since it was given access. */
  #isWritten(page: number): boolean {
    const access = this.access[page];
    if (access === PageAccess.writable) return true;
    return access === PageAccess.readable && this.#protection?.wasWritten(page) === true;
  }

  noteWritten(page: number): void {
    const flags = this.flags[page];
    if ((flags & PageFlag.changed) === 0) this.changedCount += 1;
    if ((flags & PageFlag.early) !== 0) this.spoiledCount += 1;
    this.flags[page] = (flags & ~PageFlag.early) | PageFlag.dirty | PageFlag.changed;
  }

  /**
   * Of the dirty pages in a list, those that were not written since this was called last, to the front of the list;
   * returns how many. The others lose the access to be written, so that the next call can tell.
   */
  selectUntouched(pages: Uint32Array, count: number, countMax: number): number {
    let untouched = 0;
    for (let i = 0; i < count; i++) {
      const page = pages[i];
      if (this.isBusy(page)) continue;
      const wasTouched = this.access[page] === PageAccess.writable || (this.flags[page] & PageFlag.untouched) === 0;
      if (this.access[page] === PageAccess.writable) this.#setAccess(page, PageAccess.readable);
      if (wasTouched) this.flags[page] |= PageFlag.untouched;
      else if (untouched < countMax) pages[untouched++] = page;
    }
    return untouched;
  }

  /** The page is in its slot. It keeps its frame, and its next write is noted. */
  clean(page: number): void {
    this.flags[page] &= ~PageFlag.dirty;
    if (this.access[page] === PageAccess.writable) this.#setAccess(page, PageAccess.readable);
  }

  fill(page: number, ahead: boolean): void {
    this.flags[page] = (this.flags[page] & PageFlag.changed) | PageFlag.resident | (ahead ? PageFlag.ahead : 0);
    this.residentCount += 1;
  }

  /** The page has no frame any more. It must be clean. */
  empty(page: number): void {
    this.#setAccess(page, PageAccess.none);
    this.flags[page] = (this.flags[page] & PageFlag.changed) | PageFlag.stale;
    this.residentCount -= 1;
  }

  /** Moves what the access bytes of the first `pageCount` pages say of writes into the flags. */
  noteWrites(pageCount: number): void {
    const { pageStates, scratch } = controlRegion;
    const scanned = this.#scanned;
    this.#protection?.noteWrites(pageCount);
    let from = 0;
    for (;;) {
      const count = this.#kernels.scanWritable(pageStates, from, pageCount, scratch, SCAN_CAPACITY);
      for (let i = 0; i < count; i++) this.noteWritten(scanned[i]);
      if (count < SCAN_CAPACITY) return;
      from = scanned[count - 1] + 1;
    }
  }

  /** Lists the dirty pages by their flags, ascending, in a list that has room for all resident ones; returns how many. */
  listDirty(pages: Uint32Array): number {
    return this.#list(pages, DIRTY_WORD, PageFlag.dirty);
  }

  /** Lists the pages written since the last checkpoint, resident or not, in the same way; there are `changedCount`. */
  listChanged(pages: Uint32Array): number {
    return this.#list(pages, CHANGED_WORD, PageFlag.changed);
  }

  #list(pages: Uint32Array, flagWord: number, flag: number): number {
    const words = new Uint32Array(this.flags.buffer);
    let count = 0;
    for (let word = 0; word < words.length; word++) {
      if ((words[word] & flagWord) === 0) continue;
      for (let page = 4 * word; page < 4 * word + 4; page++) {
        if ((this.flags[page] & flag) !== 0) pages[count++] = page;
      }
    }
    return count;
  }

  /** Takes the right to be written from every page, so that the next write to each is noted anew. Called after `noteWrites`. */
  protectAll(pageCount: number): void {
    const { pageStates, scratch } = controlRegion;
    for (;;) {
      const count = this.#kernels.scanWritable(pageStates, 0, pageCount, scratch, SCAN_CAPACITY);
      for (let i = 0; i < count; i++) this.#setAccess(this.#scanned[i], PageAccess.readable);
      if (count < SCAN_CAPACITY) return;
    }
  }

  /** A checkpoint holds everything that was written: nothing is changed since. */
  forgetChanges(): void {
    const words = new Uint32Array(this.flags.buffer);
    for (let word = 0; word < words.length; word++) words[word] &= ~CHANGE_WORD;
    this.changedCount = 0;
    this.spoiledCount = 0;
  }

  /** Pages that changed before the last checkpoint and are in none: they count as changed since. */
  keepChanged(pages: Uint32Array): void {
    for (const page of pages) this.flags[page] |= PageFlag.changed;
    this.changedCount += pages.length;
  }

  assertInvariants(pageCount: number): void {
    let resident = 0;
    let changed = 0;
    let held = 0;
    for (let page = 0; page < pageCount; page++) {
      const flags = this.flags[page];
      if ((flags & PageFlag.changed) !== 0) changed += 1;
      if ((flags & PageFlag.held) !== 0) held += 1;
      if ((flags & PageFlag.resident) !== 0) {
        resident += 1;
        assert((flags & PageFlag.stale) === 0, `page ${page} is resident and its place holds old bytes`);
        continue;
      }
      assert(this.access[page] === PageAccess.none, `(a) the guest may access page ${page}, which has no frame`);
      assert((flags & PageFlag.dirty) === 0, `(a) page ${page} is dirty and has no frame`);
      assert((flags & PageFlag.held) === 0, `(b) page ${page} is held and has no frame`);
    }
    for (let page = pageCount; page < this.capacity; page++) {
      assert(this.flags[page] === 0, `page ${page} lies outside of the guest's memory and has flags`);
    }
    assert(resident === this.residentCount, `${resident} resident pages, counted as ${this.residentCount}`);
    assert(changed === this.changedCount, `${changed} changed pages, counted as ${this.changedCount}`);
    assert(held > 0 || resident <= this.frameCount, `(c) ${resident} pages in ${this.frameCount} frames`);
  }
}
