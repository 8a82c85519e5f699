import type { PendingPages } from '../save/pending-pages.ts';
import type { ProtectionFigures } from './protection-figures.ts';

/**
 * What stops a guest at its first write to a protected page, notes the page (its state byte says `dirty`), gives it to the save that is
 * under way, and lets it be written, that page alone. There are two: a thread that the kernel tells (`thread-protection.ts`), and a handler
 * of signals in the guest's own thread (`signal-protection.ts`).
 *
 * Pages are named by their first and their last. The guest does not run while this is called.
 */
export interface ProtectionMechanism {
  readonly figures: ProtectionFigures;
  /** Why writes are not told any more, while the guest runs on; undefined: they are. */
  readonly failure: Error | undefined;
  /** A word that is not 0 when writes are told no more; undefined: that does not happen while pages are being saved. */
  readonly lostWord: { readonly words: SharedArrayBuffer; readonly index: number } | undefined;
  /** How many pages, from the first, are protected when all are, of a memory that has so many now. */
  protectablePages(pageCount: number): number;
  /** The state bytes say `clean` by now. */
  protect(first: number, last: number): void;
  /** The state bytes say `dirty` by now, or what is written is of no interest. */
  open(first: number, last: number): void;
  /** These pages are being saved from now on; undefined: none. */
  guardSave(pending: PendingPages | undefined, pageCount: number): void;
  /** The memory has so many pages now. */
  memoryGrown(pageCount: number): void;
  /** Nothing is protected any more, and the guest does not run again. */
  close(pageCount: number): void;
}
