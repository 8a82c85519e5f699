import { libraryCalls, putWord, SystemRefusal } from './c-library.ts';

const UFFDIO_WRITEPROTECT = 0xc018aa06;
const MODE_PROTECT = 1;
const EAGAIN = 11;
const RETRIES_MAX = 1000;

/** Protects ranges that are registered with a descriptor of userfaultfd(2) for that; any thread of the process may have one. */
export class RangeProtection {
  readonly #descriptor: number;
  readonly #words = new Uint32Array(6);

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Pages of the range, absent ones too, are protected from now on. */
  protect(address: number, lengthBytes: number): void {
    this.#set(address, lengthBytes, MODE_PROTECT);
  }

  /** They may be written, and whoever waits for that goes on. */
  release(address: number, lengthBytes: number): void {
    this.#set(address, lengthBytes, 0);
  }

  #set(address: number, lengthBytes: number, mode: number): void {
    if (lengthBytes === 0) return;
    const calls = libraryCalls();
    const words = this.#words;
    putWord(words, 0, address);
    putWord(words, 2, lengthBytes);
    putWord(words, 4, mode);
    // The system gives up where another thread changes the layout of memory meanwhile.
    for (let tries = 0; Number(calls.ioctl(this.#descriptor, UFFDIO_WRITEPROTECT, words)) < 0; tries++) {
      const errno = calls.errno();
      if (errno !== EAGAIN || tries === RETRIES_MAX) throw new SystemRefusal('UFFDIO_WRITEPROTECT', errno);
    }
  }
}
