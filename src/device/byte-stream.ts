/** Files that are written or read from beginning to end: named ones, and the process's standard streams. */
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { StorageError } from '../error/errors.ts';
import { FileDevice, storageError, systemErrorCode } from './file-device.ts';

/** How long to wait before a stream that somebody made non-blocking is asked again, milliseconds. */
const RETRY_MS = 1;
const retryCell = new Int32Array(new SharedArrayBuffer(4));

/** Bytes on their way out. */
export interface ByteSink {
  write(bytes: Uint8Array): void;
  /** All was written: makes it last. */
  finish(): void;
  /** Leaves nothing behind, unless it was finished. */
  close(): void;
}

/** A file that gets its name when it is whole, and durable. Only its owner may read it. */
export class NewFile implements ByteSink {
  readonly #device: FileDevice;
  readonly #name: string;
  readonly #unfinished: string;
  readonly #descriptor: number;
  #isOpen = true;

  constructor(path: string) {
    const whole = resolve(path);
    this.#device = new FileDevice(dirname(whole));
    this.#name = basename(whole);
    this.#unfinished = `${this.#name}.${randomBytes(4).toString('hex')}.new`;
    try {
      this.#descriptor = fs.openSync(join(this.#device.path, this.#unfinished), 'wx', 0o600);
    } catch (error) {
      throw storageError('make', whole, error);
    }
  }

  write(bytes: Uint8Array): void {
    writeAll(this.#descriptor, bytes, join(this.#device.path, this.#unfinished));
  }

  finish(): void {
    try {
      fs.fsyncSync(this.#descriptor);
      this.#isOpen = false;
      fs.closeSync(this.#descriptor);
    } catch (error) {
      throw storageError('sync', join(this.#device.path, this.#unfinished), error);
    }
    this.#device.rename(this.#unfinished, this.#name);
    this.#device.syncDirectory();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    fs.closeSync(this.#descriptor);
    this.#device.remove(this.#unfinished);
  }
}

/** Standard output as bytes. */
export class StandardSink implements ByteSink {
  write(bytes: Uint8Array): void {
    writeAll(1, bytes, 'standard output');
  }

  finish(): void {}

  close(): void {}
}

/** Bytes on their way in: read as they are asked for, and never ahead. */
export class ByteSource {
  /** Name of the file for people. */
  readonly path: string;
  /** Undefined where it is not known before the end. */
  readonly sizeBytes: number | undefined;
  readBytes = 0;
  readonly #descriptor: number;

  private constructor(path: string, descriptor: number) {
    this.path = path;
    this.#descriptor = descriptor;
    const status = fs.fstatSync(descriptor);
    this.sizeBytes = status.isFile() ? status.size : undefined;
  }

  static ofStandardInput(): ByteSource {
    return new ByteSource('standard input', 0);
  }

  static open(path: string): ByteSource {
    try {
      return new ByteSource(path, fs.openSync(path, 'r'));
    } catch (error) {
      throw storageError('open', path, error);
    }
  }

  /** Fills the view from where the last read ended; returns the bytes read, fewer only at the end. */
  read(view: Uint8Array): number {
    let doneBytes = 0;
    while (doneBytes < view.length) {
      const count = this.#readSome(view, doneBytes);
      if (count === 0) break;
      doneBytes += count;
      this.readBytes += count;
    }
    return doneBytes;
  }

  #readSome(view: Uint8Array, doneBytes: number): number {
    for (;;) {
      try {
        return fs.readSync(this.#descriptor, view, doneBytes, view.length - doneBytes, null);
      } catch (error) {
        if (systemErrorCode(error) === 'EOF') return 0;
        if (systemErrorCode(error) !== 'EAGAIN') throw storageError('read', this.path, error);
      }
      Atomics.wait(retryCell, 0, 0, RETRY_MS);
    }
  }

  close(): void {
    if (this.#descriptor !== 0) fs.closeSync(this.#descriptor);
  }
}

function writeAll(descriptor: number, bytes: Uint8Array, name: string): void {
  let doneBytes = 0;
  while (doneBytes < bytes.length) {
    try {
      doneBytes += fs.writeSync(descriptor, bytes, doneBytes, bytes.length - doneBytes, null);
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === 'EPIPE') {
        throw new StorageError(`cannot write ${name}: whoever reads it has gone`, { systemCode: code }, error);
      }
      if (code !== 'EAGAIN') throw storageError('write', name, error);
      Atomics.wait(retryCell, 0, 0, RETRY_MS);
    }
  }
}
