import { assert } from '../error/errors.ts';

const NONE = -1;

/**
 * Queues of pages, each page in at most one of them: links in typed arrays, so that moving a page costs no allocation
 * and no search. Pages enter at the tail; the head is the oldest.
 */
export class PageQueues {
  readonly #heads: Int32Array;
  readonly #tails: Int32Array;
  readonly #counts: Int32Array;
  #next = new Int32Array(0);
  #previous = new Int32Array(0);
  /** Number of the queue that a page is in, plus one; 0: in none. */
  #queueOf = new Uint8Array(0);

  constructor(queueCount: number) {
    this.#heads = new Int32Array(queueCount).fill(NONE);
    this.#tails = new Int32Array(queueCount).fill(NONE);
    this.#counts = new Int32Array(queueCount);
  }

  grow(capacity: number): void {
    const next = new Int32Array(capacity);
    next.set(this.#next);
    this.#next = next;
    const previous = new Int32Array(capacity);
    previous.set(this.#previous);
    this.#previous = previous;
    const queueOf = new Uint8Array(capacity);
    queueOf.set(this.#queueOf);
    this.#queueOf = queueOf;
  }

  count(queue: number): number {
    return this.#counts[queue];
  }

  /** The oldest page of a queue; −1 when it is empty. */
  head(queue: number): number {
    return this.#heads[queue];
  }

  /** The page that entered behind this one; −1 for the last. */
  after(page: number): number {
    return this.#next[page];
  }

  isIn(queue: number, page: number): boolean {
    return this.#queueOf[page] === queue + 1;
  }

  /** Puts a page that is in no queue at the tail. */
  push(queue: number, page: number): void {
    const tail = this.#tails[queue];
    this.#previous[page] = tail;
    this.#next[page] = NONE;
    if (tail === NONE) this.#heads[queue] = page;
    else this.#next[tail] = page;
    this.#tails[queue] = page;
    this.#queueOf[page] = queue + 1;
    this.#counts[queue] += 1;
  }

  remove(page: number): void {
    const queue = this.#queueOf[page] - 1;
    const next = this.#next[page];
    const previous = this.#previous[page];
    if (previous === NONE) this.#heads[queue] = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#tails[queue] = previous;
    else this.#previous[next] = previous;
    this.#queueOf[page] = 0;
    this.#counts[queue] -= 1;
  }

  /** Takes a page out of the queue that it is in and puts it at the tail of another, or of the same. */
  move(queue: number, page: number): void {
    this.remove(page);
    this.push(queue, page);
  }

  /** Asserts that the links lead through as many pages as are counted; returns the pages in all queues. */
  assertInvariants(): number {
    let total = 0;
    for (let queue = 0; queue < this.#counts.length; queue++) {
      let found = 0;
      let last = NONE;
      for (let page = this.#heads[queue]; page !== NONE; page = this.#next[page]) {
        assert(this.#previous[page] === last, `page ${page} of queue ${queue} names another page before it`);
        assert(this.#queueOf[page] === queue + 1, `page ${page} is linked into queue ${queue} and is not of it`);
        last = page;
        found += 1;
        assert(found <= this.#counts[queue], `queue ${queue} holds more than ${this.#counts[queue]} pages`);
      }
      assert(last === this.#tails[queue], `queue ${queue} ends at page ${last}, not ${this.#tails[queue]}`);
      assert(found === this.#counts[queue], `queue ${queue} holds ${found} pages, counted as ${this.#counts[queue]}`);
      total += found;
    }
    return total;
  }
}
