import { deflateRawSync } from 'node:zlib';
import type { DeviceFile } from '../device/device.ts';
import type { JsonValue } from '../format/job-format.ts';
import {
  TRACE_BLOCK_BYTES,
  TRACE_FORMAT_VERSION,
  TRACE_MAGIC,
  traceBlockTable,
  traceEndTable,
  traceHeaderTable,
  TraceEvent,
  type TraceEnd,
} from '../format/trace-format.ts';
import { Workbench } from '../format/workbench.ts';

/** Room that one event and what belongs to it may need. */
const EVENT_BYTES_MAX = 32;
/** Blocks repeat themselves so much that more effort makes them little smaller. */
const DEFLATE_LEVEL = 3;

/** Writes a trace block by block; holds one block. */
export class TraceWriter {
  /** Bytes of the file so far. */
  fileBytes = 0;
  readonly #file: DeviceFile;
  readonly #bench = Workbench.ofThread();
  readonly #events = new Uint8Array(TRACE_BLOCK_BYTES);
  #length = 0;
  /** The page of the reference before. */
  #page = 0;

  constructor(file: DeviceFile, description: JsonValue) {
    this.#file = file;
    const encoded = new TextEncoder().encode(JSON.stringify(description));
    const bytes = new Uint8Array(traceHeaderTable.lengthBytes + encoded.length);
    const fields = {
      magic: TRACE_MAGIC,
      formatVersion: TRACE_FORMAT_VERSION,
      descriptionBytes: encoded.length,
      checksum: 0n,
    };
    traceHeaderTable.encode(fields, bytes);
    bytes.set(encoded, traceHeaderTable.lengthBytes);
    const checksum = headerChecksum(this.#bench, bytes);
    traceHeaderTable.encode({ ...fields, checksum }, bytes);
    this.#write(bytes);
  }

  reference(kind: number, page: number): void {
    this.#event(kind, zigzag(page - this.#page));
    this.#page = page;
  }

  /** An event about a page that is no reference; `bit` is 0 or 1. */
  pageEvent(kind: number, page: number, bit: number): void {
    this.#event(kind, 2 * zigzag(page - this.#page) + bit);
  }

  /** `page`: −1 for none; `next`: the page of the reference that comes next. */
  pin(place: number, page: number, next: number): void {
    if (page === next) return this.#event(TraceEvent.pin, 2 * place + 1);
    this.#event(TraceEvent.pin, 2 * place);
    this.#number(page + 1);
  }

  other(value: number): void {
    this.#event(TraceEvent.other, value);
  }

  /** A number that belongs to the last event. */
  number(value: number): void {
    this.#number(value);
  }

  /** Writes the last block and the end; the file is durable then. */
  finish(end: TraceEnd): void {
    this.#flush();
    const stored = new Uint8Array(traceEndTable.lengthBytes);
    traceEndTable.encode(end, stored);
    this.#block(0, stored);
    this.#file.sync();
  }

  #event(kind: number, value: number): void {
    if (this.#length > TRACE_BLOCK_BYTES - EVENT_BYTES_MAX) this.#flush();
    this.#number(value * 8 + kind);
  }

  #number(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#events[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#events[this.#length++] = rest;
  }

  #flush(): void {
    if (this.#length === 0) return;
    const stored = deflateRawSync(this.#events.subarray(0, this.#length), { level: DEFLATE_LEVEL });
    this.#block(this.#length, stored);
    this.#length = 0;
  }

  #block(eventBytes: number, stored: Uint8Array): void {
    const header = new Uint8Array(traceBlockTable.lengthBytes);
    const checksum = this.#bench.checksumOf(stored);
    traceBlockTable.encode({ eventBytes, storedBytes: stored.length, checksum }, header);
    this.#write(header);
    this.#write(stored);
  }

  #write(bytes: Uint8Array): void {
    this.#file.write(bytes, this.fileBytes);
    this.fileBytes += bytes.length;
  }
}

/** Of a header with its description behind it. */
export function headerChecksum(bench: Workbench, bytes: Uint8Array): bigint {
  const at = traceHeaderTable.offsetOf('checksum');
  const covered = new Uint8Array(bytes.length - 8);
  covered.set(bytes.subarray(0, at));
  covered.set(bytes.subarray(at + 8), at);
  return bench.checksumOf(covered);
}

function zigzag(difference: number): number {
  return difference < 0 ? -2 * difference - 1 : 2 * difference;
}
