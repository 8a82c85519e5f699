/** userfaultfd(2): descriptors, and the ranges of memory that they are for. */
import { assert } from '../error/errors.ts';
import { addressOf, libraryCalls, putWord, refuseLargePages, SystemRefusal } from './c-library.ts';

/** Numbers of <linux/userfaultfd.h>. */
const SYS_USERFAULTFD: Readonly<Record<string, number>> = { x64: 323, arm64: 282 };
const O_CLOEXEC_NONBLOCK = 0o2004000;
const O_RDWR_CLOEXEC = 0o2000002;
const UFFD_USER_MODE_ONLY = 1;
const USERFAULTFD_IOC_NEW = 0xaa00;
const UFFD_API = 0xaa;
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFDIO_WRITEPROTECT = 0xc018aa06;
const EAGAIN = 11;
const RETRIES_MAX = 1000;

export const UffdFeature = {
  pagefaultFlagWp: 1 << 0,
  threadId: 1 << 8,
  wpUnpopulated: 1 << 13,
  wpAsync: 1 << 15,
  move: 1 << 16,
} as const;

/** What a range is registered for; bits. */
export const RegisterMode = { missing: 1, writeProtect: 2 } as const;

/**
 * How a descriptor is asked for. `user-mode`: anybody may, and only faults of programs themselves are served by it, which is no
 * limit where nobody serves any. `privileged`: the system's own faults as well. `device`: the same, by a file's permissions.
 */
export type UffdWay = 'user-mode' | 'privileged' | 'device';

/**
 * A new descriptor with these features.
 * @throws SystemRefusal, Error.
 */
export function openUffd(way: UffdWay, features: number): number {
  const calls = libraryCalls();
  const number = SYS_USERFAULTFD[process.arch];
  assert(process.platform === 'linux' && number !== undefined, `there is no userfaultfd on ${process.platform}`);
  let descriptor: number;
  if (way === 'device') {
    const device = Number(calls.open('/dev/userfaultfd', O_RDWR_CLOEXEC));
    if (device < 0) throw new SystemRefusal('open of the device userfaultfd', calls.errno());
    descriptor = Number(calls.ioctlNumber(device, USERFAULTFD_IOC_NEW, O_CLOEXEC_NONBLOCK));
    const errno = calls.errno();
    calls.close(device);
    if (descriptor < 0) throw new SystemRefusal('USERFAULTFD_IOC_NEW', errno);
  } else {
    const flags = O_CLOEXEC_NONBLOCK | (way === 'user-mode' ? UFFD_USER_MODE_ONLY : 0);
    descriptor = Number(calls.syscall(number, flags, 0, 0));
    if (descriptor < 0) throw new SystemRefusal('userfaultfd', calls.errno());
  }
  const api = new Uint32Array(6);
  putWord(api, 0, UFFD_API);
  putWord(api, 2, features);
  if (Number(calls.ioctl(descriptor, UFFDIO_API, api)) >= 0) return descriptor;
  const errno = calls.errno();
  calls.close(descriptor);
  throw new SystemRefusal('UFFDIO_API', errno);
}

/** A range, which may be address space that holds no memory yet, is the descriptor's from now on, and has small pages. */
export function registerRange(descriptor: number, address: number, lengthBytes: number, modes: number): void {
  refuseLargePages(address, lengthBytes);
  const words = new Uint32Array(8);
  putWord(words, 0, address);
  putWord(words, 2, lengthBytes);
  putWord(words, 4, modes);
  const calls = libraryCalls();
  if (Number(calls.ioctl(descriptor, UFFDIO_REGISTER, words)) < 0) {
    throw new SystemRefusal('UFFDIO_REGISTER', calls.errno());
  }
}

/** Protects pages of registered ranges, or takes their protection away, which lets whoever waits to write to them go on. Any thread may. */
export class RangeProtection {
  readonly #descriptor: number;
  readonly #words = new Uint32Array(6);
  readonly #wordsAddress: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#wordsAddress = addressOf(this.#words);
  }

  set(address: number, lengthBytes: number, isProtected: boolean): void {
    if (lengthBytes === 0) return;
    const { ioctlNumber, errno } = libraryCalls();
    const words = this.#words;
    putWord(words, 0, address);
    putWord(words, 2, lengthBytes);
    putWord(words, 4, isProtected ? 1 : 0);
    // The system gives up where another thread changes the layout of memory meanwhile.
    for (let tries = 0; Number(ioctlNumber(this.#descriptor, UFFDIO_WRITEPROTECT, this.#wordsAddress)) < 0; tries++) {
      const cause = errno();
      if (cause !== EAGAIN || tries === RETRIES_MAX) throw new SystemRefusal('UFFDIO_WRITEPROTECT', cause);
    }
  }
}
