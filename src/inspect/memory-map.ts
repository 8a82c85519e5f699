import { PAGE_BYTES } from '../memory/layout.ts';
import type { PageContents } from './checkpoint-view.ts';

/** Ranges that a map has at most, so that it stays readable for the largest memory. */
const RANGES_MAX = 512;

/** What a checkpoint says of a range of pages; each page counts as zero or as frozen, and may be dirty besides. */
export interface PageCounts {
  readonly pages: number;
  /** Hold nothing but zeros, and take no room. */
  readonly zero: number;
  /** Held by the checkpoint, in slots or files that nothing overwrites while it counts. */
  readonly frozen: number;
  /** Written by the program since the checkpoint before: those that this checkpoint itself saved. */
  readonly dirty: number;
}

export interface MemoryRange extends PageCounts {
  readonly address: number;
}

/** The guest's memory as a checkpoint holds it. */
export interface MemoryMap extends PageCounts {
  /** Pages in memory when it was taken; undefined where all were. */
  readonly resident: number | undefined;
  /** Pages of a range; the last one may have fewer. */
  readonly rangePages: number;
  readonly ranges: readonly MemoryRange[];
}

export function memoryMapOf(contents: PageContents, generation: number, resident: number | undefined): MemoryMap {
  const { pageCount } = contents;
  let rangePages = 1;
  while (pageCount > rangePages * RANGES_MAX) rangePages *= 2;
  const ranges: MemoryRange[] = [];
  const total = { pages: pageCount, zero: 0, frozen: 0, dirty: 0 };
  for (let first = 0; first < pageCount; first += rangePages) {
    const end = Math.min(pageCount, first + rangePages);
    let zero = 0;
    let dirty = 0;
    for (let page = first; page < end; page++) {
      if (contents.isZero(page)) zero += 1;
      if (contents.generationOf(page) === generation) dirty += 1;
    }
    const frozen = end - first - zero;
    ranges.push({ address: first * PAGE_BYTES, pages: end - first, zero, frozen, dirty });
    total.zero += zero;
    total.frozen += frozen;
    total.dirty += dirty;
  }
  return { ...total, resident, rangePages, ranges };
}
