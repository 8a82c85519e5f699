/**
 * The page map: for each page of the guest the slot that holds it.
 *
 * Definitions (paper, sections 3 and 4). The *working set* are the slots that hold the newest paged-out contents, the
 * *shadow set* those that the last committed checkpoint needs and the working set has left. A slot is *frozen* when
 * the last committed checkpoint needs it. An entry carries the generation of the checkpoint that wrote its slot, so
 * "frozen" is "its generation is committed", and a freeze of all working slots is the raising of one number.
 *
 * Invariants, of which this module keeps its part and `Store` the rest:
 *
 * (1) A frozen slot is never overwritten: a frozen page gets a new slot, and its old one joins the shadow set.
 * (2) A slot is reused only after a checkpoint that does not need it is durable: shadows are released behind the
 *     barrier, and slots that no committed checkpoint knows may be released at once.
 * (3) At every instant exactly one newest committed checkpoint is recoverable, whatever subset of unsynced writes the
 *     medium kept.
 * (4) At most twice the image is in use: a page has at most one working and one shadow slot.
 * (5) A page that is all zeros has no slot.
 *
 * Where checkpoints before the newest are retained (`checkpoint/retained.ts`), (1) and (2) hold for every one of them: a slot
 * that any retained checkpoint names is not overwritten, and what a commit would release goes to the checkpoint before it
 * instead, which keeps it as long as it is retained itself. (3) then says: the newest, with all that it retains. (4) holds
 * for the newest; each retained one adds what only it and those before it name, at most an image.
 */
import { assert } from '../error/errors.ts';
import { ENTRY_WORDS, MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { SlotAllocator } from './slot-allocator.ts';

/** Who gets the slots that a commit has replaced: the free ones, or a checkpoint that is retained. */
export interface SlotHeir {
  release(slot: number): void;
}

export class PageMap {
  pageCount = 0;
  /** The generation of the last durable checkpoint; entries up to it are frozen. */
  committedGeneration = 0;
  workingCount = 0;
  /** Those of the working slots that are newer than the last durable checkpoint, and in the next one. */
  freshCount = 0;
  /** Four words for each page, in the order of the file: slot, generation, checksum low, checksum high. */
  entries = new Uint32Array(0);
  readonly #slots: SlotAllocator;
  #shadowSlots = new Uint32Array(0);
  /** The pages that have a shadow slot, so that releasing them costs no more than making them. */
  #shadowPages = new Uint32Array(256);
  #shadowCount = 0;
  /** Pages whose entry changed since the map was last written; a page may stand here more than once. */
  #changedPages = new Uint32Array(256);
  changedCount = 0;

  constructor(slots: SlotAllocator) {
    this.#slots = slots;
  }

  get shadowCount(): number {
    return this.#shadowCount;
  }

  /** The first `changedCount` elements are meant; valid until the next `place`. */
  get changedPages(): Uint32Array {
    return this.#changedPages;
  }

  /** Makes room for a guest of so many pages; new ones are zero pages. A guest never shrinks. */
  grow(pageCount: number): void {
    assert(pageCount >= this.pageCount && pageCount <= MAPPED_PAGES_MAX, `page count ${pageCount} out of range`);
    if (pageCount > this.#shadowSlots.length) {
      const capacity = Math.min(MAPPED_PAGES_MAX, Math.max(pageCount, 2 * this.#shadowSlots.length, 256));
      const entries = new Uint32Array(capacity * ENTRY_WORDS);
      entries.set(this.entries);
      this.entries = entries;
      const shadowSlots = new Uint32Array(capacity);
      shadowSlots.set(this.#shadowSlots);
      this.#shadowSlots = shadowSlots;
    }
    this.pageCount = pageCount;
  }

  slotOf(page: number): number {
    return this.entries[page * ENTRY_WORDS];
  }

  checksumLowOf(page: number): number {
    return this.entries[page * ENTRY_WORDS + 2];
  }

  checksumHighOf(page: number): number {
    return this.entries[page * ENTRY_WORDS + 3];
  }

  generationOf(page: number): number {
    return this.entries[page * ENTRY_WORDS + 1];
  }

  shadowSlotOf(page: number): number {
    return this.#shadowSlots[page];
  }

  /** Gives a page a slot that was just taken for it; slot 0 with checksum 0: the page is all zeros now. */
  place(page: number, slot: number, generation: number, checksumLow: number, checksumHigh: number): void {
    const at = page * ENTRY_WORDS;
    const entries = this.entries;
    const oldSlot = entries[at];
    if (oldSlot !== 0) {
      this.workingCount -= 1;
      if (entries[at + 1] <= this.committedGeneration) this.#keepShadow(page, oldSlot);
      else {
        this.freshCount -= 1;
        this.#slots.release(oldSlot);
      }
    }
    entries[at] = slot;
    entries[at + 1] = generation;
    entries[at + 2] = checksumLow;
    entries[at + 3] = checksumHigh;
    if (slot !== 0) {
      this.workingCount += 1;
      this.freshCount += 1;
    }
    if (this.changedCount === this.#changedPages.length) this.#changedPages = doubled(this.#changedPages);
    this.#changedPages[this.changedCount++] = page;
  }

  /** Takes over an entry that a checkpoint holds, while the map is being rebuilt. */
  restore(page: number, words: Uint32Array, at: number): void {
    const to = page * ENTRY_WORDS;
    const entries = this.entries;
    if (entries[to] !== 0) this.workingCount -= 1;
    if (words[at] !== 0) this.workingCount += 1;
    entries[to] = words[at];
    entries[to + 1] = words[at + 1];
    entries[to + 2] = words[at + 2];
    entries[to + 3] = words[at + 3];
  }

  /**
   * Freezes the working set: the barrier of this generation has returned, the shadow set is needed no more by the newest
   * checkpoint, and goes to `heir`.
   */
  commit(generation: number, heir: SlotHeir = this.#slots): void {
    assert(generation > this.committedGeneration, `generation ${generation} is not newer than the committed one`);
    this.committedGeneration = generation;
    this.freshCount = 0;
    for (let i = 0; i < this.#shadowCount; i++) {
      const page = this.#shadowPages[i];
      heir.release(this.#shadowSlots[page]);
      this.#shadowSlots[page] = 0;
    }
    this.#shadowCount = 0;
  }

  /** The part of the invariants that this module keeps; costs a walk over all pages. */
  assertInvariants(): void {
    let working = 0;
    let shadows = 0;
    let fresh = 0;
    for (let page = 0; page < this.pageCount; page++) {
      const slot = this.slotOf(page);
      const shadow = this.#shadowSlots[page];
      if (slot !== 0) {
        working += 1;
        if (this.generationOf(page) > this.committedGeneration) fresh += 1;
        assert(this.#slots.isUsed(slot), `(1) page ${page} names slot ${slot}, which is free`);
      }
      if (shadow !== 0) {
        shadows += 1;
        assert(this.#slots.isUsed(shadow), `(2) the shadow slot ${shadow} of page ${page} was released too early`);
        assert(shadow !== slot, `(1) page ${page} works in its frozen slot ${slot}`);
        assert(this.generationOf(page) > this.committedGeneration, `(2) page ${page} has a shadow but no newer slot`);
      }
    }
    assert(working === this.workingCount, `(4) ${working} working slots, counted as ${this.workingCount}`);
    assert(shadows === this.#shadowCount, `(4) ${shadows} shadow slots, counted as ${this.#shadowCount}`);
    assert(fresh === this.freshCount, `${fresh} slots are newer than the checkpoint, counted as ${this.freshCount}`);
    assert(working + shadows <= 2 * this.pageCount, `(4) more than twice the image is in use`);
  }

  #keepShadow(page: number, slot: number): void {
    assert(this.#shadowSlots[page] === 0, 'a page leaves a second frozen slot');
    this.#shadowSlots[page] = slot;
    if (this.#shadowCount === this.#shadowPages.length) this.#shadowPages = doubled(this.#shadowPages);
    this.#shadowPages[this.#shadowCount++] = page;
  }
}

function doubled(list: Uint32Array): Uint32Array<ArrayBuffer> {
  const longer = new Uint32Array(2 * list.length);
  longer.set(list);
  return longer;
}
