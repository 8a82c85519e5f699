import type { PageKernels } from '../format/page-kernels.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, controlRegion, PAGE_BYTES, PageState } from '../memory/layout.ts';
import { StateScan } from './state-scan.ts';

/** Knows which pages the guest wrote. One implementation for each mechanism; all find the same pages or more. */
export interface DirtyTracker {
  /** Indices of the pages found by the last `collect`, ascending, in its first elements; reused by the next call. */
  readonly pages: Uint32Array;
  /** Whether it knows what was written before the first checkpoint, too: other pages hold zeros then. */
  readonly knowsAll?: boolean;
  /** Finds the pages written since the last `rearm`, among the first `pageCount`; returns how many. */
  collect(pageCount: number): number;
  /**
   * Starts anew: the first `count` of what was collected are clean, those behind them up to `keptEnd` stay dirty. Called while the
   * guest is stopped, with what `collect` found.
   */
  rearm(pageCount: number, collected: Uint32Array, count: number, keptEnd?: number): void;
  /** Gives back what it has of the system, where that is anything. */
  close?(): void;
}

/** Knows nothing: every page counts as written, at each checkpoint. */
export class WholeImage implements DirtyTracker {
  pages = new Uint32Array(0);

  collect(pageCount: number): number {
    if (this.pages.length < pageCount) this.pages = allPages(pageCount);
    return pageCount;
  }

  rearm(): void {
    // There is nothing to note.
  }
}

export function allPages(pageCount: number): Uint32Array<ArrayBuffer> {
  const pages = new Uint32Array(pageCount);
  for (let page = 0; page < pageCount; page++) pages[page] = page;
  return pages;
}

const HEAD_WORDS = 4;
const PAGE_WORDS = PAGE_BYTES / 4;

/**
 * The tracker that works everywhere: each store of the rewritten guest sets the state byte of its first page.
 *
 * A store is at most 16 bytes long, so it may reach at most 15 bytes into the next page without marking it. Therefore
 * the tracker keeps the first 16 bytes of every page, its *head*, and looks behind each dirty page whether the next
 * one's head has changed.
 *
 * Invariant: the head of a page holds the page's first 16 bytes as they were when the page was last collected, or
 * loaded, or zeros if neither ever happened.
 *
 * Heads lie in a typed array of this side and not in the control region, where 4 GiB of guest would need 16 MiB of
 * room; a comparison is four loads of a page that is about to be read in full if they differ.
 */
export class SoftwareTracker implements DirtyTracker {
  pages = new Uint32Array(1024);
  #heads = new Uint32Array(0);
  readonly #memory: GuestMemory;
  readonly #scan: StateScan;

  constructor(memory: GuestMemory, kernels: PageKernels) {
    this.#memory = memory;
    this.#scan = new StateScan(memory, kernels);
  }

  collect(pageCount: number): number {
    this.#growHeads(pageCount);
    const scannedCount = this.#scan.scan(pageCount);
    const scanned = this.#scan.pages;
    if (this.pages.length < 2 * scannedCount) this.pages = new Uint32Array(2 * scanned.length);
    const { pages } = this;
    const words = new Uint32Array(this.#memory.memory.buffer);
    const heads = this.#heads;
    let count = 0;
    for (let i = 0; i < scannedCount; i++) {
      const page = scanned[i];
      pages[count++] = page;
      const next = page + 1;
      if (next === pageCount || (i + 1 < scannedCount && scanned[i + 1] === next)) continue;
      const at = BIAS_BYTES / 4 + next * PAGE_WORDS;
      const head = next * HEAD_WORDS;
      if (
        words[at] !== heads[head] ||
        words[at + 1] !== heads[head + 1] ||
        words[at + 2] !== heads[head + 2] ||
        words[at + 3] !== heads[head + 3]
      ) {
        pages[count++] = next;
      }
    }
    return count;
  }

  rearm(pageCount: number, collected: Uint32Array, count: number, keptEnd = count): void {
    this.#growHeads(pageCount);
    const { bytes } = this.#memory;
    bytes.fill(PageState.clean, controlRegion.pageStates, controlRegion.pageStates + pageCount);
    for (let i = count; i < keptEnd; i++) bytes[controlRegion.pageStates + collected[i]] = PageState.dirty;
    const words = new Uint32Array(this.#memory.memory.buffer);
    const heads = this.#heads;
    for (let i = 0; i < count; i++) {
      const at = BIAS_BYTES / 4 + collected[i] * PAGE_WORDS;
      const head = collected[i] * HEAD_WORDS;
      heads[head] = words[at];
      heads[head + 1] = words[at + 1];
      heads[head + 2] = words[at + 2];
      heads[head + 3] = words[at + 3];
    }
  }

  #growHeads(pageCount: number): void {
    if (pageCount * HEAD_WORDS <= this.#heads.length) return;
    const heads = new Uint32Array(Math.max(pageCount * HEAD_WORDS, 2 * this.#heads.length));
    heads.set(this.#heads);
    this.#heads = heads;
  }
}
