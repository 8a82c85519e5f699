import { assert } from '../error/errors.ts';

/** A run that is worth a write of its own: 64 slots, 256 KiB. Shorter ones are taken when no such run is free. */
const GOOD_RUN_SLOTS = 64;
const GROWTH_SLOTS_MIN = 256;
/** A run of so many has eight free slots that fill a byte of the bits. */
const BYTE_RUN_SLOTS = 15;
const BYTE_LOWEST = 0x0101_0101;
const BYTE_HIGHEST = 0x8080_8080;

/**
 * Which slots of the paging file are in use, and runs of free ones on demand.
 *
 * A bit per slot, 1 = in use. Slots are searched from where the last search ended, so that neighbours in time become
 * neighbours in the file. The file grows rather than be filled with single slots, up to a limit the caller sets.
 */
export class SlotAllocator {
  /** Slots of the file, free ones included. */
  slotCount: number;
  usedCount: number;
  /** Length of the run that `takeRun` returned last; a second result without an object per call. */
  runLength = 0;
  #bits: Uint32Array;
  #cursor: number;
  #fragmented = false;
  readonly #firstSlot: number;
  /** Called before slots behind the file's end are given out; there is none while a file is only read. */
  growFile: ((slotCount: number) => void) | undefined;

  constructor(firstSlot: number, slotCount: number) {
    this.slotCount = Math.max(slotCount, firstSlot);
    this.#bits = new Uint32Array(((this.slotCount + 31) >>> 5) + 1);
    this.#firstSlot = firstSlot;
    this.#cursor = firstSlot;
    for (let slot = 0; slot < firstSlot; slot++) this.#set(slot);
    this.usedCount = firstSlot;
  }

  /** The first slot behind all that are in use. */
  get usedEnd(): number {
    let end = this.slotCount;
    while (end > this.#firstSlot && !this.isUsed(end - 1)) end -= 1;
    return end;
  }

  isUsed(slot: number): boolean {
    return (this.#bits[slot >>> 5] & (1 << (slot & 31))) !== 0;
  }

  /** Marks a slot that a checkpoint names; false when it is outside of the file, reserved or already named. */
  claim(slot: number): boolean {
    if (slot < this.#firstSlot || slot >= this.slotCount || this.isUsed(slot)) return false;
    this.#set(slot);
    this.usedCount += 1;
    return true;
  }

  release(slot: number): void {
    assert(
      slot >= this.#firstSlot && slot < this.slotCount && this.isUsed(slot),
      'a slot is released that is not in use',
    );
    this.#bits[slot >>> 5] &= ~(1 << (slot & 31));
    this.usedCount -= 1;
  }

  /** To be called before the requests of one commit: forget that good runs were not to be had. */
  startSearch(): void {
    this.#fragmented = false;
  }

  /**
   * Takes a run of at most `wanted` free slots, `runLength` of them, and returns the first.
   * Beyond `softLimit` slots the file grows only when nothing is free.
   */
  takeRun(wanted: number, softLimit: number): number {
    if (!this.#fragmented) {
      const good = this.#find(Math.min(wanted, GOOD_RUN_SLOTS), wanted);
      if (good !== 0) return this.#take(good);
      this.#fragmented = this.slotCount >= softLimit;
      if (!this.#fragmented) return this.#takeGrown(wanted, wanted);
    }
    const any = this.#find(1, wanted);
    return any === 0 ? this.#takeGrown(wanted, wanted) : this.#take(any);
  }

  /** Takes exactly `count` slots one after another. */
  takeContiguous(count: number): number {
    const found = this.#find(count, count);
    return found === 0 ? this.#takeGrown(count, count) : this.#take(found);
  }

  #takeGrown(minimum: number, wanted: number): number {
    const slotCount = this.slotCount + Math.max(GROWTH_SLOTS_MIN, minimum, this.slotCount >>> 3);
    assert(this.growFile !== undefined, 'slots are taken from a file that is only read');
    this.growFile(slotCount);
    if (slotCount > this.#bits.length << 5) {
      const bits = new Uint32Array((slotCount >>> 4) + 1);
      bits.set(this.#bits);
      this.#bits = bits;
    }
    this.#cursor = this.slotCount;
    // A free tail of the old file makes the run start earlier.
    while (!this.isUsed(this.#cursor - 1)) this.#cursor -= 1;
    this.slotCount = slotCount;
    const found = this.#find(minimum, wanted);
    assert(found !== 0, `no run of ${minimum} slots in a grown file`);
    return this.#take(found);
  }

  #take(first: number): number {
    for (let slot = first; slot < first + this.runLength; slot++) this.#set(slot);
    this.usedCount += this.runLength;
    this.#cursor = first + this.runLength;
    return first;
  }

  /** First slot of a free run of at least `minimum`, from the cursor on and once around; 0 when there is none. */
  #find(minimum: number, wanted: number): number {
    if (this.slotCount - this.usedCount < minimum) return 0;
    return (
      this.#findBetween(this.#cursor, this.slotCount, minimum, wanted) ||
      this.#findBetween(this.#firstSlot, Math.min(this.#cursor + minimum, this.slotCount), minimum, wanted)
    );
  }

  #findBetween(from: number, to: number, minimum: number, wanted: number): number {
    let slot = from;
    while (slot < to) {
      if (minimum >= BYTE_RUN_SLOTS) slot = this.#skipShortRuns(slot, to);
      slot = this.#nextWith(false, slot, to);
      if (slot >= to) return 0;
      const end = this.#nextWith(true, slot, Math.min(to, slot + wanted));
      if (end - slot >= minimum) {
        this.runLength = end - slot;
        return slot;
      }
      slot = end;
    }
    return 0;
  }

  /** A slot at or after `from` before which no run of `BYTE_RUN_SLOTS` begins: a word at a time, past the many short runs of a file that is almost full. */
  #skipShortRuns(from: number, to: number): number {
    const bits = this.#bits;
    const firstWord = from >>> 5;
    const lastWord = (to - 1) >>> 5;
    for (let word = firstWord; word <= lastWord; word++) {
      // Below `from` nothing counts as free.
      const used = word === firstWord ? bits[word] | ((1 << (from & 31)) - 1) : bits[word];
      // Whether one of the four bytes is 0.
      if (((used - BYTE_LOWEST) & ~used & BYTE_HIGHEST) === 0) continue;
      return word === firstWord ? from : Math.max(from, 32 * word - Math.clz32(bits[word - 1]));
    }
    return to;
  }

  /** The first slot at or after `from` that is in use or free as asked; `to` when there is none below it. */
  #nextWith(used: boolean, from: number, to: number): number {
    let slot = from;
    while (slot < to) {
      const word = used ? this.#bits[slot >>> 5] : ~this.#bits[slot >>> 5];
      const rest = word >>> (slot & 31);
      if (rest !== 0) return Math.min(to, slot + 31 - Math.clz32(rest & -rest));
      slot = (slot | 31) + 1;
    }
    return to;
  }

  #set(slot: number): void {
    this.#bits[slot >>> 5] |= 1 << (slot & 31);
  }
}
