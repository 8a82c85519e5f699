import type { BigIntStats } from 'node:fs';
import { FileType } from './abi.ts';

/** A file by identity, whatever name it has now; shared by all descriptors that are open on it. */
export class OpenFile {
  /** Device and inode: what tells one file from another while both exist. */
  readonly key: string;
  readonly inode: string;
  readonly fileType: number;
  /** Absolute path of a name that it has; follows the guest's own renames. */
  path: string;
  descriptorCount = 0;
  /** Contents or size changed since they were last made durable. */
  unsynced = false;
  /** Bytes from the start that a checkpoint relies on: overwriting them needs a pre-image first. */
  neededBytes = 0;
  /** A restart knows to which length to cut the file, from a checkpoint or from the undo journal. */
  lengthRecorded = false;
  /** Extents whose pre-images are in the undo journal of the current generation. */
  readonly savedExtents = new Set<number>();

  constructor(key: string, inode: string, fileType: number, path: string) {
    this.key = key;
    this.inode = inode;
    this.fileType = fileType;
    this.path = path;
  }
}

export function fileKey(status: BigIntStats): string {
  return `${status.dev}:${status.ino}`;
}

export function fileTypeOf(status: BigIntStats): number {
  if (status.isFile()) return FileType.regularFile;
  if (status.isDirectory()) return FileType.directory;
  if (status.isSymbolicLink()) return FileType.symbolicLink;
  if (status.isCharacterDevice()) return FileType.characterDevice;
  if (status.isBlockDevice()) return FileType.blockDevice;
  if (status.isSocket()) return FileType.socketStream;
  // Preview 1 has no kind for a FIFO.
  return FileType.unknown;
}
