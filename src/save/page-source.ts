import type { DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import { type PendingPages, PendingState } from './pending-pages.ts';

/** Takes the pages of a checkpoint from wherever they are: the guest's memory, a copy, the paging file. */
export class PageSource {
  /** Pages that had to be read from the paging file. */
  pagesRead = 0;
  readonly #memory: WebAssembly.Memory;
  readonly #pending: PendingPages;
  readonly #paging: DeviceFile | undefined;

  constructor(memory: WebAssembly.Memory, pending: PendingPages, paging: DeviceFile | undefined) {
    this.#memory = memory;
    this.#pending = pending;
    this.#paging = paging;
  }

  /** Puts the pages `from … from + count − 1` of the list into the room, one after another. */
  take(from: number, count: number, room: Uint8Array): void {
    const { states, pages } = this.#pending;
    const memory = new Uint8Array(this.#memory.buffer);
    let i = 0;
    while (i < count) {
      const index = from + i;
      const place = room.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      const state = Atomics.compareExchange(states, index, PendingState.inMemory, PendingState.claimed);
      if (state === PendingState.inMemory) {
        const atBytes = BIAS_BYTES + pages[index] * PAGE_BYTES;
        place.set(memory.subarray(atBytes, atBytes + PAGE_BYTES));
        Atomics.store(states, index, PendingState.taken);
        // Asked after the page was read: what is let through from then on cannot be in it.
        if (this.#pending.isLost)
          throw new Error('pages may have changed before they were saved: nobody told of writes');
      } else if (state === PendingState.inSlot) {
        i += this.#readRun(index, count - i, room.subarray(i * PAGE_BYTES));
        continue;
      } else if (state === PendingState.claimed) {
        // The guest's thread is copying it.
        continue;
      } else {
        assert(state >= PendingState.copied, 'a page was taken twice');
        place.set(this.#pending.copyAt(state - PendingState.copied));
      }
      i += 1;
    }
  }

  /** Reads pages that lie in neighbouring slots by one call; returns how many. */
  #readRun(from: number, countMax: number, room: Uint8Array): number {
    const { states, slots } = this.#pending;
    const first = slots[from];
    if (first === 0) {
      room.fill(0, 0, PAGE_BYTES);
      return 1;
    }
    let count = 1;
    while (
      count < countMax &&
      slots[from + count] === first + count &&
      Atomics.load(states, from + count) === PendingState.inSlot
    )
      count += 1;
    assert(this.#paging !== undefined, 'a page lies in a slot of no file');
    const view = room.subarray(0, count * PAGE_BYTES);
    const readBytes = this.#paging.readInto(view, first * SLOT_BYTES);
    view.fill(0, readBytes);
    this.pagesRead += count;
    return count;
  }
}
