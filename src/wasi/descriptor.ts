/**
 * The guest's file descriptors: small numbers of its own, never those of the host.
 */
import * as fs from 'node:fs';
import { Rights, FileType } from './abi.ts';
import type { Anchor } from './anchor.ts';
import { Errno, refuse } from './errno.ts';
import type { OpenFile } from './open-file.ts';
import type { StandardStream } from './standard-stream.ts';

/** What a read or write that had to wait ends with when a capture was requested. */
export type Interrupted = 'interrupted';

abstract class BaseDescriptor {
  fileType: number;
  /** `FdFlags`. */
  flags: number;
  rights: number;
  inheriting: number;

  constructor(fileType: number, flags: number, rights: number, inheriting: number) {
    this.fileType = fileType;
    this.flags = flags;
    this.rights = rights;
    this.inheriting = inheriting;
  }

  /** Ends the call with ENOTCAPABLE unless all of `needed` was granted. */
  need(needed: number): void {
    if ((this.rights & needed) !== needed) refuse(Errno.notcapable);
  }
}

/** A file, or a device or FIFO found by a path. All positions are kept here, so that a capture needs none of the host's. */
export class FileDescriptor extends BaseDescriptor {
  readonly kind = 'file';
  readonly file: OpenFile;
  readonly hostDescriptor: number;
  /** Host access: fs.constants.O_RDONLY, O_WRONLY or O_RDWR. */
  readonly access: number;
  offsetBytes: number;

  constructor(
    file: OpenFile,
    hostDescriptor: number,
    access: number,
    fileType: number,
    flags: number,
    rights: number,
    inheriting: number,
    offsetBytes: number,
  ) {
    super(fileType, flags, rights, inheriting);
    this.file = file;
    this.hostDescriptor = hostDescriptor;
    this.access = access;
    this.offsetBytes = offsetBytes;
  }

  get seekable(): boolean {
    return this.fileType === FileType.regularFile || this.fileType === FileType.blockDevice;
  }

  close(): void {
    // Standard input belongs to the process.
    if (this.hostDescriptor !== 0) fs.closeSync(this.hostDescriptor);
  }
}

/** Entries of a directory as they were when its reading began; a position in it is a cookie of `fd_readdir`. */
export interface Listing {
  /** Names as bytes in Latin-1, because a host may hold names that are not UTF-8. */
  readonly names: readonly string[];
  readonly fileTypes: readonly number[];
}

export class DirectoryDescriptor extends BaseDescriptor {
  readonly kind = 'directory';
  readonly anchor: Anchor;
  /** Index of the pre-open that it is, or -1. */
  readonly preopen: number;
  /** The directory was removed while open: nothing can be made or found in it. */
  removed = false;
  listing: Listing | undefined;

  constructor(anchor: Anchor, preopen: number, flags: number, rights: number, inheriting: number) {
    super(FileType.directory, flags, rights, inheriting);
    this.anchor = anchor;
    this.preopen = preopen;
  }

  close(): void {
    this.anchor.close();
  }
}

/** Standard input, output or error that is not a regular file. */
export class StreamDescriptor extends BaseDescriptor {
  readonly kind = 'stream';
  readonly stream: StandardStream;

  constructor(stream: StandardStream, fileType: number, flags: number, rights: number) {
    super(fileType, flags, rights, 0);
    this.stream = stream;
  }

  close(): void {
    // The stream belongs to the process and outlives the guest's use of it.
  }
}

export type Descriptor = FileDescriptor | DirectoryDescriptor | StreamDescriptor;

/** Most descriptors a guest may have open; the host's own limit usually comes first. */
const DESCRIPTOR_COUNT_MAX = 1 << 20;

export class DescriptorTable {
  readonly #slots: (Descriptor | undefined)[] = [];
  #lowestFree = 0;

  get(number: number): Descriptor {
    const descriptor = this.#slots[number >>> 0];
    if (descriptor === undefined) refuse(Errno.badf);
    return descriptor;
  }

  /** The directory `number`, with the rights needed: EBADF, ENOTDIR or ENOTCAPABLE otherwise. */
  directory(number: number, needed: number): DirectoryDescriptor {
    const descriptor = this.get(number);
    if (descriptor.kind !== 'directory') refuse(Errno.notdir);
    descriptor.need(needed);
    return descriptor;
  }

  /** Puts a descriptor at the lowest free number, as POSIX does. */
  add(descriptor: Descriptor): number {
    while (this.#slots[this.#lowestFree] !== undefined) this.#lowestFree++;
    if (this.#lowestFree >= DESCRIPTOR_COUNT_MAX) refuse(Errno.mfile);
    this.#slots[this.#lowestFree] = descriptor;
    return this.#lowestFree++;
  }

  set(number: number, descriptor: Descriptor): void {
    this.#slots[number] = descriptor;
  }

  remove(number: number): Descriptor {
    const descriptor = this.get(number);
    this.#slots[number] = undefined;
    if (number < this.#lowestFree) this.#lowestFree = number;
    return descriptor;
  }

  *entries(): Generator<[number: number, descriptor: Descriptor]> {
    for (let number = 0; number < this.#slots.length; number++) {
      const descriptor = this.#slots[number];
      if (descriptor !== undefined) yield [number, descriptor];
    }
  }
}

export function canPoll(descriptor: Descriptor): boolean {
  return (descriptor.rights & Rights.pollFdReadwrite) !== 0;
}
