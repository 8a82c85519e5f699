import type { DeviceFile } from '../device/device.ts';
import { CorruptionError } from '../error/errors.ts';
import { decodeRecord, hex, isFault, type CommitRecord, type RecordFault } from '../format/commit-record.ts';
import {
  RECORD_AREA_BYTES,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  RECORD_MAGIC,
  recordTable,
  type RecordFields,
} from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import { damagedFile } from '../pager/page-damage.ts';
import type { Checkpoint } from './checkpoint.ts';
import { IncompleteCheckpoint, JobImage } from './job-image.ts';
import { RetainedCheckpoints } from './retained.ts';

/** A reader beside a job that commits faster than it reads gives up after so many attempts. */
const LIVE_ATTEMPTS_MAX = 20;
/** Of a job that was not made with a checkpoint: taken before the program runs. */
const FIRST_GENERATION = 1;
/** Magic, checksum, length and generation of a record. */
const STAMP_BYTES = recordTable.offsetOf('timeMs');

/** What recovery found. */
export interface Recovery {
  readonly image: JobImage;
  /** Undefined: the job has no checkpoint yet. */
  readonly record: CommitRecord | undefined;
  readonly state: Uint8Array;
  readonly retained: RetainedCheckpoints;
  /** Set when a checkpoint had been started whose commit did not complete: what was found wrong with it. */
  readonly rejected: { readonly areaOffsetBytes: number; readonly reason: string } | undefined;
}

type Area = { readonly offsetBytes: number; readonly content: CommitRecord | RecordFault };

/**
 * Finds the newest checkpoint whose commit is complete. Reads only.
 *
 * The cases (N: the newer record whose own checksum holds, P: the record before it):
 *
 * - No record at all, or the torn or incomplete first one beside an empty area: no commit has ever returned. Any but the first
 *   has one before it, or is the only one of a job that was made with it, durable before it was a job: it is damaged.
 * - N is complete: it stands. The other area holds P, or was torn by the commit after N, or was erased.
 * - N is incomplete, so its commit did not return, and P stands, whose slots N's commit has not touched. Since a
 *   damaged N would look the same after its commit *had* returned, and P's slots would then be open to reuse, P is
 *   taken only when every slot it names is read and agrees.
 * - N and the other record are strangers: the medium lost the write of a record. N is taken only when every slot agrees.
 */
export function recover(file: DeviceFile, bench: Workbench): Recovery {
  const areas = [readArea(file, bench, 0), readArea(file, bench, 1)];
  const [newest, other] = isNewer(areas[1], areas[0]) ? [areas[1], areas[0]] : areas;
  const record = newest.content;
  if (isFault(record)) return withoutCheckpoint(file, bench, areas);
  const beside = other.content;
  const { previousGeneration, previousChecksum } = record.fields;
  const isPair = isFault(beside) || isPrevious(beside, record);
  const image = new JobImage(file, bench);
  try {
    const state = image.load(file, record, !isPair);
    const retained = RetainedCheckpoints.read(file, record, image, bench, !isPair);
    return { image, record, state, retained, rejected: isFault(beside) ? tornArea(other) : undefined };
  } catch (error) {
    if (!(error instanceof IncompleteCheckpoint)) throw error;
    const rejected = { areaOffsetBytes: newest.offsetBytes, reason: describeDamage(error.damage) };
    if (!isFault(beside)) {
      const previousImage = new JobImage(file, bench);
      const state = previousImage.load(file, beside, true);
      const retained = RetainedCheckpoints.read(file, beside, previousImage, bench, true);
      return { image: previousImage, record: beside, state, retained, rejected };
    }
    if (previousGeneration === 0 && beside.kind === 'empty') {
      if (record.fields.generation > FIRST_GENERATION) throw error.damage;
      return nothing(file, bench, rejected);
    }
    throw damagedFile(
      file.path,
      other.offsetBytes,
      'the record before an incomplete checkpoint',
      `generation ${previousGeneration}, checksum ${hex(previousChecksum)}`,
      describeFault(beside),
    );
  }
}

/**
 * `recover` for a reader without the job's lock: the process that has it may commit meanwhile, and reuse slots that were
 * being read. So what was found counts only when no record has changed since, and damage too.
 */
export function recoverLive(file: DeviceFile, bench: Workbench): Recovery {
  let stamps = recordStamps(file);
  for (let attempt = 1; ; attempt++) {
    let found: Recovery | CorruptionError;
    try {
      found = recover(file, bench);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      found = error;
    }
    const stampsNow = recordStamps(file);
    if (stampsNow === stamps || attempt === LIVE_ATTEMPTS_MAX) {
      if (found instanceof CorruptionError) throw found;
      return found;
    }
    stamps = stampsNow;
  }
}

export function checkpointOf(fields: RecordFields, state: Uint8Array): Checkpoint {
  const { generation, timeMs, trigger, guestPageCount, dirtyPages, pagesWritten } = fields;
  return { generation, timeMs, trigger, guestPageCount, dirtyPages, pagesWritten, state };
}

/** Makes an area hold no record, so that later writes cannot complete a checkpoint that was rejected. Not synced. */
export function eraseRecord(file: DeviceFile, areaOffsetBytes: number): void {
  file.write(new Uint8Array(RECORD_UNIT_BYTES), areaOffsetBytes);
}

/** The first fields of both record areas, which differ between any two records. */
export function recordStamps(file: DeviceFile): string {
  const stamp = new Uint8Array(2 * STAMP_BYTES);
  for (const generation of [0, 1]) {
    const view = stamp.subarray(generation * STAMP_BYTES, (generation + 1) * STAMP_BYTES);
    file.readInto(view, recordAreaOffset(generation));
  }
  return Buffer.from(stamp).toString('hex');
}

function readArea(file: DeviceFile, bench: Workbench, generation: number): Area {
  const offsetBytes = recordAreaOffset(generation);
  const room = bench.record.subarray(0, RECORD_AREA_BYTES);
  const content = decodeRecord(bench, file.readInto(room, offsetBytes));
  if (!isFault(content) && recordAreaOffset(content.fields.generation) !== offsetBytes) {
    const found = `generation ${content.fields.generation}`;
    return { offsetBytes, content: { kind: 'torn', field: 'generation', expected: 'one of this area', found } };
  }
  return { offsetBytes, content };
}

function isNewer(a: Area, b: Area): boolean {
  if (isFault(a.content)) return false;
  return isFault(b.content) || a.content.fields.generation > b.content.fields.generation;
}

function isPrevious(previous: CommitRecord, record: CommitRecord): boolean {
  const { generation, checksum } = previous.fields;
  return record.fields.previousGeneration === generation && record.fields.previousChecksum === checksum;
}

function withoutCheckpoint(file: DeviceFile, bench: Workbench, areas: readonly Area[]): Recovery {
  const torn = areas.filter((area) => isFault(area.content) && area.content.kind === 'torn');
  const [first] = torn;
  if (torn.length === 2 || (torn.length === 1 && !mayBeFirst(file, first))) {
    const { offsetBytes, content } = first;
    const which = torn.length === 2 ? 'both records' : 'the only record';
    if (isFault(content) && content.kind === 'torn')
      throw damagedFile(file.path, offsetBytes, `${content.field} of ${which}`, content.expected, content.found);
  }
  const rejected = torn.length === 0 ? undefined : tornArea(torn[0]);
  return nothing(file, bench, rejected);
}

/** Whether a torn record may be that of a job's first checkpoint, by its place and as far as its number was written. */
function mayBeFirst(file: DeviceFile, { offsetBytes }: Area): boolean {
  if (offsetBytes !== recordAreaOffset(FIRST_GENERATION)) return false;
  const head = new Uint8Array(recordTable.lengthBytes);
  file.readInto(head, offsetBytes);
  const { magic, generation } = recordTable.decode(head);
  // Noise has no number: it may have been any. Of a sealed job the first checkpoint is the one that a power failure tears so.
  if (file.tornIsNoise === true && magic !== RECORD_MAGIC) return true;
  return generation <= FIRST_GENERATION;
}

function nothing(file: DeviceFile, bench: Workbench, rejected: Recovery['rejected']): Recovery {
  const image = new JobImage(file, bench);
  const retained = new RetainedCheckpoints(image.slots, bench);
  return { image, record: undefined, state: new Uint8Array(0), retained, rejected };
}

function tornArea(area: Area): Recovery['rejected'] {
  if (!isFault(area.content) || area.content.kind === 'empty') return undefined;
  return { areaOffsetBytes: area.offsetBytes, reason: `its record is torn: ${describeFault(area.content)}` };
}

/** What was found, without the advice that a damaged job needs: an unfinished checkpoint is nobody's loss. */
function describeDamage({ details, message }: CorruptionError): string {
  const { byteOffset, field, expected, found } = details;
  if (field === undefined) return message;
  return `${String(field)} at byte ${String(byteOffset)} should be ${String(expected)} and is ${String(found)}`;
}

function describeFault(fault: RecordFault): string {
  if (fault.kind === 'empty') return 'no record';
  return `a record whose ${fault.field} is ${fault.found} instead of ${fault.expected}`;
}
