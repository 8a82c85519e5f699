/**
 * Checkpoints before the newest that a job keeps (`--keep`), in its paging file.
 *
 * Definitions. A checkpoint is *retained* when the newest record lists it. Its *copy* is its record, byte for byte, in a run of
 * slots: the record's own area is overwritten two checkpoints later. Its *successor* is the next newer checkpoint that is
 * retained, or the newest. It *owns* the slots that it names and its successor does not, and those of its copy.
 *
 *   newest record ── lists ──► copy of 8 ──► pages, map, state of 8      owned by 8: what 9 has replaced
 *                    └───────► copy of 7 ──► pages, map, state of 7      owned by 7: what 8 has replaced
 *
 * Invariants:
 *
 * (R1) A slot that the newest or a retained checkpoint names is in use, and not overwritten (invariants (1) and (2) of the
 *      page map, for all of them).
 * (R2) Each slot in use is reserved, named by the newest checkpoint or being written for the next, or owned by exactly one
 *      retained checkpoint.
 * (R3) Giving up the oldest retained checkpoint frees exactly the slots that it owns.
 *
 * That (R3) is exact needs no count of references: a page that has left a slot never comes back to it while it is in use, so the
 * checkpoints that name a slot are neighbours, and the newest of them owns it once its successor has replaced it. The oldest
 * has nobody before it that could need what it owns. (Counts by slot, the other way, cost a pass over the whole map of a
 * checkpoint when it comes and when it goes; this costs what the next checkpoint has replaced, which the page map knows.)
 *
 * Durability. The copy of the last record is written with the commit that makes it a retained one, to slots that no checkpoint
 * names, and is covered by its barrier: recovery counts a commit whose own copy does not agree as incomplete, as it does for a
 * page. Slots of checkpoints that a commit gives up are released behind its barrier, like all that it replaces.
 */
import type { DeviceFile } from '../device/device.ts';
import { CorruptionError, assert } from '../error/errors.ts';
import { type CommitRecord, decodeRecord, hex, isFault, type RetainedList } from '../format/commit-record.ts';
import {
  KEEP_MAX,
  RECORD_AREA_BYTES,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  SLOT_BYTES,
  type RecordFields,
  type RetainedEntry,
} from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import { damagedFile } from '../pager/page-damage.ts';
import type { SlotHeir } from '../pager/page-map.ts';
import type { SlotAllocator } from '../pager/slot-allocator.ts';
import { IncompleteCheckpoint, JobImage } from './job-image.ts';
import { type RecordCopy, SlotUses } from './slot-uses.ts';

/** A retained checkpoint, and the slots that giving it up frees. */
interface Retained {
  readonly entry: RetainedEntry;
  readonly owned: OwnedSlots;
}

/** A retained checkpoint that was read back from the copy of its record. */
export interface FollowedCheckpoint {
  readonly record: CommitRecord;
  readonly image: JobImage;
  readonly state: Uint8Array;
}

class OwnedSlots implements SlotHeir {
  #slots: Uint32Array;
  count: number;

  constructor(slots: readonly number[] = []) {
    this.#slots = Uint32Array.from(slots);
    this.count = slots.length;
  }

  /** The commit that is being made releases a slot: this checkpoint still needs it. */
  release(slot: number): void {
    if (this.count === this.#slots.length) {
      const longer = new Uint32Array(Math.max(64, 2 * this.count));
      longer.set(this.#slots);
      this.#slots = longer;
    }
    this.#slots[this.count++] = slot;
  }

  releaseAll(slots: SlotAllocator): void {
    for (let i = 0; i < this.count; i++) slots.release(this.#slots[i]);
    this.count = 0;
  }

  assertUsed(slots: SlotAllocator): void {
    for (let i = 0; i < this.count; i++) {
      assert(slots.isUsed(this.#slots[i]), `(R1) slot ${this.#slots[i]} of a retained checkpoint is free`);
    }
  }
}

/** The retained checkpoints of a store that is open. */
export class RetainedCheckpoints {
  /** Checkpoints to keep, the newest included. */
  keep = 1;
  /** Why retained checkpoints were given up when the job was opened; undefined when none was. */
  damage: CorruptionError | undefined;
  /** Newest first. */
  readonly #list: Retained[] = [];
  /** The newest durable record with all its parts, for its copy; undefined where none is made. */
  #newest: Uint8Array | undefined;
  readonly #slots: SlotAllocator;
  readonly #bench: Workbench;

  constructor(slots: SlotAllocator, bench: Workbench) {
    this.#slots = slots;
    this.#bench = bench;
  }

  /**
   * Reads what a record lists and claims the slots of all of it. A retained checkpoint that was durable before and is damaged
   * now is given up, with those before it: the newest one does not depend on them.
   * @throws IncompleteCheckpoint: the barrier of the record did not complete. With `distrust` nothing counts as that.
   */
  static read(
    file: DeviceFile,
    record: CommitRecord,
    image: JobImage,
    bench: Workbench,
    distrust: boolean,
  ): RetainedCheckpoints {
    const retained = new RetainedCheckpoints(image.slots, bench);
    const { retained: list, fields } = record;
    if (list === undefined) return retained;
    retained.start(list.keep, file, fields);
    const uses = new SlotUses(file, image.slots.slotCount);
    uses.add(fields.generation, image);
    let successor = fields.generation;
    for (const entry of list.entries) {
      try {
        if (entry.generation >= successor) throw outOfOrder(file, entry, successor);
        successor = entry.generation;
        const { image: older } = followEntry(file, entry, fields.generation, bench);
        retained.#claim(file, entry, uses.add(entry.generation, older, copyOf(entry)));
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        if (entry.writtenBy === fields.generation && !distrust) throw new IncompleteCheckpoint(error);
        retained.damage = error;
        break;
      }
    }
    return retained;
  }

  /** Generations that can be gone back to, newest first. */
  get generations(): readonly number[] {
    return this.#list.map(({ entry }) => entry.generation);
  }

  /** As the record lists them. */
  get entries(): readonly RetainedEntry[] {
    return this.#list.map(({ entry }) => entry);
  }

  /** Machine states of the retained checkpoints, oldest first; their checksums held when they were read at opening. */
  states(file: DeviceFile, newest: number): Uint8Array[] {
    return this.#list.map(({ entry }) => stateOf(file, readCopy(file, entry, newest, this.#bench))).reverse();
  }

  get slotCount(): number {
    let count = 0;
    for (const { owned } of this.#list) count += owned.count;
    return count;
  }

  /** The record in the bench's room, for its copy when the next one commits; undefined where none will be made. */
  takeRecord(recordBytes: number): Uint8Array | undefined {
    return this.keep === 1 ? undefined : Uint8Array.from(this.#bench.record.subarray(0, recordBytes));
  }

  /** From the next checkpoint on so many are kept; `newest` is the last one, if any. */
  start(keep: number, file: DeviceFile, newest: RecordFields | undefined): void {
    assert(keep >= 1 && keep <= KEEP_MAX, `${keep} checkpoints cannot be kept`);
    this.keep = keep;
    this.#newest = undefined;
    if (keep === 1 || newest === undefined) return;
    this.#newest = new Uint8Array(newest.recordBytes);
    file.readInto(this.#newest, recordAreaOffset(newest.generation));
  }

  /**
   * Writes the copy of the newest record, which the commit being made turns into a retained one; returns what the new record
   * lists.
   */
  write(file: DeviceFile, newest: RecordFields | undefined, generation: number): RetainedList | undefined {
    if (this.keep === 1) return undefined;
    const entries = this.#list.slice(0, this.keep - 2).map(({ entry }) => entry);
    if (newest === undefined || this.#newest === undefined) return { keep: this.keep, entries };
    const { recordBytes, checksum } = newest;
    const bytes = new Uint8Array(Math.ceil(recordBytes / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES);
    bytes.set(this.#newest);
    const slot = this.#slots.takeContiguous(slotCountOf(recordBytes));
    file.write(bytes, slot * SLOT_BYTES);
    const entry = { generation: newest.generation, writtenBy: generation, slot, recordBytes, checksum };
    return { keep: this.keep, entries: [entry, ...entries] };
  }

  /** The barrier has returned: who gets what the commit has replaced. `written` is what `write` returned, `record` the new one. */
  committed(written: RetainedList | undefined, record: Uint8Array | undefined): SlotHeir {
    this.#newest = record;
    const entry = written?.entries[0];
    if (entry === undefined || entry.generation === this.#list[0]?.entry.generation) return this.#slots;
    const owned = new OwnedSlots();
    for (let i = 0; i < slotCountOf(entry.recordBytes); i++) owned.release(entry.slot + i);
    this.#list.unshift({ entry, owned });
    return owned;
  }

  /** Behind the barrier: gives up those that the new record does not list, and releases what they own. */
  dropUnlisted(written: RetainedList | undefined): void {
    const count = written?.entries.length ?? 0;
    for (const { owned } of this.#list.splice(count)) owned.releaseAll(this.#slots);
  }

  assertInvariants(): void {
    for (const { owned } of this.#list) owned.assertUsed(this.#slots);
    assert(this.#list.length < KEEP_MAX, 'more checkpoints are retained than a record can list');
  }

  #claim(file: DeviceFile, entry: RetainedEntry, owned: readonly number[]): void {
    for (const slot of owned) {
      if (!this.#slots.claim(slot)) {
        throw damagedFile(file.path, slot * SLOT_BYTES, 'a slot of a retained checkpoint', 'in the file', String(slot));
      }
    }
    this.#list.push({ entry, owned: new OwnedSlots(owned) });
  }
}

/**
 * Reads a retained checkpoint back from the copy of its record, its pages excepted. `newest` is the generation whose record
 * lists it.
 * @throws CorruptionError.
 */
export function followEntry(
  file: DeviceFile,
  entry: RetainedEntry,
  newest: number,
  bench: Workbench,
): FollowedCheckpoint {
  const record = readCopy(file, entry, newest, bench);
  const image = new JobImage(file, bench);
  const state = image.follow(file, record);
  return { record, image, state };
}

/** The record of a retained checkpoint. */
export function readCopy(file: DeviceFile, entry: RetainedEntry, newest: number, bench: Workbench): CommitRecord {
  const { generation, writtenBy, slot, recordBytes, checksum } = entry;
  const atBytes = slot * SLOT_BYTES;
  const fail = (field: string, expected: string, found: string): CorruptionError =>
    damagedFile(file.path, atBytes, `${field} of the copied record of generation ${generation}`, expected, found);
  if (recordBytes > RECORD_AREA_BYTES) throw fail('length', `<= ${RECORD_AREA_BYTES}`, String(recordBytes));
  if (generation >= writtenBy || writtenBy > newest)
    throw fail('writer', `${generation + 1} to ${newest}`, String(writtenBy));
  const room = bench.record.subarray(0, recordBytes);
  const record = decodeRecord(bench, file.readInto(room, atBytes));
  if (isFault(record)) {
    if (record.kind === 'empty') throw fail('magic', 'that of a record', 'none');
    throw fail(record.field, record.expected, record.found);
  }
  if (record.fields.generation !== generation)
    throw fail('generation', String(generation), String(record.fields.generation));
  if (record.fields.checksum !== checksum) throw fail('checksum', hex(checksum), hex(record.fields.checksum));
  return record;
}

function stateOf(file: DeviceFile, { inlineState, fields }: CommitRecord): Uint8Array {
  if (inlineState !== undefined) return inlineState;
  const state = new Uint8Array(fields.stateBytes);
  file.readInto(state, fields.stateSlot * SLOT_BYTES);
  return state;
}

function outOfOrder(file: DeviceFile, { generation, slot }: RetainedEntry, successor: number): CorruptionError {
  const expected = `below ${successor}`;
  return damagedFile(file.path, slot * SLOT_BYTES, 'the generation retained', expected, String(generation));
}

export function copyOf({ slot, recordBytes, writtenBy }: RetainedEntry): RecordCopy {
  return { slot, slotCount: slotCountOf(recordBytes), writtenBy };
}

function slotCountOf(recordBytes: number): number {
  return Math.ceil(recordBytes / SLOT_BYTES);
}
