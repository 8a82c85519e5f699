import type { DeviceFile } from '../device/device.ts';
import type { CommitRecord } from '../format/commit-record.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { JobImage } from './job-image.ts';
import { checkpointOf } from './recovery.ts';
import { copyOf, followEntry } from './retained.ts';
import { SlotUses } from './slot-uses.ts';

/** A checkpoint that a job keeps. */
export interface KeptCheckpoint extends Checkpoint {
  /** Bytes of the job directory that no other kept checkpoint needs, and that others need as well. */
  readonly ownBytes: number;
  readonly sharedBytes: number;
}

/**
 * The exact use of every slot of a paging file by the newest checkpoint, whose record and image are given, and by all that it
 * retains; these are read back from the copies of their records.
 * @throws CorruptionError: a copy or map page is damaged, or a slot means two things.
 */
export function accountSlots(file: DeviceFile, record: CommitRecord, image: JobImage, bench: Workbench): SlotUses {
  return account(file, record, image, bench, () => {});
}

/** The same, with what is known of each kept checkpoint, newest first. */
export function keptCheckpoints(
  file: DeviceFile,
  record: CommitRecord,
  state: Uint8Array,
  image: JobImage,
  bench: Workbench,
): KeptCheckpoint[] {
  const found: { checkpoint: Checkpoint; namedCount: number }[] = [];
  found.push({ checkpoint: checkpointOf(record.fields, state), namedCount: namedCountOf(image) });
  const uses = account(file, record, image, bench, (older, olderState, olderImage) => {
    found.push({ checkpoint: checkpointOf(older.fields, olderState), namedCount: namedCountOf(olderImage) });
  });
  return found.map(({ checkpoint, namedCount }) => {
    const { own, records } = uses.ownCounts(checkpoint.generation);
    const sharedBytes = (namedCount + records - own) * SLOT_BYTES;
    return { ...checkpoint, ownBytes: own * SLOT_BYTES, sharedBytes };
  });
}

function account(
  file: DeviceFile,
  record: CommitRecord,
  image: JobImage,
  bench: Workbench,
  visit: (record: CommitRecord, state: Uint8Array, image: JobImage) => void,
): SlotUses {
  const uses = new SlotUses(file, image.slots.slotCount);
  uses.add(record.fields.generation, image);
  for (const entry of record.retained?.entries ?? []) {
    const older = followEntry(file, entry, record.fields.generation, bench);
    uses.add(entry.generation, older.image, copyOf(entry));
    visit(older.record, older.state, older.image);
  }
  return uses;
}

function namedCountOf({ map, tree, stateRun }: JobImage): number {
  return map.workingCount + tree.mapSlotCount + tree.deltaPageCount + (stateRun?.slotCount ?? 0);
}
