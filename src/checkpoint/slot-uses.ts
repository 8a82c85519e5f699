import type { DeviceFile } from '../device/device.ts';
import { CorruptionError } from '../error/errors.ts';
import { ENTRY_WORDS, FIRST_FREE_SLOT, ROOT_ENTRIES, SLOT_BYTES } from '../format/paging-format.ts';
import { damagedFile } from '../pager/page-damage.ts';
import type { JobImage } from './job-image.ts';

/** What a slot holds. */
export const SlotUse = {
  free: 0,
  /** The header of the file and the record areas. */
  reserved: 1,
  /** A page of the guest. */
  page: 2,
  /** A leaf or directory of a page map. */
  map: 3,
  delta: 4,
  state: 5,
  /** The copy of a retained checkpoint's record. */
  record: 6,
} as const;

/** Where the copy of a retained checkpoint's record is, and which checkpoint wrote it. */
export interface RecordCopy {
  readonly slot: number;
  readonly slotCount: number;
  readonly writtenBy: number;
}

const USE_NAMES = ['nothing', 'the header', 'page', 'map page', 'delta page', 'part of the machine state', 'record'];

/**
 * The use of every slot of a paging file by the newest checkpoint and all that it retains.
 *
 * Checkpoints are added newest first. A slot may be named by several of them, which are neighbours then, and must mean the same
 * to all: the same page, or place in the map, written by the same checkpoint. Anything else is damage.
 */
export class SlotUses {
  readonly slotCount: number;
  /** For each slot one of `SlotUse`. */
  readonly kinds: Uint8Array;
  /** Which page, map page, delta page or part of a state it is. */
  readonly ordinals: Uint32Array;
  /** The generation that wrote it. */
  readonly births: Uint32Array;
  /** The newest and the oldest checkpoint that name it. */
  readonly newest: Uint32Array;
  readonly oldest: Uint32Array;
  readonly #file: DeviceFile;
  /** Slots that the checkpoint being added is the first to name. */
  #fresh: number[] = [];
  #generation = 0;
  #before = 0;

  constructor(file: DeviceFile, slotCount: number) {
    this.#file = file;
    this.slotCount = slotCount;
    this.kinds = new Uint8Array(slotCount);
    this.ordinals = new Uint32Array(slotCount);
    this.births = new Uint32Array(slotCount);
    this.newest = new Uint32Array(slotCount);
    this.oldest = new Uint32Array(slotCount);
    this.kinds.fill(SlotUse.reserved, 0, FIRST_FREE_SLOT);
  }

  /**
   * Adds what a checkpoint names, and where its record is copied; returns the slots that none of the newer ones names.
   * @throws CorruptionError when a slot means another thing to a newer one.
   */
  add(generation: number, image: JobImage, copy?: RecordCopy): number[] {
    this.#fresh = [];
    this.#before = this.#generation;
    this.#generation = generation;
    const { map, tree, stateRun } = image;
    for (let page = 0, at = 0; page < map.pageCount; page++, at += ENTRY_WORDS) {
      this.#note(map.entries, at, SlotUse.page, page);
    }
    this.#noteAll(tree.root, SlotUse.map, 0);
    this.#noteAll(tree.directories, SlotUse.map, ROOT_ENTRIES);
    this.#noteAll(tree.deltaPages, SlotUse.delta, 0);
    for (let i = 0; stateRun !== undefined && i < stateRun.slotCount; i++) {
      this.#use(stateRun.slot + i, SlotUse.state, i, generation);
    }
    for (let i = 0; copy !== undefined && i < copy.slotCount; i++) {
      this.#use(copy.slot + i, SlotUse.record, i, copy.writtenBy);
    }
    return this.#fresh;
  }

  /** Slots that are in use, reserved ones included. */
  usedCount(): number {
    let count = 0;
    for (const kind of this.kinds) if (kind !== SlotUse.free) count += 1;
    return count;
  }

  /** Slots that no other checkpoint than this one names, and how many of them hold a copy of its record. */
  ownCounts(generation: number): { readonly own: number; readonly records: number } {
    let own = 0;
    let records = 0;
    for (let slot = FIRST_FREE_SLOT; slot < this.slotCount; slot++) {
      if (this.newest[slot] !== generation || this.oldest[slot] !== generation) continue;
      own += 1;
      if (this.kinds[slot] === SlotUse.record) records += 1;
    }
    return { own, records };
  }

  #noteAll(entries: Uint32Array, kind: number, firstOrdinal: number): void {
    for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
      this.#note(entries, at, kind, firstOrdinal + at / ENTRY_WORDS);
    }
  }

  #note(entries: Uint32Array, at: number, kind: number, ordinal: number): void {
    if (entries[at] !== 0) this.#use(entries[at], kind, ordinal, entries[at + 1]);
  }

  #use(slot: number, kind: number, ordinal: number, birth: number): void {
    if (this.kinds[slot] === SlotUse.free) {
      this.kinds[slot] = kind;
      this.ordinals[slot] = ordinal;
      this.births[slot] = birth;
      this.newest[slot] = this.#generation;
      this.#fresh.push(slot);
    } else if (
      this.kinds[slot] !== kind ||
      this.ordinals[slot] !== ordinal ||
      this.births[slot] !== birth ||
      this.oldest[slot] !== this.#before
    ) {
      throw this.#conflict(slot, `${USE_NAMES[kind]} ${ordinal} of generation ${birth}, for ${this.#generation}`);
    }
    this.oldest[slot] = this.#generation;
  }

  #conflict(slot: number, wanted: string): CorruptionError {
    const found =
      `${USE_NAMES[this.kinds[slot]]} ${this.ordinals[slot]} of generation ${this.births[slot]}, ` +
      `for ${this.newest[slot]} to ${this.oldest[slot]}`;
    return damagedFile(this.#file.path, slot * SLOT_BYTES, 'the use of the slot', wanted, found);
  }
}
