import { writeSync } from 'node:fs';
import { systemErrorCode } from '../device/file-device.ts';

/** Where nothing tells the width, as in a pipe. */
const COLUMNS = 80;

/** Width of the terminal that standard output goes to. */
export function terminalColumns(): number {
  return process.stdout.columns ?? COLUMNS;
}

/** So much is gathered before the first of it leaves, and then each time. */
const GATHERED_BYTES = 1 << 20;
const RETRY_MS = 2;

/**
 * Standard output for a command that may have gigabytes to say: waits for its reader, and stops writing, without an error,
 * when nobody reads any more, as `head` does when it has seen what it wanted.
 */
export class StandardOutputWriter {
  readonly #room = Buffer.alloc(GATHERED_BYTES);
  #filledBytes = 0;
  #hasLeft = false;
  #isClosed = false;

  /** Forgets what was gathered; false when some of it has left already. */
  restart(): boolean {
    this.#filledBytes = 0;
    return !this.#hasLeft;
  }

  write(piece: string | Uint8Array): void {
    const bytes = typeof piece === 'string' ? Buffer.from(piece) : piece;
    for (let at = 0; at < bytes.length;) {
      if (this.#filledBytes === GATHERED_BYTES) this.#leave();
      const part = bytes.subarray(at, at + GATHERED_BYTES - this.#filledBytes);
      this.#room.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      at += part.length;
    }
  }

  end(): void {
    this.#leave();
  }

  #leave(): void {
    this.#hasLeft = true;
    for (let at = 0; at < this.#filledBytes && !this.#isClosed;) {
      try {
        at += writeSync(1, this.#room, at, this.#filledBytes - at);
      } catch (error) {
        const code = systemErrorCode(error);
        if (code === 'EPIPE') this.#isClosed = true;
        else if (code === 'EAGAIN') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
        else throw error;
      }
    }
    this.#filledBytes = 0;
  }
}
