/** The filestat record: dev u64, ino u64, filetype u8 (+7 pad), nlink u64, size u64, atim u64, mtim u64, ctim u64. */
import type { BigIntStats } from 'node:fs';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { Size, TimeFlags } from './abi.ts';
import type { FileNames } from './file-names.ts';
import type { GuestClock } from './guest-clock.ts';
import { fileTypeOf } from './open-file.ts';
import type { StandardStream } from './standard-stream.ts';

/**
 * Size of every directory: what file systems show depends on them and on names that the guest does not see, and an
 * interrupted run must not differ from one that was not. It is the size of small directories on ext4.
 */
const DIRECTORY_BYTES = 4096n;

export function storeFilestat(memory: GuestMemory, address: number, status: BigIntStats, names: FileNames): void {
  memory.viewForWriting(address, Size.filestat).fill(0);
  memory.setBigUint64(address, status.dev);
  memory.setBigUint64(address + 8, status.ino);
  memory.setUint8(address + 16, fileTypeOf(status));
  const shown = names.guestStatus(status);
  memory.setBigUint64(address + 24, shown.nlink);
  memory.setBigUint64(address + 32, status.isDirectory() ? DIRECTORY_BYTES : status.size);
  memory.setBigUint64(address + 40, shown.atimeNs);
  memory.setBigUint64(address + 48, shown.mtimeNs);
  memory.setBigUint64(address + 56, status.ctimeNs);
}

/** Makes the record that of a directory that was removed while open: no links, no size, as Linux has it. */
export function storeRemoved(memory: GuestMemory, address: number): void {
  memory.setBigUint64(address + 24, 0n);
  memory.setBigUint64(address + 32, 0n);
}

/** Status of a stream; one that no file is behind has only its kind. */
export function storeStreamStat(memory: GuestMemory, address: number, stream: StandardStream, names: FileNames): void {
  const status = stream.status();
  if (status !== undefined) {
    storeFilestat(memory, address, status, names);
    return;
  }
  memory.viewForWriting(address, Size.filestat).fill(0);
  memory.setUint8(address + 16, stream.fileType);
}

/** Times to set, in nanoseconds since 1970. */
export interface FileTimes {
  accessNs: bigint;
  modifyNs: bigint;
}

/** The times that a call asks for; those it does not name stay as `status` has them. */
export function timesFromArguments(
  status: BigIntStats,
  access: bigint,
  modify: bigint,
  flags: number,
  clock: GuestClock,
): FileTimes {
  const nowNs = BigInt(Math.round(clock.wallMs() * 1e3)) * 1000n;
  let accessNs = status.atimeNs;
  if ((flags & TimeFlags.accessTime) !== 0) accessNs = BigInt.asUintN(64, access);
  if ((flags & TimeFlags.accessNow) !== 0) accessNs = nowNs;
  let modifyNs = status.mtimeNs;
  if ((flags & TimeFlags.modifyTime) !== 0) modifyNs = BigInt.asUintN(64, modify);
  if ((flags & TimeFlags.modifyNow) !== 0) modifyNs = nowNs;
  return { accessNs, modifyNs };
}
