import { UsageError } from '../error/errors.ts';

/** A name that begins with a byte order mark is another name than the one without. */
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * Reads a Wasm binary: bounds-checked, little-endian, LEB128.
 *
 * Every read that would pass the end throws `truncated-module` with the offset, so that a cut file is told apart from
 * one that holds nonsense.
 */
export class ByteReader {
  readonly bytes: Uint8Array;
  position: number;
  /** One past the last byte that may be read. */
  end: number;

  constructor(bytes: Uint8Array, position = 0, end = bytes.length) {
    this.bytes = bytes;
    this.position = position;
    this.end = end;
  }

  get atEnd(): boolean {
    return this.position >= this.end;
  }

  u8(): number {
    if (this.position >= this.end) this.#truncated();
    return this.bytes[this.position++];
  }

  /** An unsigned LEB128 number of at most 32 bits. */
  u32(): number {
    const { position } = this;
    if (position < this.end && this.bytes[position] < 0x80) {
      this.position = position + 1;
      return this.bytes[position];
    }
    return this.#longU32();
  }

  #longU32(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    const last = this.u8();
    if (last >= 0x80) this.#malformed('a LEB128 number is longer than 32 bits');
    if (last > 0x0f) this.#malformed('a LEB128 number is larger than 32 bits');
    return (value | (last << 28)) >>> 0;
  }

  /** A signed LEB128 number of at most 33 bits: a block type or heap type. */
  s33(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8();
      value |= (byte & 0x7f) << shift;
      // The sign is in the bit below the continuation bit: shifted to the top and back it fills the rest.
      if (byte < 0x80) return (value << (25 - shift)) >> (25 - shift);
    }
    const last = this.u8();
    if (last >= 0x80) this.#malformed('a block type is longer than 33 bits');
    return value + (last & 0x40 ? last - 0x80 : last) * 2 ** 28;
  }

  /** A signed LEB128 number of at most 32 bits. */
  s32(): number {
    return this.s33() | 0;
  }

  /** Passes over a LEB128 number of up to 64 bits. */
  skipLeb(): void {
    const { position } = this;
    if (position < this.end && this.bytes[position] < 0x80) {
      this.position = position + 1;
      return;
    }
    for (let length = 0; this.u8() & 0x80; length++) {
      if (length >= 10) this.#malformed('a LEB128 number is longer than 64 bits');
    }
  }

  skip(byteCount: number): void {
    if (byteCount > this.end - this.position) this.#truncated();
    this.position += byteCount;
  }

  /** A length-prefixed UTF-8 name. */
  name(): string {
    const length = this.u32();
    const start = this.position;
    this.skip(length);
    return utf8.decode(this.bytes.subarray(start, start + length));
  }

  #truncated(): never {
    throw new UsageError(
      'truncated-module',
      `the program ends too early: a read at byte ${this.position} goes past byte ${this.end}`,
      { byteOffset: this.position },
    );
  }

  #malformed(what: string): never {
    throw new UsageError(
      'invalid-module',
      `the program is not a valid WebAssembly module: ${what} at byte ${this.position}`,
      {
        byteOffset: this.position,
      },
    );
  }
}
