import { GuestAddressError } from '../memory/guest-memory.ts';

/** Error numbers of WASI preview 1. */
export const Errno = {
  success: 0,
  toobig: 1,
  acces: 2,
  addrinuse: 3,
  addrnotavail: 4,
  afnosupport: 5,
  again: 6,
  already: 7,
  badf: 8,
  badmsg: 9,
  busy: 10,
  canceled: 11,
  child: 12,
  connaborted: 13,
  connrefused: 14,
  connreset: 15,
  deadlk: 16,
  destaddrreq: 17,
  dom: 18,
  dquot: 19,
  exist: 20,
  fault: 21,
  fbig: 22,
  hostunreach: 23,
  idrm: 24,
  ilseq: 25,
  inprogress: 26,
  intr: 27,
  inval: 28,
  io: 29,
  isconn: 30,
  isdir: 31,
  loop: 32,
  mfile: 33,
  mlink: 34,
  msgsize: 35,
  multihop: 36,
  nametoolong: 37,
  netdown: 38,
  netreset: 39,
  netunreach: 40,
  nfile: 41,
  nobufs: 42,
  nodev: 43,
  noent: 44,
  noexec: 45,
  nolck: 46,
  nolink: 47,
  nomem: 48,
  nomsg: 49,
  noprotoopt: 50,
  nospc: 51,
  nosys: 52,
  notconn: 53,
  notdir: 54,
  notempty: 55,
  notrecoverable: 56,
  notsock: 57,
  notsup: 58,
  notty: 59,
  nxio: 60,
  overflow: 61,
  ownerdead: 62,
  perm: 63,
  pipe: 64,
  proto: 65,
  protonosupport: 66,
  prototype: 67,
  range: 68,
  rofs: 69,
  spipe: 70,
  srch: 71,
  stale: 72,
  timedout: 73,
  txtbsy: 74,
  xdev: 75,
  notcapable: 76,
} as const;

/** A call that ends with an error number. One instance per number, made once: refusing is cheap and has no stack. */
export class Refusal extends Error {
  readonly errno: number;
  constructor(errno: number) {
    super(`WASI error ${errno}`);
    this.errno = errno;
  }
}

const refusals: Refusal[] = [];
for (let errno = 0; errno <= Errno.notcapable; errno++) refusals.push(new Refusal(errno));

/** Ends the call of the guest with `errno`. */
export function refuse(errno: number): never {
  throw refusals[errno];
}

/** Names of Node's system errors that differ from ours by more than the leading E and letter case. */
const OTHER_NAMES: Readonly<Record<string, number>> = {
  E2BIG: Errno.toobig,
  ENOTSUP: Errno.notsup,
  EOPNOTSUPP: Errno.notsup,
  EWOULDBLOCK: Errno.again,
  ETXTBSY: Errno.txtbsy,
  // Windows through libuv.
  UNKNOWN: Errno.io,
  ECHARSET: Errno.ilseq,
  EOF: Errno.io,
};

const BY_CODE = new Map<string, number>(Object.entries(OTHER_NAMES));
for (const [name, errno] of Object.entries(Errno)) BY_CODE.set(`E${name.toUpperCase()}`, errno);

/** The code of a system error thrown by `node:fs`, or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/**
 * The error number a host call ends with when `error` was thrown inside it. What is neither a refusal, nor a bad guest
 * address, nor an error of the operating system is no business of the guest and is thrown on.
 */
export function errnoOf(error: unknown): number {
  if (error instanceof Refusal) return error.errno;
  if (error instanceof GuestAddressError) return Errno.fault;
  const code = systemCode(error);
  if (code === undefined) throw error;
  return BY_CODE.get(code) ?? Errno.io;
}
