/**
 * Makes frames free: takes victims as the replacement policy names them, writes the dirty ones in clusters and gives their
 * memory back. It runs inside of the fault that found too few free frames, so nothing else runs meanwhile.
 *
 * Between two checkpoints a pageout writes to a slot that no durable checkpoint needs, of the generation that the next
 * checkpoint will have: a page that leaves is thereby checkpointed (paper, section 3). Along with the victims it
 * writes other dirty pages that have not been used for long, as far as one cluster goes: they would have to be
 * written soon, and what is clean when a checkpoint comes is not written while the program stands still.
 */
import type { Frames } from './frames.ts';
import { PageFlag } from './frames.ts';
import type { MemoryRelease } from '../memory/memory-release.ts';
import type { PageMap } from './page-map.ts';
import type { PageTransfer } from './page-transfer.ts';
import type { Replacement } from './replacement.ts';
import type { SaveGuard } from './save-guard.ts';
import type { SlotAllocator } from './slot-allocator.ts';

/** Pages of a write that is worth its system call: 256 KiB. */
const CLUSTER_PAGES = 64;
/** Fewer pages than this are not written before one of them must leave. */
const AHEAD_PAGES_MIN = 8;
/** Of so many candidates, the dirty ones are written ahead. */
const CANDIDATES_MAX = 512;

export interface PageoutSeams {
  readonly frames: Frames;
  readonly replacement: Replacement;
  readonly transfer: PageTransfer;
  readonly map: PageMap;
  readonly slots: SlotAllocator;
  readonly release: MemoryRelease;
  /** The generation of the next checkpoint. */
  readonly generation: () => number;
  /** A file with fewer slots may grow for the sake of long runs. */
  readonly softSlotLimit: () => number;
  /** Called when the map has changed. */
  readonly afterPageOut: () => void;
  /** The checkpoint that is being saved meanwhile, if any. */
  readonly guard: () => SaveGuard | undefined;
}

export class PageoutDaemon {
  pageOuts = 0;
  pageOutsAhead = 0;
  clusters = 0;
  evictions = 0;
  cleanEvictions = 0;
  /** Pages written since the last checkpoint, each time that one was. */
  continuousCount = 0;
  readonly #seams: PageoutSeams;
  #victims = new Uint32Array(256);
  #written = new Uint32Array(1024);
  readonly #candidates = new Uint32Array(CANDIDATES_MAX);

  constructor(seams: PageoutSeams) {
    this.#seams = seams;
  }

  /** Evicts pages until so many frames are free or every page is busy; returns how many left. */
  run(freeWanted: number): number {
    const { frames, replacement } = this.#seams;
    const wanted = freeWanted - frames.freeCount;
    if (wanted > this.#victims.length) this.#victims = new Uint32Array(2 * wanted);
    const victims = this.#victims;
    let count = 0;
    let dirtyCount = 0;
    while (count < wanted) {
      const page = replacement.takeVictim();
      if (page < 0) break;
      victims[count++] = page;
      if (frames.isDirty(page)) dirtyCount += 1;
    }
    if (count === 0) return 0;
    const leaving = victims.subarray(0, count).sort();
    this.#writeOut(leaving, dirtyCount);
    this.evictions += count;
    this.cleanEvictions += count - dirtyCount;
    const guard = this.#seams.guard();
    for (let i = 0; i < count; i++) {
      if (guard !== undefined) guard.beforeLeave(leaving[i]);
      frames.empty(leaving[i]);
    }
    this.#releaseRuns(leaving);
    return count;
  }

  /**
   * Writes dirty pages (ascending) that need not leave, so that the next checkpoint finds them clean. The list is the
   * caller's.
   */
  writeAhead(pages: Uint32Array, count: number): void {
    const { frames } = this.#seams;
    this.#write(pages, count);
    for (let i = 0; i < count; i++) frames.flags[pages[i]] |= PageFlag.early;
    this.pageOutsAhead += count;
  }

  #writeOut(leaving: Uint32Array, dirtyCount: number): void {
    const { frames, replacement } = this.#seams;
    if (this.#written.length < dirtyCount + CLUSTER_PAGES) this.#written = new Uint32Array(2 * dirtyCount + 1024);
    const written = this.#written;
    let count = 0;
    for (const page of leaving) if (frames.isDirty(page)) written[count++] = page;
    const candidateCount = dirtyCount < CLUSTER_PAGES ? replacement.listNext(this.#candidates, CANDIDATES_MAX) : 0;
    for (let i = 0; i < candidateCount && count < CLUSTER_PAGES; i++) {
      const page = this.#candidates[i];
      if ((frames.flags[page] & PageFlag.dirty) !== 0 && !frames.isBusy(page)) written[count++] = page;
    }
    // What need not be written yet waits for company.
    if (count === 0 || (dirtyCount === 0 && count < AHEAD_PAGES_MIN)) return;
    this.#write(written.subarray(0, count).sort(), count);
    this.pageOutsAhead += count - dirtyCount;
  }

  #write(list: Uint32Array, count: number): void {
    const { frames, transfer, slots, generation, softSlotLimit, afterPageOut } = this.#seams;
    this.#seams.guard()?.beforePageOut();
    const clustersBefore = transfer.writeCount;
    slots.startSearch();
    const { pagesWritten } = transfer.pageOut(list, count, generation(), softSlotLimit());
    for (let i = 0; i < count; i++) frames.clean(list[i]);
    this.pageOuts += pagesWritten;
    this.continuousCount += pagesWritten;
    this.clusters += transfer.writeCount - clustersBefore;
    afterPageOut();
  }

  /** Gives the memory of pages that have left back, neighbours by one call. */
  #releaseRuns(pages: Uint32Array): void {
    const { frames, release } = this.#seams;
    const { hostPagePages } = release;
    if (hostPagePages === 0) return;
    let next = 0;
    while (next < pages.length) {
      let end = next + 1;
      while (end < pages.length && pages[end] === pages[end - 1] + 1) end += 1;
      // A page of the system can only go as a whole, so all of the guest's pages in it must have left.
      let from = pages[next];
      let to = pages[end - 1] + 1;
      while (from % hostPagePages !== 0 && this.#isAbsent(from - 1)) from -= 1;
      while (to % hostPagePages !== 0 && this.#isAbsent(to)) to += 1;
      from = Math.ceil(from / hostPagePages) * hostPagePages;
      to = Math.floor(to / hostPagePages) * hostPagePages;
      if (from < to) {
        release.release(from, to - from);
        // Pages among them that never had a frame were zeros, and need not be any more.
        for (let page = from; page < to; page++) {
          if (release.readsAsZeros) frames.flags[page] &= ~PageFlag.stale;
          else frames.flags[page] |= PageFlag.stale;
        }
      }
      next = end;
    }
  }

  #isAbsent(page: number): boolean {
    const { frames, map } = this.#seams;
    return page < map.pageCount && !frames.isResident(page);
  }
}
