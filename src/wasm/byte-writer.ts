/** Appends Wasm binary pieces to a buffer that grows by doubling. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacityBytes = 1024) {
    this.#bytes = new Uint8Array(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Forgets the contents and keeps the buffer. */
  clear(): void {
    this.#length = 0;
  }

  /** The bytes written so far; a view, valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The bytes written so far, in memory of their own. */
  toBytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  u8(value: number): this {
    if (this.#length === this.#bytes.length) this.#reserve(1);
    this.#bytes[this.#length++] = value;
    return this;
  }

  /** Two bytes at once; most instructions are an opcode and a small immediate. */
  pair(first: number, second: number): this {
    if (this.#length + 2 > this.#bytes.length) this.#reserve(2);
    this.#bytes[this.#length++] = first;
    this.#bytes[this.#length++] = second;
    return this;
  }

  u32(value: number): this {
    if (this.#length + 5 > this.#bytes.length) this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
    return this;
  }

  s32(value: number): this {
    if (this.#length + 5 > this.#bytes.length) this.#reserve(5);
    let rest = value | 0;
    for (;;) {
      const byte = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && !(byte & 0x40)) || (rest === -1 && byte & 0x40)) {
        this.#bytes[this.#length++] = byte;
        return this;
      }
      this.#bytes[this.#length++] = byte | 0x80;
    }
  }

  raw(source: Uint8Array, start = 0, end = source.length): this {
    const count = end - start;
    if (this.#length + count > this.#bytes.length) this.#reserve(count);
    if (count <= 16) {
      for (let i = start; i < end; i++) this.#bytes[this.#length++] = source[i];
    } else {
      this.#bytes.set(source.subarray(start, end), this.#length);
      this.#length += count;
    }
    return this;
  }

  name(text: string): this {
    const encoded = new TextEncoder().encode(text);
    return this.u32(encoded.length).raw(encoded);
  }

  #reserve(byteCount: number): void {
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + byteCount));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}
