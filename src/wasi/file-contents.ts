/** What the guest does to the contents of files; each destruction of needed bytes is preceded by a copy of them. */
import * as fs from 'node:fs';
import type { ChangeLog } from './change-log.ts';
import type { FileDescriptor } from './descriptor.ts';
import { Errno, refuse } from './errno.ts';
import type { FileRegistry } from './file-registry.ts';
import type { HostTree } from './host-tree.ts';
import { inodeOf } from './host-tree.ts';
import type { OpenFile } from './open-file.ts';
import type { Entry } from './path-walk.ts';
import { RECORD_DATA_BYTES_MAX } from './undo-journal.ts';

/**
 * Bytes of a pre-image: the first write into an extent saves all of it, so that a file overwritten from beginning to end
 * in small pieces costs one sync of the journal for each extent and not for each piece.
 */
const EXTENT_BYTES = 256 * 1024;

/** Windows makes only what it could write durable. */
const SYNC_ACCESS = process.platform === 'win32' ? fs.constants.O_RDWR : fs.constants.O_RDONLY;

export class FileContents {
  readonly #log: ChangeLog;
  readonly #registry: FileRegistry;
  #buffer: Uint8Array | undefined;

  constructor(log: ChangeLog, registry: FileRegistry) {
    this.#log = log;
    this.#registry = registry;
  }

  /** Opens an entry with access flags of the host, making it where it does not exist. */
  open(entry: Entry, hostFlags: number, truncates: boolean): { hostDescriptor: number; file: OpenFile } {
    const hostPath = entry.parent.entry(entry.name);
    let hostDescriptor: number;
    if (entry.status === undefined) {
      this.#log.claim(entry.parent, entry.path);
      if (this.#log.recording) this.#log.note({ kind: 'madeFile', at: this.#log.locationOf(entry.path) });
      const flags = hostFlags | fs.constants.O_CREAT | fs.constants.O_EXCL;
      hostDescriptor = this.#log.attempt(1, () => fs.openSync(hostPath, flags, 0o666));
      this.#log.directoryChanged(entry.parent);
    } else {
      hostDescriptor = fs.openSync(hostPath, hostFlags);
    }
    try {
      const status = fs.fstatSync(hostDescriptor, { bigint: true });
      if (entry.status === undefined) this.#registry.made(status);
      const file = this.#registry.open(status, entry.path);
      if (truncates && status.isFile()) this.#setSize(file, hostDescriptor, 0);
      return { hostDescriptor, file };
    } catch (error) {
      fs.closeSync(hostDescriptor);
      throw error;
    }
  }

  close(descriptor: FileDescriptor): void {
    const { file } = descriptor;
    file.descriptorCount--;
    descriptor.close();
  }

  /** Writes at a position, or where the host stands for files without positions; returns the bytes written. */
  write(descriptor: FileDescriptor, view: Uint8Array, positionBytes: number | null): number {
    const { file } = descriptor;
    if (positionBytes !== null && (positionBytes < file.neededBytes || !file.lengthRecorded)) {
      this.#protect(file, positionBytes, positionBytes + view.length);
    }
    file.unsynced = positionBytes !== null;
    return fs.writeSync(descriptor.hostDescriptor, view, 0, view.length, positionBytes);
  }

  setSize(descriptor: FileDescriptor, sizeBytes: number): void {
    this.#setSize(descriptor.file, descriptor.hostDescriptor, sizeBytes);
  }

  #setSize(file: OpenFile, hostDescriptor: number, sizeBytes: number): void {
    this.#protect(file, sizeBytes, file.neededBytes);
    file.unsynced = true;
    fs.ftruncateSync(hostDescriptor, sizeBytes);
  }

  /** Makes the file durable now, as the guest asks. */
  sync(descriptor: FileDescriptor): void {
    try {
      fs.fsyncSync(descriptor.hostDescriptor);
    } catch (error) {
      this.#log.syncFailed(descriptor.file.path, error);
      throw error;
    }
    this.#registry.synced(descriptor.file);
  }

  /** Makes every file durable that was changed since the last commit. Errors: StorageError. */
  syncAll(open: ReadonlyMap<OpenFile, FileDescriptor>): void {
    for (const file of this.#registry.unsynced()) {
      try {
        const descriptor = open.get(file);
        if (descriptor !== undefined) fs.fdatasyncSync(descriptor.hostDescriptor);
        else withFile(this.#log.tree, file, SYNC_ACCESS, (hostDescriptor) => fs.fdatasyncSync(hostDescriptor));
      } catch (error) {
        this.#log.syncFailed(file.path, error);
        break;
      }
      this.#registry.synced(file);
    }
  }

  /** Before bytes from `start` to `end` change, or the file is cut at `start`: records what a restart needs. */
  #protect(file: OpenFile, start: number, end: number): void {
    if (!this.#log.recording) return;
    const at = this.#log.locationOf(file.path);
    if (!file.lengthRecorded) {
      this.#log.note({ kind: 'length', at, inode: file.inode, lengthBytes: file.neededBytes });
      file.lengthRecorded = true;
    }
    const neededEnd = Math.min(end, file.neededBytes);
    const firstExtent = Math.floor(start / EXTENT_BYTES);
    for (let extent = firstExtent; extent * EXTENT_BYTES < neededEnd; extent++) {
      if (file.savedExtents.has(extent)) continue;
      let count = 1;
      while (
        (count + 1) * EXTENT_BYTES <= RECORD_DATA_BYTES_MAX &&
        (extent + count) * EXTENT_BYTES < neededEnd &&
        !file.savedExtents.has(extent + count)
      ) {
        count++;
      }
      const offsetBytes = extent * EXTENT_BYTES;
      const lengthBytes = Math.min(count * EXTENT_BYTES, file.neededBytes - offsetBytes);
      const data = this.#read(file, offsetBytes, lengthBytes);
      this.#log.note({ kind: 'bytes', at, inode: file.inode, offsetBytes }, data);
      for (let saved = extent; saved < extent + count; saved++) file.savedExtents.add(saved);
    }
    this.#log.force();
  }

  /** Bytes of a file, read past the guest's descriptor, which may be open for writing only. */
  #read(file: OpenFile, offsetBytes: number, lengthBytes: number): Uint8Array {
    this.#buffer ??= new Uint8Array(RECORD_DATA_BYTES_MAX);
    const view = this.#buffer.subarray(0, lengthBytes);
    const found = withFile(this.#log.tree, file, fs.constants.O_RDONLY, (hostDescriptor) => {
      let done = 0;
      while (done < lengthBytes) {
        const count = fs.readSync(hostDescriptor, view, done, lengthBytes - done, offsetBytes + done);
        if (count === 0) break;
        done += count;
      }
      return view.subarray(0, done);
    });
    // Somebody else renamed or removed the file: what cannot be found again after a restart must not be changed.
    return found ?? refuse(Errno.io);
  }
}

/** Opens the file by its recorded path and hands its descriptor to `use`; undefined where it is not there any more. */
export function withFile<Result>(
  tree: HostTree,
  file: Pick<OpenFile, 'path' | 'inode'>,
  access: number,
  use: (hostDescriptor: number) => Result,
): Result | undefined {
  return tree.use(tree.knownLocationOf(file.path), (entry) => {
    if (entry.status === undefined || inodeOf(entry.status) !== file.inode) return undefined;
    const hostDescriptor = fs.openSync(entry.parent.entry(entry.name), access | fs.constants.O_NOFOLLOW);
    try {
      return use(hostDescriptor);
    } finally {
      fs.closeSync(hostDescriptor);
    }
  });
}
