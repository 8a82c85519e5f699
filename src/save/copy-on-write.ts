import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { SaveGuard } from '../pager/save-guard.ts';
import { COPY_MS, type CopyRoom, CopyWord, type PendingPages, PendingState } from './pending-pages.ts';

/** How long to sleep until a page has been taken, when there is no more room to copy it. */
const WAIT_MS = 1;

/**
 * The guest's side of a save that runs beside it: a page of the checkpoint that is about to change, or to leave, is copied first,
 * unless the saver has taken it already. Where the kernel stops the guest at first writes, the thread that serves these has one as well;
 * the guest stands still then, so one of the two copies at a time.
 */
export class CopyOnWrite implements SaveGuard {
  /** Room for copies, which one save after another uses. */
  readonly room: CopyRoom;
  readonly #memory: GuestMemory;
  readonly #finish: () => void;
  readonly #onWait: () => void;
  readonly #words: Int32Array;
  readonly #copyMs: Float64Array;
  #pending: PendingPages | undefined;
  /** Pages go to the slots that they are read from. */
  #savesToSlots = false;

  /**
   * `finish` waits until what is being saved is saved. `onWait` is called again and again while there is no room for a copy, so that nobody
   * takes this thread for one that hangs.
   */
  constructor(memory: GuestMemory, room: CopyRoom, finish: () => void, onWait: () => void = () => {}) {
    this.#memory = memory;
    this.room = room;
    this.#words = new Int32Array(room.figures);
    this.#copyMs = new Float64Array(room.figures);
    this.#finish = finish;
    this.#onWait = onWait;
  }

  /** First writes that found their page not yet saved, whichever thread copied it. */
  get copyFaults(): number {
    return this.#words[CopyWord.faults];
  }

  /** The time that copying took. */
  get copyMs(): number {
    return this.#copyMs[COPY_MS];
  }

  start(pending: PendingPages, savesToSlots: boolean): void {
    this.#pending = pending;
    this.#savesToSlots = savesToSlots;
  }

  stop(): void {
    this.#pending = undefined;
  }

  beforeWrite(page: number): void {
    const startMs = performance.now();
    if (!this.#keep(page)) return;
    this.#words[CopyWord.faults] += 1;
    this.#copyMs[COPY_MS] += performance.now() - startMs;
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
      if (!pending.hasRoom) {
        Atomics.wait(states, index, PendingState.inMemory, WAIT_MS);
        this.#onWait();
        continue;
      }
      if (Atomics.compareExchange(states, index, PendingState.inMemory, PendingState.claimed) !== PendingState.inMemory)
        continue;
      const atBytes = BIAS_BYTES + page * PAGE_BYTES;
      const copy = pending.takeCopy();
      pending.copyAt(copy).set(this.#memory.bytes.subarray(atBytes, atBytes + PAGE_BYTES));
      Atomics.store(states, index, PendingState.copied + copy);
      return true;
    }
  }
}
