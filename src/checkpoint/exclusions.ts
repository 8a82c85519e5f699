import { PAGE_BYTES } from '../memory/layout.ts';

/**
 * Pages that the program has said need not be saved (libckpt's `exclude_bytes`): whole pages within the ranges that it named. What is
 * excluded stays dirty, so that it is saved when it is included again.
 */
export class Exclusions {
  /** Ranges of pages [from, to), ascending, apart from each other. */
  #ranges: (readonly [from: number, to: number])[];

  constructor(ranges: readonly (readonly [number, number])[] = []) {
    this.#ranges = [...ranges];
  }

  get ranges(): readonly (readonly [from: number, to: number])[] {
    return this.#ranges;
  }

  get isEmpty(): boolean {
    return this.#ranges.length === 0;
  }

  /** Leaves out the pages that lie wholly within these bytes. */
  exclude(address: number, lengthBytes: number): void {
    const from = Math.ceil(address / PAGE_BYTES);
    const to = Math.floor((address + lengthBytes) / PAGE_BYTES);
    if (from >= to) return;
    const apart = this.#ranges.filter((range) => range[1] < from || range[0] > to);
    const joined = this.#ranges.filter((range) => range[1] >= from && range[0] <= to);
    const whole: readonly [number, number] = [
      Math.min(from, ...joined.map((range) => range[0])),
      Math.max(to, ...joined.map((range) => range[1])),
    ];
    this.#ranges = [...apart, whole].sort((a, b) => a[0] - b[0]);
  }

  /** Takes back in every page that has any of these bytes. */
  include(address: number, lengthBytes: number): void {
    const from = Math.floor(address / PAGE_BYTES);
    const to = Math.ceil((address + lengthBytes) / PAGE_BYTES);
    if (lengthBytes === 0) return;
    this.#ranges = this.#ranges.flatMap((range): (readonly [number, number])[] => {
      const before: readonly [number, number] = [range[0], Math.min(range[1], from)];
      const after: readonly [number, number] = [Math.max(range[0], to), range[1]];
      return [before, after].filter(([first, end]) => first < end);
    });
  }

  /** Moves the excluded pages of an ascending list behind the others, both in order; returns how many the others are. */
  partition(pages: Uint32Array, count: number): number {
    if (this.#ranges.length === 0) return count;
    const excluded: number[] = [];
    let kept = 0;
    let range = 0;
    for (let i = 0; i < count; i++) {
      const page = pages[i];
      while (range < this.#ranges.length && this.#ranges[range][1] <= page) range += 1;
      if (range < this.#ranges.length && this.#ranges[range][0] <= page) excluded.push(page);
      else pages[kept++] = page;
    }
    pages.set(excluded, kept);
    return kept;
  }
}
