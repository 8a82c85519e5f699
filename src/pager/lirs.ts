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
 *
 * A working set that changes is learned one round late by this rule, which LRU would not be. So the share of the cold
 * frames learns, as ARC's does (Megiddo and Modha, FAST 2003): a page that comes back within as many insertions as there are
 * frames would have stayed under LRU, and the share grows; a hot page that is used after more than that would not
 * have, and the share shrinks.
 *
 * Time is counted in insertions.
 */
import { assert } from '../error/errors.ts';
import type { Frames } from './frames.ts';
import { PageAccess } from '../memory/layout.ts';
import { PageQueues } from './page-queues.ts';
import { listQueue, takeOldest, type Replacement } from './replacement.ts';

const HOT = 0;
const COLD = 1;
const INACTIVE = 2;
/** Hot pages sampled at each insertion, and given up where they are too many. */
const SAMPLES = 4;
/** At least one of so many frames is for cold pages, and at least one for hot ones. */
const SHARE_MIN = 8;
const COLD_FRAMES_MIN = 4;
/** The share grows faster than it shrinks: a page that comes back soon cost a read, one that stayed cost nothing. */
const COLD_STEP = 2;

export class Lirs implements Replacement {
  readonly #queues = new PageQueues(3);
  readonly #frames: Frames;
  readonly #coldMin: number;
  readonly #coldMax: number;
  /** Frames for cold pages. */
  #coldTarget: number;
  /** When a page was last seen used; 0: never. */
  #stamps = new Float64Array(0);
  #now = 1;
  /** Where the last list of hot pages ended. */
  #listed = -1;

  constructor(frames: Frames) {
    this.#frames = frames;
    const { frameCount } = frames;
    this.#coldMin = Math.max(COLD_FRAMES_MIN, Math.ceil(frameCount / SHARE_MIN));
    this.#coldMax = frameCount - Math.ceil(frameCount / SHARE_MIN);
    this.#coldTarget = this.#coldMin;
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
    const before = this.#stamps[page];
    if (before !== 0 && this.#now - before <= this.#frames.frameCount) this.#growCold(COLD_STEP);
    this.#sample();
    this.#now += 1;
    this.#enter(page);
  }

  insertAhead(page: number): void {
    this.#now += 1;
    this.#queues.push(INACTIVE, page);
  }

  touch(page: number): void {
    const queues = this.#queues;
    if (!queues.isIn(HOT, page)) {
      queues.remove(page);
      return this.#enter(page);
    }
    if (this.#now - this.#stamps[page] > this.#frames.frameCount) this.#growCold(-1);
    this.#stamps[page] = this.#now;
    queues.move(HOT, page);
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
    let count = listQueue(queues, INACTIVE, pages, 0, countMax >>> 1);
    // Hot pages in turns: those at the front would be the same ones every time.
    let page = this.#listed >= 0 && queues.isIn(HOT, this.#listed) ? queues.after(this.#listed) : -1;
    for (let steps = Math.min(countMax - count, queues.count(HOT)); steps > 0; steps--) {
      if (page < 0) page = queues.head(HOT);
      if (this.#frames.access[page] === PageAccess.none) pages[count++] = page;
      this.#listed = page;
      page = queues.after(page);
    }
    return count;
  }

  assertInvariants(): void {
    const queued = this.#queues.assertInvariants();
    assert(queued === this.#frames.residentCount, `${queued} of ${this.#frames.residentCount} pages are queued`);
    assert(this.#coldTarget >= this.#coldMin && this.#coldTarget <= this.#coldMax, 'the cold share is out of bounds');
  }

  get #hotMax(): number {
    return this.#frames.frameCount - this.#coldTarget;
  }

  #growCold(by: number): void {
    this.#coldTarget = Math.max(this.#coldMin, Math.min(this.#coldMax, this.#coldTarget + by));
  }

  /** Queues a page that is used now and in no queue. */
  #enter(page: number): void {
    const queues = this.#queues;
    const before = this.#stamps[page];
    this.#stamps[page] = this.#now;
    if (queues.count(HOT) < this.#hotMax) return queues.push(HOT, page);
    const oldest = queues.head(HOT);
    const isSooner = before !== 0 && this.#frames.access[oldest] === PageAccess.none && before > this.#stamps[oldest];
    if (!isSooner) return queues.push(COLD, page);
    queues.move(INACTIVE, oldest);
    queues.push(HOT, page);
  }

  #sample(): void {
    const queues = this.#queues;
    const frames = this.#frames;
    const hotMax = this.#hotMax;
    if (queues.count(HOT) < hotMax) return;
    for (let i = 0; i < SAMPLES; i++) {
      const page = queues.head(HOT);
      if (frames.access[page] === PageAccess.none) {
        if (queues.count(HOT) <= hotMax) return;
        queues.move(INACTIVE, page);
        continue;
      }
      frames.takeAccess(page);
      this.#stamps[page] = this.#now;
      queues.move(HOT, page);
    }
  }
}
