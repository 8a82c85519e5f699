/** Calls on pre-opened directories and on directories being read. */
import * as fs from 'node:fs';
import { FileType, PREOPEN_TYPE_DIRECTORY, Rights, Size } from './abi.ts';
import type { CallContext, CallTable } from './call-context.ts';
import type { DirectoryDescriptor, Listing } from './descriptor.ts';
import { Errno, refuse } from './errno.ts';
import { ASIDE_PREFIX } from './path-walk.ts';

export function directoryCalls(context: CallContext): CallTable {
  const { memory, descriptors, config } = context;
  const names = config.preopens.map((preopen) => Buffer.from(preopen.guestPath, 'utf8'));

  function preopenName(number: number): Buffer {
    const descriptor = descriptors.get(number);
    if (descriptor.kind !== 'directory' || descriptor.preopen < 0) return refuse(Errno.badf);
    return names[descriptor.preopen];
  }

  return {
    fd_prestat_get(number: number, result: number): number {
      const name = preopenName(number);
      memory.setUint32(result >>> 0, PREOPEN_TYPE_DIRECTORY);
      memory.setUint32((result >>> 0) + 4, name.length);
      return Errno.success;
    },

    fd_prestat_dir_name(number: number, buffer: number, bufferBytes: number): number {
      const name = preopenName(number);
      if (bufferBytes >>> 0 < name.length) return Errno.nametoolong;
      memory.write(buffer >>> 0, name);
      return Errno.success;
    },

    /**
     * dirent: next u64, ino u64, name length u32, type u8 (+3 pad), then the name, cut where the buffer ends.
     * The entries are those of the moment when cookie 0 was asked for, however long the reading takes.
     */
    fd_readdir(number: number, buffer: number, bufferBytes: number, cookie: bigint, result: number): number {
      const directory = descriptors.directory(number, Rights.fdReaddir);
      const capacity = bufferBytes >>> 0;
      memory.checkRange(buffer >>> 0, capacity);
      memory.viewForWriting(result >>> 0, 4);
      if (cookie === 0n || directory.listing === undefined) directory.listing = list(directory);
      const { listing } = directory;
      let used = 0;
      let index = Number(BigInt.asUintN(64, cookie));
      const record = new Uint8Array(Size.dirent);
      const fields = new DataView(record.buffer);
      for (; index < listing.names.length && used < capacity; index++) {
        const name = Buffer.from(listing.names[index], 'latin1');
        fields.setUint32(0, index + 1, true);
        fields.setBigUint64(8, inodeOf(directory, name), true);
        fields.setUint32(16, name.length, true);
        fields.setUint8(20, listing.fileTypes[index]);
        const head = record.subarray(0, capacity - used);
        memory.write((buffer >>> 0) + used, head);
        used += head.length;
        const tail = name.subarray(0, capacity - used);
        memory.write((buffer >>> 0) + used, tail);
        used += tail.length;
      }
      memory.setUint32(result >>> 0, used);
      return Errno.success;
    },
  };
}

function list(directory: DirectoryDescriptor): Listing {
  const names = ['.', '..'];
  const fileTypes: number[] = [FileType.directory, FileType.directory];
  if (directory.removed) return { names, fileTypes };
  // Sorted by bytes, so that a run does not depend on the order in which a file system happens to keep names.
  const entries = fs.readdirSync(directory.anchor.entry('.'), { withFileTypes: true, encoding: 'buffer' });
  const found = entries.map((entry) => ({ name: entry.name.toString('latin1'), entry }));
  found.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const { name, entry } of found) {
    if (name.startsWith(ASIDE_PREFIX)) continue;
    names.push(name);
    if (entry.isFile()) fileTypes.push(FileType.regularFile);
    else if (entry.isDirectory()) fileTypes.push(FileType.directory);
    else if (entry.isSymbolicLink()) fileTypes.push(FileType.symbolicLink);
    else if (entry.isCharacterDevice()) fileTypes.push(FileType.characterDevice);
    else if (entry.isBlockDevice()) fileTypes.push(FileType.blockDevice);
    else if (entry.isSocket()) fileTypes.push(FileType.socketStream);
    else fileTypes.push(FileType.unknown);
  }
  return { names, fileTypes };
}

/**
 * Inode number of an entry; 0, "not known", for one that is gone by now. The C library looks such an entry up by its name,
 * and fails where it may not, so `..` has a number, too: no path leads out of an open directory, so it is a root, whose
 * parent is itself.
 */
function inodeOf(directory: DirectoryDescriptor, name: Buffer): bigint {
  if (directory.removed) return 0n;
  const text = name.toString('latin1');
  if (text === '.' || text === '..') return directory.anchor.status().ino;
  const path = Buffer.concat([Buffer.from(directory.anchor.entry('')), name]);
  return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino ?? 0n;
}
