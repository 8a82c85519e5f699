/**
 * Which pages of a part of this process's memory were written: userfaultfd(2) in its asynchronous write-protect mode, and the
 * `PAGEMAP_SCAN` call, which tells and protects in one step. Linux 6.7 or later, for any user, through the optional package
 * `koffi`. No thread waits for anything: the system lets a write to a protected page through and notes it in the page's entry.
 *
 * A page counts as written when it is there, is not protected, and is not the system's page of zeros. So a page that was never
 * touched needs no protection: a read of it maps the page of zeros, and only a write makes a page of its own. That is exact for
 * memory that grows, too. (Protecting what is not there, `WP_UNPOPULATED`, was the other way: it takes an entry for each page of
 * the largest memory, and makes the first write to each of them two faults.)
 */
import { assert } from '../error/errors.ts';
import { loadCalls, put, TWO_32 } from './user-faults.ts';

const SYSTEM_PAGE_BYTES = 4096;

/** Numbers of <linux/userfaultfd.h>, <linux/fs.h>, <asm-generic/mman-common.h> and the C library. */
export const SYS_USERFAULTFD: Readonly<Record<string, number>> = { x64: 323, arm64: 282 };
export const O_CLOEXEC_NONBLOCK = 0o2004000;
export const USER_MODE_ONLY = 1;
export const UFFD_API = 0xaa;
export const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
export const FEATURE_WP_ASYNC = 1 << 15;
export const FEATURE_MOVE = 1 << 16;
const REGISTER_WP = 2;
export const PAGEMAP_SCAN = 0xc0606610;
export const SCAN_WORDS = 24;
const SCAN_REGIONS = 4096;
const REGION_WORDS = 6;
const WP_MATCHING = 1;
const CHECK_WPASYNC = 2;
const PAGE_IS_WRITTEN = 1 << 1;
const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_SWAPPED = 1 << 4;
const PAGE_IS_PFNZERO = 1 << 5;
const MADV_NOHUGEPAGE = 15;
const SC_PAGESIZE = 30;
export const O_RDONLY_CLOEXEC = 0o2000000;
const EPERM = 1;
const EACCES = 13;
const EINVAL = 22;
const ENOTTY = 25;
const ENOSYS = 38;

const OLD_KERNEL = 'the kernel is too old, Linux 6.7 is needed';
const REFUSALS: Readonly<Record<string, string>> = {
  [`userfaultfd ${EPERM}`]: 'this process may not use userfaultfd: a sandbox, as that of a container, forbids it',
  [`userfaultfd ${EINVAL}`]: OLD_KERNEL,
  [`userfaultfd ${ENOSYS}`]: 'the kernel has no userfaultfd, or a sandbox hides it',
  [`UFFDIO_API ${EINVAL}`]: OLD_KERNEL,
  [`PAGEMAP_SCAN ${ENOTTY}`]: OLD_KERNEL,
  [`/proc/self/pagemap ${EPERM}`]: 'this process may not read /proc/self/pagemap',
  [`/proc/self/pagemap ${EACCES}`]: 'this process may not read /proc/self/pagemap',
};

/** What a call that ended with an error number comes to, for people. */
export function refusalText(name: string, errno: number): string {
  return REFUSALS[`${name} ${errno}`] ?? `the system refused ${name} (errno ${errno})`;
}

type LibraryCalls = ReturnType<typeof loadCalls>;

/** @throws Error, for people, where they cannot be called. */
export function callsOfThisSystem(): LibraryCalls {
  if (process.platform !== 'linux') throw new Error(`there is no userfaultfd on ${process.platform}`);
  if (SYS_USERFAULTFD[process.arch] === undefined) throw new Error(`its calls are not known for ${process.arch}`);
  try {
    return loadCalls();
  } catch (error) {
    const cause = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    throw new Error(`the package koffi cannot be used (${cause})`);
  }
}

/** Watches one range of addresses for writes, from whatever thread they come, and the system's own. */
export class WriteWatch {
  /** Of the last `scan`: pairs of first page and page behind the last, ascending, none touching the next. */
  ranges = new Uint32Array(2 * SCAN_REGIONS);
  readonly #calls: LibraryCalls;
  readonly #address: number;
  readonly #descriptor: number;
  readonly #pagemap: number;
  readonly #scan = new Uint32Array(SCAN_WORDS);
  readonly #regions = new Uint32Array(REGION_WORDS * SCAN_REGIONS);

  /**
   * The view's first byte lies at the start of a page; `lengthBytes` may reach beyond the view, over address space that is
   * reserved for its memory's growth. Pages that were written before count as written until the first `scan`.
   * @throws Error, with what the system refused, for people.
   */
  constructor(view: Uint8Array, lengthBytes: number) {
    const calls = callsOfThisSystem();
    this.#calls = calls;
    const pageBytes = Number(calls.sysconf(SC_PAGESIZE));
    if (pageBytes !== SYSTEM_PAGE_BYTES) throw new Error(`pages of the system have ${pageBytes} bytes`);
    this.#address = Number(calls.move(view, view, 0));
    assert(this.#address % SYSTEM_PAGE_BYTES === 0, 'memory that is watched begins inside of a page');
    const flags = O_CLOEXEC_NONBLOCK | USER_MODE_ONLY;
    this.#descriptor = Number(calls.syscall(SYS_USERFAULTFD[process.arch], flags, 0, 0));
    if (this.#descriptor < 0) throw this.#refused('userfaultfd');
    this.#pagemap = Number(calls.open('/proc/self/pagemap', O_RDONLY_CLOEXEC));
    try {
      if (this.#pagemap < 0) throw this.#refused('/proc/self/pagemap');
      this.#register(lengthBytes);
    } catch (error) {
      this.close();
      throw error;
    }
    // Held by this object: the system is given their addresses.
    const scan = this.#scan;
    put(scan, 0, 4 * SCAN_WORDS);
    put(scan, 2, WP_MATCHING | CHECK_WPASYNC);
    put(scan, 10, Number(calls.move(this.#regions, this.#regions, 0)));
    put(scan, 12, SCAN_REGIONS);
    put(scan, 16, PAGE_IS_PFNZERO);
    put(scan, 18, PAGE_IS_WRITTEN | PAGE_IS_PFNZERO);
    put(scan, 20, PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    put(scan, 22, PAGE_IS_WRITTEN);
  }

  /** Finds the pages below `pageCount` that were written since the last scan, and protects them; returns how many ranges. */
  scan(pageCount: number): number {
    let rangeCount = 0;
    const scan = this.#scan;
    const regions = this.#regions;
    const address = this.#address;
    for (let from = 0; from < pageCount;) {
      put(scan, 4, address + from * SYSTEM_PAGE_BYTES);
      put(scan, 6, address + pageCount * SYSTEM_PAGE_BYTES);
      const count = Number(this.#calls.ioctl(this.#pagemap, PAGEMAP_SCAN, scan));
      if (count < 0) throw this.#refused('PAGEMAP_SCAN');
      // The room for regions may have ended the walk: it goes on behind what was told.
      const walkEnd = (scan[8] + scan[9] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
      assert(walkEnd > from, 'a scan of pages does not move on');
      from = walkEnd;
      if (2 * (rangeCount + count) > this.ranges.length) this.#growRanges(rangeCount);
      const { ranges } = this;
      for (let i = 0; i < count; i++) {
        const at = i * REGION_WORDS;
        const first = (regions[at] + regions[at + 1] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
        const end = (regions[at + 2] + regions[at + 3] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
        // Mappings that meet, as those of memory before and after growth may, end a region each.
        if (rangeCount > 0 && ranges[2 * rangeCount - 1] === first) ranges[2 * rangeCount - 1] = end;
        else {
          ranges[2 * rangeCount] = first;
          ranges[2 * rangeCount + 1] = end;
          rangeCount += 1;
        }
      }
    }
    return rangeCount;
  }

  /** Nothing is watched any more. */
  close(): void {
    this.#calls.close(this.#descriptor);
    if (this.#pagemap >= 0) this.#calls.close(this.#pagemap);
  }

  #register(lengthBytes: number): void {
    const api = new Uint32Array(6);
    put(api, 0, UFFD_API);
    put(api, 2, FEATURE_PAGEFAULT_FLAG_WP | FEATURE_WP_ASYNC);
    if (Number(this.#calls.ioctl(this.#descriptor, UFFDIO_API, api)) < 0) throw this.#refused('UFFDIO_API');
    // A page of zeros could be a huge one, and a huge page is taken apart at its first write after each scan.
    if (Number(this.#calls.madvise(this.#address, lengthBytes, MADV_NOHUGEPAGE)) < 0) {
      // A kernel that was built without huge pages knows no advice about them.
      if (this.#calls.errno() !== EINVAL) throw this.#refused('madvise');
    }
    const words = new Uint32Array(8);
    put(words, 0, this.#address);
    put(words, 2, lengthBytes);
    put(words, 4, REGISTER_WP);
    if (Number(this.#calls.ioctl(this.#descriptor, UFFDIO_REGISTER, words)) < 0) throw this.#refused('UFFDIO_REGISTER');
  }

  #growRanges(rangeCount: number): void {
    const ranges = new Uint32Array(2 * (2 * rangeCount + SCAN_REGIONS));
    ranges.set(this.ranges.subarray(0, 2 * rangeCount));
    this.ranges = ranges;
  }

  #refused(name: string): Error {
    return new Error(refusalText(name, this.#calls.errno()));
  }
}
