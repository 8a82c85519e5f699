import type { PageKernels } from '../format/page-kernels.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { controlRegion } from '../memory/layout.ts';

const SCAN_CAPACITY = controlRegion.scratchBytes / 4;

/** Finds the pages whose state byte is set; the kernel's room holds a part of a large set. */
export class StateScan {
  /** Ascending, in its first elements; reused by the next scan. */
  pages = new Uint32Array(1024);
  readonly #memory: GuestMemory;
  readonly #kernels: PageKernels;

  constructor(memory: GuestMemory, kernels: PageKernels) {
    this.#memory = memory;
    this.#kernels = kernels;
  }

  /** Looks at the first `pageCount` pages; returns how many it found. */
  scan(pageCount: number): number {
    const { pageStates, scratch } = controlRegion;
    const found = new Uint32Array(this.#memory.memory.buffer, scratch, SCAN_CAPACITY);
    let count = 0;
    let from = 0;
    for (;;) {
      const foundCount = this.#kernels.scanStates(pageStates, from, pageCount, scratch, SCAN_CAPACITY);
      if (count + foundCount > this.pages.length) {
        const pages = new Uint32Array(2 * (count + foundCount));
        pages.set(this.pages);
        this.pages = pages;
      }
      this.pages.set(foundCount === SCAN_CAPACITY ? found : found.subarray(0, foundCount), count);
      count += foundCount;
      if (foundCount < SCAN_CAPACITY) return count;
      from = this.pages[count - 1] + 1;
    }
  }
}
