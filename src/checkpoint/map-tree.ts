/**
 * The page map on disk: the tree of map pages, and the deltas since the tree was last written (see
 * `format/paging-format.ts` for both).
 *
 * A commit must tell where the changed pages are. Writing the leaves they belong to costs a slot for each leaf, which is as
 * much as the data where the changes are scattered; listing the changes costs 20 bytes each, but every later record
 * carries the list on. So this is a ski rental: changes are listed until as many bytes went into lists as a fold
 * would have cost, and then folded, which is at most twice the cost of knowing the future.
 *
 *   own list of the record ──(its repetition has cost a delta page)──► delta page ──(fold)──► leaves
 *
 * Invariants:
 *
 * (a) Tree, then delta pages in their order, then the record's list, give the page map, entry by entry.
 * (b) A slot that a durable record names is not overwritten: replaced slots are *retired*, and released by
 *     `committed`, behind the barrier.
 */
import type { DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import {
  DELTA_ENTRY_BYTES,
  DELTA_PAGE_HEADER_BYTES,
  DELTA_PAGES_MAX,
  DELTAS_PER_PAGE,
  deltaPageBytes,
  deltaPageTable,
  ENTRY_BYTES,
  ENTRY_WORDS,
  MAP_FANOUT,
  MAP_FANOUT_SHIFT,
  MAPPED_PAGES_MAX,
  RECORD_UNIT_BYTES,
  ROOT_ENTRIES,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import type { PageMap, SlotHeir } from '../pager/page-map.ts';
import type { SlotAllocator } from '../pager/slot-allocator.ts';

const LEAVES_MAX = MAPPED_PAGES_MAX / MAP_FANOUT;
const DELTA_WORDS = DELTA_ENTRY_BYTES / 4;
const LEAF_WORDS = MAP_FANOUT * ENTRY_WORDS;
const UNUSED = new Uint8Array(12);

export class MapTree {
  readonly root = new Uint32Array(ROOT_ENTRIES * ENTRY_WORDS);
  /** Contents of all directory pages, one after another: an entry for each leaf. */
  readonly directories = new Uint32Array(LEAVES_MAX * ENTRY_WORDS);
  /** An entry for each delta page, in the order in which they apply. */
  readonly #deltaPages = new Uint32Array(DELTA_PAGES_MAX * ENTRY_WORDS);
  deltaPageCount = 0;
  /** Slots of leaves and directories. */
  mapSlotCount = 0;
  /** The pages of the record's own list, each once. */
  readonly #listed = new PageSet();
  readonly #staleLeaves = new Uint8Array(LEAVES_MAX);
  #staleLeafCount = 0;
  readonly #staleDirectories = new Uint8Array(ROOT_ENTRIES);
  #staleDirectoryCount = 0;
  /** Bytes that went into deltas since the last fold, and into the record's list since the last delta page. */
  #spentBytes = 0;
  #listSpentBytes = 0;
  readonly #retired: number[] = [];
  readonly #map: PageMap;
  readonly #slots: SlotAllocator;
  readonly #bench: Workbench;

  constructor(map: PageMap, slots: SlotAllocator, bench: Workbench) {
    this.#map = map;
    this.#slots = slots;
    this.#bench = bench;
  }

  /** Entries of the delta pages, as the record holds them. */
  get deltaPages(): Uint32Array {
    return this.#deltaPages.subarray(0, this.deltaPageCount * ENTRY_WORDS);
  }

  /** The record's own list. */
  deltas(): Uint32Array {
    const words = new Uint32Array(this.#listed.count * DELTA_WORDS);
    for (let i = 0; i < this.#listed.count; i++) this.#writeDelta(words, i * DELTA_WORDS, this.#listed.pages[i]);
    return words;
  }

  /** Writes what the record of this generation needs of the changed map, without a sync; returns the bytes written. */
  write(file: DeviceFile, generation: number, softLimit: number): number {
    this.noteChanges();
    const count = this.#listed.count;
    const fullPages = Math.floor(count / DELTAS_PER_PAGE);
    const restBytes = (count % DELTAS_PER_PAGE) * DELTA_ENTRY_BYTES;
    const restPageBytes = restBytes === 0 ? 0 : writtenBytes(count % DELTAS_PER_PAGE);
    const sealsRest = restBytes > 0 && this.#listSpentBytes + restBytes >= restPageBytes;
    const newPages = fullPages + (sealsRest ? 1 : 0);
    const newBytes = fullPages * SLOT_BYTES + (sealsRest ? restPageBytes : 0);
    const listBytes = sealsRest ? 0 : restBytes;
    const deltaPageCount = this.deltaPageCount + newPages;
    const costBytes = newBytes + listBytes + deltaPageCount * ENTRY_BYTES;
    const foldBytes = (this.#staleLeafCount + this.#staleDirectoryCount) * SLOT_BYTES;
    if (deltaPageCount > DELTA_PAGES_MAX || this.#spentBytes + costBytes >= foldBytes) {
      this.#fold(file, generation, softLimit);
      return foldBytes;
    }
    this.#spentBytes += costBytes;
    this.#listSpentBytes = sealsRest ? 0 : this.#listSpentBytes + listBytes;
    if (newPages > 0) this.#writeDeltaPages(file, generation, newPages, softLimit);
    return newBytes;
  }

  /** The barrier has returned: what this checkpoint replaced is not needed by it, and goes to `heir`. */
  committed(heir: SlotHeir = this.#slots): void {
    for (const slot of this.#retired) heir.release(slot);
    this.#retired.length = 0;
  }

  /** Takes over from the map which pages changed, each once from now on, however often they do. */
  noteChanges(): void {
    const map = this.#map;
    for (let i = 0; i < map.changedCount; i++) this.noteChange(map.changedPages[i], true);
    map.changedCount = 0;
  }

  /** Takes note that a page's entry is newer than the tree; `listed`: the record's own list tells it. */
  noteChange(page: number, listed: boolean): void {
    const leaf = page >>> MAP_FANOUT_SHIFT;
    if (this.#staleLeaves[leaf] === 0) {
      this.#staleLeaves[leaf] = 1;
      this.#staleLeafCount += 1;
      const directory = leaf >>> MAP_FANOUT_SHIFT;
      if (this.#staleDirectories[directory] === 0) {
        this.#staleDirectories[directory] = 1;
        this.#staleDirectoryCount += 1;
      }
    }
    if (listed) this.#listed.add(page);
  }

  /** Takes over a delta page that a record names. */
  restoreDeltaPage(words: Uint32Array, at: number, lengthBytes: number): void {
    this.#deltaPages.set(words.subarray(at, at + ENTRY_WORDS), this.deltaPageCount * ENTRY_WORDS);
    this.deltaPageCount += 1;
    this.#spentBytes += lengthBytes;
  }

  assertInvariants(): void {
    let mapSlots = 0;
    for (const entries of [this.root, this.directories, this.deltaPages]) {
      for (let at = 0; at < entries.length; at += ENTRY_WORDS) {
        if (entries[at] === 0) continue;
        assert(this.#slots.isUsed(entries[at]), `(b) a map page names slot ${entries[at]}, which is free`);
        mapSlots += 1;
      }
    }
    assert(
      mapSlots === this.mapSlotCount + this.deltaPageCount,
      `${mapSlots} map slots, counted as ${this.mapSlotCount}`,
    );
  }

  /** Moves the first pages of the list to delta pages; only the last one may be less than full. */
  #writeDeltaPages(file: DeviceFile, generation: number, count: number, softLimit: number): void {
    const listedCount = this.#listed.count;
    const { staging } = this.#bench;
    const words = new Uint32Array(staging.buffer, staging.byteOffset, staging.byteLength / 4);
    let taken = 0;
    let done = 0;
    while (done < count) {
      const slot = this.#slots.takeRun(Math.min(count - done, STAGED_PAGES_MAX), softLimit);
      const run = this.#slots.runLength;
      let inPage = 0;
      for (let i = 0; i < run; i++) {
        inPage = Math.min(DELTAS_PER_PAGE, listedCount - taken);
        deltaPageTable.encode({ count: inPage, unused: UNUSED }, staging, i * SLOT_BYTES);
        let at = (i * SLOT_BYTES + DELTA_PAGE_HEADER_BYTES) / 4;
        for (const end = taken + inPage; taken < end; taken++, at += DELTA_WORDS) {
          this.#writeDelta(words, at, this.#listed.pages[taken]);
        }
        const checksum = this.#bench.checksumStagedBytes(i, deltaPageBytes(inPage));
        const entry = (this.deltaPageCount + i) * ENTRY_WORDS;
        this.#deltaPages[entry] = slot + i;
        this.#deltaPages[entry + 1] = generation;
        this.#deltaPages[entry + 2] = Number(checksum & 0xffffffffn);
        this.#deltaPages[entry + 3] = Number(checksum >> 32n);
      }
      // What the last sector holds behind the entries counts for nothing, nor does the rest of the slot.
      file.write(staging.subarray(0, (run - 1) * SLOT_BYTES + writtenBytes(inPage)), slot * SLOT_BYTES);
      this.deltaPageCount += run;
      done += run;
    }
    this.#listed.removeFirst(taken);
  }

  #writeDelta(words: Uint32Array, at: number, page: number): void {
    const { entries } = this.#map;
    const from = page * ENTRY_WORDS;
    words[at] = page;
    words[at + 1] = entries[from];
    words[at + 2] = entries[from + 1];
    words[at + 3] = entries[from + 2];
    words[at + 4] = entries[from + 3];
  }

  /** Writes the staged slots, and their entries to `entries` one after another. */
  #writeStaged(file: DeviceFile, slot: number, count: number, generation: number, entries: Uint32Array): void {
    const checksums = this.#bench.checksumStaged(count);
    for (let i = 0; i < count; i++) {
      entries[i * ENTRY_WORDS] = slot + i;
      entries[i * ENTRY_WORDS + 1] = generation;
      entries[i * ENTRY_WORDS + 2] = checksums[2 * i];
      entries[i * ENTRY_WORDS + 3] = checksums[2 * i + 1];
    }
    file.write(this.#bench.staging.subarray(0, count * SLOT_BYTES), slot * SLOT_BYTES);
  }

  #fold(file: DeviceFile, generation: number, softLimit: number): void {
    this.#writePages(file, generation, softLimit, this.#staleLeaves, this.#map.entries, this.directories);
    this.#writePages(file, generation, softLimit, this.#staleDirectories, this.directories, this.root);
    for (let i = 0; i < this.deltaPageCount; i++) this.#retired.push(this.#deltaPages[i * ENTRY_WORDS]);
    this.deltaPageCount = 0;
    this.#listed.removeFirst(this.#listed.count);
    this.#staleLeafCount = 0;
    this.#staleDirectoryCount = 0;
    this.#spentBytes = 0;
    this.#listSpentBytes = 0;
  }

  /** Writes the stale pages of one level, 256 entries each, and enters them in the level above. */
  #writePages(
    file: DeviceFile,
    generation: number,
    softLimit: number,
    stale: Uint8Array,
    level: Uint32Array,
    above: Uint32Array,
  ): void {
    const written = new Uint32Array(STAGED_PAGES_MAX * ENTRY_WORDS);
    const { staging } = this.#bench;
    const words = new Uint32Array(staging.buffer, staging.byteOffset, staging.byteLength / 4);
    let index = stale.indexOf(1);
    while (index >= 0) {
      let wanted = 0;
      for (let i = index; i >= 0 && wanted < STAGED_PAGES_MAX; i = stale.indexOf(1, i + 1)) wanted += 1;
      const slot = this.#slots.takeRun(wanted, softLimit);
      const run = this.#slots.runLength;
      const first = index;
      for (let i = 0; i < run; i++) {
        // The last leaf of a small guest is longer than the map in memory.
        const from = level.subarray(index * LEAF_WORDS, (index + 1) * LEAF_WORDS);
        words.set(from, i * LEAF_WORDS);
        words.fill(0, i * LEAF_WORDS + from.length, (i + 1) * LEAF_WORDS);
        index = stale.indexOf(1, index + 1);
      }
      this.#writeStaged(file, slot, run, generation, written);
      let target = first;
      for (let i = 0; i < run; i++) {
        const at = target * ENTRY_WORDS;
        if (above[at] === 0) this.mapSlotCount += 1;
        else this.#retired.push(above[at]);
        above.set(written.subarray(i * ENTRY_WORDS, (i + 1) * ENTRY_WORDS), at);
        stale[target] = 0;
        target = stale.indexOf(1, target + 1);
      }
    }
  }
}

/** Bytes that are written of a delta page. */
function writtenBytes(count: number): number {
  return Math.ceil(deltaPageBytes(count) / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES;
}

/** Pages in the order in which they came, each once. */
class PageSet {
  pages = new Uint32Array(1024);
  count = 0;
  readonly #bits = new Uint32Array(MAPPED_PAGES_MAX / 32);

  add(page: number): void {
    const bit = 1 << (page & 31);
    if ((this.#bits[page >>> 5] & bit) !== 0) return;
    this.#bits[page >>> 5] |= bit;
    if (this.count === this.pages.length) {
      const pages = new Uint32Array(2 * this.count);
      pages.set(this.pages);
      this.pages = pages;
    }
    this.pages[this.count++] = page;
  }

  removeFirst(count: number): void {
    for (let i = 0; i < count; i++) this.#bits[this.pages[i] >>> 5] &= ~(1 << (this.pages[i] & 31));
    this.pages.copyWithin(0, count, this.count);
    this.count -= count;
  }
}
