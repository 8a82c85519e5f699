import * as fs from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { StorageError } from '../error/errors.ts';
import type { Device, DeviceFile, OpenMode } from './device.ts';

const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: 'free some space on that disk and run the job again',
  EDQUOT: 'free some of your disk quota and run the job again',
  EACCES: 'give yourself access to it or choose another job directory',
  EPERM: 'give yourself access to it or choose another job directory',
  EROFS: 'choose a job directory on a disk that can be written',
  EIO: 'check the disk; the job can be run again from its last checkpoint once it is sound',
  ENOENT: 'check that nothing else removes files of the job directory',
  EMFILE: 'raise the limit of open files',
};

/** A failed system call as a StorageError that names the path and says what may help. */
export function storageError(operation: string, path: string, cause: unknown): StorageError {
  const code = systemErrorCode(cause);
  const reason = cause instanceof Error ? cause.message : String(cause);
  const advice = ADVICE[code];
  return new StorageError(
    `cannot ${operation} ${path}: ${reason}${advice === undefined ? '' : `; ${advice}`}`,
    { operation, path, systemCode: code },
    cause,
  );
}

/** The `code` of a Node.js system error, such as ENOENT; empty for anything else. */
export function systemErrorCode(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return '';
}

/** A system call that a signal may interrupt before it has done anything: made again then. */
function uninterrupted<T>(call: () => T): T {
  for (;;) {
    try {
      return call();
    } catch (error) {
      if (systemErrorCode(error) !== 'EINTR') throw error;
    }
  }
}

const OPEN_FLAGS: Readonly<Record<OpenMode, string>> = { read: 'r', write: 'r+', create: 'w+' };

/**
 * Reads bytes of an open file at a position of it into a view; returns how many, less than 0 where it failed: then it is asked of
 * Node.js, which tells why.
 */
export type PositionedRead = (descriptor: number, view: Uint8Array, positionBytes: number) => number;

class RealFile implements DeviceFile {
  readonly path: string;
  readonly descriptor: number;
  readonly #isDurable: boolean;
  readonly #quickRead: PositionedRead | undefined;

  constructor(path: string, descriptor: number, isDurable: boolean, quickRead?: PositionedRead) {
    this.path = path;
    this.descriptor = descriptor;
    this.#isDurable = isDurable;
    this.#quickRead = quickRead;
  }

  static open(path: string, mode: OpenMode, isDurable: boolean, quickRead?: PositionedRead): RealFile {
    try {
      const descriptor = uninterrupted(() => fs.openSync(path, OPEN_FLAGS[mode], 0o600));
      return new RealFile(path, descriptor, isDurable, quickRead);
    } catch (error) {
      throw storageError('open', path, error);
    }
  }

  readInto(view: Uint8Array, positionBytes: number): number {
    let doneBytes = Math.max(0, this.#quickRead?.(this.descriptor, view, positionBytes) ?? 0);
    if (doneBytes === view.length) return doneBytes;
    try {
      while (doneBytes < view.length) {
        const from = doneBytes;
        const readBytes = uninterrupted(() =>
          fs.readSync(this.descriptor, view, from, view.length - from, positionBytes + from),
        );
        if (readBytes === 0) break;
        doneBytes += readBytes;
      }
    } catch (error) {
      throw storageError('read', this.path, error);
    }
    return doneBytes;
  }

  write(view: Uint8Array, positionBytes: number): void {
    let doneBytes = 0;
    try {
      // A write may be cut short, by a signal or by the last free byte of the disk; the next call tells which.
      while (doneBytes < view.length) {
        const from = doneBytes;
        const writtenBytes = uninterrupted(() =>
          fs.writeSync(this.descriptor, view, from, view.length - from, positionBytes + from),
        );
        if (writtenBytes === 0) throw new Error('the system wrote no bytes');
        doneBytes += writtenBytes;
      }
    } catch (error) {
      throw storageError('write', this.path, error);
    }
  }

  /**
   * `fdatasync` leaves out times of access and change, but not what is needed to read the data back: the size and the
   * block allocation of a grown file are made durable too (POSIX.1-2017, "synchronized I/O data integrity completion").
   */
  sync(): void {
    if (!this.#isDurable) return;
    try {
      uninterrupted(() => fs.fdatasyncSync(this.descriptor));
    } catch (error) {
      throw storageError('sync', this.path, error);
    }
  }

  sizeBytes(): number {
    try {
      return fs.fstatSync(this.descriptor).size;
    } catch (error) {
      throw storageError('read the size of', this.path, error);
    }
  }

  truncate(sizeBytes: number): void {
    try {
      fs.ftruncateSync(this.descriptor, sizeBytes);
    } catch (error) {
      throw storageError('set the size of', this.path, error);
    }
  }

  close(): void {
    try {
      fs.closeSync(this.descriptor);
    } catch (error) {
      throw storageError('close', this.path, error);
    }
  }
}

/** A file that another thread of this process has opened and will close. */
export function fileOfDescriptor(path: string, descriptor: number): DeviceFile {
  return new RealFile(path, descriptor, true);
}

/** A job directory on a disk of this machine. */
export class FileDevice implements Device {
  readonly path: string;
  readonly #isDurable: boolean;
  readonly #quickRead: PositionedRead | undefined;

  /**
   * A directory that is not `durable` is gone with the process: nothing in it is ever waited for until the disk has it. `quickRead`
   * is for those who read a page at a time, for whom what Node.js does around the system's call counts.
   */
  constructor(
    directory: string,
    { durable = true, quickRead }: { readonly durable?: boolean; readonly quickRead?: PositionedRead | undefined } = {},
  ) {
    this.path = resolve(directory);
    this.#isDurable = durable;
    this.#quickRead = quickRead;
  }

  list(): string[] {
    try {
      return fs.readdirSync(this.path).sort();
    } catch (error) {
      throw storageError('list', this.path, error);
    }
  }

  openFile(name: string, mode: OpenMode): DeviceFile {
    return RealFile.open(join(this.path, name), mode, this.#isDurable, this.#quickRead);
  }

  rename(from: string, to: string): void {
    try {
      fs.renameSync(join(this.path, from), join(this.path, to));
    } catch (error) {
      throw storageError('rename', join(this.path, from), error);
    }
  }

  remove(name: string): void {
    const path = join(this.path, name);
    try {
      fs.rmSync(path, { force: true });
    } catch (error) {
      throw storageError('remove', path, error);
    }
  }

  syncDirectory(): void {
    if (this.#isDurable) syncDirectoryAt(this.path);
  }
}

/**
 * Makes a directory and the parents it lacks, durably: each new name is synced in the directory that holds it. Returns
 * what it made, the innermost first.
 *
 * One by one, because the recursive call of Node 20 never returns where the system refuses a name in a directory that is
 * there, as in `/proc`.
 */
export function makeDirectory(directory: string): readonly string[] {
  const missing: string[] = [];
  for (let next = resolve(directory); kindOfPath(next) === 'absent'; next = dirname(next)) missing.push(next);
  const made: string[] = [];
  for (const next of missing.toReversed()) {
    try {
      fs.mkdirSync(next);
    } catch (error) {
      // Another process may want the same directory.
      if (systemErrorCode(error) === 'EEXIST') continue;
      throw storageError('make the directory', next, error);
    }
    syncDirectoryAt(dirname(next));
    made.unshift(next);
  }
  return made;
}

/** Removes directories, in this order, as long as they are empty. */
export function removeEmptyDirectories(directories: readonly string[]): void {
  for (const directory of directories) {
    try {
      fs.rmdirSync(directory);
    } catch (error) {
      const code = systemErrorCode(error);
      // Somebody else put something there, or has removed it already.
      if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return;
      throw storageError('remove the directory', directory, error);
    }
  }
}

/** Whether the path names something, and what. */
export function kindOfPath(path: string): 'absent' | 'directory' | 'other' {
  try {
    const status = fs.statSync(path, { throwIfNoEntry: false });
    if (status === undefined) return 'absent';
    return status.isDirectory() ? 'directory' : 'other';
  } catch (error) {
    if (systemErrorCode(error) === 'ENOTDIR') return 'absent';
    throw storageError('look at', path, error);
  }
}

/** Size of the file that the path names, in bytes; undefined where there is none. */
export function sizeOfPath(path: string): number | undefined {
  try {
    return fs.statSync(path, { throwIfNoEntry: false })?.size;
  } catch (error) {
    throw storageError('look at', path, error);
  }
}

/** The path without symbolic links, as far as it exists. */
export function pathWithoutLinks(path: string): string {
  const whole = resolve(path);
  const missing: string[] = [];
  for (let existing = whole; ; existing = dirname(existing)) {
    const real = realPath(existing);
    if (real !== undefined) return join(real, ...missing);
    if (existing === dirname(existing)) return whole;
    missing.unshift(basename(existing));
  }
}

/** Whether two paths are names of one file that is there. */
export function isSameFile(path: string, other: string): boolean {
  const options = { bigint: true, throwIfNoEntry: false } as const;
  const [one, two] = [fs.statSync(path, options), fs.statSync(other, options)];
  return one !== undefined && two !== undefined && one.dev === two.dev && one.ino === two.ino;
}

/** Undefined where there is nothing, or nothing that may be looked at: opening it will say so. */
function realPath(path: string): string | undefined {
  try {
    return fs.realpathSync(path);
  } catch (error) {
    if (systemErrorCode(error) === '') throw error;
    return undefined;
  }
}

function syncDirectoryAt(path: string): void {
  // Windows opens no directory for syncing: NTFS journals its names itself.
  if (process.platform === 'win32') return;
  try {
    const descriptor = fs.openSync(path, 'r');
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    throw storageError('sync the directory', path, error);
  }
}
