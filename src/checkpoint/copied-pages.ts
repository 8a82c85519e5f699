/** Reading the pages of a checkpoint for a copy elsewhere: a page-source beside the store, for a job that may be running. */
import type { DeviceFile } from '../device/device.ts';
import { ENTRY_WORDS, SLOT_BYTES } from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import type { PageMap } from '../pager/page-map.ts';

/** The pages of one checkpoint, as its job directory holds them. */
export interface PageReader {
  /**
   * Pages that a copy needs, ascending: all that hold anything but zeros; with `sinceGeneration` above 0 those that may have changed
   * after that checkpoint, whatever they hold.
   */
  list(sinceGeneration: number): Uint32Array;
  /**
   * Reads pages, ascending, into the room, one after another. `good` tells for each, by 1, that it is what the checkpoint holds:
   * the job may have gone on and have put another page into its slot.
   */
  read(pages: Uint32Array, room: Uint8Array, good: Uint8Array): void;
  close(): void;
}

/** Where the pages of a checkpoint lie: four words each, position in units of a page and checksum, position 0 for zeros. */
export abstract class PlacedPages implements PageReader {
  readonly #bench: Workbench;

  constructor(bench: Workbench) {
    this.#bench = bench;
  }

  abstract list(sinceGeneration: number): Uint32Array;
  protected abstract fileOf(page: number): DeviceFile;
  /** 0: the page holds zeros. */
  protected abstract positionOf(page: number): number;
  protected abstract isChecksum(page: number, low: number, high: number): boolean;
  abstract close(): void;

  read(pages: Uint32Array, room: Uint8Array, good: Uint8Array): void {
    const order = Array.from(pages, (_, index) => index);
    // In the order of the files, so that neighbours there are one read.
    order.sort((a, b) => this.positionOf(pages[a]) - this.positionOf(pages[b]));
    let next = 0;
    while (next < order.length) {
      const page = pages[order[next]];
      const position = this.positionOf(page);
      if (position === 0) {
        room.fill(0, order[next] * SLOT_BYTES, (order[next] + 1) * SLOT_BYTES);
        good[order[next++]] = 1;
        continue;
      }
      const file = this.fileOf(page);
      let count = 1;
      while (count < STAGED_PAGES_MAX && next + count < order.length) {
        const follower = pages[order[next + count]];
        if (this.positionOf(follower) !== position + count || this.fileOf(follower) !== file) break;
        count += 1;
      }
      this.#readRun(file, position, order.slice(next, next + count), pages, room, good);
      next += count;
    }
  }

  #readRun(
    file: DeviceFile,
    position: number,
    places: readonly number[],
    pages: Uint32Array,
    room: Uint8Array,
    good: Uint8Array,
  ): void {
    const view = this.#bench.staging.subarray(0, places.length * SLOT_BYTES);
    view.fill(0, file.readInto(view, position * SLOT_BYTES));
    const checksums = this.#bench.checksumStaged(places.length);
    for (const [i, place] of places.entries()) {
      good[place] = this.isChecksum(pages[place], checksums[2 * i], checksums[2 * i + 1]) ? 1 : 0;
      room.set(view.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES), place * SLOT_BYTES);
    }
  }
}

/** Pages in slots of the paging file. */
export class SlotPages extends PlacedPages {
  readonly #file: DeviceFile;
  readonly #map: PageMap;

  constructor(file: DeviceFile, map: PageMap, bench: Workbench) {
    super(bench);
    this.#file = file;
    this.#map = map;
  }

  list(sinceGeneration: number): Uint32Array {
    const { entries, pageCount } = this.#map;
    const pages = new Uint32Array(pageCount);
    let count = 0;
    for (let page = 0, at = 0; page < pageCount; page++, at += ENTRY_WORDS) {
      if (sinceGeneration === 0 ? entries[at] !== 0 : entries[at + 1] > sinceGeneration) pages[count++] = page;
    }
    return pages.slice(0, count);
  }

  protected fileOf(): DeviceFile {
    return this.#file;
  }

  protected positionOf(page: number): number {
    return this.#map.slotOf(page);
  }

  protected isChecksum(page: number, low: number, high: number): boolean {
    return this.#map.checksumLowOf(page) === low && this.#map.checksumHighOf(page) === high;
  }

  /** The file is the store's. */
  close(): void {}
}

/** One file of a chain of checkpoint files, open. */
export interface OpenLink {
  readonly file: DeviceFile;
  readonly generation: number;
  /** Entries of four words: page, position, checksum low and high. */
  readonly list: Uint32Array;
}

/** Pages in checkpoint files: they stay readable while they are open, whatever the job removes. */
export class ChainPages extends PlacedPages {
  readonly #links: readonly OpenLink[];
  readonly #pageCount: number;
  /** Four words for each page: link + 1, position, checksum low and high. */
  readonly #places: Uint32Array;

  /** From the full file to the newest. */
  constructor(links: readonly OpenLink[], pageCount: number, bench: Workbench) {
    super(bench);
    this.#links = links;
    this.#pageCount = pageCount;
    this.#places = new Uint32Array(4 * pageCount);
    for (const [index, { list }] of links.entries()) {
      for (let at = 0; at < list.length; at += 4) {
        const to = 4 * list[at];
        this.#places[to] = index + 1;
        for (let k = 1; k < 4; k++) this.#places[to + k] = list[at + k];
      }
    }
  }

  list(sinceGeneration: number): Uint32Array {
    // A full file says nothing of zero pages, so after it any page may have become one.
    const all = sinceGeneration > 0 && this.#links[0].generation > sinceGeneration;
    const pages = new Uint32Array(this.#pageCount);
    let count = 0;
    for (let page = 0; page < this.#pageCount; page++) {
      const link = this.#places[4 * page];
      const taken =
        sinceGeneration === 0
          ? this.#places[4 * page + 1] !== 0
          : all || (link > 0 && this.#links[link - 1].generation > sinceGeneration);
      if (taken) pages[count++] = page;
    }
    return pages.slice(0, count);
  }

  protected fileOf(page: number): DeviceFile {
    return this.#links[this.#places[4 * page] - 1].file;
  }

  protected positionOf(page: number): number {
    return this.#places[4 * page + 1];
  }

  protected isChecksum(page: number, low: number, high: number): boolean {
    return this.#places[4 * page + 2] === low && this.#places[4 * page + 3] === high;
  }

  close(): void {
    for (const { file } of this.#links) file.close();
  }
}
