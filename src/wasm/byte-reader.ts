import { UsageError } from '../error/errors.ts';

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
    let byte = this.u8();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let shift = 7;
    for (;;) {
      byte = this.u8();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
      shift += 7;
      if (shift > 28) this.#malformed('a LEB128 number is longer than 32 bits');
    }
    if (value > 0xffffffff) this.#malformed('a LEB128 number is larger than 32 bits');
    return value;
  }

  /** A signed LEB128 number of at most 33 bits: a block type or heap type. */
  s33(): number {
    let value = 0;
    let shift = 0;
    let byte: number;
    do {
      byte = this.u8();
      value += (byte & 0x7f) * 2 ** shift;
      shift += 7;
      if (shift > 35) this.#malformed('a block type is longer than 33 bits');
    } while (byte & 0x80);
    return byte & 0x40 ? value - 2 ** shift : value;
  }

  /** A signed LEB128 number of at most 32 bits. */
  s32(): number {
    return this.s33() | 0;
  }

  /** Passes over a LEB128 number of up to 64 bits. */
  skipLeb(): void {
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
    return new TextDecoder().decode(this.bytes.subarray(start, start + length));
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
