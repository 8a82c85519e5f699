import { addressOf } from '../kernel/c-library.ts';
import { PagemapScan } from '../kernel/pagemap-scan.ts';
import { WriteNotes } from '../kernel/write-notes.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import type { DirtyTracker } from './dirty-tracker.ts';

const NO_PAGES = new Uint32Array(0);

/**
 * The tracker that asks the system which pages were written: the guest's code holds no marks, and every page that anybody
 * wrote is found, no other.
 *
 * The engine reserves the address space of the largest memory at once, so all of it is registered at the start and the
 * address never changes. Invariants:
 *
 * (1) The pages below `#protectedCount` that are not protected have been written since they were protected.
 * (2) Pages from there on have never been protected: those that hold something of their own were written.
 * (3) What was found and not `rearm`ed is found again.
 */
export class KernelTracker implements DirtyTracker {
  pages: Uint32Array = NO_PAGES;
  readonly #address: number;
  readonly #notes: WriteNotes;
  readonly #scan: PagemapScan;
  #protectedCount = 0;
  /** Found in earlier scans and to be found again, ascending. */
  #kept: Uint32Array = NO_PAGES;
  /** Whether there was a `collect` since the last `rearm`, and what it found. */
  #isCollected = false;
  #collectedCount = 0;

  /**
   * `pagesMax`: the pages of the largest memory that the guest can have.
   * @throws SystemRefusal, Error: the system does not do it.
   */
  constructor(memory: GuestMemory, pagesMax: number, regionsMax?: number) {
    this.#address = addressOf(memory.bytes) + BIAS_BYTES;
    this.#scan = new PagemapScan(regionsMax);
    try {
      this.#notes = new WriteNotes(this.#address, pagesMax * PAGE_BYTES);
    } catch (error) {
      this.#scan.close();
      throw error;
    }
  }

  collect(pageCount: number): number {
    if (this.#isCollected) this.#kept = this.pages.slice(0, this.#collectedCount).sort();
    const scan = this.#scan;
    scan.clear();
    scan.addWritten(this.#address, 0, Math.min(pageCount, this.#protectedCount));
    if (pageCount > this.#protectedCount) {
      scan.addUsed(this.#address, this.#protectedCount, pageCount);
      this.#protect(this.#protectedCount, pageCount);
    }
    this.pages = scan.pages;
    this.#collectedCount = scan.count;
    if (this.#kept.length > 0) this.#addKept();
    this.#isCollected = true;
    return this.#collectedCount;
  }

  rearm(pageCount: number, collected: Uint32Array, count: number, keptEnd = count): void {
    // All that was written so far is known to the caller without having been collected: it was loaded, or all of it is saved.
    if (!this.#isCollected && pageCount > 0) this.#protect(0, pageCount);
    this.#isCollected = false;
    this.#kept = keptEnd > count ? collected.slice(count, keptEnd).sort() : NO_PAGES;
  }

  close(): void {
    this.#notes.close();
    this.#scan.close();
  }

  #protect(fromPage: number, toPage: number): void {
    this.#notes.protect(this.#address + fromPage * PAGE_BYTES, (toPage - fromPage) * PAGE_BYTES);
    this.#protectedCount = Math.max(this.#protectedCount, toPage);
  }

  /** Merges what is kept into what was found. */
  #addKept(): void {
    const kept = this.#kept;
    const found = this.pages;
    const foundCount = this.#collectedCount;
    const merged = new Uint32Array(foundCount + kept.length);
    let count = 0;
    let i = 0;
    let k = 0;
    while (i < foundCount || k < kept.length) {
      const a = i < foundCount ? found[i] : Infinity;
      const b = k < kept.length ? kept[k] : Infinity;
      if (a <= b) i += 1;
      if (b <= a) k += 1;
      merged[count++] = Math.min(a, b);
    }
    this.pages = merged;
    this.#collectedCount = count;
  }
}
