import { BIAS_BYTES, controlRegion, PAGE_BYTES } from '../memory/layout.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { PageKernels } from '../format/page-kernels.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import type { DeviceFile } from '../device/device.ts';
import type { PageMap } from './page-map.ts';
import type { PageProtection } from './page-protection.ts';
import type { SlotAllocator } from './slot-allocator.ts';

/** Pages that the staging area holds. */
const STAGED_PAGES_MAX = controlRegion.stagingBytes / PAGE_BYTES;
/** Neighbours from this many on are written from where they lie; fewer are cheaper copied (0.2 µs) than written alone (1.9 µs). */
const DIRECT_PAGES_MIN = 16;
/** Pages examined by one call of the kernel: their indices and results fill the scratch area. */
const EXAMINED_PAGES_MAX = 2048;
const RESULTS = controlRegion.scratch + 4 * EXAMINED_PAGES_MAX;
const RESULT_WORDS = 4;

/** What a page-out of many pages came to. */
export interface PageOutCounts {
  pagesWritten: number;
  zeroPages: number;
}

/**
 * Moves pages between the guest's memory and slots of the paging file, as few system calls as the slots allow: slots
 * are taken in runs, a run is one write. Pages that are neighbours in memory too are written from where they lie, others
 * are gathered in the staging area first.
 */
export class PageTransfer {
  /** System calls that moved pages. */
  writeCount = 0;
  readCount = 0;
  readonly #memory: GuestMemory;
  readonly #kernels: PageKernels;
  readonly #file: DeviceFile;
  readonly #map: PageMap;
  readonly #slots: SlotAllocator;

  /** Views of the control region, which growth leaves where they are. */
  readonly #indices: Uint32Array;
  readonly #results: Uint32Array;
  readonly #staged: Uint8Array;
  readonly #stagedPage: Uint8Array;
  readonly #protection: PageProtection | undefined;

  constructor(
    memory: GuestMemory,
    kernels: PageKernels,
    file: DeviceFile,
    map: PageMap,
    slots: SlotAllocator,
    protection?: PageProtection,
  ) {
    this.#protection = protection;
    this.#memory = memory;
    const { buffer } = memory.memory;
    const { scratch, staging, stagingBytes } = controlRegion;
    this.#indices = new Uint32Array(buffer, scratch, EXAMINED_PAGES_MAX);
    this.#results = new Uint32Array(buffer, RESULTS, RESULT_WORDS * EXAMINED_PAGES_MAX);
    this.#staged = new Uint8Array(buffer, staging, stagingBytes);
    this.#stagedPage = this.#staged.subarray(0, PAGE_BYTES);
    this.#kernels = kernels;
    this.#file = file;
    this.#map = map;
    this.#slots = slots;
  }

  /** Writes the listed pages (ascending) to new slots of a generation and enters them in the map. Does not sync. */
  pageOut(pages: Uint32Array, count: number, generation: number, softLimit: number): PageOutCounts {
    const counts: PageOutCounts = { pagesWritten: 0, zeroPages: 0 };
    const examinedMax = this.#protection === undefined ? EXAMINED_PAGES_MAX : STAGED_PAGES_MAX;
    for (let from = 0; from < count; from += examinedMax) {
      const examined = Math.min(examinedMax, count - from);
      const solid = this.#examine(pages, from, examined, generation);
      counts.zeroPages += examined - solid;
      counts.pagesWritten += solid;
      this.#writeExamined(solid, generation, softLimit);
    }
    return counts;
  }

  /**
   * Gives the listed pages (ascending) slots of a generation and enters them in the map, with the checksums of what they hold now,
   * but leaves the writing to somebody else: the pages that are to be written and their slots go to the front of `pages` and to
   * `targets`. Returns how many those are; the others hold only zeros.
   */
  placeForLater(
    pages: Uint32Array,
    count: number,
    targets: Uint32Array,
    generation: number,
    softLimit: number,
  ): number {
    const indices = this.#indices;
    const results = this.#results;
    let placed = 0;
    for (let from = 0; from < count; from += EXAMINED_PAGES_MAX) {
      const solid = this.#examine(pages, from, Math.min(EXAMINED_PAGES_MAX, count - from), generation);
      let next = 0;
      while (next < solid) {
        const slot = this.#slots.takeRun(solid - next, softLimit);
        const end = next + this.#slots.runLength;
        for (let i = next; i < end; i++) {
          const at = i * RESULT_WORDS;
          this.#map.place(indices[i], slot + i - next, generation, results[at], results[at + 1]);
          pages[placed] = indices[i];
          targets[placed++] = slot + i - next;
        }
        next = end;
      }
    }
    return placed;
  }

  /**
   * Checksums a part of the list, enters its zero pages in the map and leaves the indices of the others, with their
   * results beside them, at the start of the scratch area; returns how many those are.
   */
  #examine(pages: Uint32Array, from: number, count: number, generation: number): number {
    const indices = this.#indices;
    const results = this.#results;
    const { staging, scratch } = controlRegion;
    const isStaged = this.#protection !== undefined;
    if (isStaged) {
      this.#protection.stage(pages, from, count, staging);
      for (let i = 0; i < count; i++) indices[i] = i;
    } else for (let i = 0; i < count; i++) indices[i] = pages[from + i];
    this.#kernels.examinePages(scratch, count, isStaged ? staging : BIAS_BYTES, RESULTS);
    let solid = 0;
    for (let i = 0; i < count; i++) {
      const result = i * RESULT_WORDS;
      const page = pages[from + i];
      if (results[result + 2] !== 0) {
        // A zero page that had no slot before is where it should be: its entry need not be written.
        if (this.#map.slotOf(page) !== 0) this.#map.place(page, 0, generation, 0, 0);
        continue;
      }
      indices[solid] = page;
      if (isStaged && solid !== i) {
        this.#staged.copyWithin(solid * PAGE_BYTES, i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      }
      results[solid * RESULT_WORDS] = results[result];
      results[solid * RESULT_WORDS + 1] = results[result + 1];
      solid += 1;
    }
    return solid;
  }

  #writeExamined(count: number, generation: number, softLimit: number): void {
    const indices = this.#indices;
    const results = this.#results;
    let next = 0;
    while (next < count) {
      const slot = this.#slots.takeRun(count - next, softLimit);
      const end = next + this.#slots.runLength;
      this.#writeRun(indices, next, end, slot);
      for (let i = next; i < end; i++) {
        const result = i * RESULT_WORDS;
        this.#map.place(indices[i], slot + i - next, generation, results[result], results[result + 1]);
      }
      next = end;
    }
  }

  /** Writes the pages `indices[from … to − 1]` to the slots from `slot` on. */
  #writeRun(indices: Uint32Array, from: number, to: number, slot: number): void {
    if (this.#protection !== undefined) return this.#writeStaged(from, to - from, slot);
    let staged = from;
    let next = from;
    while (next < to) {
      let end = next + 1;
      while (end < to && indices[end] === indices[end - 1] + 1) end += 1;
      if (end - next >= DIRECT_PAGES_MIN) {
        this.#writeGathered(staged, next, slot + staged - from);
        const atBytes = BIAS_BYTES + indices[next] * PAGE_BYTES;
        const endBytes = atBytes + (end - next) * PAGE_BYTES;
        const view = this.#memory.bytesUpTo(endBytes).subarray(atBytes, endBytes);
        this.#file.write(view, (slot + next - from) * SLOT_BYTES);
        this.writeCount += 1;
        staged = end;
      }
      next = end;
    }
    this.#writeGathered(staged, to, slot + staged - from);
  }

  /** Gathers and writes the pages that stand at `from … to − 1` of the scratch list. */
  #writeGathered(from: number, to: number, slot: number): void {
    const { staging, scratch } = controlRegion;
    for (let next = from; next < to; next += STAGED_PAGES_MAX) {
      const count = Math.min(STAGED_PAGES_MAX, to - next);
      this.#kernels.gatherPages(scratch + 4 * next, count, BIAS_BYTES, staging);
      this.#writeStaged(0, count, slot + next - from);
    }
  }

  #writeStaged(first: number, count: number, slot: number): void {
    const view = this.#staged.subarray(first * PAGE_BYTES, (first + count) * PAGE_BYTES);
    this.#file.write(view, slot * SLOT_BYTES);
    this.writeCount += 1;
  }

  /**
   * Reads slots `slot … slot + count − 1` into the listed pages (see `SlotRuns`) and returns the checksums of what was read (at its start, two
   * words each, in the control region until the next call), or undefined where the file ends before them.
   * At most `STAGED_PAGES_MAX` at once. Where the guest is kept from pages by the kernel they cannot be written at their
   * places, and lie in the staging area when this returns.
   */
  pageIn(pages: Uint32Array, count: number, slot: number): Uint32Array | undefined {
    const { staging, scratch } = controlRegion;
    let adjacent = this.#protection === undefined;
    for (let i = 1; i < count && adjacent; i++) adjacent = pages[i] === pages[i - 1] + 1;
    const atBytes = adjacent ? BIAS_BYTES + pages[0] * PAGE_BYTES : staging;
    const endBytes = atBytes + count * PAGE_BYTES;
    const isOneStaged = count === 1 && !adjacent;
    const view = isOneStaged ? this.#stagedPage : this.#memory.bytesUpTo(endBytes).subarray(atBytes, endBytes);
    this.readCount += 1;
    if (this.#file.readInto(view, slot * SLOT_BYTES) < view.length) return undefined;
    this.#kernels.checksumRun(atBytes, count, RESULTS);
    if (this.#protection !== undefined) this.#protection.arrived(pages[0], count, staging);
    else if (!adjacent) {
      for (let i = 0; i < count; i++) this.#indices[i] = pages[i];
      this.#kernels.scatterPages(staging, scratch, count, BIAS_BYTES);
    }
    return this.#results;
  }
}

/** The longest run of slots that `pageIn` takes. */
export const PAGE_IN_PAGES_MAX = STAGED_PAGES_MAX;
