/** The checkpoints that a job keeps, and what each of them takes. */
import { CheckpointChain } from '../checkpoint/checkpoint-chain.ts';
import { isCheckpointFile, PAGING_NAME, readJob } from '../checkpoint/job-directory.ts';
import { recoverLive } from '../checkpoint/recovery.ts';
import { keptCheckpoints, type KeptCheckpoint } from '../checkpoint/slot-accounts.ts';
import type { Device } from '../device/device.ts';
import { Workbench } from '../format/workbench.ts';

/** Newest first. @throws CorruptionError. */
export function keptOf(device: Device): KeptCheckpoint[] {
  const bench = Workbench.ofThread();
  const { jobId } = readJob(device, bench);
  if (device.list().some(isCheckpointFile)) return keptInFiles(device, jobId, bench);
  const file = device.openFile(PAGING_NAME, 'read');
  try {
    const { record, state, image } = recoverLive(file, bench);
    return record === undefined ? [] : keptCheckpoints(file, record, state, image, bench);
  } finally {
    file.close();
  }
}

/** A file is a checkpoint's own where no other kept one builds on it. */
function keptInFiles(device: Device, jobId: Uint8Array, bench: Workbench): KeptCheckpoint[] {
  const chains = CheckpointChain.readLive(device, jobId, bench).kept.map((at) =>
    CheckpointChain.readLive(device, jobId, bench, at),
  );
  const needs = new Map<string, number>();
  for (const { names } of chains) for (const name of names) needs.set(name, (needs.get(name) ?? 0) + 1);
  return chains.map(({ latest, names }) => {
    let ownBytes = 0;
    let sharedBytes = 0;
    for (const name of names) {
      const file = device.openFile(name, 'read');
      if (needs.get(name) === 1) ownBytes += file.sizeBytes();
      else sharedBytes += file.sizeBytes();
      file.close();
    }
    return { ...latest!, ownBytes, sharedBytes };
  });
}
