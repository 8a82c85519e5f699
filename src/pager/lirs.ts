/**
 * Replacement by reuse distance: LIRS (Jiang and Zhang, SIGMETRICS 2002), with references seen as CLOCK-Pro sees them
 * (Jiang, Chen and Zhang, USENIX 2005), only when a page is touched that has no access.
 *
 * A page is *hot* when it was used twice within a time in which the oldest hot page was not used at all; the others are
 * *cold*. Cold pages leave first, whatever their age, so that a sweep over more pages than there are frames flows through
 * the few cold frames and the hot ones keep their share of it, where any kind of LRU would keep nothing. The
 * history of pages that have left is a time stamp each, so it never ends; that a sweep is longer than twice the memory,
 * which defeats the bounded histories of 2Q, ARC and CLOCK-Pro, makes no difference.
 *
 *            frames left for hot pages, or used again sooner than the oldest hot page
 *   absent ──────────────────────────────────────────────────────► HOT ──(oldest, untouched)──► INACTIVE
 *      └──(otherwise)──► COLD ──(oldest, access taken)──► INACTIVE ──(front)──► absent
 *                          ▲────(touched, not sooner)───────┘└──(touched, sooner)──► HOT
 *
 * The oldest hot page is found by sampling: at each insertion a few of the oldest hot pages lose their access and count
 * as used now, until one is met that was not touched since. So hot pages cost one soft fault per round of the hot
 * queue, and none while nothing is inserted.
 */
import { assert } from '../error/errors.ts';
import type { Frames } from './frames.ts';
import { PageAccess } from '../memory/layout.ts';
import { PageQueues } from './page-queues.ts';
import { listQueue, takeOldest, type Replacement } from './replacement.ts';

const HOT = 0;
const COLD = 1;
const INACTIVE = 2;
/** Hot pages sampled at each insertion. */
const SAMPLES = 4;
/** One of so many frames is for cold pages. Sweeps lose that share; below it, pages leave before they can be used again. */
const COLD_SHARE = 8;
const COLD_FRAMES_MIN = 4;

export class Lirs implements Replacement {
  readonly #queues = new PageQueues(3);
  readonly #frames: Frames;
  readonly #hotMax: number;
  /** When a page was last seen used, in insertions and soft faults; 0: never. */
  #stamps = new Float64Array(0);
  #now = 0;

  constructor(frames: Frames) {
    this.#frames = frames;
    this.#hotMax = frames.frameCount - Math.max(COLD_FRAMES_MIN, Math.ceil(frames.frameCount / COLD_SHARE));
  }

  get inactiveCount(): number {
    return this.#queues.count(INACTIVE);
  }

  grow(capacity: number): void {
    this.#queues.grow(capacity);
    const stamps = new Float64Array(capacity);
    stamps.set(this.#stamps);
    this.#stamps = stamps;
  }

  insert(page: number): void {
    this.#sample();
    this.#enter(page);
  }

  insertAhead(page: number): void {
    this.#queues.push(INACTIVE, page);
  }

  touch(page: number): void {
    const queues = this.#queues;
    if (queues.isIn(HOT, page)) {
      this.#stamps[page] = ++this.#now;
      queues.move(HOT, page);
      return;
    }
    queues.remove(page);
    this.#enter(page);
  }

  takeVictim(): number {
    const queues = this.#queues;
    const frames = this.#frames;
    const target = Math.ceil((queues.count(COLD) + queues.count(INACTIVE)) / 2);
    for (let tries = queues.count(COLD); tries > 0 && queues.count(INACTIVE) < target; tries--) {
      const page = queues.head(COLD);
      queues.move(frames.takeAccess(page) ? INACTIVE : COLD, page);
    }
    return (
      takeOldest(queues, INACTIVE, frames) ?? takeOldest(queues, COLD, frames) ?? takeOldest(queues, HOT, frames) ?? -1
    );
  }

  listNext(pages: Uint32Array, countMax: number): number {
    const queues = this.#queues;
    let count = listQueue(queues, INACTIVE, pages, 0, countMax);
    for (let page = queues.head(HOT); page >= 0 && count < countMax; page = queues.after(page)) {
      if (this.#frames.access[page] !== PageAccess.none) break;
      pages[count++] = page;
    }
    return count;
  }

  assertInvariants(): void {
    const queued = this.#queues.assertInvariants();
    assert(queued === this.#frames.residentCount, `${queued} of ${this.#frames.residentCount} pages are queued`);
    assert(this.#queues.count(HOT) <= this.#hotMax, `${this.#queues.count(HOT)} pages are hot, of ${this.#hotMax}`);
  }

  /** Queues a page that is used now and in no queue. */
  #enter(page: number): void {
    const queues = this.#queues;
    const before = this.#stamps[page];
    this.#stamps[page] = ++this.#now;
    if (queues.count(HOT) < this.#hotMax) return queues.push(HOT, page);
    const oldest = queues.head(HOT);
    const isSooner = before !== 0 && this.#frames.access[oldest] === PageAccess.none && before > this.#stamps[oldest];
    if (!isSooner) return queues.push(COLD, page);
    queues.move(INACTIVE, oldest);
    queues.push(HOT, page);
  }

  #sample(): void {
    const queues = this.#queues;
    if (queues.count(HOT) < this.#hotMax) return;
    for (let i = 0; i < SAMPLES; i++) {
      const page = queues.head(HOT);
      if (this.#frames.access[page] === PageAccess.none) return;
      this.#frames.takeAccess(page);
      this.#stamps[page] = ++this.#now;
      queues.move(HOT, page);
    }
  }
}
