import type { DeviceFile } from '../device/device.ts';
import { CorruptionError } from '../error/errors.ts';
import { ENTRY_WORDS, SLOT_BYTES } from '../format/paging-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import { PageFlag, type Frames } from './frames.ts';
import type { PageMap } from './page-map.ts';
import { checksumOfWords, damagedFile } from './page-damage.ts';
import type { PageProtection } from './page-protection.ts';
import type { PageTransfer } from './page-transfer.ts';

/** Sequences of faults that are followed at a time: a loop over a few arrays has one for each. */
const STREAMS = 8;
const AHEAD_FIRST = 2;
const AHEAD_MAX = 32;

/**
 * Fills frames: from the paging file, or with zeros. Where faults follow one another in memory it reads further, as
 * far as the pages lie in neighbouring slots, in the same system call: twice as far each time. Zeros are brought ahead
 * only where a fault costs more than a page: where `bringsZeros` says so.
 */
export class PageReader {
  pageIns = 0;
  readAheadPages = 0;
  /** Pages that the last `fill` read beyond the one asked for; they lie right behind it. */
  aheadCount = 0;
  /** The page whose fault would go on with a sequence, and how far was read ahead the last time; least recent use goes first. */
  readonly #expected = new Int32Array(STREAMS).fill(-1);
  readonly #windows = new Int32Array(STREAMS);
  readonly #used = new Float64Array(STREAMS);
  #clock = 0;
  readonly #aheadMax: number;
  readonly #pages = new Uint32Array(1 + AHEAD_MAX);
  readonly #memory: GuestMemory;
  readonly #file: DeviceFile;
  readonly #map: PageMap;
  readonly #transfer: PageTransfer;
  readonly #frames: Frames;

  readonly #protection: PageProtection | undefined;

  constructor(
    memory: GuestMemory,
    file: DeviceFile,
    map: PageMap,
    transfer: PageTransfer,
    frames: Frames,
    protection?: PageProtection,
  ) {
    this.#memory = memory;
    this.#protection = protection;
    this.#file = file;
    this.#map = map;
    this.#transfer = transfer;
    this.#frames = frames;
    // A few sequences at once must not push each other's pages out before they are used.
    this.#aheadMax = Math.min(AHEAD_MAX, frames.frameCount >>> 5);
  }

  /** How many pages behind this absent one are worth bringing with it: the frames that a `fill` may want besides its own. */
  planAhead(page: number, bringsZeros: boolean): number {
    const slot = this.#map.slotOf(page);
    const stream = this.#streamOf(page);
    const isSequence = this.#expected[stream] === page;
    const window = isSequence ? Math.min(this.#aheadMax, Math.max(AHEAD_FIRST, 2 * this.#windows[stream])) : 0;
    let count = 0;
    if (slot !== 0) while (count < window && this.#isNext(page + count + 1, slot + count + 1)) count += 1;
    else if (bringsZeros) while (count < window && this.#isNext(page + count + 1, 0)) count += 1;
    this.#expected[stream] = page + count + 1;
    this.#windows[stream] = window;
    this.#used[stream] = ++this.#clock;
    return count;
  }

  /**
   * Gives an absent page its contents, and as many behind it as asked for, by one read; all lie in neighbouring slots, or
   * hold zeros.
   * @throws CorruptionError: what is in a slot is not what was written; StorageError.
   */
  fill(page: number, aheadCount: number): void {
    const slot = this.#map.slotOf(page);
    const count = 1 + aheadCount;
    if (slot === 0) return this.#fillZeros(page, count);
    for (let i = 0; i < count; i++) this.#pages[i] = page + i;
    const checksums = this.#transfer.pageIn(this.#pages, count, slot);
    const { entries } = this.#map;
    for (let i = 0; i < count; i++) {
      const at = (page + i) * ENTRY_WORDS;
      const low = checksums?.[2 * i];
      const high = checksums?.[2 * i + 1];
      if (low !== entries[at + 2] || high !== entries[at + 3]) throw this.#damaged(page + i, low, high);
    }
    this.pageIns += count;
    this.readAheadPages += aheadCount;
  }

  #fillZeros(firstPage: number, count: number): void {
    if (this.#protection !== undefined) return this.#protection.arrivedAsZeros(firstPage, count);
    for (let page = firstPage; page < firstPage + count; page++) {
      if ((this.#frames.flags[page] & PageFlag.stale) === 0) continue;
      const from = BIAS_BYTES + page * PAGE_BYTES;
      this.#memory.bytes.fill(0, from, from + PAGE_BYTES);
    }
  }

  #isNext(page: number, slot: number): boolean {
    return page < this.#map.pageCount && this.#map.slotOf(page) === slot && !this.#frames.isResident(page);
  }

  /** The sequence that the page goes on with, or else the one that was used least recently. */
  #streamOf(page: number): number {
    let oldest = 0;
    for (let i = 0; i < STREAMS; i++) {
      if (this.#expected[i] === page) return i;
      if (this.#used[i] < this.#used[oldest]) oldest = i;
    }
    return oldest;
  }

  #damaged(page: number, low: number | undefined, high: number | undefined): CorruptionError {
    const { entries } = this.#map;
    const at = page * ENTRY_WORDS;
    const found = low === undefined || high === undefined ? 'beyond the end' : checksumOfWords(low, high);
    const expected = checksumOfWords(entries[at + 2], entries[at + 3]);
    return damagedFile(this.#file.path, entries[at] * SLOT_BYTES, `checksum of page ${page}`, expected, found);
  }
}
