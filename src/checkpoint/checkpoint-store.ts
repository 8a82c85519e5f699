import type { Device, DeviceFile } from '../device/device.ts';
import { type CorruptionError, StorageError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { DirtyTracker } from '../pager/dirty-tracker.ts';
import type { Pager } from '../pager/pager.ts';
import type { CopyRoom } from '../save/pending-pages.ts';
import type { FileSave, SaveResult, SaveSource, SlotSave } from '../save/save-work.ts';
import type { Checkpoint, CheckpointRequest, CheckpointStats, SlotCounts } from './checkpoint.ts';
import type { PageReader } from './copied-pages.ts';
import type { PagingOptions } from './paging-options.ts';

/**
 * How pages are saved. `continuous`: into the paging file, where those that left memory are already (the paper's).
 * `sequential`: all pages into a file of their own at each checkpoint. `incremental`: those written since the last one,
 * known by write protection, into a file of their own. `none`: only at the start and at the end.
 */
export type PolicyName = 'none' | 'sequential' | 'incremental' | 'continuous';

export const POLICY_NAMES: readonly PolicyName[] = ['none', 'sequential', 'incremental', 'continuous'];

/** The seam between the machine and a policy: a job's durable store. The machine does not know which one it runs. */
export interface CheckpointStore {
  readonly identity: JobIdentity;
  /** Why an unfinished checkpoint was left aside when the job was opened; undefined when there was none. */
  readonly rejectedCheckpoint: string | undefined;
  /** The newest committed checkpoint; undefined before the first. */
  readonly latest: Checkpoint | undefined;
  /** How many checkpoints are kept, the newest included; as the job had it when it was opened, 1 for a new one. */
  readonly keep: number;
  /** Machine states of the kept checkpoints before the newest, oldest first. */
  olderStates(): Uint8Array[];
  /** Why kept checkpoints before the newest were given up when the job was opened; undefined when none was. */
  readonly keptDamage: CorruptionError | undefined;
  /** From the next checkpoint on so many are kept; those that are too many go when it is durable. */
  retain(keep: number): void;
  readProgram(): Uint8Array;
  /**
   * Connects the store with the guest's memory, which has its size and holds zeros. With `paging`, the returned pager serves
   * its faults. `tracked`: whether the guest marks the pages that it writes, or what knows them without that.
   */
  attach(memory: GuestMemory, paging: PagingOptions | undefined, tracked: boolean | DirtyTracker): Pager | undefined;
  /** Brings the pages of the newest checkpoint into the guest's memory, or within its reach. */
  loadPages(): void;
  /**
   * Takes a checkpoint of the stopped guest and returns when it is durable.
   * @throws StorageError: nothing was committed, the last checkpoint stands, and so will every later call.
   */
  commit(request: CheckpointRequest): CheckpointStats;
  /** Takes a checkpoint of the stopped guest, to be saved while it runs on; `room` is for copies of pages that it changes meanwhile. */
  begin(request: CheckpointRequest, room: CopyRoom): StartedSave;
  /** Slots of the paging file, where there is one that outlives the run. */
  slotCounts(): SlotCounts | undefined;
  /** The pages of the newest checkpoint, for a copy; the store must have one. */
  pageReader(): PageReader;
  close(): void;
}

/** A checkpoint that was taken and is not yet saved. Exactly one of `finish` and `fail` ends it. */
export type StartedSave = {
  readonly source: SaveSource;
  /** All is saved: the checkpoint is durable. */
  finish(result: SaveResult): CheckpointStats;
  /** It will never be. The last checkpoint stands. */
  fail(error: unknown): void;
} & ({ readonly work: SlotSave; readonly target: DeviceFile } | { readonly work: FileSave; readonly target: Device });

/** After a failure nothing is known of what the system keeps: every later checkpoint is refused. */
export function afterFailure(path: string, cause: unknown): StorageError {
  return new StorageError(
    `no checkpoint can be taken after a failed write to ${path}; run the job again from its last one`,
    { path },
    cause,
  );
}
