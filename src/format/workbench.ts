import { assert } from '../error/errors.ts';
import { PAGE_BYTES, WASM_PAGE_BYTES } from '../memory/layout.ts';
import { instantiateKernels, type PageKernels } from './page-kernels.ts';
import { RECORD_AREA_BYTES } from './paging-format.ts';

/** Pages that the staging room holds: the longest run that moves between file and bench in one system call. */
export const STAGED_PAGES_MAX = 256;

const RESULTS = 0;
/** Where the kernel that examines pages finds their indices: 0, 1, 2 … */
const INDICES = 32768;
const STAGING = WASM_PAGE_BYTES;
const RECORD = STAGING + STAGED_PAGES_MAX * PAGE_BYTES;
const SPARE = RECORD + RECORD_AREA_BYTES;

let benchOfThread: Workbench | undefined;

/**
 * A memory of the store's own where the page kernels work on what is not the guest's: commit records, map pages, and
 * slots read back by recovery, which runs before there is a guest.
 *
 * All stores of a thread share one, because nothing stays on it between two calls, and because each shared memory
 * reserves gigabytes of address space.
 */
export class Workbench {
  static ofThread(): Workbench {
    // The lists of the files are written and read as words of this machine.
    assert(new Uint8Array(Uint32Array.of(1).buffer)[0] === 1, 'the processor is big-endian, which is not supported');
    return (benchOfThread ??= new Workbench());
  }

  readonly #memory = new WebAssembly.Memory({
    initial: SPARE / WASM_PAGE_BYTES,
    maximum: 65535,
    shared: true,
  });
  readonly #kernels: PageKernels = instantiateKernels(this.#memory);
  /** Room for `STAGED_PAGES_MAX` pages. */
  readonly staging = new Uint8Array(this.#memory.buffer, STAGING, STAGED_PAGES_MAX * PAGE_BYTES);
  /** Room for one record area. */
  readonly record = new Uint8Array(this.#memory.buffer, RECORD, RECORD_AREA_BYTES);
  readonly #results = new Uint32Array(this.#memory.buffer, RESULTS, 2 * STAGED_PAGES_MAX);
  readonly #examined = new Uint32Array(this.#memory.buffer, RESULTS, 4 * STAGED_PAGES_MAX);

  private constructor() {
    new Uint32Array(this.#memory.buffer, INDICES, STAGED_PAGES_MAX).forEach((_, i, indices) => (indices[i] = i));
  }

  /** Checksums of the first `count` staged pages, each as its low and its high 32 bits; valid until the next call. */
  checksumStaged(count: number): Uint32Array {
    this.#kernels.checksumRun(STAGING, count, RESULTS);
    return this.#results;
  }

  /** Four words for each of the first `count` staged pages: checksum low and high, whether it is all zeros, unused; valid until the next call. */
  examineStaged(count: number): Uint32Array {
    this.#kernels.examinePages(INDICES, count, STAGING, RESULTS);
    return this.#examined;
  }

  /** Checksum of the first bytes of one staged page. */
  checksumStagedBytes(index: number, lengthBytes: number): bigint {
    return BigInt.asUintN(64, this.#kernels.checksumBytes(STAGING + index * PAGE_BYTES, lengthBytes));
  }

  /** Checksum of a range of the record room. */
  checksumRecord(fromBytes: number, toBytes: number): bigint {
    return BigInt.asUintN(64, this.#kernels.checksumBytes(RECORD + fromBytes, toBytes - fromBytes));
  }

  /** Checksum of bytes that lie elsewhere: they are copied to the bench, which grows where they are many. */
  checksumOf(bytes: Uint8Array): bigint {
    const missingBytes = SPARE + bytes.length - this.#memory.buffer.byteLength;
    if (missingBytes > 0) this.#memory.grow(Math.ceil(missingBytes / WASM_PAGE_BYTES));
    new Uint8Array(this.#memory.buffer, SPARE, bytes.length).set(bytes);
    return BigInt.asUintN(64, this.#kernels.checksumBytes(SPARE, bytes.length));
  }
}
