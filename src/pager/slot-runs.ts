import { ENTRY_WORDS } from '../format/paging-format.ts';
import type { PageMap } from './page-map.ts';

/** Stands in a run for a slot that holds no page of interest. */
export const NO_PAGE = 0xffffffff;
/** So many slots of no interest are read along: that costs less (0.5 µs each) than a read of its own for what follows. */
const GAP_SLOTS_MAX = 4;

/** Walks the slots of a page map in the order of the file, in runs that one read can fetch. */
export class SlotRuns {
  /** First slot of the run found by the last `next`, and its length. */
  slot = 0;
  count = 0;
  /** The pages that the run's slots hold, slot by slot; `NO_PAGE` for slots that are only read along. */
  readonly pages: Uint32Array;
  /** Page + 1 for each slot of interest, 0 for the others. */
  readonly #owners: Uint32Array;
  #next = 0;

  /** `generation`: only slots that this checkpoint wrote; undefined: all. */
  constructor(map: PageMap, slotCount: number, runLengthMax: number, generation?: number) {
    this.pages = new Uint32Array(runLengthMax);
    this.#owners = new Uint32Array(slotCount);
    const { entries, pageCount } = map;
    for (let page = 0, at = 0; page < pageCount; page++, at += ENTRY_WORDS) {
      if (entries[at] !== 0 && (generation === undefined || entries[at + 1] === generation)) {
        this.#owners[entries[at]] = page + 1;
      }
    }
  }

  /** Moves to the next run; false when there is none. */
  next(): boolean {
    const owners = this.#owners;
    let slot = this.#next;
    while (slot < owners.length && owners[slot] === 0) slot += 1;
    this.slot = slot;
    const { pages } = this;
    let count = 0;
    let gap = 0;
    for (let i = 0; i < pages.length && slot + i < owners.length && gap <= GAP_SLOTS_MAX; i++) {
      const owner = owners[slot + i];
      pages[i] = owner === 0 ? NO_PAGE : owner - 1;
      gap = owner === 0 ? gap + 1 : 0;
      if (owner !== 0) count = i + 1;
    }
    this.count = count;
    this.#next = slot + count;
    return count > 0;
  }
}
