/**
 * Curves over memory size in one pass, exact for LRU replacement of the trace's references: how many references miss, how
 * many dirty pages are written because they leave, and how many are left to a checkpoint.
 *
 * A page has a *dirty level*: in memories of more frames than that it was not evicted since it was written, so it is dirty in
 * them, and clean in the others. A write makes it 0; a reference at stack distance d raises it to d, and memories of more
 * than the level and at most d frames have evicted it dirty (Thompson and Smith, ACM TOCS 1989). A checkpoint makes it
 * infinite: memories that hold the page and have it dirty flush it, those that have evicted it have written it.
 */
import { Step, type TraceReader } from './trace-reader.ts';
import { StackDistances } from './stack-distances.ts';

const CLEAN = 0x7fff_ffff;

/** Curves: the element at index f is for f frames; index 0 is not meant. */
export interface Sweep {
  readonly references: number;
  /** References of pages that were never referenced before: misses of no contents in any memory. */
  readonly firstReferences: number;
  readonly checkpoints: number;
  readonly pages: number;
  readonly misses: Float64Array;
  /** Dirty pages written because they leave, when no checkpoint ever cleans them. */
  readonly evictedDirty: Float64Array;
  /** The same under continuous checkpointing. */
  readonly evictedDirtyContinuous: Float64Array;
  /** Pages that checkpoints flush under continuous checkpointing, all together; those at start and end left out. */
  readonly flushed: Float64Array;
}

/** Sums that are the same from one number of frames to another, as differences from one to the next. */
class Curve {
  #changes = new Float64Array(1024);

  /** Adds to memories of more than `above` and at most `to` frames. */
  add(above: number, to: number): void {
    if (to <= above) return;
    if (to + 1 >= this.#changes.length) {
      const changes = new Float64Array(2 * (to + 2));
      changes.set(this.#changes);
      this.#changes = changes;
    }
    this.#changes[above + 1] += 1;
    this.#changes[to + 1] -= 1;
  }

  sums(framesMax: number): Float64Array {
    const sums = new Float64Array(framesMax + 1);
    for (let frames = 1, sum = 0; frames <= framesMax; frames++) {
      sum += this.#changes[frames] ?? 0;
      sums[frames] = sum;
    }
    return sums;
  }
}

export class SweepObserver {
  readonly #distances = new StackDistances();
  readonly #misses = new Curve();
  readonly #plain = new DirtyLevels();
  readonly #continuous = new DirtyLevels();
  readonly #flushed = new Curve();
  #references = 0;
  #firstReferences = 0;
  #checkpoints = 0;

  onReference(page: number, writes: boolean): void {
    this.#references += 1;
    const distance = this.#distances.refer(page);
    if (distance < 0) this.#firstReferences += 1;
    else {
      this.#misses.add(0, distance);
      this.#plain.refer(page, distance);
      this.#continuous.refer(page, distance);
    }
    if (writes) this.onWrite(page);
  }

  onWrite(page: number): void {
    this.#plain.write(page);
    this.#continuous.write(page);
  }

  onCheckpoint(counts: boolean): void {
    if (counts) this.#checkpoints += 1;
    const continuous = this.#continuous;
    const framesMax = this.#distances.pageCount;
    for (let i = 0; i < continuous.count; i++) {
      const page = continuous.pages[i];
      const distance = this.#distances.distanceOf(page);
      const level = continuous.levels[page];
      continuous.evicted.add(level, distance);
      // Memories beyond all pages behave as one that holds all of them.
      if (counts) this.#flushed.add(Math.max(level, distance), Math.max(framesMax, PAST_ALL_FRAMES));
    }
    continuous.clean();
  }

  result(): Sweep {
    const pages = this.#distances.pageCount;
    // Pages that have left since their last reference have been written as well.
    for (const levels of [this.#plain, this.#continuous]) {
      for (let i = 0; i < levels.count; i++) {
        const page = levels.pages[i];
        levels.evicted.add(levels.levels[page], this.#distances.distanceOf(page));
      }
    }
    return {
      references: this.#references,
      firstReferences: this.#firstReferences,
      checkpoints: this.#checkpoints,
      pages,
      misses: this.#misses.sums(pages),
      evictedDirty: this.#plain.evicted.sums(pages),
      evictedDirtyContinuous: this.#continuous.evicted.sums(pages),
      flushed: this.#flushed.sums(pages),
    };
  }
}

/** The largest guest has fewer pages. */
const PAST_ALL_FRAMES = 1 << 20;

/** Dirty levels of all pages, and the pages that are dirty anywhere. */
class DirtyLevels {
  levels = new Int32Array(0);
  pages = new Int32Array(1024);
  count = 0;
  readonly evicted = new Curve();

  refer(page: number, distance: number): void {
    if (page >= this.levels.length || this.levels[page] === CLEAN || distance <= this.levels[page]) return;
    this.evicted.add(this.levels[page], distance);
    this.levels[page] = distance;
  }

  write(page: number): void {
    if (page >= this.levels.length) {
      const levels = new Int32Array(Math.max(page + 1, 2 * this.levels.length)).fill(CLEAN);
      levels.set(this.levels);
      this.levels = levels;
    }
    if (this.levels[page] === CLEAN) {
      if (this.count === this.pages.length) {
        const pages = new Int32Array(2 * this.count);
        pages.set(this.pages);
        this.pages = pages;
      }
      this.pages[this.count++] = page;
    }
    this.levels[page] = 0;
  }

  clean(): void {
    for (let i = 0; i < this.count; i++) this.levels[this.pages[i]] = CLEAN;
    this.count = 0;
  }
}

/** Reads a trace to its end. */
export function sweep(reader: TraceReader): Sweep {
  const observer = new SweepObserver();
  for (;;) {
    switch (reader.next()) {
      case Step.end:
        return observer.result();
      case Step.reference:
        observer.onReference(reader.page, reader.writes);
        if (reader.crosses) observer.onReference(reader.page + 1, reader.writes);
        break;
      case Step.raise:
        observer.onWrite(reader.eventPage);
        break;
      case Step.hold:
        for (let page = reader.address >>> 12; page <= (reader.address + reader.lengthBytes - 1) >>> 12; page++) {
          observer.onReference(page, reader.writes);
        }
        break;
      case Step.checkpoint:
        observer.onCheckpoint(reader.trigger !== 'start' && reader.trigger !== 'end');
        break;
    }
  }
}
