/**
 * First writes of a guest whose pages are all resident, each told before it is made: a `ProtectionMechanism` stops the guest at a protected
 * page, notes it and lets it be written. This protects pages when a checkpoint is taken, and opens them where the host is to write.
 *
 * Invariants, while the guest runs or stands at a safepoint:
 *
 * (1) A page whose state byte says `clean` is protected, and no other page is, up to as many as the mechanism can protect: so a page
 *     that the guest grows by is told of like any other. (Unless the figures are blunt: then others may be, too.)
 * (2) A page is opened only by its first write: its state byte says `dirty` before it may be written, and what is being saved has
 *     it by then.
 * (3) A system call is given only pages that are open. One that would write to a protected page fails: nobody is told of such a fault
 *     of the system.
 *
 * A policy that saves all pages needs to know first writes only while pages are being saved (`knowsAll` is false): between saves
 * all its pages are open.
 */
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { PageKernels } from '../format/page-kernels.ts';
import type { GuestMemory, HostAccess } from '../memory/guest-memory.ts';
import { controlRegion, PAGE_SHIFT, PageState } from '../memory/layout.ts';
import { allPages, type DirtyTracker } from '../pager/dirty-tracker.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { SaveGuard } from '../pager/save-guard.ts';
import { StateScan } from '../pager/state-scan.ts';
import type { PendingPages } from '../save/pending-pages.ts';
import type { ProtectionMechanism } from './protection-mechanism.ts';
import type { RunPager } from './remote-store.ts';

/** A run of pages that is protected by itself costs as much as walking over so many pages. */
const PAGES_PER_RUN = 64;

export interface ProtectedGuest {
  readonly memory: GuestMemory;
  readonly kernels: PageKernels;
  /** Of the largest memory that it can have. */
  readonly pagesMax: number;
}

export class ProtectedPages implements DirtyTracker, HostAccess, RunPager {
  pages = new Uint32Array(0);
  readonly knowsAll: boolean;
  readonly continuousCount = 0;
  readonly #mechanism: ProtectionMechanism;
  readonly #memory: GuestMemory;
  readonly #scan: StateScan;
  readonly #states: Uint8Array;
  #guard: SaveGuard | undefined;
  /** So many pages are protected, or were written since: all first writes to them are told. */
  #armedPages = 0;
  #hostFaults = 0;
  /** Ranges that a host function may be writing to, as first and last pages. */
  readonly #held: number[] = [];
  #isClosed = false;

  /**
   * From here on every page is protected, where all first writes are wanted; after the pages of a checkpoint are loaded, by
   * `rearm`, where some will be.
   * @throws UsageError, Error: the system refuses.
   */
  constructor(
    mechanism: ProtectionMechanism,
    { memory, kernels, pagesMax }: ProtectedGuest,
    { knowsAll, loadsPages }: { readonly knowsAll: boolean; readonly loadsPages: boolean },
  ) {
    this.#mechanism = mechanism;
    this.#memory = memory;
    this.#scan = new StateScan(memory, kernels);
    this.knowsAll = knowsAll;
    this.#states = new Uint8Array(memory.memory.buffer, controlRegion.pageStates, pagesMax);
    this.#states.fill(PageState.dirty);
    if (knowsAll && !loadsPages) this.#arm();
    memory.attachPager(this, Infinity);
  }

  /** Why writes are not told any more; the run is over then. */
  get failure(): Error | undefined {
    return this.#mechanism.failure;
  }

  /** What was written since nobody is told is not known: it must not be saved, nor leave. */
  refuseMissingPages(): void {
    const { failure } = this;
    if (failure !== undefined) throw failure;
  }

  /** Where a thread that saves pages sees that they may have changed before it had them. */
  get lostWord(): ProtectionMechanism['lostWord'] {
    return this.#mechanism.lostWord;
  }

  collect(pageCount: number): number {
    this.refuseMissingPages();
    if (this.knowsAll) {
      const count = this.#scan.scan(pageCount);
      // What is handed out is sorted and cut by others, and scanned anew each time.
      this.pages = this.#scan.pages;
      return count;
    }
    if (this.pages.length < pageCount) this.pages = allPages(pageCount);
    return pageCount;
  }

  rearm(_pageCount: number, collected: Uint32Array, count: number, keptEnd = count): void {
    if (!this.knowsAll) return;
    this.refuseMissingPages();
    if (this.#armedPages > 0) this.#protectListed(collected, count);
    else this.#arm();
    for (let i = count; i < keptEnd; i++) this.#open(collected[i], collected[i]);
    // What a host function has a view of may be written behind our back until it returns.
    for (let i = 0; i < this.#held.length; i += 2) this.#open(this.#held[i], this.#held[i + 1]);
  }

  /** From now on these pages are being saved; undefined: no more. */
  guardSave(guard: SaveGuard | undefined, pending?: PendingPages): void {
    this.#guard = guard;
    const { pageCount } = this.#memory;
    if (pending !== undefined) {
      this.#mechanism.guardSave(pending, pageCount);
      if (!this.knowsAll) this.#protectAll(pageCount);
    } else if (guard === undefined && this.failure === undefined) {
      this.#mechanism.guardSave(undefined, pageCount);
      if (!this.knowsAll) this.#open(0, this.#mechanism.protectablePages(pageCount) - 1);
    }
  }

  /** The guest has more pages than before. To be told where the mechanism protects only as many as it has. */
  memoryGrown(): void {
    const { pageCount } = this.#memory;
    if (this.#armedPages > 0) this.#states.fill(PageState.clean, this.#armedPages, pageCount);
    if (this.#armedPages > 0) this.#armedPages = pageCount;
    this.#mechanism.memoryGrown(pageCount);
  }

  hold(address: number, lengthBytes: number, write: boolean): void {
    if (!write || lengthBytes === 0) return;
    this.refuseMissingPages();
    const first = address >>> PAGE_SHIFT;
    const last = (address + lengthBytes - 1) >>> PAGE_SHIFT;
    this.#held.push(first, last);
    const states = this.#states;
    let isOpen = true;
    const { isBlunt } = this.#mechanism.figures;
    for (let page = first; page <= last; page++) {
      const isClean = states[page] === PageState.clean;
      if (!isClean && !isBlunt) continue;
      isOpen = false;
      if (isClean) this.#hostFaults += 1;
      this.#guard?.beforeWrite(page);
    }
    if (!isOpen) this.#open(first, last);
  }

  releaseHolds(): void {
    this.#held.length = 0;
  }

  /** Pages are written ahead of a checkpoint only where memory has a budget. */
  writeAhead(): number {
    return 0;
  }

  stats(): PagingStats {
    const { faults, faultMs, overflows } = this.#mechanism.figures;
    const { pageCount } = this.#memory;
    return {
      frames: MAPPED_PAGES_MAX,
      residentPages: pageCount,
      inactivePages: 0,
      softFaults: 0,
      hardFaults: 0,
      zeroFaults: 0,
      firstWrites: 0,
      pageOuts: 0,
      pageOutsAhead: 0,
      clusters: 0,
      evictions: 0,
      cleanEvictions: 0,
      pageIns: 0,
      readAheadPages: 0,
      readAheadUsed: 0,
      protectionFaults: faults + this.#hostFaults,
      protectionUs: faults === 0 ? 0 : (1000 * faultMs) / faults,
      mappingOverflows: overflows,
      heldOverflowMax: 0,
    };
  }

  /** Nothing is protected any more. The guest must not run. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#mechanism.close(this.#memory.pageCount);
  }

  /** Protects the pages of a list (ascending), neighbours by one call, or all between the first and the last of them. */
  #protectListed(pages: Uint32Array, count: number): void {
    if (count === 0) return;
    const states = this.#states;
    let runs = 1;
    states[pages[0]] = PageState.clean;
    for (let i = 1; i < count; i++) {
      if (pages[i] !== pages[i - 1] + 1) runs += 1;
      states[pages[i]] = PageState.clean;
    }
    const [first, last] = [pages[0], pages[count - 1]];
    if (runs * PAGES_PER_RUN > last - first) return this.#mechanism.protect(first, last);
    let from = 0;
    for (let i = 1; i <= count; i++) {
      if (i < count && pages[i] === pages[i - 1] + 1) continue;
      this.#mechanism.protect(pages[from], pages[i - 1]);
      from = i;
    }
  }

  #arm(): void {
    const pageCount = this.#mechanism.protectablePages(this.#memory.pageCount);
    this.#protectAll(pageCount);
    this.#armedPages = pageCount;
  }

  #protectAll(pageCount: number): void {
    if (pageCount === 0) return;
    this.#states.fill(PageState.clean, 0, pageCount);
    this.#mechanism.protect(0, pageCount - 1);
  }

  #open(first: number, last: number): void {
    if (last < first) return;
    this.#states.fill(PageState.dirty, first, last + 1);
    this.#mechanism.open(first, last);
  }
}
