import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { SaveGuard } from '../pager/save-guard.ts';
import { type PendingPages, PendingState, roomForCopies } from './pending-pages.ts';

/** How long to sleep until a page has been taken, when there is no more room to copy it. */
const WAIT_MS = 1;

/**
 * The guest's side of a save that runs beside it: a page of the checkpoint that is about to change, or to leave, is copied first,
 * unless the saver has taken it already.
 */
export class CopyOnWrite implements SaveGuard {
  /** First writes that found their page not yet saved, and the time that copying took. */
  copyFaults = 0;
  copyMs = 0;
  /** Room for copies, which one save after another uses. */
  readonly copies = roomForCopies();
  readonly #memory: GuestMemory;
  readonly #finish: () => void;
  #pending: PendingPages | undefined;
  /** Pages go to the slots that they are read from. */
  #savesToSlots = false;
  #copyCount = 0;

  /** `finish` waits until what is being saved is saved. */
  constructor(memory: GuestMemory, finish: () => void) {
    this.#memory = memory;
    this.#finish = finish;
  }

  start(pending: PendingPages, savesToSlots: boolean): void {
    this.#pending = pending;
    this.#savesToSlots = savesToSlots;
    this.#copyCount = 0;
  }

  stop(): void {
    this.#pending = undefined;
  }

  beforeWrite(page: number): void {
    const startMs = performance.now();
    if (!this.#keep(page)) return;
    this.copyFaults += 1;
    this.copyMs += performance.now() - startMs;
  }

  beforeLeave(page: number): void {
    this.#keep(page);
  }

  beforePageIn(page: number): void {
    // It left while it was being saved: its slot is named already, and may not be written yet.
    if (this.#savesToSlots && this.#pending !== undefined && this.#pending.indexOf(page) >= 0) this.#finish();
  }

  beforePageOut(): void {
    this.#finish();
  }

  /** Sees to it that the checkpoint has the page as it is now; returns whether it was copied for that. */
  #keep(page: number): boolean {
    const pending = this.#pending;
    const index = pending === undefined ? -1 : pending.indexOf(page);
    if (pending === undefined || index < 0) return false;
    const { states } = pending;
    for (;;) {
      const state = Atomics.load(states, index);
      // The saver copies a claimed page at once: that takes less time than going to sleep.
      if (state === PendingState.claimed) continue;
      if (state !== PendingState.inMemory) return false;
      if (this.#copyCount === pending.copiesMax) {
        Atomics.wait(states, index, PendingState.inMemory, WAIT_MS);
        continue;
      }
      if (Atomics.compareExchange(states, index, PendingState.inMemory, PendingState.claimed) !== PendingState.inMemory)
        continue;
      const atBytes = BIAS_BYTES + page * PAGE_BYTES;
      pending.copyAt(this.#copyCount).set(this.#memory.bytes.subarray(atBytes, atBytes + PAGE_BYTES));
      Atomics.store(states, index, PendingState.copied + this.#copyCount);
      this.#copyCount += 1;
      return true;
    }
  }
}
