/** What things cost, in milliseconds of the program's time or the disk's. */
export interface CostModel {
  /** Disk: a page written for a checkpoint or because it leaves memory. */
  readonly pageWriteMs: number;
  /** Disk: a page read because it is touched, or for a checkpoint. */
  readonly pageReadMs: number;
  /** Processor: a page copied because it is written before it was saved, and the fault that finds that out. */
  readonly copyFaultMs: number;
  /** Processor: the fault of a first write to a protected page. */
  readonly protectionFaultMs: number;
}

/** The machine of the paper: 22.9 ms a page, about 9 ms a page-in, 1.65 ms a fault. */
export const PAPER_COSTS: CostModel = {
  pageWriteMs: 22.9,
  pageReadMs: 9,
  copyFaultMs: 1.65,
  protectionFaultMs: 1.65,
};

/**
 * A save that the disk does beside the running program, page by page in a given order. The program's own accesses to the disk
 * go first.
 */
export class BackgroundSave {
  /** Milliseconds of disk work until each page of the save is safe, in their order. */
  #endsMs = new Float64Array(256);
  /** Place of a page in the order, plus one; 0: not in this save, or copied. */
  #places = new Int32Array(0);
  readonly #pages: number[] = [];
  #savedCount = 0;
  #doneMs = 0;
  #totalMs = 0;
  #seenMs = 0;

  /** Begins a save at a time at which none is under way. */
  begin(nowMs: number, pageCount: number): void {
    for (const page of this.#pages) this.#places[page] = 0;
    this.#pages.length = 0;
    if (this.#places.length < pageCount) {
      const places = new Int32Array(pageCount);
      places.set(this.#places);
      this.#places = places;
    }
    this.#savedCount = 0;
    this.#doneMs = 0;
    this.#totalMs = 0;
    this.#seenMs = nowMs;
  }

  /** Adds a page to the save, behind the others. */
  add(page: number, diskMs: number): void {
    const place = this.#pages.length;
    this.#pages.push(page);
    if (place === this.#endsMs.length) {
      const ends = new Float64Array(2 * place);
      ends.set(this.#endsMs);
      this.#endsMs = ends;
    }
    this.#totalMs += diskMs;
    this.#endsMs[place] = this.#totalMs;
    this.#places[page] = place + 1;
  }

  /** Disk work that is left. */
  get leftMs(): number {
    return Math.max(0, this.#totalMs - this.#doneMs);
  }

  /** It is `nowMs`, and of the time since the last call the program used the disk for `busyMs`. */
  advance(nowMs: number, busyMs: number): void {
    if (this.leftMs > 0) this.#doneMs += Math.max(0, nowMs - this.#seenMs - busyMs);
    this.#seenMs = nowMs;
    while (this.#savedCount < this.#pages.length && this.#endsMs[this.#savedCount] <= this.#doneMs) {
      this.#savedCount += 1;
    }
  }

  /** Whether a page that is about to be written must be copied first; it is taken to be copied then. */
  mustCopy(page: number): boolean {
    if (page >= this.#places.length || this.#places[page] <= this.#savedCount) return false;
    this.#places[page] = 0;
    return true;
  }
}
