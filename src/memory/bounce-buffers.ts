/**
 * Copies of guest bytes for system calls, where the guest's pages come by faults: a system call that meets an absent page
 * would wait for it with locks of the kernel held, among them that of a file which the pager may have to write first.
 *
 * A copy for a system call that fills it goes back when the guest's memory is next looked at by anybody.
 */
export class BounceBuffers {
  readonly #addresses: number[] = [];
  readonly #copies: Uint8Array[] = [];

  /** A copy of the bytes from `at` on. */
  forReading(bytes: Uint8Array, at: number, lengthBytes: number): Uint8Array {
    return new Uint8Array(bytes.subarray(at, at + lengthBytes));
  }

  /** The same, to be filled: what is not filled goes back as it was. */
  forWriting(bytes: Uint8Array, at: number, lengthBytes: number): Uint8Array {
    const copy = this.forReading(bytes, at, lengthBytes);
    this.#addresses.push(at);
    this.#copies.push(copy);
    return copy;
  }

  /** Puts back what was handed out to be filled; it is not used any more. */
  putBack(bytes: Uint8Array): void {
    for (let i = 0; i < this.#copies.length; i++) bytes.set(this.#copies[i], this.#addresses[i]);
    this.#addresses.length = 0;
    this.#copies.length = 0;
  }
}
