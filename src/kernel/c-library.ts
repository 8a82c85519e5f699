/** What this process asks of the system, through the optional package `koffi`; found at the first use. */
import { createRequire } from 'node:module';

const O_RDONLY_CLOEXEC = 0o2000000;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022;
const MADV_NOHUGEPAGE = 15;
const EINVAL = 22;
const TWO_32 = 0x1_0000_0000;

/** Names of the refusals that people meet. */
const ERROR_NAMES: Readonly<Record<number, string>> = {
  1: 'EPERM',
  2: 'ENOENT',
  11: 'EAGAIN',
  12: 'ENOMEM',
  13: 'EACCES',
  14: 'EFAULT',
  16: 'EBUSY',
  17: 'EEXIST',
  [EINVAL]: 'EINVAL',
  25: 'ENOTTY',
  38: 'ENOSYS',
};

/** The system did not do what it was asked for. */
export class SystemRefusal extends Error {
  constructor(
    readonly call: string,
    readonly errno: number,
  ) {
    super(`the system refuses ${call} (${ERROR_NAMES[errno] ?? `error ${errno}`})`);
  }
}

/**
 * A library of this process, by its name or path.
 * @throws Error: there is no such package here, or no such library.
 */
export function loadLibrary(path: string) {
  return loadPackage().load(path);
}

function loadPackage(): typeof import('koffi') {
  return createRequire(import.meta.url)('koffi') as typeof import('koffi');
}

function loadCalls() {
  const koffi = loadPackage();
  const library = koffi.load('libc.so.6');
  return {
    errno: (): number => koffi.errno(),
    // The first arguments of a function that takes any number are passed like others on the processors that this runs on.
    syscall: library.func('long syscall(long number, ulong a, ulong b, ulong c)'),
    ioctl: library.func('int ioctl(int descriptor, ulong request, void *argument)'),
    // Of a number that is a value, or an address: that of an array must be found at each call.
    ioctlNumber: library.func('ioctl', 'int', ['int', 'ulong', 'uintptr_t']),
    readTo: library.func('read', 'int64_t', ['int', 'uintptr_t', 'size_t']),
    readAt: library.func('int64_t pread(int descriptor, void *buffer, size_t length, int64_t position)'),
    syscall5: library.func('syscall', 'long', ['long', 'long', 'void *', 'ulong', 'long', 'ulong']),
    read: library.func('int64_t read(int descriptor, void *buffer, size_t length)'),
    poll: library.func('int poll(void *descriptors, ulong count, int timeout)'),
    eventfd: library.func('int eventfd(uint initial, int flags)'),
    open: library.func('int open(str path, int flags)'),
    close: library.func('int close(int descriptor)'),
    madvise: library.func('int madvise(uintptr_t address, size_t length, int advice)'),
    mmap: library.func('uintptr_t mmap(uintptr_t address, size_t length, int prot, int flags, int fd, int64_t offset)'),
    munmap: library.func('int munmap(uintptr_t address, size_t length)'),
    setAffinity: library.func('int sched_setaffinity(int thread, size_t length, void *mask)'),
    getAffinity: library.func('int sched_getaffinity(int thread, size_t length, void *mask)'),
    getCpu: library.func('int sched_getcpu()'),
    pageSize: library.func('int getpagesize()'),
    // Moving no bytes returns where they are: the one way to learn the address of shared memory.
    move: library.func('uintptr_t memmove(void *to, void *from, size_t length)'),
    moveBytes: library.func('memmove', 'uintptr_t', ['uintptr_t', 'uintptr_t', 'size_t']),
  };
}

export type LibraryCalls = ReturnType<typeof loadCalls>;

let loaded: LibraryCalls | undefined;

/** @throws Error: there is no such package here, or no such library. */
export function libraryCalls(): LibraryCalls {
  loaded ??= loadCalls();
  return loaded;
}

/** Writes a number as the 64-bit word that the system reads there. */
export function putWord(words: Uint32Array, at: number, value: number): void {
  words[at] = value >>> 0;
  words[at + 1] = Math.floor(value / TWO_32);
}

/** Reads bytes of a file at a position of it into a view; returns how many, −1 where the system refuses. In less time than `fs.readSync`. */
export function readAt(descriptor: number, view: Uint8Array, positionBytes: number): number {
  return Number(libraryCalls().readAt(descriptor, view, view.length, positionBytes));
}

/** Where the bytes of a view lie, which must be kept referenced while that is used. A number holds all 52 bits exactly. */
export function addressOf(view: Uint8Array | Uint32Array): number {
  return Number(libraryCalls().move(view, view, 0));
}

/** Opens a file of the system, such as those of `/proc`, for reading. */
export function openForReading(path: string): number {
  const descriptor = Number(libraryCalls().open(path, O_RDONLY_CLOEXEC));
  if (descriptor < 0) throw new SystemRefusal(`open of ${path}`, libraryCalls().errno());
  return descriptor;
}

/** Address space of this process, to try things out on or to put pages aside; given back by `unmapPages`. */
export function mapPages(lengthBytes: number): number {
  const calls = libraryCalls();
  const address = Number(calls.mmap(0, lengthBytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0));
  if (!Number.isSafeInteger(address) || address <= 0) throw new SystemRefusal('mmap', calls.errno());
  return address;
}

export function unmapPages(address: number, lengthBytes: number): void {
  libraryCalls().munmap(address, lengthBytes);
}

/** A large page would be written as a whole by the first write to any of its parts. */
export function refuseLargePages(address: number, lengthBytes: number): void {
  const calls = libraryCalls();
  // A system that has none does not know the advice.
  if (Number(calls.madvise(address, lengthBytes, MADV_NOHUGEPAGE)) < 0 && calls.errno() !== EINVAL) {
    throw new SystemRefusal('madvise', calls.errno());
  }
}
