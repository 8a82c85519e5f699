import * as fs from 'node:fs';
import { isatty } from 'node:tty';
import { FileType } from './abi.ts';
import { systemCode } from './errno.ts';
import { fileTypeOf } from './open-file.ts';

/** Where bytes of standard output or error leave the process. */
export interface OutputPort {
  readonly fileType: number;
  status(): fs.BigIntStats | undefined;
  /** Writes some bytes at once; 0 when the reader is not taking any now. */
  tryWrite(bytes: Uint8Array): number;
  close(): void;
}

/** The process's own standard output or error. */
export class InheritedPort implements OutputPort {
  readonly fileType: number;
  readonly #hostDescriptor: number;
  /** Opened here, beside the process's own. */
  readonly #isOwn: boolean;
  /** Where to write next in a file that does not stand at its end by itself; null where the host keeps the position. */
  #positionBytes: number | null = null;

  constructor(hostDescriptor: number) {
    const nonBlocking = fs.fstatSync(hostDescriptor).isFIFO() ? openNonBlocking(hostDescriptor) : undefined;
    this.#hostDescriptor = nonBlocking ?? hostDescriptor;
    this.#isOwn = nonBlocking !== undefined;
    this.fileType = fileTypeOf(this.status());
  }

  get isRegularFile(): boolean {
    return this.fileType === FileType.regularFile;
  }

  get isTerminal(): boolean {
    return isatty(this.#hostDescriptor);
  }

  status(): fs.BigIntStats {
    return fs.fstatSync(this.#hostDescriptor, { bigint: true });
  }

  sizeBytes(): number {
    return fs.fstatSync(this.#hostDescriptor).size;
  }

  /** Cuts a regular file to `sizeBytes` where it is longer, and goes on at its end; returns the bytes it had. */
  continueAt(sizeBytes: number): number {
    const foundBytes = this.sizeBytes();
    if (foundBytes > sizeBytes) fs.ftruncateSync(this.#hostDescriptor, sizeBytes);
    const size = Math.min(foundBytes, sizeBytes);
    if (!standsAtEnd(this.#hostDescriptor, size)) this.#positionBytes = size;
    return foundBytes;
  }

  tryWrite(bytes: Uint8Array): number {
    try {
      const count = fs.writeSync(this.#hostDescriptor, bytes, 0, bytes.length, this.#positionBytes);
      if (this.#positionBytes !== null) this.#positionBytes += count;
      return count;
    } catch (error) {
      if (systemCode(error) === 'EAGAIN') return 0;
      throw error;
    }
  }

  close(): void {
    if (this.#isOwn) fs.closeSync(this.#hostDescriptor);
  }
}

/**
 * Another way into a pipe, in which a write does not wait for a reader, so that a stop need not either; setting the mode of
 * the descriptor that we were given would set it for every process that shares it. Undefined where there is no such way.
 */
function openNonBlocking(hostDescriptor: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return fs.openSync(`/proc/self/fd/${hostDescriptor}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return undefined;
  }
}

/** Whether the next write goes to the end of the file; Linux tells, elsewhere append mode (`>>`) is taken for granted. */
function standsAtEnd(hostDescriptor: number, sizeBytes: number): boolean {
  const path = `/proc/self/fdinfo/${hostDescriptor}`;
  if (process.platform !== 'linux' || !fs.existsSync(path)) return true;
  const information = fs.readFileSync(path, 'latin1');
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(information)?.[1] ?? '0', 8);
  const position = Number(/^pos:\s*(\d+)$/m.exec(information)?.[1] ?? '0');
  return (flags & fs.constants.O_APPEND) !== 0 || position === sizeBytes;
}

/** A function of the embedder. */
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

  close(): void {}
}
