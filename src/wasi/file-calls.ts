/** Calls on open files and streams: reading, writing, positions, status. */
import * as fs from 'node:fs';
import { ADVICE_COUNT, FdFlags, Rights, TimeFlags, Whence, rightsFromArgument } from './abi.ts';
import type { CallContext, CallTable } from './call-context.ts';
import type { Blocking } from './config.ts';
import { INTERRUPTED } from './config.ts';
import type { Descriptor, FileDescriptor, StreamDescriptor } from './descriptor.ts';
import { Errno, refuse, systemCode } from './errno.ts';
import type { FileContents } from './file-contents.ts';
import { storeFilestat, storeRemoved, storeStreamStat, timesFromArguments } from './filestat.ts';
import { storeUint64 } from './guest-clock.ts';
import type { Mover } from './transfer.ts';
import { gather, scatter } from './transfer.ts';

/** Largest offset of a file: what a JavaScript number holds exactly. */
const OFFSET_MAX = Number.MAX_SAFE_INTEGER;

/** How long to wait before asking a FIFO or device that has nothing yet again, in milliseconds. */
const RETRY_MS = 2;

/** Reads or writes a file at a position; FIFOs and devices, which have none, wait in steps that a capture can end. */
abstract class FileMover implements Mover {
  descriptor!: FileDescriptor;
  /** Null for files without positions. */
  positionBytes: number | null = 0;
  readonly goesOn = false;
  readonly #blocking: Blocking;

  constructor(blocking: Blocking) {
    this.#blocking = blocking;
  }

  get mayWait(): boolean {
    return this.positionBytes === null;
  }

  protected abstract moveNow(view: Uint8Array): number;

  move(view: Uint8Array): number | 'interrupted' {
    for (;;) {
      try {
        const count = this.moveNow(view);
        if (this.positionBytes !== null) this.positionBytes += count;
        return count;
      } catch (error) {
        if (systemCode(error) !== 'EAGAIN' || (this.descriptor.flags & FdFlags.nonblock) !== 0) throw error;
      }
      if (this.#blocking.waitUntil(performance.now() + RETRY_MS) === 'interrupted') return 'interrupted';
    }
  }
}

class FileReader extends FileMover {
  protected override moveNow(view: Uint8Array): number {
    return fs.readSync(this.descriptor.hostDescriptor, view, 0, view.length, this.positionBytes);
  }
}

class FileWriter extends FileMover {
  readonly #contents: FileContents;

  constructor(blocking: Blocking, contents: FileContents) {
    super(blocking);
    this.#contents = contents;
  }

  protected override moveNow(view: Uint8Array): number {
    return this.#contents.write(this.descriptor, view, this.positionBytes);
  }
}

class StreamReader implements Mover {
  readonly mayWait = true;
  readonly goesOn = false;
  descriptor!: StreamDescriptor;

  move(view: Uint8Array): number | 'interrupted' {
    return this.descriptor.stream.read(view);
  }
}

/**
 * Writes all that it is given, as a blocking write does, however little a pipe takes at a time: there are programs that do not look
 * at how much was written. Whatever interrupts it, the call goes on when it is issued again.
 */
class StreamWriter implements Mover {
  readonly mayWait = true;
  readonly goesOn = true;
  descriptor!: StreamDescriptor;
  /** By this call, and before it was interrupted. */
  #writtenBytes = 0;
  #skipBytes = 0;

  begin(descriptor: StreamDescriptor, writtenBytes: number): void {
    this.descriptor = descriptor;
    this.#writtenBytes = writtenBytes;
    this.#skipBytes = writtenBytes;
  }

  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  move(view: Uint8Array): number | 'interrupted' {
    let done = Math.min(this.#skipBytes, view.length);
    this.#skipBytes -= done;
    while (done < view.length) {
      let written: number | 'interrupted';
      try {
        written = this.descriptor.stream.write(view.subarray(done));
      } catch (error) {
        // The reader has gone away in the middle: what it took counts, and the next call is refused.
        if (done > 0 && systemCode(error) !== undefined) return done;
        throw error;
      }
      if (written === 'interrupted') return written;
      this.#writtenBytes += written;
      done += written;
    }
    return done;
  }
}

export function fileCalls(context: CallContext): CallTable {
  const { memory, descriptors, contents, names } = context;
  const reader = new FileReader(context.blocking);
  const writer = new FileWriter(context.blocking, contents);
  const streamReader = new StreamReader();
  const streamWriter = new StreamWriter();

  /** A file to be used at positions; streams and directories have none. */
  function file(number: number, needed: number): FileDescriptor {
    const descriptor = descriptors.get(number);
    if (descriptor.kind === 'directory')
      refuse((descriptor.rights & needed) === needed ? Errno.isdir : Errno.notcapable);
    if (descriptor.kind === 'stream') refuse(Errno.spipe);
    descriptor.need(needed);
    return descriptor;
  }

  /** A bad address for the result must be found before anything is read or written. */
  function checkResult(result: number): void {
    memory.getUint32(result >>> 0);
  }

  function finish(moved: number | 'interrupted', result: number): number {
    if (moved === 'interrupted') return INTERRUPTED;
    memory.setUint32(result, moved);
    return Errno.success;
  }

  return {
    fd_read(number: number, list: number, count: number, result: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdRead);
      checkResult(result);
      if (descriptor.kind === 'directory') refuse(Errno.isdir);
      if (descriptor.kind === 'stream') {
        streamReader.descriptor = descriptor;
        return finish(scatter(memory, list >>> 0, count >>> 0, streamReader), result >>> 0);
      }
      reader.descriptor = descriptor;
      reader.positionBytes = descriptor.seekable ? descriptor.offsetBytes : null;
      const moved = scatter(memory, list >>> 0, count >>> 0, reader);
      if (moved !== 'interrupted') descriptor.offsetBytes += moved;
      return finish(moved, result >>> 0);
    },

    fd_pread(number: number, list: number, count: number, offset: bigint, result: number): number {
      const descriptor = file(number, Rights.fdRead | Rights.fdSeek);
      if (!descriptor.seekable) refuse(Errno.spipe);
      checkResult(result);
      reader.descriptor = descriptor;
      reader.positionBytes = offsetFromArgument(offset);
      return finish(scatter(memory, list >>> 0, count >>> 0, reader), result >>> 0);
    },

    fd_write(number: number, list: number, count: number, result: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdWrite);
      checkResult(result);
      if (descriptor.kind === 'directory') refuse(Errno.isdir);
      if (descriptor.kind === 'stream') {
        streamWriter.begin(descriptor, context.interruptedWriteBytes);
        context.interruptedWriteBytes = 0;
        const moved = gather(memory, list >>> 0, count >>> 0, streamWriter);
        if (moved === 'interrupted') context.interruptedWriteBytes = streamWriter.writtenBytes;
        return finish(moved, result >>> 0);
      }
      writer.descriptor = descriptor;
      if (!descriptor.seekable) writer.positionBytes = null;
      else if ((descriptor.flags & FdFlags.append) !== 0) writer.positionBytes = sizeOf(descriptor);
      else writer.positionBytes = descriptor.offsetBytes;
      const start = writer.positionBytes ?? 0;
      const moved = gather(memory, list >>> 0, count >>> 0, writer);
      if (moved !== 'interrupted') descriptor.offsetBytes = start + moved;
      return finish(moved, result >>> 0);
    },

    /** Writes at the offset given even in append mode, as POSIX says; Linux would append. */
    fd_pwrite(number: number, list: number, count: number, offset: bigint, result: number): number {
      const descriptor = file(number, Rights.fdWrite | Rights.fdSeek);
      if (!descriptor.seekable) refuse(Errno.spipe);
      checkResult(result);
      writer.descriptor = descriptor;
      writer.positionBytes = offsetFromArgument(offset);
      return finish(gather(memory, list >>> 0, count >>> 0, writer), result >>> 0);
    },

    fd_seek(number: number, offset: bigint, whence: number, result: number): number {
      // Asking where one is needs only the right to be told.
      const asking = offset === 0n && whence === Whence.current;
      const descriptor = file(number, asking ? Rights.fdTell : Rights.fdSeek);
      if (!descriptor.seekable) refuse(Errno.spipe);
      let base: number;
      if (whence === Whence.set) base = 0;
      else if (whence === Whence.current) base = descriptor.offsetBytes;
      else if (whence === Whence.end) base = sizeOf(descriptor);
      else return Errno.inval;
      const target = base + Number(offset);
      if (target < 0) return Errno.inval;
      if (target > OFFSET_MAX) return Errno.overflow;
      storeUint64(memory, result >>> 0, target);
      descriptor.offsetBytes = target;
      return Errno.success;
    },

    fd_tell(number: number, result: number): number {
      const descriptor = file(number, Rights.fdTell);
      if (!descriptor.seekable) refuse(Errno.spipe);
      storeUint64(memory, result >>> 0, descriptor.offsetBytes);
      return Errno.success;
    },

    fd_close(number: number): number {
      closeDescriptor(descriptors.remove(number), contents);
      return Errno.success;
    },

    fd_renumber(from: number, to: number): number {
      const source = descriptors.get(from);
      const replaced = descriptors.get(to);
      if (from >>> 0 === to >>> 0) return Errno.success;
      descriptors.remove(from);
      descriptors.set(to >>> 0, source);
      closeDescriptor(replaced, contents);
      return Errno.success;
    },

    fd_sync(number: number): number {
      return sync(descriptors.get(number), Rights.fdSync, contents);
    },

    fd_datasync(number: number): number {
      return sync(descriptors.get(number), Rights.fdDatasync, contents);
    },

    fd_advise(number: number, offset: bigint, lengthBytes: bigint, advice: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdAdvise);
      if (advice >>> 0 >= ADVICE_COUNT || offset < 0n || lengthBytes < 0n) return Errno.inval;
      if (descriptor.kind === 'directory') return Errno.badf;
      // Node has no call for it; advice may be ignored.
      return Errno.success;
    },

    /** Grows the file where it is shorter. Node cannot reserve space, so that a full disk shows only on writing. */
    fd_allocate(number: number, offset: bigint, lengthBytes: bigint): number {
      const descriptor = file(number, Rights.fdAllocate);
      if (lengthBytes === 0n) return Errno.inval;
      const end = offsetFromArgument(offset) + offsetFromArgument(lengthBytes);
      if (end > OFFSET_MAX) return Errno.fbig;
      if (!descriptor.seekable) return Errno.spipe;
      if (end > sizeOf(descriptor)) contents.setSize(descriptor, end);
      return Errno.success;
    },

    fd_fdstat_get(number: number, result: number): number {
      const descriptor = descriptors.get(number);
      const record = memory.viewForWriting(result >>> 0, 24);
      record.fill(0);
      memory.setUint8(result >>> 0, descriptor.fileType);
      memory.setUint16((result >>> 0) + 2, descriptor.flags);
      memory.setUint32((result >>> 0) + 8, descriptor.rights);
      memory.setUint32((result >>> 0) + 16, descriptor.inheriting);
      return Errno.success;
    },

    fd_fdstat_set_flags(number: number, flags: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdFdstatSetFlags);
      if ((flags & ~FdFlags.all) !== 0) return Errno.inval;
      // A file opened without them cannot be made to write through later: fcntl(F_SETFL) does not set these either.
      const through = FdFlags.dsync | FdFlags.rsync | FdFlags.sync;
      if ((flags & through & ~descriptor.flags) !== 0) return Errno.inval;
      descriptor.flags = flags;
      return Errno.success;
    },

    fd_fdstat_set_rights(number: number, base: bigint, inheriting: bigint): number {
      const descriptor = descriptors.get(number);
      const newRights = rightsFromArgument(base);
      const newInheriting = rightsFromArgument(inheriting);
      if ((newRights & ~descriptor.rights) !== 0) return Errno.notcapable;
      if ((newInheriting & ~descriptor.inheriting) !== 0) return Errno.notcapable;
      descriptor.rights = newRights;
      descriptor.inheriting = newInheriting;
      return Errno.success;
    },

    fd_filestat_get(number: number, result: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdFilestatGet);
      if (descriptor.kind === 'directory') {
        storeFilestat(memory, result >>> 0, descriptor.anchor.status(), names);
        if (descriptor.removed) storeRemoved(memory, result >>> 0);
      } else if (descriptor.kind === 'file') {
        storeFilestat(memory, result >>> 0, fs.fstatSync(descriptor.hostDescriptor, { bigint: true }), names);
      } else {
        storeStreamStat(memory, result >>> 0, descriptor.stream, names);
      }
      return Errno.success;
    },

    fd_filestat_set_size(number: number, size: bigint): number {
      const descriptor = file(number, Rights.fdFilestatSetSize);
      if (!descriptor.seekable) return Errno.inval;
      contents.setSize(descriptor, offsetFromArgument(size));
      return Errno.success;
    },

    fd_filestat_set_times(number: number, access: bigint, modify: bigint, flags: number): number {
      const descriptor = descriptors.get(number);
      descriptor.need(Rights.fdFilestatSetTimes);
      if (descriptor.kind === 'stream') return Errno.badf;
      checkTimeFlags(flags);
      if (descriptor.kind === 'directory') {
        const status = descriptor.anchor.status();
        names.setDirectoryTimes(descriptor, status, timesFromArguments(status, access, modify, flags, context.clock));
      } else {
        const status = fs.fstatSync(descriptor.hostDescriptor, { bigint: true });
        names.setFileTimes(descriptor, status, timesFromArguments(status, access, modify, flags, context.clock));
      }
      return Errno.success;
    },
  };
}

export function checkTimeFlags(flags: number): void {
  const access = TimeFlags.accessTime | TimeFlags.accessNow;
  const modify = TimeFlags.modifyTime | TimeFlags.modifyNow;
  if ((flags & ~TimeFlags.all) !== 0 || (flags & access) === access || (flags & modify) === modify) refuse(Errno.inval);
}

export function closeDescriptor(descriptor: Descriptor, contents: FileContents): void {
  if (descriptor.kind === 'file') contents.close(descriptor);
  else descriptor.close();
}

function sync(descriptor: Descriptor, right: number, contents: FileContents): number {
  descriptor.need(right);
  if (descriptor.kind === 'file') contents.sync(descriptor);
  else if (descriptor.kind === 'directory') descriptor.anchor.sync();
  return Errno.success;
}

function sizeOf(descriptor: FileDescriptor): number {
  return fs.fstatSync(descriptor.hostDescriptor).size;
}

/** A u64 offset or length as a number; EINVAL where the host's signed 64 bits or our exact numbers end. */
function offsetFromArgument(value: bigint): number {
  const offset = Number(value);
  if (offset < 0 || offset > OFFSET_MAX) refuse(Errno.inval);
  return offset;
}
