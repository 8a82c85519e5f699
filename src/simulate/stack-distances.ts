/** Times of the last references that are kept before they are numbered anew; more than pages. */
const TIMES_MIN = 1 << 16;

/**
 * The LRU stack distance of each reference: how many other pages were referenced since the page was referenced last
 * (Mattson, Gecsei, Slutz and Traiger, IBM Systems Journal 1970). A memory of more frames than that holds it under LRU.
 *
 * The times of the pages' last references are the leaves of a binary indexed tree of counts, so a distance costs the
 * logarithm of the number of times (Bennett and Kruskal, 1975). When the times have run out, they are numbered anew.
 */
export class StackDistances {
  pageCount = 0;
  /** Time of the last reference of each page; 0: none. */
  #times = new Int32Array(0);
  /** Sums over times, 1-based. */
  #tree = new Int32Array(TIMES_MIN + 1);
  #now = 0;

  /** The distance of a page that is not referenced now; −1 when it never was. */
  distanceOf(page: number): number {
    const time = page < this.#times.length ? this.#times[page] : 0;
    return time === 0 ? -1 : this.pageCount - this.#countUpTo(time);
  }

  /** References a page and returns its distance before; −1 for the first time. */
  refer(page: number): number {
    if (page >= this.#times.length) this.#grow(page);
    if (this.#now === this.#tree.length - 1) this.#renumber();
    const distance = this.distanceOf(page);
    if (distance < 0) this.pageCount += 1;
    else this.#add(this.#times[page], -1);
    this.#now += 1;
    this.#times[page] = this.#now;
    this.#add(this.#now, 1);
    return distance;
  }

  #countUpTo(time: number): number {
    const tree = this.#tree;
    let count = 0;
    for (let i = time; i > 0; i &= i - 1) count += tree[i];
    return count;
  }

  #add(time: number, change: number): void {
    const tree = this.#tree;
    for (let i = time; i < tree.length; i += i & -i) tree[i] += change;
  }

  #grow(page: number): void {
    const times = new Int32Array(Math.max(page + 1, 2 * this.#times.length));
    times.set(this.#times);
    this.#times = times;
  }

  /** Gives the pages the times 1, 2, 3, … in the order of their last references. */
  #renumber(): void {
    const times = this.#times;
    const owners = new Int32Array(this.#now + 1).fill(-1);
    for (let page = 0; page < times.length; page++) if (times[page] !== 0) owners[times[page]] = page;
    this.#tree = new Int32Array(Math.max(TIMES_MIN, 4 * this.pageCount) + 1);
    this.#now = 0;
    for (const page of owners) {
      if (page < 0) continue;
      this.#now += 1;
      times[page] = this.#now;
      this.#add(this.#now, 1);
    }
  }
}
