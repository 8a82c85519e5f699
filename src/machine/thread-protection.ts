import { addressOf, SystemRefusal } from '../kernel/c-library.ts';
import { RangeProtection } from '../kernel/uffd.ts';
import { BIAS_BYTES, PAGE_BYTES } from '../memory/layout.ts';
import type { PendingPages } from '../save/pending-pages.ts';
import type { PagerLink } from './pager-link.ts';
import type { ProtectedGuest } from './protected-pages.ts';
import { ProtectionFigures } from './protection-figures.ts';
import type { ProtectionMechanism } from './protection-mechanism.ts';

/** Protection by userfaultfd: the kernel stops the guest, and a thread serves the fault (`protection-server.ts`). */
export class ThreadProtection implements ProtectionMechanism {
  readonly figures = new ProtectionFigures();
  readonly #link: PagerLink;
  readonly #pagesMax: number;
  readonly #address: number;
  readonly #range: RangeProtection;
  #isClosed = false;

  /** @throws UsageError, Error: the system refuses. */
  constructor(link: PagerLink, { memory, pagesMax }: Pick<ProtectedGuest, 'memory' | 'pagesMax'>) {
    this.#link = link;
    this.#pagesMax = pagesMax;
    this.#address = addressOf(memory.bytes) + BIAS_BYTES;
    const order = { memory: memory.memory, guestBytesMax: pagesMax * PAGE_BYTES, figures: this.figures.buffer };
    link.give({ kind: 'protect', ...order, pageCount: memory.pageCount });
    this.#range = new RangeProtection(link.faultDescriptor);
  }

  get failure(): Error | undefined {
    if (!this.#link.hasFailed || this.#isClosed) return undefined;
    return new Error(
      'the thread that is told of first writes to pages has ended; run the job again from its last checkpoint',
    );
  }

  /** Where a thread that saves pages sees that they may have changed before it had them. */
  get lostWord(): NonNullable<ProtectionMechanism['lostWord']> {
    return this.#link.failedWord;
  }

  /** Address space that the memory may grow into is protected as well. */
  protectablePages(): number {
    return this.#pagesMax;
  }

  protect(first: number, last: number): void {
    this.#set(first, last, true);
  }

  open(first: number, last: number): void {
    this.#set(first, last, false);
  }

  guardSave(pending: PendingPages | undefined, pageCount: number): void {
    // Pages of a save that is over were all taken, or are wanted no more.
    if (pending !== undefined) this.#link.leave({ kind: 'save', pending: pending.buffers, pageCount });
  }

  memoryGrown(): void {
    // What it grows into was protected from the start.
  }

  close(pageCount: number): void {
    this.#isClosed = true;
    try {
      if (!this.#link.isDead) this.#link.give({ kind: 'close', pageCount });
    } finally {
      this.#link.close();
    }
  }

  /** Where the other thread has ended, that is the reason and not what the system says of its descriptor. */
  #set(first: number, last: number, isProtected: boolean): void {
    try {
      this.#range.set(this.#address + first * PAGE_BYTES, (last - first + 1) * PAGE_BYTES, isProtected);
    } catch (error) {
      const { failure } = this;
      if (error instanceof SystemRefusal && failure !== undefined) throw failure;
      throw error;
    }
  }
}
