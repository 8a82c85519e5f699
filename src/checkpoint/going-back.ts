/**
 * Going back to a checkpoint that a job has kept.
 *
 * Going back is a commit: of a new checkpoint that holds what the old one held. Its record names the pages and the map of the old
 * one where they are, and retains those before it; so nothing is copied, and by the store's own proof a failure at any moment
 * leaves the newest checkpoint as it was, with all that it retains, or the new one. The checkpoints between are given up with
 * that, at once and not with the run's next checkpoint: a restart takes back what the program did to files after the
 * checkpoint that it goes on from (`wasi/rollback.ts`), and when it has, those between would find files that they do not know.
 * By giving them up durably before the first file is touched, a restart after any failure goes on with the same rollback.
 *
 * Everything that the old checkpoint names is read and checked before anything is written.
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { UsageError, assert } from '../error/errors.ts';
import { encodeRecord } from '../format/commit-record.ts';
import { encodeCheckpointHeader } from '../format/checkpoint-file-format.ts';
import { INLINE_STATE_BYTES_MAX, RECORD_UNIT_BYTES, recordAreaOffset, SLOT_BYTES } from '../format/paging-format.ts';
import { Workbench } from '../format/workbench.ts';
import { BACK_TRIGGER, CheckpointChain, removeBetween } from './checkpoint-chain.ts';
import { checkPagingHeader, checkpointFileName, isCheckpointFile, PAGING_NAME, readJob } from './job-directory.ts';
import { noteGivenUp } from './given-up.ts';
import { JobImage } from './job-image.ts';
import { eraseRecord, recover } from './recovery.ts';
import { readCopy } from './retained.ts';

/** What the state says once later checkpoints have been taken: the machine state is not this module's to read. */
export type StateRevision = (state: Uint8Array) => Uint8Array;

/**
 * Makes the newest checkpoint of a job one that holds what `generation` held, durably, and gives up those between. Nothing
 * is done where it is the newest. The caller holds the job's lock.
 * @throws UsageError `generation-not-kept`; CorruptionError; StorageError: nothing was changed.
 */
export function goBack(device: Device, generation: number, revise: StateRevision): void {
  if (device.list().some(isCheckpointFile)) goBackInFiles(device, generation, revise);
  else goBackInSlots(device, generation, revise);
}

export function notKept(path: string, generation: number, kept: readonly number[]): UsageError {
  const list = kept.length === 0 ? 'it has no checkpoint yet' : `it has ${kept.join(', ')}`;
  return new UsageError(
    'generation-not-kept',
    `${path} does not keep checkpoint ${generation}: ${list}; "continuo inspect" lists them, --keep decides how many there are`,
    { path, generation },
  );
}

function goBackInSlots(device: Device, generation: number, revise: StateRevision): void {
  const bench = Workbench.ofThread();
  const job = readJob(device, bench);
  const file = device.openFile(PAGING_NAME, 'write');
  try {
    checkPagingHeader(file, job, bench);
    const { image, record, rejected } = recover(file, bench);
    if (record?.fields.generation === generation) return;
    const entries = record?.retained?.entries ?? [];
    const entry = entries.find((retained) => retained.generation === generation);
    if (record === undefined || entry === undefined) {
      const newest = record === undefined ? [] : [record.fields.generation];
      throw notKept(device.path, generation, [...newest, ...entries.map((retained) => retained.generation)]);
    }
    const newest = record.fields;
    const old = readCopy(file, entry, newest.generation, bench);
    const state = revise(new JobImage(file, bench).load(file, old, true));
    if (rejected !== undefined) eraseRecord(file, rejected.areaOffsetBytes);
    file.sync();
    image.slots.growFile = (slotCount) => file.truncate(slotCount * SLOT_BYTES);
    const inline = state.length <= INLINE_STATE_BYTES_MAX;
    noteGivenUp(device, newest.generation);
    const stateSlot = inline ? 0 : image.slots.takeContiguous(Math.ceil(state.length / SLOT_BYTES));
    if (!inline) file.write(state, stateSlot * SLOT_BYTES);
    const written = encodeRecord(
      {
        ...old,
        fields: {
          ...old.fields,
          generation: newest.generation + 1,
          timeMs: Date.now(),
          previousGeneration: newest.generation,
          previousChecksum: newest.checksum,
          trigger: BACK_TRIGGER,
          dirtyPages: 0,
          pagesWritten: 0,
          stateBytes: state.length,
          stateSlot,
          stateChecksum: bench.checksumOf(state),
        },
        inlineState: inline ? state : undefined,
        retained: { keep: record.retained!.keep, entries: entries.filter((kept) => kept.generation < generation) },
      },
      bench,
    );
    commitRecord(file, bench, written.generation, written.recordBytes);
  } finally {
    file.close();
  }
}

function commitRecord(file: DeviceFile, bench: Workbench, generation: number, recordBytes: number): void {
  const roundedBytes = Math.ceil(recordBytes / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES;
  bench.record.fill(0, recordBytes, roundedBytes);
  const area = recordAreaOffset(generation);
  try {
    file.write(bench.record.subarray(0, roundedBytes), area);
    file.sync();
  } catch (error) {
    try {
      eraseRecord(file, area);
    } catch {
      // The error that made us withdraw is the one to report; recovery judges the record as after a power failure.
    }
    throw error;
  }
}

/**
 * The new checkpoint is a file that says that nothing changed since the old one. The files between go before this returns,
 * durably: when that is interrupted, opening the job goes on with it (`CheckpointFiles`).
 */
function goBackInFiles(device: Device, generation: number, revise: StateRevision): void {
  const bench = Workbench.ofThread();
  const { jobId } = readJob(device, bench);
  const newest = new CheckpointChain(device, jobId, bench);
  const { latest, fields } = newest;
  if (latest?.generation === generation) return;
  if (latest === undefined || fields === undefined || !newest.kept.includes(generation))
    throw notKept(device.path, generation, newest.kept);
  const old = new CheckpointChain(device, jobId, bench, generation);
  const oldFields = old.fields;
  assert(oldFields !== undefined && old.latest !== undefined, 'a file that was read has a header');
  // To check them: what comes of it is not kept.
  old.readPages(oldFields.guestPageCount, old.runPagesMax, (_, count) => bench.staging.subarray(0, count * SLOT_BYTES));
  const state = revise(old.latest.state);
  if (newest.rejected !== undefined) device.remove(newest.rejected.name);
  noteGivenUp(device, latest.generation);
  const next = latest.generation + 1;
  const header = encodeCheckpointHeader(
    {
      ...oldFields,
      generation: next,
      trigger: BACK_TRIGGER,
      timeMs: Date.now(),
      baseGeneration: generation,
      dirtyPages: 0,
      pagesWritten: 0,
      entryCount: 0,
      stateBytes: state.length,
      listChecksum: bench.checksumOf(new Uint8Array(0)),
      stateChecksum: bench.checksumOf(state),
      keep: fields.keep,
      oldestKept: newest.kept.at(-1)!,
    },
    bench,
  );
  const file = device.openFile(checkpointFileName(next), 'create');
  try {
    file.write(header, 0);
    file.write(state, header.length);
    file.sync();
  } finally {
    file.close();
  }
  device.syncDirectory();
  removeBetween(device, generation, next);
}
