import * as fs from 'node:fs';
import type { DescriptorTable, DirectoryDescriptor, FileDescriptor } from './descriptor.ts';
import { Errno, refuse } from './errno.ts';
import type { FileTimes } from './filestat.ts';
import { OpenFile, fileKey, fileTypeOf } from './open-file.ts';
import type { Entry } from './path-walk.ts';

/** Everything that the guest changes in the host's file system passes through here. */
export class FileEffects {
  readonly #descriptors: DescriptorTable;
  readonly #files = new Map<string, OpenFile>();

  constructor(descriptors: DescriptorTable) {
    this.#descriptors = descriptors;
  }

  /** Opens an entry with access flags of the host, making it where it does not exist. */
  open(entry: Entry, hostFlags: number, truncates: boolean): { hostDescriptor: number; file: OpenFile } {
    const flags = entry.status === undefined ? hostFlags | fs.constants.O_CREAT | fs.constants.O_EXCL : hostFlags;
    const hostDescriptor = fs.openSync(entry.parent.entry(entry.name), flags, 0o666);
    const status = fs.fstatSync(hostDescriptor, { bigint: true });
    const key = fileKey(status);
    let file = this.#files.get(key);
    if (file === undefined) {
      file = new OpenFile(key, fileTypeOf(status), entry.path);
      this.#files.set(key, file);
    }
    file.descriptorCount++;
    if (truncates && status.isFile()) fs.truncateSync(entry.parent.entry(entry.name), 0);
    return { hostDescriptor, file };
  }

  close(descriptor: FileDescriptor): void {
    descriptor.close();
    if (--descriptor.file.descriptorCount === 0) this.#files.delete(descriptor.file.key);
  }

  write(descriptor: FileDescriptor, view: Uint8Array, positionBytes: number | null): number {
    return fs.writeSync(descriptor.hostDescriptor, view, 0, view.length, positionBytes);
  }

  setSize(descriptor: FileDescriptor, sizeBytes: number): void {
    fs.ftruncateSync(descriptor.hostDescriptor, sizeBytes);
  }

  sync(descriptor: FileDescriptor): void {
    fs.fsyncSync(descriptor.hostDescriptor);
  }

  setTimes(entry: Entry, times: FileTimes): void {
    fs.lutimesSync(entry.parent.entry(entry.name), Number(times.accessNs) / 1e9, Number(times.modifyNs) / 1e9);
  }

  setFileTimes(descriptor: FileDescriptor, times: FileTimes): void {
    fs.futimesSync(descriptor.hostDescriptor, Number(times.accessNs) / 1e9, Number(times.modifyNs) / 1e9);
  }

  setDirectoryTimes(descriptor: DirectoryDescriptor, times: FileTimes): void {
    fs.lutimesSync(descriptor.anchor.entry('.'), Number(times.accessNs) / 1e9, Number(times.modifyNs) / 1e9);
  }

  /** Names of the file that only Continuo knows. */
  hiddenLinkCount(_status: fs.BigIntStats): number {
    return 0;
  }

  makeDirectory(entry: Entry): void {
    fs.mkdirSync(entry.parent.entry(entry.name));
  }

  makeLink(from: Entry, to: Entry): void {
    fs.linkSync(from.parent.entry(from.name), to.parent.entry(to.name));
  }

  makeSymbolicLink(target: string, entry: Entry): void {
    fs.symlinkSync(target, entry.parent.entry(entry.name));
  }

  removeFile(entry: Entry): void {
    fs.unlinkSync(entry.parent.entry(entry.name));
  }

  removeDirectory(entry: Entry): void {
    const path = entry.path;
    fs.rmdirSync(entry.parent.entry(entry.name));
    for (const [, descriptor] of this.#descriptors.entries()) {
      if (descriptor.kind === 'directory' && descriptor.anchor.path === path) descriptor.removed = true;
    }
  }

  rename(from: Entry, to: Entry): void {
    fs.renameSync(from.parent.entry(from.name), to.parent.entry(to.name));
    if (from.path === '' || to.path === '') refuse(Errno.inval);
  }
}
