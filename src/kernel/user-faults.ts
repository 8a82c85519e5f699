/**
 * Faults of a part of this process's memory, served by a thread of it, through the optional package `koffi`: userfaultfd(2) in
 * one of two ways. For `paging`, its `MISSING` and asynchronous write-protect modes, and what moves pages to and from it: Linux
 * 6.8 or later and a right. For `protection`, its synchronous write-protect mode: Linux 6.7 or later, for anybody. Only faults of
 * the program itself are served then; a system call that would write to a protected page fails instead.
 *
 * Addresses are numbers: those of the system have 47 bits, or 52, which a number holds exactly. Structures are arrays of
 * 32-bit words that are made once, since every call here is made for each fault.
 */
import {
  addressOf,
  libraryCalls,
  type LibraryCalls,
  mapPages,
  openForReading,
  putWord,
  SystemRefusal,
  unmapPages,
} from './c-library.ts';
import { openUffd, RangeProtection, registerRange, RegisterMode, UffdFeature } from './uffd.ts';

const SYSTEM_PAGE_BYTES = 4096;
/** As many zeros as are copied by one call. */
const ZEROS_BYTES = 32 * SYSTEM_PAGE_BYTES;

/** Numbers of <linux/userfaultfd.h>, <linux/fs.h> and <asm-generic/mman-common.h>. */
const SYS_PIDFD_OPEN = 434;
const SYS_PROCESS_MADVISE = 440;
const O_CLOEXEC_NONBLOCK = 0o2004000;
const UFFDIO_WAKE = 0x8010aa02;
const UFFDIO_COPY = 0xc028aa03;
const UFFDIO_MOVE = 0xc028aa05;
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
const POLLIN = 1;
const EAGAIN = 11;
const EBUSY = 16;
const EEXIST = 17;
const RETRIES_MAX = 1000;
/** Bytes of a mask of processors: 1024 of them, as the C library has it. */
const AFFINITY_BYTES = 128;

const COMMON_FEATURES = UffdFeature.pagefaultFlagWp | UffdFeature.threadId;
const TWO_32 = 0x1_0000_0000;

/** What faults are for; see above. */
export type FaultPurpose = 'paging' | 'protection';

function openFor(purpose: FaultPurpose): number {
  if (purpose === 'protection') return openUffd('user-mode', COMMON_FEATURES | UffdFeature.wpUnpopulated);
  return openUffd('privileged', COMMON_FEATURES | UffdFeature.wpAsync | UffdFeature.move);
}

/** What `wait` came back for; bits. */
export const Woken = { fault: 1, request: 2 } as const;

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
  readonly #messagesAddress: number;
  readonly #messageWords = new Uint32Array(this.#messages.buffer);
  readonly #polled: Int32Array;
  readonly #range = new Uint32Array(4);
  readonly #rangeAddress: number;
  readonly #protection: RangeProtection;
  readonly #transfer = new Uint32Array(10);
  readonly #transferAddress: number;
  readonly #transferResult = new Int32Array(this.#transfer.buffer);
  #transferredBytes = 0;
  readonly #count = new Uint32Array(2);
  readonly #scan = new Uint32Array(SCAN_WORDS);
  readonly #scanAddress: number;
  readonly #regions = new Uint32Array(REGION_WORDS * SCAN_REGIONS);
  readonly #discards = new Uint32Array(4 * DISCARDS_MAX);
  #discardCount = 0;
  #discardBytes = 0;
  /** Names this process; −1 where nothing takes it. */
  #processDescriptor = -1;
  readonly #zeros = new Uint8Array(ZEROS_BYTES);
  readonly #zerosAddress: number;
  readonly #allowed = new Uint8Array(AFFINITY_BYTES);
  readonly #mask = new Uint8Array(AFFINITY_BYTES);

  /** @throws SystemRefusal, Error. */
  constructor(purpose: FaultPurpose = 'paging') {
    const calls = libraryCalls();
    this.#calls = calls;
    this.descriptor = openFor(purpose);
    this.#protection = new RangeProtection(this.descriptor);
    this.requestDescriptor = Number(calls.eventfd(0, O_CLOEXEC_NONBLOCK));
    if (this.requestDescriptor < 0) throw this.#refused('eventfd');
    this.#pagemap = openForReading('/proc/self/pagemap');
    this.#processDescriptor = Number(calls.syscall(SYS_PIDFD_OPEN, process.pid, 0, 0));
    this.#polled = Int32Array.of(this.descriptor, POLLIN, this.requestDescriptor, POLLIN);
    // Held by this object: the system is given their addresses.
    putWord(this.#scan, 0, 4 * SCAN_WORDS);
    putWord(this.#scan, 10, addressOf(this.#regions));
    putWord(this.#scan, 12, SCAN_REGIONS);
    putWord(this.#scan, 18, PAGE_IS_WRITTEN);
    putWord(this.#scan, 20, PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    putWord(this.#scan, 22, PAGE_IS_WRITTEN);
    this.#zerosAddress = addressOf(this.#zeros);
    this.#messagesAddress = addressOf(this.#messages);
    this.#rangeAddress = addressOf(this.#range);
    this.#transferAddress = addressOf(this.#transfer);
    this.#scanAddress = addressOf(this.#scan);
    if (Number(calls.getAffinity(0, AFFINITY_BYTES, this.#allowed)) < 0) throw this.#refused('sched_getaffinity');
  }

  /** Address space of this process for pages that are put aside, to be given back by `unmap`. */
  map(lengthBytes: number): number {
    return mapPages(lengthBytes);
  }

  unmap(address: number, lengthBytes: number): void {
    unmapPages(address, lengthBytes);
  }

  /** From now on absent pages of this range are asked for here, and writes to protected ones are noted by the system. */
  register(address: number, lengthBytes: number): void {
    registerRange(this.descriptor, address, lengthBytes, RegisterMode.missing | RegisterMode.writeProtect);
    this.discard(address, lengthBytes);
  }

  /** From now on writes to pages of this range are told of, where they are protected; nothing is. */
  registerWrites(address: number, lengthBytes: number): void {
    registerRange(this.descriptor, address, lengthBytes, RegisterMode.writeProtect);
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
    const length = Number(this.#calls.readTo(this.descriptor, this.#messagesAddress, this.#messages.length));
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
    if (errno !== 0) throw new SystemRefusal(`UFFDIO_COPY of ${lengthBytes} bytes`, errno);
  }

  /** Makes absent pages some of zeros. */
  copyZeros(to: number, lengthBytes: number, writable: boolean, quietly: boolean): void {
    for (let doneBytes = 0; doneBytes < lengthBytes; doneBytes += ZEROS_BYTES) {
      const partBytes = Math.min(ZEROS_BYTES, lengthBytes - doneBytes);
      this.copy(to + doneBytes, this.#zerosAddress, partBytes, writable, quietly);
    }
  }

  /**
   * Moves pages, which come to be writable, to absent ones.
   *
   * Where something of the system touches a page meanwhile, as compaction of memory does, `move_pages` of Linux (6.18, and perhaps others)
   * begins anew at that page, moves it and its neighbours, forgets to count them, moves them once more, and says that something
   * is in their way: it is themselves. It ends there, so they are a run that begins where it says that it stopped.
   */
  move(to: number, from: number, lengthBytes: number, quietly: boolean): void {
    let doneBytes = 0;
    while (doneBytes < lengthBytes) {
      const restBytes = lengthBytes - doneBytes;
      const errno = this.#transferAll(
        UFFDIO_MOVE,
        to + doneBytes,
        from + doneBytes,
        restBytes,
        quietly ? MODE_DONTWAKE : 0,
      );
      if (errno === 0) return;
      doneBytes += this.#transferredBytes;
      const uncountedBytes =
        errno === EEXIST ? this.#movedBytes(to + doneBytes, from + doneBytes, lengthBytes - doneBytes) : 0;
      if (uncountedBytes > 0) {
        if (!quietly) this.#wake(to + doneBytes, uncountedBytes);
        doneBytes += uncountedBytes;
      } else if (errno === EBUSY || errno === EAGAIN) {
        return this.#moveByCopies(to + doneBytes, from + doneBytes, lengthBytes - doneBytes, quietly);
      } else throw new SystemRefusal(`UFFDIO_MOVE of ${lengthBytes} bytes`, errno);
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
    this.#protection.set(address, lengthBytes, protects);
  }

  /** Lets whoever waits for a page try again. */
  wake(address: number): void {
    this.#wake(address, SYSTEM_PAGE_BYTES);
  }

  /** Makes pages absent; what they held is gone. */
  discard(address: number, lengthBytes: number): void {
    if (Number(this.#calls.madvise(address, lengthBytes, MADV_DONTNEED)) < 0) throw this.#refused('madvise');
  }

  /** The same, at the next `discardNow`: many ranges by one call. */
  discardLater(address: number, lengthBytes: number): void {
    if (this.#discardCount === DISCARDS_MAX) this.discardNow();
    const at = 4 * this.#discardCount++;
    putWord(this.#discards, at, address);
    putWord(this.#discards, at + 2, lengthBytes);
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
    putWord(scan, 4, address + first * SYSTEM_PAGE_BYTES);
    putWord(scan, 6, address + end * SYSTEM_PAGE_BYTES);
    const count = Number(this.#calls.ioctlNumber(this.#pagemap, PAGEMAP_SCAN, this.#scanAddress));
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

  /** Pages that something else in the system refers to, such as a child process, cannot move; a copy can. */
  #moveByCopies(to: number, from: number, lengthBytes: number, quietly: boolean): void {
    for (let at = 0; at < lengthBytes; at += SYSTEM_PAGE_BYTES) {
      this.copy(to + at, from + at, SYSTEM_PAGE_BYTES, true, quietly);
      this.discard(from + at, SYSTEM_PAGE_BYTES);
    }
  }

  /** Of pages none of which was there before: how much is there now from the first on, and no longer where it came from. */
  #movedBytes(to: number, from: number, lengthBytes: number): number {
    const present = this.#presentRun(to, lengthBytes);
    return present.first === to ? Math.min(present.end - to, this.#presentRun(from, lengthBytes).first - from) : 0;
  }

  /** The first run of pages that are there, in memory or on their way to another place of it. */
  #presentRun(address: number, lengthBytes: number): { first: number; end: number } {
    const scan = new Uint32Array(SCAN_WORDS);
    const region = new Uint32Array(REGION_WORDS);
    const end = address + lengthBytes;
    putWord(scan, 0, 4 * SCAN_WORDS);
    putWord(scan, 4, address);
    putWord(scan, 6, end);
    putWord(scan, 10, addressOf(region));
    putWord(scan, 12, 1);
    putWord(scan, 20, PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
    const count = Number(this.#calls.ioctl(this.#pagemap, PAGEMAP_SCAN, scan));
    if (count < 0) throw this.#refused('PAGEMAP_SCAN');
    if (count === 0) return { first: end, end };
    return { first: region[0] + region[1] * TWO_32, end: region[2] + region[3] * TWO_32 };
  }

  #wake(address: number, lengthBytes: number): void {
    putWord(this.#range, 0, address);
    putWord(this.#range, 2, lengthBytes);
    const result = Number(this.#calls.ioctlNumber(this.descriptor, UFFDIO_WAKE, this.#rangeAddress));
    if (result < 0) throw this.#refused('UFFDIO_WAKE');
  }

  /** 0, or the number of the error that it ended with; `#transferredBytes` then says how far it came. */
  #transferAll(request: number, to: number, from: number, lengthBytes: number, mode: number): number {
    const words = this.#transfer;
    let doneBytes = 0;
    for (let tries = 0; ; tries++) {
      putWord(words, 0, to + doneBytes);
      putWord(words, 2, from + doneBytes);
      putWord(words, 4, lengthBytes - doneBytes);
      putWord(words, 6, mode);
      putWord(words, 8, 0);
      if (Number(this.#calls.ioctlNumber(this.descriptor, request, this.#transferAddress)) >= 0) return 0;
      const errno = this.#calls.errno();
      // The result is what was done, or the error that kept it from doing anything.
      if (this.#transferResult[9] === 0) doneBytes += this.#transferResult[8];
      if (errno !== EAGAIN || tries === RETRIES_MAX) {
        this.#transferredBytes = doneBytes;
        return errno;
      }
    }
  }

  #refused(name: string): SystemRefusal {
    return new SystemRefusal(name, this.#calls.errno());
  }
}
