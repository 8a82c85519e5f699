/**
 * The undo journal: what a restart needs to take back the guest's effects on files since a checkpoint.
 *
 * Definitions. *Generation* g is the time from the capture of state g to the capture of state g + 1. Its journal holds a
 * record for each effect of that time. A restart from state g undoes all journals of generation g and later, newest
 * record first. A journal is *live* while a checkpoint that may be restarted from needs it.
 *
 * Invariants:
 * (1) A record is durable before its effect is made: `force` returns only then, and callers make the effect after it.
 *     Effects need not be durable in any order of their own: every undo step looks whether its effect is there.
 *     Records of times are the exception, because no contents depend on them.
 * (2) A journal's file is reused only when no checkpoint needs it: files have numbers, a journal takes the lowest one that
 *     no live journal has. Where a job keeps checkpoints (`--keep`), all their journals are live.
 * (3) A record left over from an earlier use of the file never counts: checksums begin from a number drawn when the
 *     file was begun. Reading ends at the first record that does not hold together; its effect was never made (1).
 *
 * One file per generation would need its name made durable each time; a few names that are used again need it once.
 *
 * File: header of 24 bytes: magic "CNTUNDO1", generation u64, seed u32, checksum u32 of the bytes before it.
 * Record: head of 12 bytes: text length u32, data length u32, checksum u32 (over both lengths, text and data, beginning
 * from the seed); then the text, JSON of an `UndoRecord`; then the data. All numbers are little-endian.
 */
import { randomInt } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Device, DeviceFile } from '../device/device.ts';
import { CorruptionError, assert } from '../error/errors.ts';
import type { UndoRecord } from './undo-record.ts';
import { checkUndoRecord } from './undo-record.ts';

const MAGIC = Buffer.from('CNTUNDO1', 'latin1');
const HEADER_BYTES = 24;
const HEAD_BYTES = 12;
/** Captures without a commit between them and the first: more are a mistake. */
const UNCOMMITTED_MAX = 4;

/** Most bytes of data in a record, so that undoing needs little memory. */
export const RECORD_DATA_BYTES_MAX = 1 << 20;
const RECORD_TEXT_BYTES_MAX = 1 << 16;

function fileName(index: number): string {
  return `undo-${index}`;
}

export function isJournalName(name: string): boolean {
  return /^undo-\d{1,4}$/.test(name);
}

/** The journal of the current generation, being written. */
export class UndoJournal {
  readonly #device: Device;
  #generation: number;
  #newestCommitted: number;
  /** Generations of live journals, by the names of their files. */
  readonly #live: Map<string, number>;
  #file: DeviceFile | undefined;
  #seed = 0;
  #endBytes = 0;
  #unsynced = false;
  #nameUnsynced = false;

  /** `oldestKept`: of the oldest checkpoint that is kept, whose journals of an earlier run are live still. */
  constructor(device: Device, generation: number, oldestKept = generation) {
    this.#device = device;
    this.#generation = generation;
    this.#newestCommitted = generation;
    this.#live = oldestKept < generation ? journalsFrom(device, oldestKept) : new Map<string, number>();
  }

  get generation(): number {
    return this.#generation;
  }

  /** Adds a record; durable after the next `force`. */
  note(undoRecord: UndoRecord, data: Uint8Array = new Uint8Array()): void {
    const file = this.#file ?? this.#begin();
    const bytes = encodeRecord(undoRecord, data, this.#seed);
    file.write(bytes, this.#endBytes);
    this.#endBytes += bytes.length;
    this.#unsynced = true;
  }

  /** Makes all records durable: effects may follow. */
  force(): void {
    if (!this.#unsynced) return;
    this.#file!.sync();
    if (this.#nameUnsynced) this.#device.syncDirectory();
    this.#nameUnsynced = false;
    this.#unsynced = false;
  }

  /** A state was captured: what follows belongs to the next generation. */
  startNextGeneration(): void {
    this.force();
    this.#file?.close();
    this.#file = undefined;
    this.#generation++;
    assert(this.#generation - this.#newestCommitted < UNCOMMITTED_MAX, `${UNCOMMITTED_MAX} captures without a commit`);
  }

  /** The state at the beginning of the current generation is durable: journals older than `oldestKept` are needed no more. */
  forgetOlder(oldestKept: number): void {
    this.#newestCommitted = this.#generation;
    for (const [name, generation] of this.#live) if (generation < oldestKept) this.#live.delete(name);
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #begin(): DeviceFile {
    let index = 0;
    while (this.#live.has(fileName(index))) index += 1;
    const name = fileName(index);
    this.#live.set(name, this.#generation);
    this.#nameUnsynced = !this.#device.list().includes(name);
    const file = this.#device.openFile(name, 'create');
    this.#seed = randomInt(2 ** 32);
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeBigUInt64LE(BigInt(this.#generation), 8);
    header.writeUInt32LE(this.#seed, 16);
    header.writeUInt32LE(crc32(header.subarray(0, 20)), 20);
    file.write(header, 0);
    this.#endBytes = HEADER_BYTES;
    this.#file = file;
    return file;
  }
}

/** Generations of the journals from one on, by the names of their files. */
function journalsFrom(device: Device, oldest: number): Map<string, number> {
  const live = new Map<string, number>();
  for (const name of device.list().filter(isJournalName)) {
    const file = device.openFile(name, 'read');
    try {
      const survey = surveyJournal(file);
      if (survey !== undefined && survey.generation >= oldest && survey.records.length > 0) {
        live.set(name, survey.generation);
      }
    } finally {
      file.close();
    }
  }
  return live;
}

function encodeRecord(undoRecord: UndoRecord, data: Uint8Array, seed: number): Buffer {
  assert(data.length <= RECORD_DATA_BYTES_MAX, `an undo record of ${data.length} bytes is too long`);
  const text = Buffer.from(JSON.stringify(undoRecord), 'utf8');
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + text.length + data.length);
  bytes.writeUInt32LE(text.length, 0);
  bytes.writeUInt32LE(data.length, 4);
  text.copy(bytes, HEAD_BYTES);
  bytes.set(data, HEAD_BYTES + text.length);
  bytes.writeUInt32LE(checksum(bytes, seed), 8);
  return bytes;
}

function checksum(record: Uint8Array, seed: number): number {
  return crc32(record.subarray(HEAD_BYTES), crc32(record.subarray(0, 8), seed));
}

/** A record found in a journal, and where its data is. */
export interface FoundRecord {
  readonly record: UndoRecord;
  readonly dataStartBytes: number;
  readonly dataBytes: number;
}

/** What a journal's file holds. */
export interface JournalSurvey {
  readonly generation: number;
  readonly seed: number;
  /** Records still to be undone, oldest first. */
  readonly records: readonly FoundRecord[];
  /** Behind the last whole record; what follows counts for nothing. */
  readonly endBytes: number;
}

/**
 * Reads a journal's file, and changes nothing; undefined where its header does not hold together, so that no effect followed.
 * @throws CorruptionError for a whole record that cannot be read.
 */
export function surveyJournal(file: DeviceFile): JournalSurvey | undefined {
  const header = Buffer.alloc(HEADER_BYTES);
  const isWhole = file.readInto(header, 0) === HEADER_BYTES && header.subarray(0, 8).equals(MAGIC);
  if (!isWhole || header.readUInt32LE(20) !== crc32(header.subarray(0, 20))) return undefined;
  const generation = Number(header.readBigUInt64LE(8));
  const seed = header.readUInt32LE(16);
  const records: FoundRecord[] = [];
  let undoneFrom = Infinity;
  let at = HEADER_BYTES;
  for (;;) {
    const bytes = readWholeRecord(file, at, seed);
    if (bytes === undefined) break;
    const textBytes = bytes.readUInt32LE(0);
    const dataStartBytes = at + HEAD_BYTES + textBytes;
    const undoRecord = parseRecord(bytes.toString('utf8', HEAD_BYTES, HEAD_BYTES + textBytes), file.path, at);
    if (undoRecord.kind === 'undone') undoneFrom = Math.min(undoneFrom, undoRecord.recordCount);
    else if (undoRecord.kind === 'cancelled') records.splice(-undoRecord.recordCount);
    else records.push({ record: undoRecord, dataStartBytes, dataBytes: bytes.length - HEAD_BYTES - textBytes });
    at += bytes.length;
  }
  return { generation, seed, records: records.slice(0, undoneFrom), endBytes: at };
}

/** A journal of an earlier run, being undone. */
export class FoundJournal {
  readonly generation: number;
  /** Records still to be undone, oldest first. */
  readonly records: readonly FoundRecord[];
  readonly #file: DeviceFile;
  readonly #seed: number;
  #endBytes: number;

  private constructor(
    generation: number,
    seed: number,
    file: DeviceFile,
    records: readonly FoundRecord[],
    endBytes: number,
  ) {
    this.generation = generation;
    this.records = records;
    this.#seed = seed;
    this.#file = file;
    this.#endBytes = endBytes;
  }

  /**
   * The journals that a restart from state `fromGeneration` has to undo, newest first. `readOnly`: they are only looked at, while
   * they are written perhaps.
   */
  static findLive(device: Device, fromGeneration: number, readOnly = false): FoundJournal[] {
    const found: FoundJournal[] = [];
    for (const name of device.list().filter(isJournalName)) {
      const journal = FoundJournal.#read(device.openFile(name, readOnly ? 'read' : 'write'), fromGeneration, readOnly);
      if (journal !== undefined) found.push(journal);
    }
    return found.sort((a, b) => b.generation - a.generation);
  }

  static #read(file: DeviceFile, fromGeneration: number, readOnly: boolean): FoundJournal | undefined {
    const survey = surveyJournal(file);
    if (survey === undefined || survey.generation < fromGeneration) {
      file.close();
      return undefined;
    }
    const { generation, seed, records, endBytes } = survey;
    // What follows the last whole record is of no effect, and must not stand between it and a mark.
    if (!readOnly) file.truncate(endBytes);
    return new FoundJournal(generation, seed, file, records, endBytes);
  }

  readData(found: FoundRecord): Uint8Array {
    const data = new Uint8Array(found.dataBytes);
    this.#file.readInto(data, found.dataStartBytes);
    return data;
  }

  /** Notes durably that only the first `recordCount` records are still to be undone. */
  markUndone(recordCount: number): void {
    const bytes = encodeRecord({ kind: 'undone', recordCount }, new Uint8Array(), this.#seed);
    this.#file.write(bytes, this.#endBytes);
    this.#endBytes += bytes.length;
    this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}

/** The record at `at` with its head, or undefined where no whole record is. */
function readWholeRecord(file: DeviceFile, at: number, seed: number): Buffer | undefined {
  const head = Buffer.alloc(HEAD_BYTES);
  if (file.readInto(head, at) < HEAD_BYTES) return undefined;
  const textBytes = head.readUInt32LE(0);
  const dataBytes = head.readUInt32LE(4);
  if (textBytes > RECORD_TEXT_BYTES_MAX || dataBytes > RECORD_DATA_BYTES_MAX) return undefined;
  const bytes = Buffer.alloc(HEAD_BYTES + textBytes + dataBytes);
  if (file.readInto(bytes, at) < bytes.length) return undefined;
  return bytes.readUInt32LE(8) === checksum(bytes, seed) ? bytes : undefined;
}

function parseRecord(text: string, path: string, byteOffset: number): UndoRecord {
  try {
    return checkUndoRecord(JSON.parse(text), 'record');
  } catch (error) {
    // Its checksum is right, so that this is no torn write.
    throw new CorruptionError(
      `the undo journal ${path} holds a record at byte ${byteOffset} that this version cannot read: ` +
        `${error instanceof Error ? error.message : String(error)}; continue the job with the version that wrote it`,
      { path, byteOffset },
      error,
    );
  }
}
