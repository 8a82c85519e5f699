/** What the guest does to names of files: making, removing, renaming, linking; and to their times. */
import * as fs from 'node:fs';
import type { BigIntStats } from 'node:fs';
import type { Asides } from './asides.ts';
import type { ChangeLog } from './change-log.ts';
import type { DescriptorTable, DirectoryDescriptor, FileDescriptor } from './descriptor.ts';
import { Errno, refuse, systemCode } from './errno.ts';
import type { FileRegistry } from './file-registry.ts';
import type { FileTimes } from './filestat.ts';
import { FineTimes } from './fine-times.ts';
import { inodeOf } from './host-tree.ts';
import type { Entry } from './path-walk.ts';
import { ASIDE_PREFIX } from './path-walk.ts';

/** Why a file system may refuse a second name for a file. */
const NO_LINK_CODES = new Set(['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EINVAL']);

export class FileNames {
  readonly #log: ChangeLog;
  readonly #registry: FileRegistry;
  readonly #asides: Asides;
  readonly #descriptors: DescriptorTable;
  readonly fineTimes = new FineTimes();

  constructor(log: ChangeLog, registry: FileRegistry, asides: Asides, descriptors: DescriptorTable) {
    this.#log = log;
    this.#registry = registry;
    this.#asides = asides;
    this.#descriptors = descriptors;
  }

  /** Status as the guest may see it: without the names that only Continuo knows, and with the times it has set. */
  guestStatus(status: BigIntStats): { nlink: bigint; atimeNs: bigint; mtimeNs: bigint } {
    const times = this.fineTimes.of(status);
    return { nlink: status.nlink - BigInt(this.#asides.countOf(status)), ...times };
  }

  makeDirectory(entry: Entry): void {
    const hostPath = entry.parent.entry(entry.name);
    this.#log.claim(entry.parent, entry.path);
    if (this.#log.recording) this.#log.note({ kind: 'madeDirectory', at: this.#log.locationOf(entry.path) });
    this.#log.attempt(1, () => fs.mkdirSync(hostPath));
    this.#made(entry);
  }

  makeSymbolicLink(target: string, entry: Entry): void {
    const hostPath = entry.parent.entry(entry.name);
    this.#log.claim(entry.parent, entry.path);
    if (this.#log.recording) this.#log.note({ kind: 'madeFile', at: this.#log.locationOf(entry.path) });
    this.#log.attempt(1, () => fs.symlinkSync(target, hostPath));
    this.#made(entry);
  }

  #made(entry: Entry): void {
    this.#log.directoryChanged(entry.parent);
    const status = entry.parent.statusOf(entry.name);
    if (status !== undefined) this.#registry.made(status);
  }

  makeLink(from: Entry, fromStatus: BigIntStats, to: Entry): void {
    this.#log.claim(to.parent, to.path);
    if (this.#log.recording) {
      this.#log.note({ kind: 'linked', at: this.#log.locationOf(to.path), inode: inodeOf(fromStatus) });
    }
    this.#log.attempt(1, () => fs.linkSync(from.parent.entry(from.name), to.parent.entry(to.name)));
    this.#log.directoryChanged(to.parent);
  }

  removeFile(entry: Entry, status: BigIntStats): void {
    if (this.#mustKeep(status)) {
      this.#setAside(entry, status);
      return;
    }
    fs.unlinkSync(entry.parent.entry(entry.name));
    this.#log.directoryChanged(entry.parent);
    this.#registry.gone(status);
  }

  removeDirectory(entry: Entry, status: BigIntStats): void {
    this.#makeWay(entry, status);
  }

  /** Removes an empty directory, or sets it aside where a checkpoint or a descriptor needs it. */
  #makeWay(entry: Entry, status: BigIntStats): void {
    const empty = this.#checkEmpty(entry);
    const path = entry.path;
    const open: DirectoryDescriptor[] = [];
    for (const [, descriptor] of this.#descriptors.entries()) {
      if (descriptor.kind === 'directory' && descriptor.anchor.path === path) open.push(descriptor);
    }
    const needed = this.#log.recording && !this.#registry.isMade(status);
    const keptOpen = this.#log.keepsOpenFiles && open.length > 0;
    if (empty && !needed && !keptOpen) {
      fs.rmdirSync(entry.parent.entry(entry.name));
      this.#log.directoryChanged(entry.parent);
      this.#registry.gone(status);
    } else {
      this.#setAside(entry, status);
    }
    for (const descriptor of open) descriptor.removed = true;
  }

  /** Whether nothing at all is in a directory; ENOTEMPTY when something is that the guest knows of. */
  #checkEmpty(entry: Entry): boolean {
    const names = fs.readdirSync(entry.parent.entry(entry.name), { encoding: 'latin1' });
    if (names.some((name) => !name.startsWith(ASIDE_PREFIX))) refuse(Errno.notempty);
    return names.length === 0;
  }

  /** Both exist as `rename(2)` wants them: what is renamed, and of the same kind or absent what it replaces. */
  rename(from: Entry, fromStatus: BigIntStats, to: Entry): void {
    const fromHost = from.parent.entry(from.name);
    const toHost = to.parent.entry(to.name);
    // Looked for first, because the steps that follow could not all be taken back.
    if (to.parent.status().dev !== fromStatus.dev) refuse(Errno.xdev);
    if (to.status === undefined) this.#log.claim(to.parent, to.path);
    else if (to.status.isDirectory()) this.#makeWay(to, to.status);
    else if (this.#mustKeep(to.status)) this.#keep(to, to.status);
    else this.#registry.gone(to.status);
    this.#noteMoved(from.path, to.path, fromStatus);
    this.#log.attempt(1, () => fs.renameSync(fromHost, toHost));
    this.#log.directoryChanged(from.parent);
    this.#log.directoryChanged(to.parent);
    if (!this.#registry.isMade(fromStatus)) this.#log.vacated(from.path);
    this.#renamed(from.path, to.path);
    if (this.#log.recording && fromStatus.isDirectory()) {
      to.parent.sync();
      from.parent.sync();
    }
  }

  #noteMoved(from: string, to: string, status: BigIntStats): void {
    if (!this.#log.recording) return;
    const inode = inodeOf(status);
    this.#log.note({ kind: 'moved', from: this.#log.locationOf(from), to: this.#log.locationOf(to), inode });
  }

  /** Whether a checkpoint or an open descriptor needs a file whose name goes. */
  #mustKeep(status: BigIntStats): boolean {
    if (this.#log.recording && !this.#registry.isMade(status)) return true;
    if (!this.#log.keepsOpenFiles) return false;
    const file = this.#registry.find(status);
    return file !== undefined && file.descriptorCount > 0;
  }

  /** Gives what has the name another one that the guest does not see. */
  #setAside(entry: Entry, status: BigIntStats): void {
    const name = this.#asides.newName();
    const from = entry.path;
    const to = entry.parent.pathOf(name);
    this.#noteMoved(from, to, status);
    this.#log.attempt(1, () => fs.renameSync(entry.parent.entry(entry.name), entry.parent.entry(name)));
    this.#log.directoryChanged(entry.parent);
    if (!this.#registry.isMade(status)) this.#log.vacated(from);
    this.#renamed(from, to);
    this.#asides.add(to, status, entry.parent.status(), this.#log.generation);
    // A removed directory may still be used through a descriptor.
    if (this.#log.recording && status.isDirectory()) entry.parent.sync();
  }

  /**
   * Gives a file a second name before a rename takes its first, so that the name never stands for nothing. The second
   * name must be durable before: else the medium could keep the rename alone, and the file would be gone.
   */
  #keep(entry: Entry, status: BigIntStats): void {
    const name = this.#asides.newName();
    const aside = entry.parent.pathOf(name);
    if (this.#log.recording) {
      const inode = inodeOf(status);
      this.#log.note({
        kind: 'kept',
        at: this.#log.locationOf(entry.path),
        aside: this.#log.locationOf(aside),
        inode,
      });
    }
    try {
      this.#log.attempt(1, () => fs.linkSync(entry.parent.entry(entry.name), entry.parent.entry(name)));
    } catch (error) {
      if (!NO_LINK_CODES.has(systemCode(error) ?? '')) throw error;
      this.#setAside(entry, status);
      this.#log.claim(entry.parent, entry.path);
      return;
    }
    if (this.#log.recording) entry.parent.sync();
    this.#asides.add(aside, status, entry.parent.status(), this.#log.generation);
    const file = this.#registry.find(status);
    if (file !== undefined && file.path === entry.path) file.path = aside;
  }

  /** Everything known by a path at or below `from` is known by one at or below `to` now. */
  #renamed(from: string, to: string): void {
    const below = `${from}/`;
    const rename = (path: string): string => {
      if (path === from) return to;
      return path.startsWith(below) ? to + path.slice(from.length) : path;
    };
    this.#registry.renamed(rename);
    this.#asides.renamed(rename);
    this.#log.renamed(rename);
    for (const [, descriptor] of this.#descriptors.entries()) {
      if (descriptor.kind === 'directory') descriptor.anchor.path = rename(descriptor.anchor.path);
    }
  }

  setTimes(entry: Entry, status: BigIntStats, times: FileTimes): void {
    this.#noteTimes(entry.path, status);
    const hostPath = entry.parent.entry(entry.name);
    fs.lutimesSync(hostPath, seconds(times.accessNs), seconds(times.modifyNs));
    const after = entry.parent.statusOf(entry.name);
    if (after !== undefined) this.fineTimes.remember(after, times);
  }

  setFileTimes(descriptor: FileDescriptor, status: BigIntStats, times: FileTimes): void {
    if (status.isFile()) this.#noteTimes(descriptor.file.path, status);
    fs.futimesSync(descriptor.hostDescriptor, seconds(times.accessNs), seconds(times.modifyNs));
    this.fineTimes.remember(fs.fstatSync(descriptor.hostDescriptor, { bigint: true }), times);
  }

  setDirectoryTimes(descriptor: DirectoryDescriptor, status: BigIntStats, times: FileTimes): void {
    if (descriptor.removed) return;
    this.#noteTimes(descriptor.anchor.path, status);
    fs.lutimesSync(descriptor.anchor.entry('.'), seconds(times.accessNs), seconds(times.modifyNs));
    this.fineTimes.remember(descriptor.anchor.status(), times);
  }

  /** Not forced: when the power fails, a time may stay as the guest set it, which changes no contents. */
  #noteTimes(path: string, status: BigIntStats): void {
    if (!this.#log.recording || this.#registry.isMade(status)) return;
    this.#log.note({
      kind: 'times',
      at: this.#log.locationOf(path),
      inode: inodeOf(status),
      accessNs: status.atimeNs.toString(),
      modifyNs: status.mtimeNs.toString(),
    });
  }
}

function seconds(nanoseconds: bigint): number {
  return Number(nanoseconds) / 1e9;
}
