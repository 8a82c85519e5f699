/**
 * Which pages of a part of this process's memory were written, as the system notes it: userfaultfd(2) with asynchronous write
 * protection. A protected page that is written, by whoever it be (this process, the system on its behalf), is let through and
 * is no longer protected, so nothing waits for anybody and no right is needed. Linux 6.7 or later.
 */
import { libraryCalls } from './c-library.ts';
import { openUffd, RangeProtection, registerRange, RegisterMode, UffdFeature } from './uffd.ts';

const TRACKING_FEATURES = UffdFeature.pagefaultFlagWp | UffdFeature.wpUnpopulated | UffdFeature.wpAsync;

/** The protection of a range of memory, which ends with `close`. */
export class WriteNotes {
  readonly #descriptor: number;
  readonly #protection: RangeProtection;

  /** From now on the range, which may end in address space that holds no memory yet, can be protected; nothing is. */
  constructor(address: number, lengthBytes: number) {
    this.#descriptor = openUffd('user-mode', TRACKING_FEATURES);
    this.#protection = new RangeProtection(this.#descriptor);
    try {
      registerRange(this.#descriptor, address, lengthBytes, RegisterMode.writeProtect);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Pages of this range, absent ones too, count as not written until they are. */
  protect(address: number, lengthBytes: number): void {
    this.#protection.set(address, lengthBytes, true);
  }

  close(): void {
    libraryCalls().close(this.#descriptor);
  }
}
