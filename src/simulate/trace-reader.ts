import { inflateRawSync } from 'node:zlib';
import { basename, dirname } from 'node:path';
import type { DeviceFile } from '../device/device.ts';
import { FileDevice } from '../device/file-device.ts';
import { CorruptionError, UsageError } from '../error/errors.ts';
import type { JsonValue } from '../format/job-format.ts';
import {
  OtherEvent,
  REPEAT_MAX,
  TRACE_BLOCK_BYTES,
  TRACE_FORMAT_VERSION,
  TRACE_MAGIC,
  TRACE_PART_BYTES_MAX,
  TRACE_TRIGGERS,
  traceBlockTable,
  traceEndTable,
  traceHeaderTable,
  TraceEvent,
  type TraceEnd,
  type TraceTrigger,
} from '../format/trace-format.ts';
import { Workbench } from '../format/workbench.ts';
import { MAX_GUEST_WASM_PAGES, NOT_PINNED, PAGES_PER_WASM_PAGE, PAGE_SHIFT, PINS_MAX } from '../memory/layout.ts';
import { headerChecksum } from './trace-writer.ts';

/** What `TraceReader.next` found; its fields are those named. */
export const Step = {
  end: 0,
  /** `page`, `crosses`, `writes`; `pins` as they are then, `pinsChanged` if they are others than before. */
  reference: 1,
  /** `eventPage`, `noted`. */
  raise: 2,
  /** `eventPage`, `zeros`. */
  zero: 3,
  release: 4,
  /** `address`, `lengthBytes`, `writes`. */
  hold: 5,
  /** `pageCount`. */
  grow: 6,
  /** `count`. */
  repeat: 7,
  /** `trigger`, `stateBytes`. */
  checkpoint: 8,
} as const;

/** Opens the trace of a file. Throws as `TraceReader` does. */
export function openTrace(path: string): TraceReader {
  const file = new FileDevice(dirname(path)).openFile(basename(path), 'read');
  try {
    return new TraceReader(file);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Reads a trace once from its beginning to its end; holds one block. The file is closed at the end, or by `close`. */
export class TraceReader {
  readonly description: JsonValue;
  page = 0;
  crosses = false;
  writes = false;
  /** The page of a raise, or of a change to zeros or from them. */
  eventPage = 0;
  noted = false;
  zeros = false;
  address = 0;
  lengthBytes = 0;
  pageCount = 0;
  count = 0;
  trigger: TraceTrigger = 'start';
  stateBytes = 0;
  readonly pins = new Int32Array(PINS_MAX).fill(NOT_PINNED | 0);
  pinsChanged = true;
  /** What the end says; there once `next` has returned `Step.end`. */
  end: TraceEnd | undefined;
  readonly #file: DeviceFile;
  #isOpen = true;
  readonly #bench = Workbench.ofThread();
  readonly #fileBytes: number;
  /** Where the next block begins. */
  #nextBytes = 0;
  /** Where the block begins that is being read, for messages. */
  #blockBytes = 0;
  #events: Uint8Array = new Uint8Array(0);
  #at = 0;
  #references = 0;
  #checkpoints = 0;
  /** Bit per place of the list of pins that names the page of the next reference. */
  #pinsOfNext = 0;

  /** @throws UsageError `not-a-trace`; CorruptionError `trace-damaged`; StorageError. */
  constructor(file: DeviceFile) {
    this.#file = file;
    this.#fileBytes = file.sizeBytes();
    const header = this.#readPart(traceHeaderTable.lengthBytes, 'header', true);
    const { magic, formatVersion, descriptionBytes, checksum } = traceHeaderTable.decode(header);
    if (magic !== TRACE_MAGIC) throw this.#notATrace('it does not begin as one');
    if (formatVersion > TRACE_FORMAT_VERSION) {
      throw this.#notATrace(`it has format ${formatVersion}, which is newer than this version of Continuo`);
    }
    if (descriptionBytes > TRACE_PART_BYTES_MAX) throw this.#damaged(0, 'the description is too long');
    const description = this.#readPart(descriptionBytes, 'description');
    const whole = new Uint8Array(header.length + description.length);
    whole.set(header);
    whole.set(description, header.length);
    if (headerChecksum(this.#bench, whole) !== checksum) throw this.#damaged(0, 'the checksum of the header is wrong');
    this.description = this.#parsed(new TextDecoder().decode(description));
  }

  /** A checksum that holds says only that some program wrote the bytes. */
  #parsed(description: string): JsonValue {
    try {
      return JSON.parse(description) as JsonValue;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw this.#damaged(0, 'the description is not JSON');
    }
  }

  /**
   * Goes to the next step.
   * @throws CorruptionError `trace-damaged`; StorageError.
   */
  next(): number {
    for (;;) {
      if (this.#at === this.#events.length && !this.#readBlock()) return Step.end;
      const head = this.#number();
      const kind = head & 7;
      const value = head >>> 3;
      if (kind < TraceEvent.raise) return this.#reference(kind, value);
      if (kind === TraceEvent.pin) this.#pin(value);
      else if (kind === TraceEvent.other) return this.#other(value);
      else return this.#pageEvent(kind, value);
    }
  }

  #reference(kind: number, value: number): number {
    this.page += unzigzag(value);
    this.crosses = kind >= TraceEvent.readCrossing;
    this.writes = (kind & 1) !== 0;
    this.#checkPage(this.page + (this.crosses ? 1 : 0));
    for (let place = 0, rest = this.#pinsOfNext; rest !== 0; place++, rest >>>= 1) {
      if ((rest & 1) !== 0) this.pins[place] = this.page;
    }
    this.#pinsOfNext = 0;
    this.#references += 1;
    return Step.reference;
  }

  #pageEvent(kind: number, value: number): number {
    const before = this.page;
    this.eventPage = before + unzigzag(value >>> 1);
    this.#checkPage(this.eventPage);
    this.noted = (value & 1) !== 0;
    this.zeros = this.noted;
    return kind === TraceEvent.raise ? Step.raise : Step.zero;
  }

  #pin(value: number): void {
    const place = value >>> 1;
    if (place >= PINS_MAX) throw this.#damaged(this.#blockBytes, `there is no place ${place} in the list of pins`);
    this.pinsChanged = true;
    if ((value & 1) !== 0) this.#pinsOfNext |= 1 << place;
    else {
      this.#pinsOfNext &= ~(1 << place);
      this.pins[place] = this.#number() - 1;
    }
  }

  #other(value: number): number {
    switch (value) {
      case OtherEvent.release:
        return Step.release;
      case OtherEvent.holdToRead:
      case OtherEvent.holdToWrite:
        this.address = this.#number();
        this.lengthBytes = this.#number();
        this.writes = value === OtherEvent.holdToWrite;
        if (this.lengthBytes === 0) throw this.#damaged(this.#blockBytes, 'a host function uses no bytes');
        this.#checkPage(Math.floor((this.address + this.lengthBytes - 1) / 2 ** PAGE_SHIFT));
        this.#references += 1;
        return Step.hold;
      case OtherEvent.grow: {
        const pageCount = this.#number();
        if (pageCount < this.pageCount || pageCount > MAX_GUEST_WASM_PAGES * PAGES_PER_WASM_PAGE) {
          throw this.#damaged(this.#blockBytes, `the memory grows from ${this.pageCount} pages to ${pageCount}`);
        }
        this.pageCount = pageCount;
        return Step.grow;
      }
      case OtherEvent.repeat:
        this.count = this.#number();
        if (this.count < 2 || this.count > REPEAT_MAX) {
          throw this.#damaged(this.#blockBytes, `${this.count} references cannot repeat themselves`);
        }
        return Step.repeat;
      default: {
        const trigger = TRACE_TRIGGERS[value - OtherEvent.checkpoint];
        if (trigger === undefined) throw this.#damaged(this.#blockBytes, `there is no event ${value}`);
        this.trigger = trigger;
        this.stateBytes = this.#number();
        this.#checkpoints += 1;
        return Step.checkpoint;
      }
    }
  }

  #checkPage(page: number): void {
    if (page >= 0 && page < this.pageCount) return;
    throw this.#damaged(this.#blockBytes, `page ${page} lies outside of the memory of ${this.pageCount} pages`);
  }

  #number(): number {
    const events = this.#events;
    let byte = events[this.#at++];
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; ; shift += 7) {
      if (this.#at >= events.length || shift > 28) throw this.#damaged(this.#blockBytes, 'a number does not end');
      byte = events[this.#at++];
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }

  /** False at the end block. */
  #readBlock(): boolean {
    if (this.end !== undefined) return false;
    this.#blockBytes = this.#nextBytes;
    const header = traceBlockTable.decode(this.#readPart(traceBlockTable.lengthBytes, 'a block'));
    const { eventBytes, storedBytes, checksum } = header;
    if (eventBytes > TRACE_BLOCK_BYTES || storedBytes > TRACE_PART_BYTES_MAX) {
      throw this.#damaged(this.#blockBytes, 'a block is too long');
    }
    const stored = this.#readPart(storedBytes, 'a block');
    if (this.#bench.checksumOf(stored) !== checksum) {
      throw this.#damaged(this.#blockBytes, 'the checksum of a block is wrong');
    }
    if (eventBytes === 0) {
      this.#readEnd(stored);
      return false;
    }
    this.#events = this.#inflated(stored, eventBytes);
    this.#at = 0;
    return true;
  }

  #inflated(stored: Uint8Array, eventBytes: number): Uint8Array {
    let events: Uint8Array;
    try {
      events = inflateRawSync(stored, { maxOutputLength: TRACE_BLOCK_BYTES });
    } catch (error) {
      throw this.#damaged(this.#blockBytes, 'a block cannot be inflated', error);
    }
    if (events.length !== eventBytes) throw this.#damaged(this.#blockBytes, 'a block has another length than it says');
    return events;
  }

  #readEnd(stored: Uint8Array): void {
    if (stored.length !== traceEndTable.lengthBytes)
      throw this.#damaged(this.#blockBytes, 'the end has a wrong length');
    const end = traceEndTable.decode(stored);
    const { references, checkpoints, pageCount } = end;
    if (
      references !== this.#references ||
      checkpoints !== this.#checkpoints ||
      pageCount !== this.pageCount ||
      this.#nextBytes !== this.#fileBytes
    ) {
      throw this.#damaged(this.#blockBytes, 'there is more or less in it than its end says');
    }
    this.end = end;
    this.close();
  }

  /** Gives up what is not read yet. */
  close(): void {
    if (this.#isOpen) this.#file.close();
    this.#isOpen = false;
  }

  #readPart(lengthBytes: number, what: string, isFirst = false): Uint8Array {
    const part = new Uint8Array(lengthBytes);
    if (this.#file.readInto(part, this.#nextBytes) < lengthBytes) {
      if (isFirst) throw this.#notATrace('it is too short');
      throw this.#damaged(this.#nextBytes, `the file was cut: it ends in ${what}`);
    }
    this.#nextBytes += lengthBytes;
    return part;
  }

  #notATrace(reason: string): UsageError {
    const { path } = this.#file;
    return new UsageError('not-a-trace', `${path} cannot be read as a trace: ${reason}`, { path });
  }

  #damaged(byteOffset: number, reason: string, cause?: unknown): CorruptionError {
    const { path } = this.#file;
    const message = `${path} is damaged at byte ${byteOffset}: ${reason}; record it again with "continuo trace"`;
    return new CorruptionError(message, { path, byteOffset }, cause, 'trace-damaged');
  }
}

function unzigzag(value: number): number {
  return (value & 1) === 0 ? value >>> 1 : -((value + 1) >>> 1);
}
