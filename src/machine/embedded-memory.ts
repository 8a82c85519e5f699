import { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, MAX_GUEST_WASM_PAGES } from '../memory/layout.ts';
import type { Limits } from '../wasm/module.ts';
import { EmbeddedBuffer } from './embedded-views.ts';

/**
 * The memory of an instance of `instantiate`, as the guest exports it and as embedders and other instances import it.
 *
 * It stands in for `WebAssembly.Memory`. Address 0 of the guest lies at an offset in the engine's memory, below which
 * captured stacks are kept, and no ArrayBuffer can begin at an offset of another. So `buffer` is no ArrayBuffer; `bytes` is
 * a live view of the guest's memory instead, which typed arrays and `DataView` can be made from:
 *
 *     new Float64Array(memory.bytes.buffer, memory.bytes.byteOffset + address, length)
 *
 * Code that was written for a plain memory takes `buffer` with the constructors of `guestViews` in place of the global
 * ones.
 *
 * As with any WebAssembly memory, a view ends where the memory ended when it was made: fetch it again after growth.
 * The bytes are shared memory, which some interfaces refuse: `read(address, length)` gives a copy for those.
 */
export class EmbeddedMemory {
  /** Access by guest address, checked; little-endian. */
  readonly guestMemory: GuestMemory;
  /** The largest size, in 64 KiB units; undefined where none was set. */
  readonly maximum: number | undefined;
  /** Whether modules import it as a shared memory; the bytes are shared either way. */
  readonly shared: boolean;
  /** Stands for the guest's bytes; of use only to the constructors of `guestViews`, and clear about it. */
  readonly buffer: EmbeddedBuffer;
  #bytes: Uint8Array | undefined;

  /** @param descriptor sizes in units of 64 KiB, as for `WebAssembly.Memory`. */
  constructor(descriptor: { readonly initial: number; readonly maximum?: number; readonly shared?: boolean }) {
    const { initial, maximum, shared = false } = descriptor;
    this.shared = shared;
    this.maximum = maximum;
    const limit = Math.min(maximum ?? MAX_GUEST_WASM_PAGES, MAX_GUEST_WASM_PAGES);
    const sizes = { initial: initial + BIAS_WASM_PAGES, maximum: limit + BIAS_WASM_PAGES };
    this.guestMemory = new GuestMemory(new WebAssembly.Memory({ ...sizes, shared: true }));
    this.buffer = new EmbeddedBuffer(this.guestMemory.memory);
  }

  /** All bytes of the guest now, as a live view. */
  get bytes(): Uint8Array {
    const { bytes } = this.guestMemory;
    if (this.#bytes === undefined || this.#bytes.length !== bytes.length - BIAS_BYTES) {
      this.#bytes = bytes.subarray(BIAS_BYTES);
    }
    return this.#bytes;
  }

  /** A copy of guest bytes, not shared. */
  read(address: number, lengthBytes: number): Uint8Array {
    return this.guestMemory.read(address, lengthBytes);
  }

  /** Size in units of 64 KiB. */
  get wasmPageCount(): number {
    return this.guestMemory.lengthBytes / 65536;
  }

  /** Grows by so many units of 64 KiB and returns the size before. @throws RangeError as `WebAssembly.Memory.grow` does. */
  grow(delta: number): number {
    return this.guestMemory.memory.grow(delta) - BIAS_WASM_PAGES;
  }
}

/**
 * What an importing module asks of a memory.
 * @throws WebAssembly.LinkError in the words of V8.
 */
export function checkMemoryLimits(memory: EmbeddedMemory, { initial, maximum, shared }: Limits): void {
  const { wasmPageCount } = memory;
  if (wasmPageCount < initial) {
    throw new WebAssembly.LinkError(
      `WebAssembly.Instance(): memory import 0 is smaller than initial ${initial}, got ${wasmPageCount}`,
    );
  }
  if (memory.shared !== shared) {
    throw new WebAssembly.LinkError(
      `WebAssembly.Instance(): mismatch in shared state of memory, declared = ${Number(shared)}, imported = ${Number(memory.shared)}`,
    );
  }
  if (maximum === undefined) return;
  if (memory.maximum === undefined) {
    throw new WebAssembly.LinkError(
      `WebAssembly.Instance(): memory import 0 has no maximum limit, expected at most ${maximum}`,
    );
  }
  if (memory.maximum > maximum) {
    throw new WebAssembly.LinkError(
      `WebAssembly.Instance(): memory import 0 has a larger maximum size ${memory.maximum} than the module's declared maximum ${maximum}`,
    );
  }
}
