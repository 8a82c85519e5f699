/**
 * Faults of a part of this process's memory, served by a thread of it, through the optional package `koffi`: userfaultfd(2) in
 * one of two ways. For `paging`, its `MISSING` and asynchronous write-protect modes, and what moves pages to and from it: Linux
 * 6.8 or later and a right. For `protection`, its synchronous write-protect mode: Linux 6.7 or later, for anybody. Only faults of
 * the program itself are served then; a system call that would write to a protected page fails instead.
 *
 * Addresses are numbers: those of the system have 47 bits, or 52, which a number holds exactly. Structures are arrays of
 * 32-bit words that are made once, since every call here is made for each fault.
 */
import { createRequire } from 'node:module';
import { assert } from '../error/errors.ts';

const SYSTEM_PAGE_BYTES = 4096;

/** Numbers of <linux/userfaultfd.h>, <linux/fs.h> and <asm-generic/mman-common.h>. */
const SYS_USERFAULTFD: Readonly<Record<string, number>> = { x64: 323, arm64: 282 };
const SYS_PIDFD_OPEN = 434;
const SYS_PROCESS_MADVISE = 440;
const O_CLOEXEC_NONBLOCK = 0o2004000;
const USER_MODE_ONLY = 1;
const UFFD_API = 0xaa;
const UFFDIO_API = 0xc018aa3f;
const UFFDIO_REGISTER = 0xc020aa00;
const UFFDIO_WAKE = 0x8010aa02;
const UFFDIO_COPY = 0xc028aa03;
const UFFDIO_MOVE = 0xc028aa05;
const UFFDIO_WRITEPROTECT = 0xc018aa06;
const FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
const FEATURE_THREAD_ID = 1 << 8;
const FEATURE_WP_UNPOPULATED = 1 << 13;
const FEATURE_WP_ASYNC = 1 << 15;
const FEATURE_MOVE = 1 << 16;
const REGISTER_MISSING = 1;
const REGISTER_WP = 2;
const COPY_MODE_WP = 2;
const MODE_DONTWAKE = 1;
const EVENT_PAGEFAULT = 0x12;
const PAGEFAULT_FLAG_WRITE = 1;
const MESSAGE_BYTES = 32;
const MESSAGES_MAX = 16;
const PAGEMAP_SCAN = 0xc0606610;
const PAGE_IS_WRITTEN = 1 << 1;
const PAGE_IS_PRESENT = 1 << 3;
const PAGE_IS_SWAPPED = 1 << 4;
const SCAN_WORDS = 24;
const SCAN_REGIONS = 1024;
const DISCARDS_MAX = 256;
const REGION_WORDS = 6;
const MADV_DONTNEED = 4;
const MADV_NOHUGEPAGE = 15;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022;
const POLLIN = 1;
const O_RDONLY_CLOEXEC = 0o2000000;
const EAGAIN = 11;
const EBUSY = 16;
const EINVAL = 22;
const RETRIES_MAX = 1000;
/** Bytes of a mask of processors: 1024 of them, as the C library has it. */
const AFFINITY_BYTES = 128;

const TWO_32 = 0x1_0000_0000;

/** What faults are for; see above. */
export type FaultPurpose = 'paging' | 'protection';

const COMMON_FEATURES = FEATURE_PAGEFAULT_FLAG_WP | FEATURE_THREAD_ID;
const FEATURES: Readonly<Record<FaultPurpose, number>> = {
  paging: COMMON_FEATURES | FEATURE_WP_ASYNC | FEATURE_MOVE,
  protection: COMMON_FEATURES | FEATURE_WP_UNPOPULATED,
};

/** What `wait` came back for; bits. */
export const Woken = { fault: 1, request: 2 } as const;

type LibraryCalls = ReturnType<typeof loadCalls>;

function loadCalls() {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
  const library = koffi.load('libc.so.6');
  return {
    errno: (): number => koffi.errno(),
    // The first argument of what varies is passed like any other on the processors that this runs on.
    syscall: library.func('long syscall(long number, ulong a, ulong b, ulong c)'),
    syscall5: library.func('syscall', 'long', ['long', 'long', 'void *', 'ulong', 'long', 'ulong']),
    ioctl: library.func('int ioctl(int fd, ulong request, void *argument)'),
    read: library.func('int64_t read(int fd, void *buffer, size_t length)'),
    poll: library.func('int poll(void *descriptors, ulong count, int timeout)'),
    open: library.func('int open(str path, int flags)'),
    close: library.func('int close(int fd)'),
    eventfd: library.func('int eventfd(uint initial, int flags)'),
    madvise: library.func('int madvise(uintptr_t address, size_t length, int advice)'),
    mmap: library.func('uintptr_t mmap(uintptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)'),
    munmap: library.func('int munmap(uintptr_t address, size_t length)'),
    // Moving no bytes returns where they are: the one way to learn the address of shared memory.
    move: library.func('uintptr_t memmove(void *to, void *from, size_t length)'),
    moveBytes: library.func('memmove', 'uintptr_t', ['uintptr_t', 'uintptr_t', 'size_t']),
    setAffinity: library.func('int sched_setaffinity(int thread, size_t length, void *mask)'),
    getAffinity: library.func('int sched_getaffinity(int thread, size_t length, void *mask)'),
    getCpu: library.func('int sched_getcpu()'),
  };
}

function put(words: Uint32Array, at: number, value: number): void {
  words[at] = value >>> 0;
  words[at + 1] = Math.floor(value / TWO_32);
}

/** Descriptors and buffers for the faults of this process; belongs to the thread that serves them. */
export class UserFaults {
  readonly descriptor: number;
  /** Written to wake a thread that waits for faults. */
  readonly requestDescriptor: number;
  /** Of the faults that `readFaults` has read: where, and whether to write. */
  readonly addresses = new Float64Array(MESSAGES_MAX);
  readonly writes = new Uint8Array(MESSAGES_MAX);
  /** The thread that made the last fault read. */
  threadId = 0;
  /** Of the last `scanWritten`: pairs of first page and page behind the last, counted from where it began. */
  readonly writtenRanges = new Uint32Array(2 * SCAN_REGIONS);
  readonly #calls: LibraryCalls;
  readonly #pagemap: number;
  readonly #messages = new Uint8Array(MESSAGE_BYTES * MESSAGES_MAX);
  readonly #messageWords = new Uint32Array(this.#messages.buffer);
  readonly #polled: Int32Array;
  readonly #range = new Uint32Array(4);
  readonly #protect = new Uint32Array(6);
  readonly #transfer = new Uint32Array(10);
  readonly #transferResult = new Int32Array(this.#transfer.buffer);
  readonly #count = new Uint32Array(2);
  readonly #scan = new Uint32Array(SCAN_WORDS);
  readonly #regions = new Uint32Array(REGION_WORDS * SCAN_REGIONS);
  readonly #discards = new Uint32Array(4 * DISCARDS_MAX);
  #discardCount = 0;
  #discardBytes = 0;
  /** Names this process; −1 where nothing takes it. */
  #processDescriptor = -1;
  readonly #zeros = new Uint8Array(SYSTEM_PAGE_BYTES);
  readonly #zerosAddress: number;
  readonly #allowed = new Uint8Array(AFFINITY_BYTES);
  readonly #mask = new Uint8Array(AFFINITY_BYTES);

  /** @throws Error, with what the system refused. */
  constructor(purpose: FaultPurpose = 'paging') {
    const calls = loadCalls();
    this.#calls = calls;
    const call = SYS_USERFAULTFD[process.arch];
    assert(process.platform === 'linux' && call !== undefined, 'there is no userfaultfd here');
    const flags = O_CLOEXEC_NONBLOCK | (purpose === 'protection' ? USER_MODE_ONLY : 0);
    this.descriptor = Number(calls.syscall(call, flags, 0, 0));
    if (this.descriptor < 0) throw this.#refused('userfaultfd');
    const api = new Uint32Array(6);
    put(api, 0, UFFD_API);
    put(api, 2, FEATURES[purpose]);
    this.#control(UFFDIO_API, api, 'UFFDIO_API');
    this.requestDescriptor = Number(calls.eventfd(0, O_CLOEXEC_NONBLOCK));
    if (this.requestDescriptor < 0) throw this.#refused('eventfd');
    this.#pagemap = Number(calls.open('/proc/self/pagemap', O_RDONLY_CLOEXEC));
    if (this.#pagemap < 0) throw this.#refused('open of /proc/self/pagemap');
    this.#processDescriptor = Number(calls.syscall(SYS_PIDFD_OPEN, process.pid, 0, 0));
    this.#polled = Int32Array.of(this.descriptor, POLLIN, this.requestDescriptor, POLLIN);
    // Held by this object: the system is given their addresses.
    put(this.#scan, 0, 4 * SCAN_WORDS);
    put(this.#scan, 10, this.addressOf(this.#regions));
    put(this.#scan, 12, SCAN_REGIONS);
    put(this.#scan, 18, PAGE_IS_WRITTEN);
    put(this.#scan, 20, PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    put(this.#scan, 22, PAGE_IS_WRITTEN);
    this.#zerosAddress = this.addressOf(this.#zeros);
    if (Number(calls.getAffinity(0, AFFINITY_BYTES, this.#allowed)) < 0) throw this.#refused('sched_getaffinity');
  }

  /** Where the bytes of a view lie; they must be kept referenced while that is used. */
  addressOf(view: Uint8Array | Uint32Array): number {
    return Number(this.#calls.move(view, view, 0));
  }

  /** Address space of this process for pages that are put aside, to be given back by `unmap`. */
  map(lengthBytes: number): number {
    const address = Number(this.#calls.mmap(0, lengthBytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0));
    if (!Number.isSafeInteger(address) || address <= 0) throw this.#refused('mmap');
    return address;
  }

  unmap(address: number, lengthBytes: number): void {
    this.#calls.munmap(address, lengthBytes);
  }

  /** From now on absent pages of this range are asked for here, and writes to protected ones are noted by the system. */
  register(address: number, lengthBytes: number): void {
    this.#refuseLargePages(address, lengthBytes);
    this.discard(address, lengthBytes);
    this.#register(address, lengthBytes, REGISTER_MISSING | REGISTER_WP);
  }

  /** From now on writes to pages of this range are told of, where they are protected; nothing is. */
  registerWrites(address: number, lengthBytes: number): void {
    this.#refuseLargePages(address, lengthBytes);
    this.#register(address, lengthBytes, REGISTER_WP);
  }

  #register(address: number, lengthBytes: number, mode: number): void {
    const words = new Uint32Array(8);
    put(words, 0, address);
    put(words, 2, lengthBytes);
    put(words, 4, mode);
    this.#control(UFFDIO_REGISTER, words, 'UFFDIO_REGISTER');
  }

  /** A system that has none does not know the advice. */
  #refuseLargePages(address: number, lengthBytes: number): void {
    if (Number(this.#calls.madvise(address, lengthBytes, MADV_NOHUGEPAGE)) >= 0) return;
    if (this.#calls.errno() !== EINVAL) throw this.#refused('madvise');
  }

  /** Waits for faults and requests; `Woken` bits, 0 after the time-out. */
  wait(timeoutMs: number): number {
    const polled = this.#polled;
    if (Number(this.#calls.poll(polled, 2, timeoutMs)) <= 0) return 0;
    // `revents` is the upper half of the second word of each.
    return (polled[1] >>> 16 === 0 ? 0 : Woken.fault) | (polled[3] >>> 16 === 0 ? 0 : Woken.request);
  }

  /** Reads the faults that wait; returns how many. */
  readFaults(): number {
    const length = Number(this.#calls.read(this.descriptor, this.#messages, this.#messages.length));
    if (length < 0) return 0;
    const words = this.#messageWords;
    let count = 0;
    for (let at = 0; at < length; at += MESSAGE_BYTES) {
      if (this.#messages[at] !== EVENT_PAGEFAULT) continue;
      const word = at >>> 2;
      this.writes[count] = words[word + 2] & PAGEFAULT_FLAG_WRITE;
      this.addresses[count++] = words[word + 4] + words[word + 5] * TWO_32;
      this.threadId = words[word + 6];
    }
    return count;
  }

  /** Takes note of all requests that were made. */
  readRequests(): void {
    this.#calls.read(this.requestDescriptor, this.#count, 8);
  }

  /** Gives absent pages their contents, and wakes whoever waits for them unless `quietly`. */
  copy(to: number, from: number, lengthBytes: number, writable: boolean, quietly: boolean): void {
    const mode = (writable ? 0 : COPY_MODE_WP) | (quietly ? MODE_DONTWAKE : 0);
    const errno = this.#transferAll(UFFDIO_COPY, to, from, lengthBytes, mode);
    if (errno !== 0) throw new Error(`the system refused UFFDIO_COPY of ${lengthBytes} bytes (errno ${errno})`);
  }

  /** Makes an absent page one of zeros that may be written. */
  copyZeros(to: number, writable: boolean, quietly: boolean): void {
    this.copy(to, this.#zerosAddress, SYSTEM_PAGE_BYTES, writable, quietly);
  }

  /** Moves pages, which come to be writable, to absent ones. */
  move(to: number, from: number, lengthBytes: number, quietly: boolean): void {
    const errno = this.#transferAll(UFFDIO_MOVE, to, from, lengthBytes, quietly ? MODE_DONTWAKE : 0);
    if (errno === 0) return;
    if (errno !== EBUSY && errno !== EAGAIN) {
      throw new Error(`the system refused UFFDIO_MOVE of ${lengthBytes} bytes (errno ${errno})`);
    }
    // Pages that something else in the system refers to, such as a child process, cannot move; a copy can.
    const doneBytes = this.#doneBytes();
    for (let at = doneBytes; at < lengthBytes; at += SYSTEM_PAGE_BYTES) {
      this.copy(to + at, from + at, SYSTEM_PAGE_BYTES, true, quietly);
      this.discard(from + at, SYSTEM_PAGE_BYTES);
    }
  }

  /** Copies bytes between pages that are there. */
  copyBytes(to: number, from: number, lengthBytes: number): void {
    this.#calls.moveBytes(to, from, lengthBytes);
  }

  /**
   * Makes pages readable only, until the system lets a write through and notes it, or tells of it; or lets them be written, and
   * whoever waits for that go on.
   */
  protect(address: number, lengthBytes: number, protects: boolean): void {
    put(this.#protect, 0, address);
    put(this.#protect, 2, lengthBytes);
    put(this.#protect, 4, protects ? 1 : 0);
    for (let tries = 0; Number(this.#calls.ioctl(this.descriptor, UFFDIO_WRITEPROTECT, this.#protect)) < 0; tries++) {
      if (this.#calls.errno() !== EAGAIN || tries === RETRIES_MAX) throw this.#refused('UFFDIO_WRITEPROTECT');
    }
  }

  /** Lets whoever waits for a page try again. */
  wake(address: number): void {
    put(this.#range, 0, address);
    put(this.#range, 2, SYSTEM_PAGE_BYTES);
    this.#control(UFFDIO_WAKE, this.#range, 'UFFDIO_WAKE');
  }

  /** Makes pages absent; what they held is gone. */
  discard(address: number, lengthBytes: number): void {
    if (Number(this.#calls.madvise(address, lengthBytes, MADV_DONTNEED)) < 0) throw this.#refused('madvise');
  }

  /** The same, at the next `discardNow`: many ranges by one call. */
  discardLater(address: number, lengthBytes: number): void {
    if (this.#discardCount === DISCARDS_MAX) this.discardNow();
    const at = 4 * this.#discardCount++;
    put(this.#discards, at, address);
    put(this.#discards, at + 2, lengthBytes);
    this.#discardBytes += lengthBytes;
  }

  discardNow(): void {
    const count = this.#discardCount;
    if (count === 0) return;
    const lengthBytes = this.#discardBytes;
    this.#discardCount = 0;
    this.#discardBytes = 0;
    if (this.#processDescriptor >= 0 && count > 1) {
      const { syscall5 } = this.#calls;
      const result = Number(
        syscall5(SYS_PROCESS_MADVISE, this.#processDescriptor, this.#discards, count, MADV_DONTNEED, 0),
      );
      if (result === lengthBytes) return;
      // Before Linux 6.13 it is not for this advice.
      if (result < 0) this.#closeProcess();
    }
    const words = this.#discards;
    for (let at = 0; at < 4 * count; at += 4) {
      this.discard(words[at] + words[at + 1] * TWO_32, words[at + 2] + words[at + 3] * TWO_32);
    }
  }

  #closeProcess(): void {
    if (this.#processDescriptor >= 0) this.#calls.close(this.#processDescriptor);
    this.#processDescriptor = -1;
  }

  /**
   * Finds pages that are there and not protected, from `first` up to `end` of those that begin at the address. Fills
   * `writtenRanges` and returns how many ranges; `scanEnd` is how far it came.
   */
  scanWritten(address: number, first: number, end: number): number {
    const scan = this.#scan;
    put(scan, 4, address + first * SYSTEM_PAGE_BYTES);
    put(scan, 6, address + end * SYSTEM_PAGE_BYTES);
    const count = Number(this.#calls.ioctl(this.#pagemap, PAGEMAP_SCAN, scan));
    if (count < 0) throw this.#refused('PAGEMAP_SCAN');
    const regions = this.#regions;
    for (let i = 0; i < count; i++) {
      const at = i * REGION_WORDS;
      this.writtenRanges[2 * i] = (regions[at] + regions[at + 1] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
      this.writtenRanges[2 * i + 1] = (regions[at + 2] + regions[at + 3] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
    }
    this.scanEnd = (scan[8] + scan[9] * TWO_32 - address) / SYSTEM_PAGE_BYTES;
    return count;
  }

  scanEnd = 0;

  /** Whether a page is there and not protected. */
  isWritten(address: number): boolean {
    return this.scanWritten(address, 0, 1) > 0;
  }

  /** Keeps this thread and another one on the processor that this one runs on now. */
  pinWith(threadId: number): void {
    const cpu = Number(this.#calls.getCpu());
    if (cpu < 0 || cpu >= 8 * AFFINITY_BYTES) return;
    this.#mask.fill(0);
    this.#mask[cpu >>> 3] = 1 << (cpu & 7);
    this.#setAffinity(threadId, this.#mask);
    this.#setAffinity(0, this.#mask);
  }

  /** Lets both run wherever this thread was allowed to at first. */
  unpin(threadId: number): void {
    this.#setAffinity(threadId, this.#allowed);
    this.#setAffinity(0, this.#allowed);
  }

  /** Where it is refused, threads are only slower. */
  #setAffinity(threadId: number, mask: Uint8Array): void {
    this.#calls.setAffinity(threadId, AFFINITY_BYTES, mask);
  }

  /** But for the descriptor of requests where others may be about to use it: they close it. */
  close(keepsRequests = false): void {
    this.#calls.close(this.descriptor);
    if (!keepsRequests) this.#calls.close(this.requestDescriptor);
    this.#calls.close(this.#pagemap);
    this.#closeProcess();
  }

  /** 0, or the number of the error that it ended with; `#doneBytes` then says how far it came. */
  #transferAll(request: number, to: number, from: number, lengthBytes: number, mode: number): number {
    const words = this.#transfer;
    let doneBytes = 0;
    for (let tries = 0; ; tries++) {
      put(words, 0, to + doneBytes);
      put(words, 2, from + doneBytes);
      put(words, 4, lengthBytes - doneBytes);
      put(words, 6, mode);
      put(words, 8, 0);
      if (Number(this.#calls.ioctl(this.descriptor, request, words)) >= 0) return 0;
      const errno = this.#calls.errno();
      // The result is what was done, or the error that kept it from doing anything.
      if (this.#transferResult[9] === 0) doneBytes += this.#transferResult[8];
      if (errno !== EAGAIN || tries === RETRIES_MAX) {
        put(words, 8, doneBytes);
        return errno;
      }
    }
  }

  #doneBytes(): number {
    return this.#transfer[8];
  }

  #control(request: number, words: Uint32Array, name: string): void {
    if (Number(this.#calls.ioctl(this.descriptor, request, words)) < 0) throw this.#refused(name);
  }

  #refused(name: string): Error {
    return new Error(`the system refused ${name} (errno ${this.#calls.errno()})`);
  }
}
