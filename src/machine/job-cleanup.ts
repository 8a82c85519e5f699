/**
 * Removes from a job directory what no checkpoint that is kept needs.
 *
 * Left-overs come from processes that were killed: the remains of a creation, checkpoint files whose removal or save was
 * interrupted, journals and held output of generations that have passed, and the free end of a paging file that was larger once.
 *
 * Safe against a crash at any moment, by one order: first the checkpoint that is kept is made durable, by a sync of the paging
 * file or of each file of the chain and of the directory, which a killed process may have left to the system's cache; only then
 * goes what it does not need, in any order, since each removal stands for itself; then a sync makes the removals durable. A
 * removal that is lost leaves a left-over for the next time.
 */
import { CheckpointChain } from '../checkpoint/checkpoint-chain.ts';
import {
  checkPagingHeader,
  isCheckpointFile,
  JOB_NAME,
  kindOfDirectory,
  NEW_JOB_NAME,
  PAGING_NAME,
  readJob,
} from '../checkpoint/job-directory.ts';
import { eraseRecord, recover } from '../checkpoint/recovery.ts';
import type { Device } from '../device/device.ts';
import { isLockName } from '../device/job-lock.ts';
import type { JobFile } from '../format/job-format.ts';
import { FIRST_FREE_SLOT, SLOT_BYTES } from '../format/paging-format.ts';
import { Workbench } from '../format/workbench.ts';
import { heldFileName, isHeldName } from '../wasi/held-output.ts';
import { isJournalName, surveyJournal } from '../wasi/undo-journal.ts';
import type { WasiState } from '../wasi/wasi-state.ts';
import { decodeHostState } from './host-state.ts';
import { journalGenerationOf } from './kept-host-states.ts';
import { decodeMachineState } from './machine-state.ts';

export interface Removal {
  readonly name: string;
  /** Bytes of the file's size that it frees. */
  readonly bytes: number;
  /** Why nothing needs it, in a few words. */
  readonly reason: string;
}

export interface Cleanup {
  /** Of the checkpoint that is kept; 0: there is none. */
  readonly generation: number;
  readonly removals: readonly Removal[];
}

/**
 * What can go, and with `dryRun` false its removal. The caller has the job's lock.
 * @throws UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`; CorruptionError for a job that is damaged: nothing was
 * touched then; StorageError.
 */
export function cleanJob(device: Device, dryRun: boolean): Cleanup {
  const names = device.list().filter((name) => !isLockName(name));
  if (kindOfDirectory(names) === 'none' && names.length > 0) return removeCreation(device, names, dryRun);
  const bench = Workbench.ofThread();
  const job = readJob(device, bench);
  const kept = names.some(isCheckpointFile) ? chainOf(device, job, bench) : pagingOf(device, job, bench);
  const removals: Removal[] = [];
  const remove = (name: string, reason: string): void => {
    removals.push({ name, bytes: sizeOf(device, name), reason });
  };
  for (const name of names) {
    const reason = kept.reasonOf(name) ?? reasonOfRunFile(device, name, kept);
    if (reason !== undefined) remove(name, reason);
  }
  const pagingBytes = sizeOf(device, PAGING_NAME);
  const freeBytes = Math.max(0, pagingBytes - kept.pagingBytes);
  if (!dryRun) {
    kept.makeDurable();
    for (const { name } of removals) device.remove(name);
    if (removals.length > 0) device.syncDirectory();
    if (freeBytes > 0) truncate(device, kept.pagingBytes);
  }
  const trimmed = { name: PAGING_NAME, bytes: freeBytes, reason: 'free slots at its end' };
  return { generation: kept.generation, removals: freeBytes > 0 ? [...removals, trimmed] : removals };
}

/** The checkpoint that is kept, and what it needs of the store's files. */
interface Kept {
  readonly generation: number;
  /** State of the host functions; undefined without a checkpoint. */
  readonly wasi: WasiState | undefined;
  /** Generation of the first undo journal that a kept checkpoint needs. */
  readonly oldestJournal: number;
  /** How long the paging file must be. */
  readonly pagingBytes: number;
  /** Why a file of the store is not needed; undefined where it is, or is none of the store's. */
  reasonOf(name: string): string | undefined;
  /** The checkpoint is durable behind this, and one that was rejected can never be completed. */
  makeDurable(): void;
}

function pagingOf(device: Device, job: JobFile, bench: Workbench): Kept {
  const file = device.openFile(PAGING_NAME, 'read');
  try {
    checkPagingHeader(file, job, bench);
    const { image, record, state, retained, rejected } = recover(file, bench);
    if (retained.damage !== undefined) throw retained.damage;
    const [oldest = state] = retained.states(file, record?.fields.generation ?? 0);
    return {
      generation: record?.fields.generation ?? 0,
      wasi: record === undefined ? undefined : wasiOf(state),
      oldestJournal: record === undefined ? 0 : journalGenerationOf(oldest),
      pagingBytes: image.slots.usedEnd * SLOT_BYTES,
      reasonOf: (name) => (name === NEW_JOB_NAME ? 'of an interrupted creation' : undefined),
      makeDurable: () => {
        const writable = device.openFile(PAGING_NAME, 'write');
        try {
          if (rejected !== undefined) eraseRecord(writable, rejected.areaOffsetBytes);
          writable.sync();
        } finally {
          writable.close();
        }
      },
    };
  } finally {
    file.close();
  }
}

function chainOf(device: Device, job: JobFile, bench: Workbench): Kept {
  const chain = new CheckpointChain(device, job.jobId, bench);
  const chains = chain.kept.map((at) => new CheckpointChain(device, job.jobId, bench, at));
  const needed = new Set([chain, ...chains].flatMap(({ names }) => names));
  const oldest = chains.at(-1)?.latest?.state;
  return {
    generation: chain.latest?.generation ?? 0,
    wasi: chain.latest === undefined ? undefined : wasiOf(chain.latest.state),
    oldestJournal: oldest === undefined ? 0 : journalGenerationOf(oldest),
    // Pages of such a job that leave memory go to a temporary file.
    pagingBytes: FIRST_FREE_SLOT * SLOT_BYTES,
    reasonOf: (name) => {
      if (name === NEW_JOB_NAME) return 'of an interrupted creation';
      if (name === chain.rejected?.name) return 'of a save that was interrupted';
      return isCheckpointFile(name) && !needed.has(name) ? 'older than the checkpoints that are kept' : undefined;
    },
    makeDurable: () => {
      for (const name of needed) {
        const file = device.openFile(name, 'write');
        try {
          file.sync();
        } finally {
          file.close();
        }
      }
      device.syncDirectory();
    },
  };
}

function wasiOf(state: Uint8Array): WasiState {
  return decodeHostState(decodeMachineState(state).host).wasi;
}

function reasonOfRunFile(device: Device, name: string, { wasi, oldestJournal }: Kept): string | undefined {
  if (isHeldName(name)) {
    const isHeld = wasi?.output.held.some(({ generation }) => heldFileName(generation) === name) ?? false;
    return isHeld ? undefined : 'output that has left';
  }
  if (!isJournalName(name)) return undefined;
  const file = device.openFile(name, 'read');
  try {
    const survey = surveyJournal(file);
    if (survey === undefined) return 'an undo journal that was not begun';
    if (wasi === undefined || survey.generation < oldestJournal) return 'of a generation that has passed';
    return survey.records.length === 0 ? 'nothing in it is still to be undone' : undefined;
  } finally {
    file.close();
  }
}

/** All names are ours, and no `job` vouches for them: a creation was interrupted, or a job was given up. */
function removeCreation(device: Device, names: readonly string[], dryRun: boolean): Cleanup {
  const removals = names.map((name) => ({ name, bytes: sizeOf(device, name), reason: 'of an interrupted creation' }));
  if (!dryRun) {
    // That the directory is no job is durable before its parts go.
    device.remove(JOB_NAME);
    device.syncDirectory();
    for (const name of names) device.remove(name);
    device.syncDirectory();
  }
  return { generation: 0, removals };
}

function truncate(device: Device, sizeBytes: number): void {
  const file = device.openFile(PAGING_NAME, 'write');
  try {
    file.truncate(sizeBytes);
    file.sync();
  } finally {
    file.close();
  }
}

function sizeOf(device: Device, name: string): number {
  const file = device.openFile(name, 'read');
  try {
    return file.sizeBytes();
  } finally {
    file.close();
  }
}
