import { PAGE_BYTES } from '../memory/layout.ts';

/**
 * Where the contents of a page lie that belongs to a checkpoint being saved. The guest's thread and the thread that saves change
 * a state by compare-and-exchange from `inMemory`, so that only one of them takes the page:
 *
 *   inMemory ──► claimed ──► taken          the saver has it in a buffer of its own
 *                  └───────► copied + k     the guest was about to change it: copy k
 *   inSlot                                  it was not resident: the paging file has it
 */
export const PendingState = { inMemory: 0, claimed: 1, taken: 2, inSlot: 3, copied: 16 } as const;

/** Pages that may be copied while one checkpoint is saved; the guest waits for the saver where they are more. */
const COPIES_MAX = 4096;

/** Room for copies, which one save after another uses, and what all threads that make some know of it. */
export interface CopyRoom {
  readonly copies: SharedArrayBuffer;
  /** `CopyWord`s, then `COPY_MS`: one thread at a time copies, so nothing of it is changed by two at once. */
  readonly figures: SharedArrayBuffer;
  /** A word that is not 0 when nobody tells any more of what is about to change; undefined: that does not happen. */
  readonly lost: { readonly words: SharedArrayBuffer; readonly index: number } | undefined;
}

/** Copies of this save, and first writes that found their page not yet saved, of all saves. */
export const CopyWord = { used: 0, faults: 1 } as const;
/** Time that copying took for these, milliseconds, as the word of 64 bits with this index. */
export const COPY_MS = 1;

/** What a thread needs to see the same pages. */
export interface PendingBuffers {
  readonly count: number;
  readonly pages: SharedArrayBuffer;
  readonly states: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  readonly checksums: SharedArrayBuffer;
  readonly room: CopyRoom;
}

/** The pages of a checkpoint that is being saved, ascending, in memory that two threads share. */
export class PendingPages {
  readonly count: number;
  readonly buffers: PendingBuffers;
  readonly pages: Uint32Array;
  /** `PendingState`s. */
  readonly states: Int32Array;
  /** For `inSlot`: the slot, or 0 for a page of zeros. */
  readonly slots: Uint32Array;
  /** For `inSlot`: what its checksum must be, two words each. */
  readonly checksums: Uint32Array;
  readonly copies: Uint8Array;
  readonly #copyWords: Int32Array;
  readonly #lost: Int32Array | undefined;

  constructor(buffers: PendingBuffers) {
    this.buffers = buffers;
    this.count = buffers.count;
    this.pages = new Uint32Array(buffers.pages, 0, buffers.count);
    this.states = new Int32Array(buffers.states, 0, buffers.count);
    this.slots = new Uint32Array(buffers.slots, 0, buffers.count);
    this.checksums = new Uint32Array(buffers.checksums, 0, 2 * buffers.count);
    const { copies, figures, lost } = buffers.room;
    this.copies = new Uint8Array(copies);
    this.#copyWords = new Int32Array(figures);
    this.#lost = lost === undefined ? undefined : new Int32Array(lost.words, 4 * lost.index, 1);
  }

  /** For so many pages, all `inMemory` and without a number. Whatever the room held before is given up. */
  static ofCount(count: number, room: CopyRoom): PendingPages {
    Atomics.store(new Int32Array(room.figures), CopyWord.used, 0);
    const words = Math.max(1, count);
    return new PendingPages({
      count,
      pages: new SharedArrayBuffer(4 * words),
      states: new SharedArrayBuffer(4 * words),
      slots: new SharedArrayBuffer(4 * words),
      checksums: new SharedArrayBuffer(8 * words),
      room,
    });
  }

  /** Whether the guest may have changed pages that were not taken yet, without anybody knowing. */
  get isLost(): boolean {
    return this.#lost !== undefined && Atomics.load(this.#lost, 0) !== 0;
  }

  get hasRoom(): boolean {
    return this.#copyWords[CopyWord.used] < this.copies.length / PAGE_BYTES;
  }

  /** The next copy, for a page that was claimed. */
  takeCopy(): number {
    return this.#copyWords[CopyWord.used]++;
  }

  copyAt(index: number): Uint8Array {
    return this.copies.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
  }

  /** Where a page stands in the list; −1: it is not part of the checkpoint, or had not changed. */
  indexOf(page: number): number {
    const { pages } = this;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (pages[middle] < page) low = middle + 1;
      else high = middle;
    }
    return low < this.count && pages[low] === page ? low : -1;
  }

  /** Nobody will take what is left: whoever waits for it need not. */
  abandon(): void {
    for (let i = 0; i < this.count; i++) {
      if (Atomics.load(this.states, i) === PendingState.inMemory) Atomics.store(this.states, i, PendingState.taken);
    }
  }
}

/** Room for copies of pages, which the system fills only as far as it is used. */
export function roomForCopies(lost?: CopyRoom['lost']): CopyRoom {
  return { copies: new SharedArrayBuffer(COPIES_MAX * PAGE_BYTES), figures: newFigures(), lost };
}

/** For a save that the guest waits for: nothing is copied. */
export const NO_COPIES: CopyRoom = { copies: new SharedArrayBuffer(0), figures: newFigures(), lost: undefined };

function newFigures(): SharedArrayBuffer {
  return new SharedArrayBuffer(8 * (COPY_MS + 1));
}
