import type { DeviceFile } from '../device/device.ts';
import type { CorruptionError } from '../error/errors.ts';
import { hex, type CommitRecord } from '../format/commit-record.ts';
import {
  DELTA_ENTRY_BYTES,
  DELTA_PAGE_HEADER_BYTES,
  DELTAS_PER_PAGE,
  deltaPageBytes,
  deltaPageTable,
  ENTRY_WORDS,
  FIRST_FREE_SLOT,
  MAP_FANOUT,
  recordAreaOffset,
  ROOT_ENTRIES,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import { checksumOfWords, damagedFile } from '../pager/page-damage.ts';
import { PageMap } from '../pager/page-map.ts';
import { SlotAllocator } from '../pager/slot-allocator.ts';
import { NO_PAGE, SlotRuns } from '../pager/slot-runs.ts';
import { MapTree } from './map-tree.ts';

/** The newest record's barrier did not complete: its checkpoint never was. Not an error of the job. */
export class IncompleteCheckpoint extends Error {
  readonly damage: CorruptionError;
  constructor(damage: CorruptionError) {
    super(damage.message);
    this.damage = damage;
  }
}

/** A run of slots that holds a machine state. */
export interface StateRun {
  readonly slot: number;
  readonly slotCount: number;
}

/**
 * A checkpoint's page map, its tree and the slots in use, rebuilt from a commit record.
 *
 * What a record names is held against its bounds, against its checksum, and against everything else that the record
 * names: no slot may be named twice. A mismatch in what the record's own barrier covered means that the barrier did
 * not complete (`IncompleteCheckpoint`); anything older was durable before, so there it means damage.
 */
export class JobImage {
  readonly slots: SlotAllocator;
  readonly map: PageMap;
  readonly tree: MapTree;
  stateRun: StateRun | undefined;
  readonly #bench: Workbench;

  constructor(file: DeviceFile, bench: Workbench) {
    this.#bench = bench;
    const slotCount = Math.floor(file.sizeBytes() / SLOT_BYTES);
    this.slots = new SlotAllocator(FIRST_FREE_SLOT, slotCount);
    this.map = new PageMap(this.slots);
    this.tree = new MapTree(this.map, this.slots, bench);
  }

  /**
   * Rebuilds everything a record names and returns its machine state. With `distrust` every page is read and
   * checked, and nothing counts as incomplete.
   */
  load(file: DeviceFile, record: CommitRecord, distrust: boolean): Uint8Array {
    const reading = new ImageReading(file, record, this, this.#bench, distrust);
    reading.readMap();
    reading.claimPages();
    const state = reading.readState();
    reading.verifyPages();
    this.map.committedGeneration = record.fields.generation;
    return state;
  }

  /**
   * Rebuilds everything a record names but reads no page of the guest; returns the machine state. Nothing counts as
   * incomplete.
   */
  follow(file: DeviceFile, record: CommitRecord): Uint8Array {
    const reading = new ImageReading(file, record, this, this.#bench, true);
    reading.readMap();
    reading.claimPages();
    const state = reading.readState();
    this.map.committedGeneration = record.fields.generation;
    return state;
  }
}

/** One reading of an image: the record that is being followed, and what its faults are called. */
class ImageReading {
  readonly #file: DeviceFile;
  readonly #record: CommitRecord;
  readonly #generation: number;
  readonly #image: JobImage;
  readonly #bench: Workbench;
  readonly #distrust: boolean;

  constructor(file: DeviceFile, record: CommitRecord, image: JobImage, bench: Workbench, distrust: boolean) {
    this.#file = file;
    this.#record = record;
    this.#generation = record.fields.generation;
    this.#image = image;
    this.#bench = bench;
    this.#distrust = distrust;
    const { guestPageCount } = record.fields;
    image.map.grow(guestPageCount);
  }

  readMap(): void {
    const { map, tree } = this.#image;
    const { root, deltaPages, deltas } = this.#record;
    const leaf = new Uint32Array(MAP_FANOUT * ENTRY_WORDS);
    tree.root.set(root);
    for (let directory = 0; directory < ROOT_ENTRIES; directory++) {
      const at = directory * leaf.length;
      if (this.#readMapPage(tree.root, directory)) tree.directories.set(this.#stagedWords(), at);
    }
    for (let index = 0; index < tree.directories.length / ENTRY_WORDS; index++) {
      if (!this.#readMapPage(tree.directories, index)) continue;
      leaf.set(this.#stagedWords());
      const first = index * MAP_FANOUT;
      for (let i = 0; i < MAP_FANOUT; i++) {
        const at = i * ENTRY_WORDS;
        if (leaf[at] === 0 && leaf[at + 1] === 0) continue;
        this.#restore(first + i, leaf, at, tree.directories[index * ENTRY_WORDS]);
      }
    }
    for (let at = 0; at < deltaPages.length; at += ENTRY_WORDS) {
      const count = this.#readDeltaPage(deltaPages, at);
      this.#restoreDeltas(this.#stagedWords(), DELTA_PAGE_HEADER_BYTES / 4, count, deltaPages[at], false);
      tree.restoreDeltaPage(deltaPages, at, deltaPageBytes(count));
    }
    this.#restoreDeltas(deltas, 0, (4 * deltas.length) / DELTA_ENTRY_BYTES, 0, true);
    map.changedCount = 0;
  }

  /** Claims the slots of all pages, and holds their number against what the record says of its own. */
  claimPages(): void {
    const { entries, pageCount } = this.#image.map;
    let ownCount = 0;
    for (let page = 0, at = 0; page < pageCount; page++, at += ENTRY_WORDS) {
      if (entries[at] === 0) continue;
      this.#claim(entries[at], entries[at + 1], `page ${page}`);
      if (entries[at + 1] === this.#generation) ownCount += 1;
    }
    const { pagesWritten } = this.#record.fields;
    if (ownCount !== pagesWritten)
      throw this.#damage(recordAreaOffset(this.#generation), 'pagesWritten', pagesWritten, ownCount);
  }

  readState(): Uint8Array {
    const { inlineState, fields } = this.#record;
    let state = inlineState;
    if (state === undefined) {
      const slotCount = Math.ceil(fields.stateBytes / SLOT_BYTES);
      for (let i = 0; i < slotCount; i++) this.#claim(fields.stateSlot + i, this.#generation, 'the machine state');
      this.#image.stateRun = { slot: fields.stateSlot, slotCount };
      // The run lies inside of the file by now, which bounds the length that the record asks for.
      state = new Uint8Array(fields.stateBytes);
      this.#file.readInto(state, fields.stateSlot * SLOT_BYTES);
    }
    const checksum = this.#bench.checksumOf(state);
    if (checksum !== fields.stateChecksum) {
      const atBytes = fields.stateSlot * SLOT_BYTES;
      throw this.#fault(
        this.#generation,
        atBytes,
        'checksum of the machine state',
        hex(fields.stateChecksum),
        hex(checksum),
      );
    }
    return state;
  }

  /** Reads back the pages that this record's own barrier covered, or all of them. */
  verifyPages(): void {
    const { map, slots } = this.#image;
    const { entries } = map;
    const runs = new SlotRuns(map, slots.slotCount, STAGED_PAGES_MAX, this.#distrust ? undefined : this.#generation);
    while (runs.next()) {
      this.#readStaged(runs.slot, runs.count);
      const checksums = this.#bench.checksumStaged(runs.count);
      for (let i = 0; i < runs.count; i++) {
        if (runs.pages[i] === NO_PAGE) continue;
        const at = runs.pages[i] * ENTRY_WORDS;
        if (checksums[2 * i] !== entries[at + 2] || checksums[2 * i + 1] !== entries[at + 3])
          throw this.#badSlot(`page ${runs.pages[i]}`, entries, at, checksums, 2 * i);
      }
    }
  }

  /** Reads the map page that an entry names to the start of the staging room; false when it names none. */
  #readMapPage(entries: Uint32Array, index: number): boolean {
    const at = index * ENTRY_WORDS;
    const slot = entries[at];
    if (slot === 0) return false;
    this.#claim(slot, entries[at + 1], 'a map page');
    this.#image.tree.mapSlotCount += 1;
    this.#readStaged(slot, 1);
    const checksums = this.#bench.checksumStaged(1);
    if (checksums[0] !== entries[at + 2] || checksums[1] !== entries[at + 3])
      throw this.#badSlot('a map page', entries, at, checksums, 0);
    return true;
  }

  /** Reads a delta page to the start of the staging room and returns the number of its entries. */
  #readDeltaPage(entries: Uint32Array, at: number): number {
    this.#claim(entries[at], entries[at + 1], 'a delta page');
    this.#readStaged(entries[at], 1);
    const { count } = deltaPageTable.decode(this.#bench.staging);
    // A count beyond the bound is not the one that was written, and the checksum of no entries says so.
    const checksum = this.#bench.checksumStagedBytes(0, deltaPageBytes(count > DELTAS_PER_PAGE ? 0 : count));
    const found = Uint32Array.of(Number(checksum & 0xffffffffn), Number(checksum >> 32n));
    if (found[0] !== entries[at + 2] || found[1] !== entries[at + 3] || count > DELTAS_PER_PAGE)
      throw this.#badSlot('a delta page', entries, at, found, 0);
    return count;
  }

  /** What a file too short does not hold reads as zeros, which no checksum of the job's agrees with. */
  #readStaged(slot: number, count: number): void {
    const view = this.#bench.staging.subarray(0, count * SLOT_BYTES);
    const readBytes = this.#file.readInto(view, slot * SLOT_BYTES);
    view.fill(0, readBytes);
  }

  #stagedWords(): Uint32Array {
    const { staging } = this.#bench;
    return new Uint32Array(staging.buffer, staging.byteOffset, SLOT_BYTES / 4);
  }

  #restoreDeltas(words: Uint32Array, from: number, count: number, slot: number, listed: boolean): void {
    const stepWords = DELTA_ENTRY_BYTES / 4;
    for (let i = 0, at = from; i < count; i++, at += stepWords) {
      this.#restore(words[at], words, at + 1, slot);
      this.#image.tree.noteChange(words[at], listed);
    }
  }

  #restore(page: number, words: Uint32Array, at: number, mapSlot: number): void {
    const { map } = this.#image;
    if (page >= map.pageCount) throw this.#damage(mapSlot * SLOT_BYTES, 'page', `< ${map.pageCount}`, page);
    map.restore(page, words, at);
  }

  #claim(slot: number, generation: number, what: string): void {
    const { slots } = this.#image;
    if (generation > this.#generation || generation === 0)
      throw this.#damage(slot * SLOT_BYTES, `generation of ${what}`, `1 to ${this.#generation}`, generation);
    if (slots.claim(slot)) return;
    if (slot >= slots.slotCount)
      throw this.#fault(generation, slot * SLOT_BYTES, `slot of ${what}`, `< ${slots.slotCount}`, String(slot));
    throw this.#damage(slot * SLOT_BYTES, `slot of ${what}`, 'a slot of its own', slot);
  }

  #badSlot(what: string, entries: Uint32Array, at: number, found: Uint32Array, foundAt: number): Error {
    const expected = checksumOfWords(entries[at + 2], entries[at + 3]);
    const actual = checksumOfWords(found[foundAt], found[foundAt + 1]);
    return this.#fault(entries[at + 1], entries[at] * SLOT_BYTES, `checksum of ${what}`, expected, actual);
  }

  #fault(generation: number, byteOffset: number, what: string, expected: string, found: string): Error {
    const damage = this.#damage(byteOffset, what, expected, found);
    return generation === this.#generation && !this.#distrust ? new IncompleteCheckpoint(damage) : damage;
  }

  #damage(byteOffset: number, what: string, expected: string | number, found: string | number): CorruptionError {
    return damagedFile(this.#file.path, byteOffset, what, String(expected), String(found));
  }
}
