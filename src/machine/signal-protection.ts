import { addressOf } from '../kernel/c-library.ts';
import { PageGuard } from '../kernel/page-guard.ts';
import { BIAS_BYTES, controlRegion } from '../memory/layout.ts';
import type { PendingPages } from '../save/pending-pages.ts';
import type { ProtectedGuest } from './protected-pages.ts';
import { ProtectionFigures } from './protection-figures.ts';
import type { ProtectionMechanism } from './protection-mechanism.ts';

/**
 * Protection by mprotect, libckpt's own: a write to a protected page is a SIGSEGV, whose handler in the guest's thread does all that there
 * is to do (`native/page-guard.c`). Nothing else needs to run for it, so nothing can be lost while pages are being saved.
 *
 * Only pages that the guest has can be protected: what may be read behind its end would not trap. And when it grows, V8 makes all of
 * its memory writable, which the rewritten program tells at once (`memoryGrown`).
 */
export class SignalProtection implements ProtectionMechanism {
  readonly figures = new ProtectionFigures();
  /** The memory of a guest that has grown could not be protected again. */
  failure: Error | undefined;
  readonly lostWord = undefined;
  readonly #guard: PageGuard;
  readonly #notice: (text: string) => void;
  #hasToldOfOverflow = false;

  /**
   * `mappingsMax`: see `PageGuard`.
   * @throws Error: the library was not built; SystemRefusal.
   */
  constructor(
    { memory, pagesMax }: Pick<ProtectedGuest, 'memory' | 'pagesMax'>,
    notice: (text: string) => void,
    mappingsMax?: number,
  ) {
    this.#notice = notice;
    const states = new Uint8Array(memory.memory.buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    const base = addressOf(memory.bytes) + BIAS_BYTES;
    this.#guard = new PageGuard({ base, pagesMax, states, figures: this.figures.buffer }, mappingsMax);
  }

  protectablePages(pageCount: number): number {
    return pageCount;
  }

  protect(first: number, last: number): void {
    if (!this.#guard.isHeard) throw handlerReplaced();
    this.#tellOfOverflow();
    this.#guard.protect(first, last - first + 1);
  }

  open(first: number, last: number): void {
    this.#guard.release(first, last - first + 1);
  }

  guardSave(pending: PendingPages | undefined): void {
    this.#guard.save(pending?.buffers);
  }

  /** V8 has made all pages writable. */
  memoryGrown(pageCount: number): void {
    try {
      this.#guard.regrown(pageCount);
    } catch (error) {
      // The guest might catch what is thrown here, and go on.
      this.failure = error instanceof Error ? error : new Error(String(error));
      throw error;
    }
  }

  close(): void {
    this.#tellOfOverflow();
    this.#guard.close();
  }

  #tellOfOverflow(): void {
    if (this.#hasToldOfOverflow || this.figures.overflows === 0) return;
    this.#hasToldOfOverflow = true;
    this.#notice(
      `pages far apart are written, which takes more than ${this.#guard.mappingsMax} mappings of the system (vm.max_map_count) to know each by itself: ` +
        'all pages count as written where it does; --tracker software or kernel does better here',
    );
  }
}

/** A handler that somebody installed after ours takes the guest's faults, of which it knows nothing. */
function handlerReplaced(): Error {
  return new Error(
    'something in this process has installed a handler of SIGSEGV, which --tracker mprotect needs for itself; run the job again with --tracker software',
  );
}
