/**
 * Which pages of a part of this process's memory were written, as the system notes it: userfaultfd(2) with asynchronous write
 * protection. A protected page that is written, by whoever it be (this process, the system on its behalf), is let through and
 * is no longer protected, so nothing waits for anybody and no right is needed. Linux 6.7 or later.
 */
import { assert } from '../error/errors.ts';
import { libraryCalls, putWord, refuseLargePages, SystemRefusal } from './c-library.ts';
import { RangeProtection } from './range-protection.ts';

/** Numbers of <linux/userfaultfd.h>. */
const SYS_USERFAULTFD: Readonly<Record<string, number>> = { x64: 323, arm64: 282 };
const O_CLOEXEC_NONBLOCK = 0o2004000;
const O_RDWR_CLOEXEC = 0o2000002;
const UFFD_USER_MODE_ONLY = 1;
const USERFAULTFD_IOC_NEW = 0xaa00;
const UFFD_API = 0xaa;
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const REGISTER_WP = 2;
export const UffdFeature = {
  pagefaultFlagWp: 1 << 0,
  wpUnpopulated: 1 << 13,
  wpAsync: 1 << 15,
  move: 1 << 16,
} as const;
const TRACKING_FEATURES = UffdFeature.pagefaultFlagWp | UffdFeature.wpUnpopulated | UffdFeature.wpAsync;

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

/** The protection of a range of memory, which ends with `close`. */
export class WriteNotes {
  readonly #descriptor: number;
  readonly #range: RangeProtection;

  /** From now on the range, which may end in address space that holds no memory yet, can be protected; nothing is. */
  constructor(address: number, lengthBytes: number) {
    this.#descriptor = openUffd('user-mode', TRACKING_FEATURES);
    this.#range = new RangeProtection(this.#descriptor);
    try {
      refuseLargePages(address, lengthBytes);
      const words = new Uint32Array(8);
      putWord(words, 0, address);
      putWord(words, 2, lengthBytes);
      putWord(words, 4, REGISTER_WP);
      const calls = libraryCalls();
      if (Number(calls.ioctl(this.#descriptor, UFFDIO_REGISTER, words)) < 0) {
        throw new SystemRefusal('UFFDIO_REGISTER', calls.errno());
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Pages of this range, absent ones too, count as not written until they are. */
  protect(address: number, lengthBytes: number): void {
    this.#range.protect(address, lengthBytes);
  }

  close(): void {
    libraryCalls().close(this.#descriptor);
  }
}
