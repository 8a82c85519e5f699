import { assert } from '../error/errors.ts';
import type { Frames } from './frames.ts';
import { PageQueues } from './page-queues.ts';
import { listQueue, takeOldest, type Replacement } from './replacement.ts';

const ACTIVE = 0;
const INACTIVE = 1;

/**
 * The policy of Mach's pageout daemon (paper, section 2): pages enter the active queue; its oldest lose their access and
 * wait in the inactive queue, a third of all resident pages; one that is touched there goes back, one that comes to
 * the front untouched leaves.
 */
export class SecondChance implements Replacement {
  readonly #queues = new PageQueues(2);
  readonly #frames: Frames;

  constructor(frames: Frames) {
    this.#frames = frames;
  }

  get inactiveCount(): number {
    return this.#queues.count(INACTIVE);
  }

  grow(capacity: number): void {
    this.#queues.grow(capacity);
  }

  insert(page: number): void {
    this.#queues.push(ACTIVE, page);
  }

  insertAhead(page: number): void {
    this.#queues.push(INACTIVE, page);
  }

  touch(page: number): void {
    this.#queues.move(ACTIVE, page);
  }

  takeVictim(): number {
    this.#balance();
    return takeOldest(this.#queues, INACTIVE, this.#frames) ?? takeOldest(this.#queues, ACTIVE, this.#frames) ?? -1;
  }

  listNext(pages: Uint32Array, countMax: number): number {
    return listQueue(this.#queues, INACTIVE, pages, 0, countMax);
  }

  assertInvariants(): void {
    const queued = this.#queues.assertInvariants();
    assert(queued === this.#frames.residentCount, `${queued} of ${this.#frames.residentCount} pages are queued`);
  }

  #balance(): void {
    const queues = this.#queues;
    const target = Math.ceil(this.#frames.residentCount / 3);
    for (let tries = queues.count(ACTIVE); tries > 0 && queues.count(INACTIVE) < target; tries--) {
      const page = queues.head(ACTIVE);
      queues.move(this.#frames.takeAccess(page) ? INACTIVE : ACTIVE, page);
    }
  }
}
