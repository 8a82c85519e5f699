import * as fs from 'node:fs';
import { FileType } from './abi.ts';
import type { Blocking } from './config.ts';
import { Errno, refuse } from './errno.ts';
import { fileTypeOf } from './open-file.ts';

/** Standard input, output or error that is not a regular file opened for the guest. */
export interface StandardStream {
  readonly fileType: number;
  /** Status of the file behind it, where there is one. */
  status(): fs.BigIntStats | undefined;
  /** Reads at least a byte where there is one; 0 = end of input. */
  read(into: Uint8Array): number | 'interrupted';
  /** Writes at least a byte unless `bytes` is empty; returns how many. */
  write(bytes: Uint8Array): number | 'interrupted';
  /** Bytes that a read would give at once; undefined when it is not known without waiting. */
  readableBytes(): number | undefined;
}

/** Input that comes from the process's own standard input through the machine's reader thread. */
export class InheritedInput implements StandardStream {
  readonly fileType: number;
  readonly #blocking: Blocking;
  readonly #buffer = new Uint8Array(65536);
  #startBytes = 0;
  #endBytes = 0;
  #ended = false;
  /** Input that an earlier run had read ahead, given out before anything else. */
  #restored: Uint8Array;

  constructor(blocking: Blocking, restored: Uint8Array) {
    this.fileType = fileTypeOf(fs.fstatSync(0, { bigint: true }));
    this.#blocking = blocking;
    this.#restored = restored;
  }

  status(): fs.BigIntStats {
    return fs.fstatSync(0, { bigint: true });
  }

  read(into: Uint8Array): number | 'interrupted' {
    if (into.length === 0) return 0;
    const filled = this.#fill();
    if (filled === 'interrupted') return 'interrupted';
    if (this.#restored.length > 0) {
      const count = Math.min(into.length, this.#restored.length);
      into.set(this.#restored.subarray(0, count));
      this.#restored = this.#restored.subarray(count);
      return count;
    }
    const count = Math.min(into.length, this.#endBytes - this.#startBytes);
    into.set(this.#buffer.subarray(this.#startBytes, this.#startBytes + count));
    this.#startBytes += count;
    return count;
  }

  /** Waits until bytes are buffered or the input has ended. */
  #fill(): 'filled' | 'interrupted' {
    if (this.#restored.length > 0 || this.#startBytes < this.#endBytes) return 'filled';
    const count = this.#blocking.readInput(this.#buffer);
    if (count === 'interrupted') return 'interrupted';
    this.#startBytes = 0;
    this.#endBytes = count;
    this.#ended = count === 0;
    return 'filled';
  }

  write(): never {
    return refuse(Errno.badf);
  }

  readableBytes(): number | undefined {
    const buffered = this.#restored.length + this.#endBytes - this.#startBytes;
    if (buffered > 0 || this.#ended) return buffered;
    return undefined;
  }

  /** All that was read from the process's input and not yet given to the guest. */
  unreadBytes(): Uint8Array {
    const own = this.#buffer.subarray(this.#startBytes, this.#endBytes);
    const ahead = this.#blocking.peekInput();
    const all = new Uint8Array(this.#restored.length + own.length + ahead.length);
    all.set(this.#restored);
    all.set(own, this.#restored.length);
    all.set(ahead, this.#restored.length + own.length);
    return all;
  }
}

/** Input that the embedder gave as bytes; none at all for `empty`. */
export class GivenInput implements StandardStream {
  readonly fileType = FileType.unknown;
  readonly #bytes: Uint8Array;
  offsetBytes: number;

  constructor(bytes: Uint8Array, offsetBytes: number) {
    this.#bytes = bytes;
    this.offsetBytes = offsetBytes;
  }

  status(): undefined {
    return undefined;
  }

  read(into: Uint8Array): number {
    const count = Math.min(into.length, Math.max(0, this.#bytes.length - this.offsetBytes));
    into.set(this.#bytes.subarray(this.offsetBytes, this.offsetBytes + count));
    this.offsetBytes += count;
    return count;
  }

  write(): never {
    return refuse(Errno.badf);
  }

  readableBytes(): number {
    return Math.max(0, this.#bytes.length - this.offsetBytes);
  }
}
