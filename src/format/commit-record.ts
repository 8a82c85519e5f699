import {
  DELTA_ENTRY_BYTES,
  DELTA_PAGES_MAX,
  ENTRY_BYTES,
  KEEP_MAX,
  MAPPED_PAGES_MAX,
  RECORD_AREA_BYTES,
  RECORD_MAGIC,
  recordTable,
  retainedEntryTable,
  retainedTable,
  rootEntryCount,
  type RecordFields,
  type RetainedEntry,
} from './paging-format.ts';
import type { Workbench } from './workbench.ts';

/** The parts of a record: its fields, and the lists that follow them as words in the order of the file. */
export interface CommitRecord {
  readonly fields: RecordFields;
  /** Entries of four words, as many as the guest's size needs. */
  readonly root: Uint32Array;
  /** Entries of four words, one per delta page. */
  readonly deltaPages: Uint32Array;
  /** Deltas of five words. */
  readonly deltas: Uint32Array;
  /** The machine state where it is part of the record. */
  readonly inlineState: Uint8Array | undefined;
  /** Undefined where no checkpoint but the newest is kept. */
  readonly retained?: RetainedList | undefined;
}

/** The checkpoints before the newest that a job keeps, newest first, and how many it is to keep with the newest. */
export interface RetainedList {
  readonly keep: number;
  readonly entries: readonly RetainedEntry[];
}

/** Why an area holds no record that can be used. */
export type RecordFault =
  | { readonly kind: 'empty' }
  | { readonly kind: 'torn'; readonly field: string; readonly expected: string; readonly found: string };

/** What a writer gives: the fields but for those that follow from the rest. */
export type NewRecord = Omit<CommitRecord, 'fields'> & {
  readonly fields: Omit<RecordFields, 'magic' | 'checksum' | 'recordBytes' | 'deltaPageCount' | 'deltaCount'>;
};

const CHECKED_FROM = recordTable.offsetOf('recordBytes');

/** Writes a record to the bench's record room and returns its fields as written. */
export function encodeRecord(record: NewRecord, bench: Workbench): RecordFields {
  const { root, deltaPages, deltas, inlineState, retained } = record;
  const words = root.length + deltaPages.length + deltas.length;
  const retainedFromBytes = recordTable.lengthBytes + 4 * words + (inlineState?.length ?? 0);
  const recordBytes = retainedFromBytes + (retained === undefined ? 0 : retainedBytes(retained.entries.length));
  if (recordBytes > RECORD_AREA_BYTES) throw new RangeError(`a record of ${recordBytes} bytes does not fit its area`);
  const room = bench.record;
  let atBytes = recordTable.lengthBytes;
  for (const list of [root, deltaPages, deltas]) {
    room.set(new Uint8Array(list.buffer, list.byteOffset, list.byteLength), atBytes);
    atBytes += list.byteLength;
  }
  if (inlineState !== undefined) room.set(inlineState, atBytes);
  if (retained !== undefined) writeRetained(retained, room, retainedFromBytes);
  const unchecked = {
    ...record.fields,
    magic: RECORD_MAGIC,
    recordBytes,
    deltaPageCount: deltaPages.length / 4,
    deltaCount: deltas.length / 5,
    checksum: 0n,
  };
  recordTable.encode(unchecked, room);
  const fields = { ...unchecked, checksum: bench.checksumRecord(CHECKED_FROM, recordBytes) };
  recordTable.encode(fields, room);
  return fields;
}

/** Reads the record in the bench's record room, of which `filledBytes` were read from the file. */
export function decodeRecord(bench: Workbench, filledBytes: number): CommitRecord | RecordFault {
  const room = bench.record;
  room.fill(0, filledBytes);
  const fields = recordTable.decode(room);
  if (fields.magic === '') return { kind: 'empty' };
  if (fields.magic !== RECORD_MAGIC) return torn('magic', RECORD_MAGIC, JSON.stringify(fields.magic));
  const { recordBytes, deltaPageCount, deltaCount, stateBytes, stateSlot, guestPageCount } = fields;
  if (recordBytes < recordTable.lengthBytes || recordBytes > filledBytes)
    return torn('recordBytes', `${recordTable.lengthBytes} to ${filledBytes}`, String(recordBytes));
  const checksum = bench.checksumRecord(CHECKED_FROM, recordBytes);
  if (checksum !== fields.checksum) return torn('checksum', hex(fields.checksum), hex(checksum));
  // The checksum holds, so these lengths are what some program wrote; a reader still trusts none of them.
  if (guestPageCount > MAPPED_PAGES_MAX)
    return torn('guestPageCount', `<= ${MAPPED_PAGES_MAX}`, String(guestPageCount));
  if (deltaPageCount > DELTA_PAGES_MAX) return torn('deltaPageCount', `<= ${DELTA_PAGES_MAX}`, String(deltaPageCount));
  const rootBytes = recordTable.lengthBytes;
  const deltaPagesBytes = rootBytes + rootEntryCount(guestPageCount) * ENTRY_BYTES;
  const deltasBytes = deltaPagesBytes + deltaPageCount * ENTRY_BYTES;
  const stateFromBytes = deltasBytes + deltaCount * DELTA_ENTRY_BYTES;
  const endBytes = stateFromBytes + (stateSlot === 0 ? stateBytes : 0);
  const retained = endBytes === recordBytes ? undefined : readRetained(room, endBytes, recordBytes);
  if (retained !== undefined && 'kind' in retained) return retained;
  return {
    fields,
    root: wordsOf(room, rootBytes, deltaPagesBytes),
    deltaPages: wordsOf(room, deltaPagesBytes, deltasBytes),
    deltas: wordsOf(room, deltasBytes, stateFromBytes),
    inlineState: stateSlot === 0 ? new Uint8Array(room.subarray(stateFromBytes, endBytes)) : undefined,
    retained,
  };
}

function retainedBytes(count: number): number {
  return retainedTable.lengthBytes + count * retainedEntryTable.lengthBytes;
}

function writeRetained({ keep, entries }: RetainedList, room: Uint8Array, fromBytes: number): void {
  retainedTable.encode({ keep, count: entries.length }, room, fromBytes);
  entries.forEach((entry, index) => retainedEntryTable.encode(entry, room, fromBytes + retainedBytes(index)));
}

/** The list behind the other parts of a record, which end at `fromBytes`. */
function readRetained(room: Uint8Array, fromBytes: number, recordBytes: number): RetainedList | RecordFault {
  if (recordBytes < fromBytes + retainedTable.lengthBytes)
    return torn('recordBytes', String(fromBytes), String(recordBytes));
  const { keep, count } = retainedTable.decode(room, fromBytes);
  if (keep < 2 || keep > KEEP_MAX) return torn('keep', `2 to ${KEEP_MAX}`, String(keep));
  if (count >= KEEP_MAX) return torn('count', `< ${KEEP_MAX}`, String(count));
  const endBytes = fromBytes + retainedBytes(count);
  if (endBytes !== recordBytes) return torn('recordBytes', String(endBytes), String(recordBytes));
  const entries: RetainedEntry[] = [];
  for (let index = 0; index < count; index++)
    entries.push(retainedEntryTable.decode(room, fromBytes + retainedBytes(index)));
  return { keep, entries };
}

export function isFault(record: CommitRecord | RecordFault): record is RecordFault {
  return 'kind' in record;
}

/** A checksum as people compare it. */
export function hex(checksum: bigint): string {
  return checksum.toString(16).padStart(16, '0');
}

function torn(field: string, expected: string, found: string): RecordFault {
  return { kind: 'torn', field, expected, found };
}

function wordsOf(room: Uint8Array, fromBytes: number, toBytes: number): Uint32Array {
  return new Uint32Array(new Uint8Array(room.subarray(fromBytes, toBytes)).buffer);
}
