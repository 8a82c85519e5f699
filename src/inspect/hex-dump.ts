/** Bytes as `hexdump -C` shows them: address, 16 bytes in hexadecimal, the same as ASCII; rows that repeat are one `*`. */
import { hexText } from './value-text.ts';

export const ROW_BYTES = 16;

/** Takes pieces of one range in turn; only the last may be no multiple of a row. */
export class HexDump {
  #address: number;
  /** The row before, to see whether it repeats; it is printed, or stands behind a `*`. */
  #before: Uint8Array | undefined;
  #repeats = false;

  constructor(address: number) {
    this.#address = address;
  }

  lines(bytes: Uint8Array): string[] {
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += ROW_BYTES) {
      const row = bytes.subarray(at, at + ROW_BYTES);
      if (this.#before !== undefined && Buffer.compare(row, this.#before) === 0) {
        if (!this.#repeats) lines.push('*');
        this.#repeats = true;
      } else {
        this.#repeats = false;
        this.#before = Uint8Array.from(row);
        lines.push(`${hexText(this.#address, 8)}  ${hexColumns(row)}  |${printable(row)}|`);
      }
      this.#address += row.length;
    }
    return lines;
  }

  /** The address behind the last byte, which tells where a repetition ends. */
  end(): string {
    return hexText(this.#address, 8);
  }
}

function hexColumns(row: Uint8Array): string {
  const columns = Array.from({ length: ROW_BYTES }, (_, k) => {
    return k < row.length ? row[k].toString(16).padStart(2, '0') : '  ';
  });
  return `${columns.slice(0, 8).join(' ')}  ${columns.slice(8).join(' ')}`;
}

function printable(row: Uint8Array): string {
  return Array.from(row, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
}
