/** Calls that take a path. */
import * as fs from 'node:fs';
import {
  DIRECTORY_RIGHTS,
  FdFlags,
  FileType,
  LookupFlags,
  OpenFlags,
  REGULAR_FILE_RIGHTS,
  Rights,
  STREAM_RIGHTS,
  rightsFromArgument,
} from './abi.ts';
import type { CallContext, CallTable } from './call-context.ts';
import { readPath } from './call-context.ts';
import type { Descriptor } from './descriptor.ts';
import { DirectoryDescriptor, FileDescriptor } from './descriptor.ts';
import { Errno, refuse } from './errno.ts';
import { checkTimeFlags } from './file-calls.ts';
import type { FileContents } from './file-contents.ts';
import type { FileNames } from './file-names.ts';
import { storeFilestat, timesFromArguments } from './filestat.ts';
import type { Entry } from './path-walk.ts';
import { walk } from './path-walk.ts';

const READ_RIGHTS = Rights.fdRead | Rights.fdReaddir;
const WRITE_RIGHTS = Rights.fdDatasync | Rights.fdWrite | Rights.fdAllocate | Rights.fdFilestatSetSize;

export function pathCalls(context: CallContext): CallTable {
  const { memory, descriptors, contents, names } = context;

  /** Walks to the entry that a call names, and hands it to `use`. */
  function withEntry<Result>(
    number: number,
    needed: number,
    follow: boolean,
    path: number,
    lengthBytes: number,
    use: (entry: Entry) => Result,
  ): Result {
    const directory = descriptors.directory(number, needed);
    const name = readPath(memory, path, lengthBytes);
    if (directory.removed) refuse(Errno.noent);
    const entry = walk(directory.anchor, name, follow);
    try {
      return use(entry);
    } finally {
      entry.close();
    }
  }

  return {
    path_open(
      number: number,
      lookup: number,
      path: number,
      lengthBytes: number,
      openFlags: number,
      base: bigint,
      inheriting: bigint,
      flags: number,
      result: number,
    ): number {
      const request: OpenRequest = {
        openFlags: openFlags & OpenFlags.all,
        rights: rightsFromArgument(base),
        inheriting: rightsFromArgument(inheriting),
        flags: flags & FdFlags.all,
      };
      if ((openFlags & ~OpenFlags.all) !== 0 || (flags & ~FdFlags.all) !== 0) return Errno.inval;
      const directory = descriptors.directory(number, neededToOpen(request));
      if ((neededToInherit(request) & ~directory.inheriting) !== 0) return Errno.notcapable;
      memory.viewForWriting(result >>> 0, 4);
      const follow = (lookup & LookupFlags.symlinkFollow) !== 0;
      const opened = withEntry(number, 0, follow, path, lengthBytes, (entry) => open(entry, request, contents));
      memory.setUint32(result >>> 0, descriptors.add(opened));
      return Errno.success;
    },

    path_create_directory(number: number, path: number, lengthBytes: number): number {
      withEntry(number, Rights.pathCreateDirectory, false, path, lengthBytes, (entry) => {
        if (entry.status !== undefined) refuse(Errno.exist);
        names.makeDirectory(entry);
      });
      return Errno.success;
    },

    path_remove_directory(number: number, path: number, lengthBytes: number): number {
      withEntry(number, Rights.pathRemoveDirectory, false, path, lengthBytes, (entry) => {
        if (entry.status === undefined) refuse(Errno.noent);
        if (entry.name === '.') refuse(Errno.inval);
        if (!entry.status.isDirectory()) refuse(Errno.notdir);
        names.removeDirectory(entry, entry.status);
      });
      return Errno.success;
    },

    path_unlink_file(number: number, path: number, lengthBytes: number): number {
      withEntry(number, Rights.pathUnlinkFile, false, path, lengthBytes, (entry) => {
        if (entry.status === undefined) refuse(Errno.noent);
        if (entry.status.isDirectory()) refuse(Errno.isdir);
        if (entry.directoryOnly) refuse(Errno.notdir);
        names.removeFile(entry, entry.status);
      });
      return Errno.success;
    },

    path_rename(
      fromNumber: number,
      fromPath: number,
      fromLength: number,
      toNumber: number,
      toPath: number,
      toLength: number,
    ): number {
      withEntry(fromNumber, Rights.pathRenameSource, false, fromPath, fromLength, (from) =>
        withEntry(toNumber, Rights.pathRenameTarget, false, toPath, toLength, (to) => rename(from, to, names)),
      );
      return Errno.success;
    },

    path_link(
      fromNumber: number,
      lookup: number,
      fromPath: number,
      fromLength: number,
      toNumber: number,
      toPath: number,
      toLength: number,
    ): number {
      const follow = (lookup & LookupFlags.symlinkFollow) !== 0;
      withEntry(fromNumber, Rights.pathLinkSource, follow, fromPath, fromLength, (from) =>
        withEntry(toNumber, Rights.pathLinkTarget, false, toPath, toLength, (to) => {
          if (from.status === undefined) refuse(Errno.noent);
          if (to.status !== undefined) refuse(Errno.exist);
          if (from.status.isDirectory()) refuse(Errno.perm);
          if (from.directoryOnly) refuse(Errno.notdir);
          if (to.directoryOnly) refuse(Errno.noent);
          names.makeLink(from, from.status, to);
        }),
      );
      return Errno.success;
    },

    path_symlink(target: number, targetLength: number, number: number, path: number, lengthBytes: number): number {
      const text = readPath(memory, target, targetLength);
      withEntry(number, Rights.pathSymlink, false, path, lengthBytes, (entry) => {
        if (text === '') refuse(Errno.noent);
        // An absolute target means nothing inside the guest's directories, and could lead others astray.
        if (text.startsWith('/')) refuse(Errno.notcapable);
        if (entry.status !== undefined) {
          refuse(entry.directoryOnly && !entry.status.isDirectory() ? Errno.notdir : Errno.exist);
        }
        if (entry.directoryOnly) refuse(Errno.noent);
        names.makeSymbolicLink(text, entry);
      });
      return Errno.success;
    },

    path_readlink(
      number: number,
      path: number,
      lengthBytes: number,
      buffer: number,
      bufferBytes: number,
      result: number,
    ): number {
      const target = withEntry(number, Rights.pathReadlink, false, path, lengthBytes, (entry) => {
        if (entry.status === undefined) refuse(Errno.noent);
        return fs.readlinkSync(entry.parent.entry(entry.name), { encoding: 'buffer' });
      });
      const count = Math.min(target.length, bufferBytes >>> 0);
      memory.write(buffer >>> 0, target.subarray(0, count));
      memory.setUint32(result >>> 0, count);
      return Errno.success;
    },

    path_filestat_get(number: number, lookup: number, path: number, lengthBytes: number, result: number): number {
      const follow = (lookup & LookupFlags.symlinkFollow) !== 0;
      const status = withEntry(number, Rights.pathFilestatGet, follow, path, lengthBytes, existing);
      storeFilestat(memory, result >>> 0, status, names);
      return Errno.success;
    },

    path_filestat_set_times(
      number: number,
      lookup: number,
      path: number,
      lengthBytes: number,
      access: bigint,
      modify: bigint,
      flags: number,
    ): number {
      checkTimeFlags(flags);
      const follow = (lookup & LookupFlags.symlinkFollow) !== 0;
      withEntry(number, Rights.pathFilestatSetTimes, follow, path, lengthBytes, (entry) => {
        const status = existing(entry);
        names.setTimes(entry, status, timesFromArguments(status, access, modify, flags, context.clock));
      });
      return Errno.success;
    },
  };
}

interface OpenRequest {
  readonly openFlags: number;
  readonly rights: number;
  readonly inheriting: number;
  readonly flags: number;
}

/** Rights that the directory itself must have. */
function neededToOpen(request: OpenRequest): number {
  let needed: number = Rights.pathOpen;
  if ((request.openFlags & OpenFlags.create) !== 0) needed |= Rights.pathCreateFile;
  if ((request.openFlags & OpenFlags.truncate) !== 0) needed |= Rights.pathFilestatSetSize;
  return needed;
}

/** Rights that the directory must be able to pass on. */
function neededToInherit(request: OpenRequest): number {
  let needed = request.rights | request.inheriting;
  if ((request.flags & FdFlags.dsync) !== 0) needed |= Rights.fdDatasync;
  if ((request.flags & (FdFlags.rsync | FdFlags.sync)) !== 0) needed |= Rights.fdSync;
  return needed;
}

function existing(entry: Entry): fs.BigIntStats {
  const status = entry.status;
  if (status === undefined) return refuse(Errno.noent);
  if (entry.directoryOnly && !status.isDirectory()) return refuse(Errno.notdir);
  return status;
}

function open(entry: Entry, request: OpenRequest, contents: FileContents): Descriptor {
  const { openFlags } = request;
  const writes = (request.rights & WRITE_RIGHTS) !== 0;
  const reads = (request.rights & READ_RIGHTS) !== 0;
  const wantsDirectory = (openFlags & OpenFlags.directory) !== 0;
  if (wantsDirectory && (openFlags & OpenFlags.create) !== 0) refuse(Errno.inval);
  const { status } = entry;
  if (status === undefined && (openFlags & OpenFlags.create) === 0) refuse(Errno.noent);
  if (status !== undefined) {
    if ((openFlags & (OpenFlags.create | OpenFlags.exclusive)) === (OpenFlags.create | OpenFlags.exclusive)) {
      refuse(Errno.exist);
    }
    if (status.isSymbolicLink()) refuse(Errno.loop);
    if (status.isDirectory()) {
      if (writes || (openFlags & (OpenFlags.truncate | OpenFlags.create)) !== 0) refuse(Errno.isdir);
      return openDirectory(entry, request);
    }
    if (wantsDirectory) refuse(Errno.notdir);
    if (status.isSocket()) refuse(Errno.notsup);
  }
  if (entry.directoryOnly) refuse(status === undefined ? Errno.isdir : Errno.notdir);

  const truncates = (openFlags & OpenFlags.truncate) !== 0;
  const { O_RDONLY, O_RDWR, O_WRONLY } = fs.constants;
  const access = writes || truncates ? (reads ? O_RDWR : O_WRONLY) : O_RDONLY;
  // A FIFO or device must not hold the thread, where no capture could reach it: waiting is done here, in small steps.
  let hostFlags = access | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK;
  if ((request.flags & FdFlags.sync) !== 0) hostFlags |= fs.constants.O_SYNC;
  else if ((request.flags & (FdFlags.dsync | FdFlags.rsync)) !== 0) hostFlags |= fs.constants.O_DSYNC;
  const { hostDescriptor, file } = contents.open(entry, hostFlags, truncates);
  const regular = file.fileType === FileType.regularFile || file.fileType === FileType.blockDevice;
  return new FileDescriptor(
    file,
    hostDescriptor,
    access,
    file.fileType,
    request.flags,
    request.rights & (regular ? REGULAR_FILE_RIGHTS : STREAM_RIGHTS),
    request.inheriting & REGULAR_FILE_RIGHTS,
    0,
  );
}

function openDirectory(entry: Entry, request: OpenRequest): DirectoryDescriptor {
  return new DirectoryDescriptor(
    entry.parent.child(entry.name),
    -1,
    request.flags,
    request.rights & DIRECTORY_RIGHTS,
    request.inheriting,
  );
}

function rename(from: Entry, to: Entry, names: FileNames): void {
  if (from.status === undefined) refuse(Errno.noent);
  if (from.name === '.' || to.name === '.') refuse(Errno.busy);
  const fromDirectory = from.status.isDirectory();
  if (from.directoryOnly && !fromDirectory) refuse(Errno.notdir);
  if (to.directoryOnly && !fromDirectory) refuse(Errno.notdir);
  if (to.status !== undefined) {
    if (fromDirectory && !to.status.isDirectory()) refuse(Errno.notdir);
    if (!fromDirectory && to.status.isDirectory()) refuse(Errno.isdir);
    // Two names of one file: POSIX leaves both.
    if (from.status.dev === to.status.dev && from.status.ino === to.status.ino) return;
  }
  if (fromDirectory && `${to.path}/`.startsWith(`${from.path}/`)) refuse(Errno.inval);
  names.rename(from, from.status, to);
}
