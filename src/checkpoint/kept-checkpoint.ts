/** Finding one of the checkpoints that a job keeps, to read it while the job may be running. */
import type { Device, DeviceFile } from '../device/device.ts';
import type { CommitRecord } from '../format/commit-record.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { Workbench } from '../format/workbench.ts';
import type { Checkpoint } from './checkpoint.ts';
import { CheckpointChain } from './checkpoint-chain.ts';
import type { PolicyName } from './checkpoint-store.ts';
import { type PageReader, SlotPages } from './copied-pages.ts';
import { notKept } from './going-back.ts';
import { checkPagingHeader, isCheckpointFile, PAGING_NAME, readJob, readProgram } from './job-directory.ts';
import type { JobImage } from './job-image.ts';
import { checkpointOf, recoverLive } from './recovery.ts';
import { followEntry } from './retained.ts';

/** A checkpoint that is open to be read. */
export interface OpenCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly identity: JobIdentity;
  readonly policy: PolicyName;
  pageReader(): PageReader;
  /** The original program, its digest checked. */
  readProgram(): Uint8Array;
  close(): void;
}

/**
 * Opens a kept checkpoint by its number.
 * @throws UsageError `generation-not-kept`, and as `readJob`; CorruptionError; StorageError.
 */
export function openKept(device: Device, at: number): OpenCheckpoint {
  const bench = Workbench.ofThread();
  const job = readJob(device, bench);
  const common = { identity: job.identity, readProgram: () => readProgram(device, job) };
  if (device.list().some(isCheckpointFile)) {
    const chain = chainAt(device, job.jobId, bench, at);
    if (chain.latest === undefined) throw notKept(device.path, at, []);
    const policy = policyOfChain(chain);
    return { ...common, checkpoint: chain.latest, policy, pageReader: () => chain.openPages(), close: () => {} };
  }
  const file = device.openFile(PAGING_NAME, 'read');
  try {
    checkPagingHeader(file, job, bench);
    const found = recoverAt(file, device.path, bench, at);
    if (found === undefined) throw notKept(device.path, at, []);
    return {
      ...common,
      checkpoint: checkpointOf(found.record.fields, found.state),
      policy: 'continuous',
      pageReader: () => new SlotPages(file, found.image.map, bench),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

export function policyOfChain({ latestPolicy }: CheckpointChain): PolicyName {
  return latestPolicy === 'sequential' ? 'sequential' : 'incremental';
}

/** The chain of the newest checkpoint, or of a kept one. @throws UsageError `generation-not-kept`; CorruptionError. */
export function chainAt(device: Device, jobId: Uint8Array, bench: Workbench, at: number | undefined): CheckpointChain {
  const newest = CheckpointChain.readLive(device, jobId, bench);
  if (newest.latest === undefined || at === undefined || at === newest.latest.generation) return newest;
  if (!newest.kept.includes(at)) throw notKept(device.path, at, newest.kept);
  return CheckpointChain.readLive(device, jobId, bench, at);
}

/** The newest checkpoint in a paging file, or a kept one; undefined: there is none. @throws as `chainAt`. */
export function recoverAt(
  file: DeviceFile,
  path: string,
  bench: Workbench,
  at: number | undefined,
): { readonly record: CommitRecord; readonly image: JobImage; readonly state: Uint8Array } | undefined {
  const { record, image, state } = recoverLive(file, bench);
  if (record === undefined) return undefined;
  const { generation: newest } = record.fields;
  if (at === undefined || at === newest) return { record, image, state };
  const entries = record.retained?.entries ?? [];
  const entry = entries.find(({ generation }) => generation === at);
  if (entry === undefined) throw notKept(path, at, [newest, ...entries.map(({ generation }) => generation)]);
  return followEntry(file, entry, newest, bench);
}
