/**
 * Gives the physical memory of absent pages back to the system, so that a guest with a budget of frames needs no more
 * of it than that. JavaScript has no call for it, so it is the system's own, through the optional package `koffi`.
 *
 * Only whole pages of the system inside of the guest's part of the memory are named, and only by page number, so that no
 * address comes from anywhere else. It is tried out on the room that pages pass through on their way to the file, before
 * any page of the guest depends on it.
 */
import { createRequire } from 'node:module';
import type { GuestMemory } from './guest-memory.ts';
import { BIAS_BYTES, controlRegion, PAGE_BYTES } from './layout.ts';

export interface MemoryRelease {
  /** Pages of the guest in a page of the system; 0: nothing can be released. */
  readonly hostPagePages: number;
  /** Whether what was released reads as zeros; where not, its contents are undefined until they are written. */
  readonly readsAsZeros: boolean;
  /** Why nothing can be released, for people; empty where it can. */
  readonly reason: string;
  /** Releases pages, the first and the number of them multiples of `hostPagePages`. */
  release(firstPage: number, pageCount: number): void;
}

/** Where memory is not given back: pages that have left keep their old bytes, and paging saves nothing but writes. */
export class NoRelease implements MemoryRelease {
  readonly hostPagePages = 0;
  readonly readsAsZeros = false;
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }

  release(): void {
    throw new Error(this.reason);
  }
}

/** The C library and the advice that frees memory; whether it reads as zeros then. */
interface PosixWay {
  readonly libraries: readonly string[];
  readonly advice: number;
  readonly readsAsZeros: boolean;
}

const POSIX_WAYS: Readonly<Record<string, PosixWay>> = {
  // MADV_DONTNEED: private anonymous memory is freed at once, and its next use finds zeros (madvise(2)).
  linux: { libraries: ['libc.so.6', 'libc.so'], advice: 4, readsAsZeros: true },
  // MADV_FREE_REUSABLE: counts as free at once; until the system takes it, the old bytes stay.
  darwin: { libraries: ['libSystem.B.dylib'], advice: 7, readsAsZeros: false },
};

/** The system's calls, found at run time. */
interface SystemCalls {
  readonly hostPageBytes: number;
  readonly readsAsZeros: boolean;
  addressOf(view: Uint8Array): number;
  /** Whether the system released it. */
  discard(address: number, lengthBytes: number): boolean;
}

class SystemRelease implements MemoryRelease {
  readonly hostPagePages: number;
  readonly readsAsZeros: boolean;
  readonly reason = '';
  readonly #calls: SystemCalls;
  /** Address of the guest's first byte. The system's addresses have 47 bits, or 52, which a number holds exactly. */
  readonly #guestAddress: number;

  constructor(calls: SystemCalls, guestAddress: number) {
    this.#calls = calls;
    this.#guestAddress = guestAddress;
    this.readsAsZeros = calls.readsAsZeros;
    this.hostPagePages = Math.max(1, calls.hostPageBytes / PAGE_BYTES);
  }

  release(firstPage: number, pageCount: number): void {
    const address = this.#guestAddress + firstPage * PAGE_BYTES;
    if (!this.#calls.discard(address, pageCount * PAGE_BYTES)) {
      throw new Error(`the system refused to take back ${pageCount} pages of memory`);
    }
  }
}

/** How this system takes back memory of a guest, tried out; where it does not, a release that says why. */
export function createRelease(memory: GuestMemory): MemoryRelease {
  let calls: SystemCalls | undefined;
  try {
    calls = systemCalls();
  } catch (error) {
    const cause = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return new NoRelease(`the package koffi cannot be used (${cause})`);
  }
  if (calls === undefined) return new NoRelease(`there is no way for it on ${process.platform}`);
  const { hostPageBytes } = calls;
  if (hostPageBytes > controlRegion.stagingBytes || BIAS_BYTES % hostPageBytes !== 0) {
    return new NoRelease(`pages of the system have ${hostPageBytes} bytes`);
  }
  const { bytes } = memory;
  const address = calls.addressOf(bytes);
  if (!Number.isSafeInteger(address) || address % hostPageBytes !== 0) {
    return new NoRelease("the program's memory begins inside of a page of the system");
  }
  const tried = bytes.subarray(controlRegion.staging, controlRegion.staging + hostPageBytes);
  tried.fill(1);
  const isReleased =
    calls.discard(address + controlRegion.staging, hostPageBytes) &&
    (!calls.readsAsZeros || tried.every((byte) => byte === 0));
  tried.fill(0);
  if (!isReleased) return new NoRelease('the system kept the memory that was tried out');
  return new SystemRelease(calls, address + BIAS_BYTES);
}

function systemCalls(): SystemCalls | undefined {
  const { platform } = process;
  if (platform === 'win32') return windowsCalls();
  const way = POSIX_WAYS[platform];
  return way === undefined ? undefined : posixCalls(way);
}

/** Loaded only when memory is to be released: a run without a budget does without it. */
function loadKoffi(): typeof import('koffi') {
  return createRequire(import.meta.url)('koffi') as typeof import('koffi');
}

function posixCalls({ libraries, advice, readsAsZeros }: PosixWay): SystemCalls {
  const koffi = loadKoffi();
  let library: ReturnType<typeof koffi.load> | undefined;
  let failure: unknown;
  for (const name of libraries) {
    try {
      library = koffi.load(name);
      break;
    } catch (error) {
      failure = error;
    }
  }
  if (library === undefined) throw failure;
  const madvise = library.func('int madvise(uintptr_t address, size_t length, int advice)');
  // Moving no bytes returns where they are: the one way to learn the address of shared memory.
  const move = library.func('uintptr_t memmove(void *to, void *from, size_t length)');
  const pageSize = library.func('int getpagesize()');
  return {
    hostPageBytes: Number(pageSize()),
    readsAsZeros,
    addressOf: (view) => Number(move(view, view, 0)),
    discard: (address, lengthBytes) => madvise(address, lengthBytes, advice) === 0,
  };
}

const WINDOWS_PAGE_BYTES = 4096;
const ERROR_SUCCESS = 0;

/** `DiscardVirtualMemory` leaves the contents undefined; `readsAsZeros` tells the pager to clear a place before its use. */
function windowsCalls(): SystemCalls {
  const koffi = loadKoffi();
  const library = koffi.load('kernel32.dll');
  const discardMemory = library.func('uint32_t __stdcall DiscardVirtualMemory(uintptr_t address, size_t length)');
  const move = koffi.load('msvcrt.dll').func('uintptr_t memmove(void *to, void *from, size_t length)');
  return {
    hostPageBytes: WINDOWS_PAGE_BYTES,
    readsAsZeros: false,
    addressOf: (view) => Number(move(view, view, 0)),
    discard: (address, lengthBytes) => discardMemory(address, lengthBytes) === ERROR_SUCCESS,
  };
}
