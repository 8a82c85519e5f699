import { WriteWatch } from '../kernel/write-watch.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES } from '../memory/layout.ts';
import type { DirtyTracker } from '../pager/dirty-tracker.ts';
import { guestBytesMax } from '../rewrite/module-encoder.ts';
import type { Module } from '../wasm/module.ts';

/**
 * The tracker of the kernel: what the guest and its host functions write is noted by the processor's page tables, so the guest
 * is rewritten without marks, and the sets are exact.
 *
 * The system forgets what it has told. So what a `collect` found stays in `#kept` until a `rearm` says what of it is clean.
 */
export class KernelTracker implements DirtyTracker {
  pages = new Uint32Array(1024);
  readonly #watch: WriteWatch;
  /** Pages that are dirty whatever the system says, ascending. */
  #kept = new Uint32Array(0);
  /** Of `pages`: those that were collected and not rearmed; undefined: nobody has collected since the last `rearm`. */
  #openCount: number | undefined;

  /** `guestBytesMax` is what the guest's memory may grow to. All pages that were ever written are dirty. */
  constructor(memory: GuestMemory, guestBytesMax: number) {
    this.#watch = new WriteWatch(memory.bytes.subarray(BIAS_BYTES), guestBytesMax);
  }

  collect(pageCount: number): number {
    if (this.#openCount !== undefined) this.#kept = this.pages.slice(0, this.#openCount).sort();
    const rangeCount = this.#watch.scan(pageCount);
    this.#reserve(rangeCount);
    const count = this.#kept.length === 0 ? this.#list(rangeCount) : this.#listWithKept(rangeCount);
    this.#openCount = count;
    return count;
  }

  rearm(pageCount: number, collected: Uint32Array, count: number, keptEnd = count): void {
    const kept = collected.slice(count, keptEnd).sort();
    // What nobody has collected is clean as well, such as what was loaded. Collecting has done the same.
    if (this.#openCount === undefined) this.#watch.scan(pageCount);
    this.#kept = kept;
    this.#openCount = undefined;
  }

  close(): void {
    this.#watch.close();
  }

  #reserve(rangeCount: number): void {
    const { ranges } = this.#watch;
    let count = this.#kept.length;
    for (let i = 0; i < 2 * rangeCount; i += 2) count += ranges[i + 1] - ranges[i];
    if (count > this.pages.length) this.pages = new Uint32Array(Math.max(count, 2 * this.pages.length));
  }

  #list(rangeCount: number): number {
    const { pages } = this;
    const { ranges } = this.#watch;
    let count = 0;
    for (let i = 0; i < 2 * rangeCount; i += 2) {
      for (let page = ranges[i]; page < ranges[i + 1]; page++) pages[count++] = page;
    }
    return count;
  }

  #listWithKept(rangeCount: number): number {
    const { pages } = this;
    const { ranges } = this.#watch;
    const kept = this.#kept;
    let count = 0;
    let next = 0;
    for (let i = 0; i < 2 * rangeCount; i += 2) {
      while (next < kept.length && kept[next] < ranges[i]) pages[count++] = kept[next++];
      for (let page = ranges[i]; page < ranges[i + 1]; page++) pages[count++] = page;
      while (next < kept.length && kept[next] < ranges[i + 1]) next++;
    }
    while (next < kept.length) pages[count++] = kept[next++];
    return count;
  }
}

/** Undefined where there is no memory to track. */
export function openKernelTracker(module: Module, memory: GuestMemory): KernelTracker | undefined {
  const bytesMax = guestBytesMax(module);
  return bytesMax === 0 ? undefined : new KernelTracker(memory, bytesMax);
}
