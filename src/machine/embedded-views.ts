import { UsageError } from '../error/errors.ts';
import { BIAS_BYTES } from '../memory/layout.ts';

/**
 * What `EmbeddedMemory.buffer` gives: it stands for the guest's bytes where an ArrayBuffer would, and only the
 * constructors of `guestViews` know what to make of it. Others are told so: a typed array first asks for its iterator.
 */
export class EmbeddedBuffer {
  readonly #memory: WebAssembly.Memory;

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  get byteLength(): number {
    return this.#memory.buffer.byteLength - BIAS_BYTES;
  }

  /** The machine's memory, control region included, where the guest's bytes begin at the bias. */
  static wholeOf(value: unknown): ArrayBufferLike | undefined {
    return value instanceof EmbeddedBuffer ? value.#memory.buffer : undefined;
  }

  get [Symbol.iterator](): never {
    throw new UsageError(
      'memory-at-offset',
      'this buffer is none of JavaScript\u2019s, because the guest\u2019s address 0 lies at an offset: use memory.bytes, a live view of the guest\u2019s bytes, or the constructors of guestViews',
    );
  }
}

/** The constructors of views, by their global names. */
export interface ViewConstructors {
  readonly Int8Array: Int8ArrayConstructor;
  readonly Uint8Array: Uint8ArrayConstructor;
  readonly Uint8ClampedArray: Uint8ClampedArrayConstructor;
  readonly Int16Array: Int16ArrayConstructor;
  readonly Uint16Array: Uint16ArrayConstructor;
  readonly Int32Array: Int32ArrayConstructor;
  readonly Uint32Array: Uint32ArrayConstructor;
  readonly Float32Array: Float32ArrayConstructor;
  readonly Float64Array: Float64ArrayConstructor;
  readonly BigInt64Array: BigInt64ArrayConstructor;
  readonly BigUint64Array: BigUint64ArrayConstructor;
  readonly DataView: DataViewConstructor;
}

/** Buffers of which views of guests were made: offsets into them count from the guest's address 0, too. */
const buffersOfGuests = new WeakSet<object>();

function shifted<C extends new (...args: never[]) => ArrayBufferView>(constructor: C, elementBytes: number): C {
  return new Proxy(constructor, {
    construct(target, args: unknown[], newTarget: new (...rest: never[]) => object) {
      const [buffer, at, count] = args;
      const isKnown = buffer instanceof SharedArrayBuffer && buffersOfGuests.has(buffer);
      const whole = isKnown ? buffer : EmbeddedBuffer.wholeOf(buffer);
      if (whole === undefined) return Reflect.construct(target, args, newTarget) as object;
      buffersOfGuests.add(whole);
      const offset = Number(at ?? 0);
      // Without a length, all elements up to the end; the engine checks whether the offset is aligned and inside.
      const length = count ?? Math.max(0, whole.byteLength - BIAS_BYTES - offset) / elementBytes;
      return Reflect.construct(target, [whole, BIAS_BYTES + offset, length], newTarget) as object;
    },
  });
}

/**
 * View constructors for code written for a plain memory, such as the loaders of Emscripten or Go: given the `buffer` of an
 * `EmbeddedMemory`, or that of a view that they made, they make views of the guest's bytes, offsets counted from its
 * address 0. Everything else they make as always. Evaluate such code with these in place of the global ones:
 *
 *     new Function(...Object.keys(guestViews), source)(...Object.values(guestViews))
 */
export const guestViews: ViewConstructors = {
  Int8Array: shifted(Int8Array, 1),
  Uint8Array: shifted(Uint8Array, 1),
  Uint8ClampedArray: shifted(Uint8ClampedArray, 1),
  Int16Array: shifted(Int16Array, 2),
  Uint16Array: shifted(Uint16Array, 2),
  Int32Array: shifted(Int32Array, 4),
  Uint32Array: shifted(Uint32Array, 4),
  Float32Array: shifted(Float32Array, 4),
  Float64Array: shifted(Float64Array, 8),
  BigInt64Array: shifted(BigInt64Array, 8),
  BigUint64Array: shifted(BigUint64Array, 8),
  DataView: shifted(DataView, 1),
};
