import * as fs from 'node:fs';
import { FileType } from './abi.ts';
import type { Blocking } from './config.ts';
import { Errno, refuse, systemCode } from './errno.ts';
import { fileTypeOf } from './open-file.ts';

/** How long to wait before asking a full pipe again, in milliseconds. */
const RETRY_MS = 2;

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

/** Where bytes of standard output or error leave the process. */
export interface OutputPort {
  readonly fileType: number;
  status(): fs.BigIntStats | undefined;
  /** Writes some bytes at once; 0 when the reader is not taking any now. */
  tryWrite(bytes: Uint8Array): number;
}

export class InheritedPort implements OutputPort {
  readonly fileType: number;
  readonly hostDescriptor: number;

  constructor(hostDescriptor: number) {
    this.hostDescriptor = hostDescriptor;
    this.fileType = fileTypeOf(fs.fstatSync(hostDescriptor, { bigint: true }));
  }

  status(): fs.BigIntStats {
    return fs.fstatSync(this.hostDescriptor, { bigint: true });
  }

  tryWrite(bytes: Uint8Array): number {
    try {
      return fs.writeSync(this.hostDescriptor, bytes);
    } catch (error) {
      if (systemCode(error) === 'EAGAIN') return 0;
      throw error;
    }
  }
}

export class SinkPort implements OutputPort {
  readonly fileType = FileType.unknown;
  readonly #write: (bytes: Uint8Array) => void;

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
  }

  status(): undefined {
    return undefined;
  }

  tryWrite(bytes: Uint8Array): number {
    this.#write(bytes);
    return bytes.length;
  }
}

/** Standard output or error. */
export class OutputStream implements StandardStream {
  readonly port: OutputPort;
  readonly #blocking: Blocking;
  /** Bytes that the guest has written since the job began. */
  producedBytes = 0;

  constructor(port: OutputPort, blocking: Blocking) {
    this.port = port;
    this.#blocking = blocking;
  }

  get fileType(): number {
    return this.port.fileType;
  }

  status(): fs.BigIntStats | undefined {
    return this.port.status();
  }

  read(): never {
    return refuse(Errno.badf);
  }

  write(bytes: Uint8Array): number | 'interrupted' {
    if (bytes.length === 0) return 0;
    for (;;) {
      const count = this.port.tryWrite(bytes);
      if (count > 0) {
        this.producedBytes += count;
        return count;
      }
      if (this.#blocking.waitUntil(performance.now() + RETRY_MS) === 'interrupted') return 'interrupted';
    }
  }

  readableBytes(): number {
    return 0;
  }
}
