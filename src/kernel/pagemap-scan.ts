/** The page table of this process as a list of pages: `PAGEMAP_SCAN` (Documentation/admin-guide/mm/pagemap.rst). Linux 6.7. */
import { addressOf, libraryCalls, openForReading, putWord, SystemRefusal } from './c-library.ts';

const PAGE_BYTES = 4096;
const PAGEMAP_SCAN = 0xc0606610;
const PM_SCAN_WP_MATCHING = 1;
const PM_SCAN_CHECK_WPASYNC = 2;
const PAGE_IS_WRITTEN = 1 << 1;
const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_SWAPPED = 1 << 4;
const PAGE_IS_PFNZERO = 1 << 5;

/** 32-bit words of `struct pm_scan_arg`, and of a `struct page_region`: start, end, categories. */
const SCAN_WORDS = 24;
const REGION_WORDS = 6;
const REGIONS_DEFAULT = 1024;
const TWO_32 = 0x1_0000_0000;
const PAGES_IN_TWO_32 = TWO_32 / PAGE_BYTES;

export class PagemapScan {
  /** Pages that were found, ascending, in its first `count` elements. */
  pages = new Uint32Array(1024);
  count = 0;
  readonly #descriptor: number;
  readonly #words = new Uint32Array(SCAN_WORDS);
  /** Where the system puts what it finds: kept referenced, since it is given the address. */
  readonly #regions: Uint32Array;

  /** `regionsMax`: how much one call finds; a scan makes as many as it needs. */
  constructor(regionsMax = REGIONS_DEFAULT) {
    this.#regions = new Uint32Array(REGION_WORDS * regionsMax);
    putWord(this.#words, 0, 4 * SCAN_WORDS);
    putWord(this.#words, 10, addressOf(this.#regions));
    putWord(this.#words, 12, regionsMax);
    this.#descriptor = openForReading('/proc/self/pagemap');
  }

  /** Forgets what was found. */
  clear(): void {
    this.count = 0;
  }

  /** Adds the pages that were written since they were protected, and protects them again, in one step for each. */
  addWritten(address: number, fromPage: number, toPage: number): void {
    const words = this.#words;
    putWord(words, 2, PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC);
    words[16] = 0;
    words[18] = PAGE_IS_WRITTEN;
    words[20] = 0;
    words[22] = PAGE_IS_WRITTEN;
    this.#scan(address, fromPage, toPage);
  }

  /** Adds the pages, none of them ever protected, that hold something of their own: those that were only read do not. */
  addUsed(address: number, fromPage: number, toPage: number): void {
    const words = this.#words;
    putWord(words, 2, 0);
    words[16] = PAGE_IS_PFNZERO;
    words[18] = PAGE_IS_PFNZERO;
    words[20] = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;
    words[22] = PAGE_IS_PRESENT;
    this.#scan(address, fromPage, toPage);
  }

  close(): void {
    libraryCalls().close(this.#descriptor);
  }

  #scan(address: number, fromPage: number, toPage: number): void {
    const words = this.#words;
    const regions = this.#regions;
    const { ioctl, errno } = libraryCalls();
    const basePage = address / PAGE_BYTES;
    const end = address + toPage * PAGE_BYTES;
    let at = address + fromPage * PAGE_BYTES;
    putWord(words, 6, end);
    while (at < end) {
      putWord(words, 4, at);
      const found = Number(ioctl(this.#descriptor, PAGEMAP_SCAN, words));
      if (found < 0) throw new SystemRefusal('PAGEMAP_SCAN', errno());
      for (let i = 0, word = 0; i < found; i++, word += REGION_WORDS) {
        const first = (regions[word] >>> 12) + regions[word + 1] * PAGES_IN_TWO_32 - basePage;
        const past = (regions[word + 2] >>> 12) + regions[word + 3] * PAGES_IN_TWO_32 - basePage;
        this.#add(first, past);
      }
      // Where there was no more room it stopped before the end.
      at = words[8] + words[9] * TWO_32;
    }
  }

  #add(first: number, past: number): void {
    const needed = this.count + past - first;
    if (needed > this.pages.length) {
      const longer = new Uint32Array(2 * needed);
      longer.set(this.pages);
      this.pages = longer;
    }
    const { pages } = this;
    let { count } = this;
    for (let page = first; page < past; page++) pages[count++] = page;
    this.count = count;
  }
}
