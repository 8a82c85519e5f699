import * as fs from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { FileType } from './abi.ts';
import type { DescriptorTable } from './descriptor.ts';
import { OpenFile, fileKey, fileTypeOf } from './open-file.ts';

/**
 * The files that the guest has open or has changed since the last capture.
 *
 * `OpenFile.neededBytes` counts the bytes that the newest captured state relies on: the file's size at the capture for
 * one that was open then, its size when it was opened for one opened since, and none for one made since.
 */
export class FileRegistry {
  readonly #files = new Map<string, OpenFile>();
  /** Closed before the last capture, but not yet durable. */
  readonly #closedUnsynced = new Set<OpenFile>();
  /** Files, links and directories made since the last capture: no checkpoint needs them. */
  readonly #made = new Set<string>();

  made(status: BigIntStats): void {
    this.#made.add(fileKey(status));
  }

  isMade(status: BigIntStats): boolean {
    return this.#made.has(fileKey(status));
  }

  find(status: BigIntStats): OpenFile | undefined {
    return this.#files.get(fileKey(status));
  }

  /** The file with this status, known by `path`, for one more descriptor. */
  open(status: BigIntStats, path: string): OpenFile {
    const key = fileKey(status);
    let file = this.#files.get(key);
    if (file === undefined) {
      file = new OpenFile(key, status.ino.toString(), fileTypeOf(status), path);
      const made = this.#made.has(key);
      // Devices and FIFOs have no contents that could be put back.
      file.lengthRecorded = made || !status.isFile();
      file.neededBytes = made || !status.isFile() ? 0 : Number(status.size);
      this.#files.set(key, file);
    }
    file.descriptorCount++;
    return file;
  }

  /** A name of it was removed for good: where that was the last, its inode number may come to mean another file. */
  gone(status: BigIntStats): void {
    if (!status.isDirectory() && status.nlink > 1n) return;
    const key = fileKey(status);
    if ((this.#files.get(key)?.descriptorCount ?? 0) > 0) return;
    this.#files.delete(key);
    this.#made.delete(key);
  }

  /** Files changed since they were last made durable. */
  *unsynced(): Generator<OpenFile> {
    for (const file of this.#files.values()) if (file.unsynced) yield file;
    yield* this.#closedUnsynced;
  }

  synced(file: OpenFile): void {
    file.unsynced = false;
    this.#closedUnsynced.delete(file);
  }

  renamed(rename: (path: string) => string): void {
    for (const file of this.#files.values()) file.path = rename(file.path);
    for (const file of this.#closedUnsynced) file.path = rename(file.path);
  }

  /** A state was captured: all that is there now is needed, and a closed file is forgotten. */
  captured(descriptors: DescriptorTable): void {
    this.#made.clear();
    for (const file of this.#files.values()) {
      file.savedExtents.clear();
      if (file.descriptorCount > 0) continue;
      this.#files.delete(file.key);
      if (file.unsynced) this.#closedUnsynced.add(file);
    }
    for (const [, descriptor] of descriptors.entries()) {
      if (descriptor.kind !== 'file' || descriptor.fileType !== FileType.regularFile) continue;
      descriptor.file.neededBytes = fs.fstatSync(descriptor.hostDescriptor).size;
    }
  }
}
