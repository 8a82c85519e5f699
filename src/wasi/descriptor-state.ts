/** Open descriptors to and from the state of a checkpoint. */
import * as fs from 'node:fs';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { FileType } from './abi.ts';
import type { Anchor } from './anchor.ts';
import type { DescriptorTable } from './descriptor.ts';
import { DirectoryDescriptor, FileDescriptor, StreamDescriptor } from './descriptor.ts';
import type { FileRegistry } from './file-registry.ts';
import type { HostTree, Location } from './host-tree.ts';
import { inodeOf } from './host-tree.ts';
import type { OpenFile } from './open-file.ts';
import type { StandardStream } from './standard-stream.ts';
import type { DescriptorState, FileState } from './wasi-state.ts';

export interface CapturedDescriptors {
  files: FileState[];
  descriptors: DescriptorState[];
}

type AccessName = 'read' | 'write' | 'both';

const ACCESS_NAMES = new Map<number, AccessName>([
  [fs.constants.O_RDONLY, 'read'],
  [fs.constants.O_WRONLY, 'write'],
  [fs.constants.O_RDWR, 'both'],
]);
const ACCESS_FLAGS: Readonly<Record<AccessName, number>> = {
  read: fs.constants.O_RDONLY,
  write: fs.constants.O_WRONLY,
  both: fs.constants.O_RDWR,
};

export function captureDescriptors(
  table: DescriptorTable,
  tree: HostTree,
  streams: readonly (StandardStream | undefined)[],
): CapturedDescriptors {
  const files: FileState[] = [];
  const indexes = new Map<OpenFile, number>();
  const descriptors: DescriptorState[] = [];
  for (const [number, descriptor] of table.entries()) {
    const { flags, rights, inheriting } = descriptor;
    const base = { number, flags, rights, inheriting };
    if (descriptor.kind === 'stream') {
      descriptors.push({ ...base, kind: 'stream', stream: streams.indexOf(descriptor.stream) });
    } else if (descriptor.kind === 'directory') {
      const { anchor, preopen, removed, listing } = descriptor;
      descriptors.push({
        ...base,
        kind: 'directory',
        at: tree.knownLocationOf(anchor.path),
        inode: inodeOf(anchor.status()),
        preopen: preopen < 0 ? null : preopen,
        removed,
        listing: listing === undefined ? null : { names: [...listing.names], fileTypes: [...listing.fileTypes] },
      });
    } else if (descriptor.hostDescriptor === STANDARD_INPUT) {
      descriptors.push({ ...base, kind: 'inputFile', offsetBytes: descriptor.offsetBytes });
    } else {
      const { file, access, offsetBytes, hostDescriptor } = descriptor;
      let index = indexes.get(file);
      if (index === undefined) {
        index = files.length;
        indexes.set(file, index);
        const changed = file.lengthRecorded && file.fileType === FileType.regularFile;
        files.push({
          at: tree.knownLocationOf(file.path),
          inode: file.inode,
          lengthBytes: changed ? fs.fstatSync(hostDescriptor).size : null,
        });
      }
      const name = ACCESS_NAMES.get(access) ?? 'both';
      descriptors.push({ ...base, kind: 'file', file: index, access: name, offsetBytes });
    }
  }
  return { files, descriptors };
}

/** The host's descriptor of the process's own standard input. */
export const STANDARD_INPUT = 0;

export class DescriptorRestorer {
  readonly #tree: HostTree;
  readonly #registry: FileRegistry;
  readonly #streams: readonly (StandardStream | undefined)[];
  /** The state comes from another machine or directory: inode numbers mean nothing here. */
  readonly #relocated: boolean;

  constructor(
    tree: HostTree,
    registry: FileRegistry,
    streams: readonly (StandardStream | undefined)[],
    relocated: boolean,
  ) {
    this.#tree = tree;
    this.#registry = registry;
    this.#streams = streams;
    this.#relocated = relocated;
  }

  /** Opens again what was open, files cut to their lengths. Errors: UsageError, CorruptionError. */
  restore(captured: CapturedDescriptors, table: DescriptorTable): void {
    for (const file of captured.files) this.#cut(file);
    for (const state of captured.descriptors) {
      const { number, flags, rights, inheriting } = state;
      if (state.kind === 'stream') {
        const stream = this.#streams[state.stream];
        if (stream === undefined)
          throw missing(`standard stream ${state.stream}`, 'it is configured in another way now');
        table.set(number, new StreamDescriptor(stream, stream.fileType, flags, rights));
      } else if (state.kind === 'directory') {
        const anchor = this.#openDirectory(state.at, state.inode);
        const descriptor = new DirectoryDescriptor(anchor, state.preopen ?? -1, flags, rights, inheriting);
        descriptor.removed = state.removed;
        descriptor.listing = state.listing ?? undefined;
        table.set(number, descriptor);
      } else if (state.kind === 'inputFile') {
        table.set(number, openInputFile(this.#registry, flags, rights, state.offsetBytes));
      } else {
        const file = captured.files[state.file];
        if (file === undefined) throw new CorruptionError('a descriptor of the checkpoint names no file', { number });
        const access = ACCESS_FLAGS[state.access];
        const { hostDescriptor, opened } = this.#openFile(file, access);
        table.set(
          number,
          new FileDescriptor(
            opened,
            hostDescriptor,
            access,
            opened.fileType,
            flags,
            rights,
            inheriting,
            state.offsetBytes,
          ),
        );
      }
    }
  }

  #cut(file: FileState): void {
    if (file.lengthBytes === null) return;
    const path = this.#tree.pathOf(file.at);
    const { hostDescriptor } = this.#openHost(file, fs.constants.O_WRONLY);
    try {
      const size = fs.fstatSync(hostDescriptor).size;
      if (size < file.lengthBytes) {
        throw missing(path, `it has ${size} bytes where the checkpoint left ${file.lengthBytes}`);
      }
      if (size > file.lengthBytes) {
        fs.ftruncateSync(hostDescriptor, file.lengthBytes);
        fs.fdatasyncSync(hostDescriptor);
      }
    } finally {
      fs.closeSync(hostDescriptor);
    }
  }

  #openHost(file: FileState, access: number): { hostDescriptor: number; status: fs.BigIntStats } {
    const path = this.#tree.pathOf(file.at);
    const opened = this.#tree.use(file.at, (entry) => {
      if (entry.status === undefined) return undefined;
      const flags = access | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;
      try {
        const hostDescriptor = fs.openSync(entry.parent.entry(entry.name), flags);
        return { hostDescriptor, status: fs.fstatSync(hostDescriptor, { bigint: true }) };
      } catch (error) {
        throw missing(path, error instanceof Error ? error.message : String(error));
      }
    });
    if (opened === undefined) throw missing(path, 'it is not there any more');
    if (!this.#relocated && inodeOf(opened.status) !== file.inode) {
      fs.closeSync(opened.hostDescriptor);
      throw missing(path, 'another file stands in its place');
    }
    return opened;
  }

  #openFile(file: FileState, access: number): { hostDescriptor: number; opened: OpenFile } {
    const { hostDescriptor, status } = this.#openHost(file, access);
    const opened = this.#registry.open(status, this.#tree.pathOf(file.at));
    if (file.lengthBytes !== null) opened.lengthRecorded = true;
    return { hostDescriptor, opened };
  }

  #openDirectory(at: Location, inode: string): Anchor {
    const path = this.#tree.pathOf(at);
    const anchor = this.#tree.use(at, (entry) => {
      if (entry.status === undefined || !entry.status.isDirectory()) return undefined;
      return entry.parent.child(entry.name, path);
    });
    if (anchor === undefined) throw missing(path, 'it is not there any more');
    if (!this.#relocated && inodeOf(anchor.status()) !== inode) {
      anchor.close();
      throw missing(path, 'another directory stands in its place');
    }
    return anchor;
  }
}

/** Standard input where it is a regular file: read at positions of our own, which a restart can go on from. */
export function openInputFile(
  registry: FileRegistry,
  flags: number,
  rights: number,
  offsetBytes: number,
): FileDescriptor {
  const status = fs.fstatSync(STANDARD_INPUT, { bigint: true });
  if (!status.isFile()) throw missing('standard input', 'it was a file then and is none now');
  const file = registry.open(status, 'standard input');
  return new FileDescriptor(file, STANDARD_INPUT, fs.constants.O_RDONLY, file.fileType, flags, rights, 0, offsetBytes);
}

function missing(path: string, why: string): UsageError {
  return new UsageError(
    'guest-file-changed',
    `the program had ${path} open at the checkpoint, and ${why}; put it back, or begin anew with --fresh`,
    { path },
  );
}
