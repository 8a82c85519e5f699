/**
 * The numbers of WASI preview 1 (`wasi_snapshot_preview1.witx`): rights, flags, kinds and record sizes. Offsets of the
 * records' fields stand where the records are read and written.
 */

/** Rights fit into 30 bits, so that they are plain numbers here although the interface passes them as u64. */
export const Rights = {
  fdDatasync: 1 << 0,
  fdRead: 1 << 1,
  fdSeek: 1 << 2,
  fdFdstatSetFlags: 1 << 3,
  fdSync: 1 << 4,
  fdTell: 1 << 5,
  fdWrite: 1 << 6,
  fdAdvise: 1 << 7,
  fdAllocate: 1 << 8,
  pathCreateDirectory: 1 << 9,
  pathCreateFile: 1 << 10,
  pathLinkSource: 1 << 11,
  pathLinkTarget: 1 << 12,
  pathOpen: 1 << 13,
  fdReaddir: 1 << 14,
  pathReadlink: 1 << 15,
  pathRenameSource: 1 << 16,
  pathRenameTarget: 1 << 17,
  pathFilestatGet: 1 << 18,
  pathFilestatSetSize: 1 << 19,
  pathFilestatSetTimes: 1 << 20,
  fdFilestatGet: 1 << 21,
  fdFilestatSetSize: 1 << 22,
  fdFilestatSetTimes: 1 << 23,
  pathSymlink: 1 << 24,
  pathRemoveDirectory: 1 << 25,
  pathUnlinkFile: 1 << 26,
  pollFdReadwrite: 1 << 27,
  sockShutdown: 1 << 28,
  sockAccept: 1 << 29,
  /** Stands for any bit that preview 1 does not define; never granted. */
  unknown: 1 << 30,
} as const;

const ALL_RIGHTS = (1 << 30) - 1;

export const REGULAR_FILE_RIGHTS =
  Rights.fdDatasync |
  Rights.fdRead |
  Rights.fdSeek |
  Rights.fdFdstatSetFlags |
  Rights.fdSync |
  Rights.fdTell |
  Rights.fdWrite |
  Rights.fdAdvise |
  Rights.fdAllocate |
  Rights.fdFilestatGet |
  Rights.fdFilestatSetSize |
  Rights.fdFilestatSetTimes |
  Rights.pollFdReadwrite;

export const DIRECTORY_RIGHTS =
  Rights.fdFdstatSetFlags |
  Rights.fdSync |
  Rights.fdAdvise |
  Rights.pathCreateDirectory |
  Rights.pathCreateFile |
  Rights.pathLinkSource |
  Rights.pathLinkTarget |
  Rights.pathOpen |
  Rights.fdReaddir |
  Rights.pathReadlink |
  Rights.pathRenameSource |
  Rights.pathRenameTarget |
  Rights.pathFilestatGet |
  Rights.pathFilestatSetSize |
  Rights.pathFilestatSetTimes |
  Rights.fdFilestatGet |
  Rights.fdFilestatSetTimes |
  Rights.pathSymlink |
  Rights.pathRemoveDirectory |
  Rights.pathUnlinkFile |
  Rights.pollFdReadwrite;

export const DIRECTORY_INHERITING_RIGHTS = DIRECTORY_RIGHTS | REGULAR_FILE_RIGHTS;

/** Terminals, pipes and devices: no seek and no tell, which is how guests recognise a terminal. */
export const STREAM_RIGHTS =
  Rights.fdRead |
  Rights.fdFdstatSetFlags |
  Rights.fdWrite |
  Rights.fdFilestatGet |
  Rights.pollFdReadwrite |
  Rights.fdSync |
  Rights.fdDatasync;

/** The rights of a u64 argument; bits that are not defined become `Rights.unknown`. */
export function rightsFromArgument(value: bigint): number {
  const unsigned = BigInt.asUintN(64, value);
  const known = Number(BigInt.asUintN(30, value)) & ALL_RIGHTS;
  return unsigned >> 30n === 0n ? known : known | Rights.unknown;
}

export const FileType = {
  unknown: 0,
  blockDevice: 1,
  characterDevice: 2,
  directory: 3,
  regularFile: 4,
  socketDatagram: 5,
  socketStream: 6,
  symbolicLink: 7,
} as const;

export const FdFlags = { append: 1, dsync: 2, nonblock: 4, rsync: 8, sync: 16, all: 31 } as const;
export const OpenFlags = { create: 1, directory: 2, exclusive: 4, truncate: 8, all: 15 } as const;
export const LookupFlags = { symlinkFollow: 1 } as const;
export const TimeFlags = { accessTime: 1, accessNow: 2, modifyTime: 4, modifyNow: 8, all: 15 } as const;
export const Whence = { set: 0, current: 1, end: 2 } as const;
export const ClockId = { realtime: 0, monotonic: 1, processCpu: 2, threadCpu: 3 } as const;
export const EventType = { clock: 0, fdRead: 1, fdWrite: 2 } as const;
export const PREOPEN_TYPE_DIRECTORY = 0;
export const ADVICE_COUNT = 6;
export const SIGNAL_COUNT = 31;

/** Bytes of the records in guest memory. */
export const Size = {
  iovec: 8,
  fdstat: 24,
  filestat: 64,
  prestat: 8,
  dirent: 24,
  subscription: 48,
  event: 32,
} as const;
