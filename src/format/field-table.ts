/**
 * Field tables: one description of a fixed-size structure that encodes it, decodes it and documents it, so that the
 * three cannot drift apart. Fields lie one after another without padding, numbers are little-endian.
 *
 * Decoding checks nothing but that the bytes are there: a value read from disk means nothing until the caller has
 * held it against its bounds.
 */

/** One field: its type and size as the document shows them, what it is for, and how it is written and read. */
export interface Field<Value> {
  readonly type: string;
  readonly lengthBytes: number;
  readonly meaning: string;
  write(view: DataView, byteOffset: number, value: Value): void;
  read(view: DataView, byteOffset: number): Value;
}

type Fields = Readonly<Record<string, Field<unknown>>>;

/** The values of a structure, by the names of its fields. */
export type ValuesOf<Table> = Table extends FieldTable<infer F> ? FieldValues<F> : never;

type FieldValues<F extends Fields> = { readonly [Name in keyof F]: F[Name] extends Field<infer Value> ? Value : never };

/** A row of the document: where a field lies and what it is for. */
export interface FieldRow {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly type: string;
  readonly name: string;
  readonly meaning: string;
}

export class FieldTable<F extends Fields> {
  readonly lengthBytes: number;
  readonly #fields: readonly (readonly [name: keyof F & string, offsetBytes: number, field: Field<unknown>])[];
  readonly #offsets: ReadonlyMap<string, number>;

  constructor(fields: F) {
    let offsetBytes = 0;
    this.#fields = Object.entries(fields).map(([name, field]) => {
      const start = offsetBytes;
      offsetBytes += field.lengthBytes;
      return [name, start, field];
    });
    this.#offsets = new Map(this.#fields.map(([name, start]) => [name, start]));
    this.lengthBytes = offsetBytes;
  }

  /** Bytes from the structure's start to a field. */
  offsetOf(name: keyof F & string): number {
    return this.#offsets.get(name)!;
  }

  encode(values: FieldValues<F>, bytes: Uint8Array, atBytes = 0): void {
    const view = viewOf(bytes);
    for (const [name, offsetBytes, field] of this.#fields) field.write(view, atBytes + offsetBytes, values[name]);
  }

  decode(bytes: Uint8Array, atBytes = 0): FieldValues<F> {
    const view = viewOf(bytes);
    const values: Record<string, unknown> = {};
    for (const [name, offsetBytes, field] of this.#fields) values[name] = field.read(view, atBytes + offsetBytes);
    // Every field of F was read by the field's own reader, which the compiler cannot follow through the loop.
    return values as FieldValues<F>;
  }

  rows(): FieldRow[] {
    return this.#fields.map(([name, offsetBytes, { lengthBytes, type, meaning }]) => ({
      offsetBytes,
      lengthBytes,
      type,
      name,
      meaning,
    }));
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** An unsigned 32-bit number. */
export function u32(meaning: string): Field<number> {
  return {
    type: 'u32',
    lengthBytes: 4,
    meaning,
    write: (view, byteOffset, value) => view.setUint32(byteOffset, value, true),
    read: (view, byteOffset) => view.getUint32(byteOffset, true),
  };
}

/** An unsigned 64-bit number that stays below 2⁵³; a larger one, which only a damaged file holds, reads as rounded. */
export function u53(meaning: string): Field<number> {
  return {
    type: 'u64',
    lengthBytes: 8,
    meaning,
    write: (view, byteOffset, value) => view.setBigUint64(byteOffset, BigInt(value), true),
    read: (view, byteOffset) => Number(view.getBigUint64(byteOffset, true)),
  };
}

/** An XXH64 checksum. */
export function xxh64(meaning: string): Field<bigint> {
  return {
    type: 'XXH64',
    lengthBytes: 8,
    meaning,
    write: (view, byteOffset, value) => view.setBigUint64(byteOffset, value, true),
    read: (view, byteOffset) => view.getBigUint64(byteOffset, true),
  };
}

/** Exactly so many bytes. */
export function bytes(lengthBytes: number, meaning: string): Field<Uint8Array> {
  return {
    type: `${lengthBytes} bytes`,
    lengthBytes,
    meaning,
    write: (view, byteOffset, value) => {
      if (value.length !== lengthBytes) throw new RangeError(`${value.length} bytes for a field of ${lengthBytes}`);
      new Uint8Array(view.buffer, view.byteOffset + byteOffset, lengthBytes).set(value);
    },
    read: (view, byteOffset) => new Uint8Array(view.buffer, view.byteOffset + byteOffset, lengthBytes).slice(),
  };
}

/** A text of at most so many bytes in UTF-8, filled up with zero bytes. */
export function text(lengthBytes: number, meaning: string): Field<string> {
  return {
    type: `text, ${lengthBytes} bytes`,
    lengthBytes,
    meaning,
    write: (view, byteOffset, value) => {
      const encoded = new TextEncoder().encode(value);
      if (encoded.length > lengthBytes) throw new RangeError(`"${value}" is longer than ${lengthBytes} bytes`);
      const target = new Uint8Array(view.buffer, view.byteOffset + byteOffset, lengthBytes);
      target.fill(0);
      target.set(encoded);
    },
    read: (view, byteOffset) => {
      const source = new Uint8Array(view.buffer, view.byteOffset + byteOffset, lengthBytes).slice();
      const end = source.indexOf(0);
      return new TextDecoder().decode(end < 0 ? source : source.subarray(0, end));
    },
  };
}
