/** A job that is copied, to a restart file or another job directory: nothing is written to it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Device } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { askForCheckpoint, lockOwner } from '../device/job-lock.ts';
import { UsageError } from '../error/errors.ts';
import { openedWhereSealed } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';

/** How long a running job may take for the checkpoint that it was asked for. */
const CHECKPOINT_MS_MAX = 10_000;
const LOOK_MS = 25;

/**
 * The device of a job, opened where it is sealed: the secret may be for what is made of it only.
 * @throws UsageError `job-not-found`, `job-not-a-job`, `wrong-key`.
 */
export function openCopied(job: string, secret: Secret | undefined): Device {
  const kind = kindOfPath(job);
  if (kind === 'absent') throw new UsageError('job-not-found', `there is no job directory ${job}`, { path: job });
  if (kind === 'other') throw new UsageError('job-not-a-job', `${job} is not a directory`, { path: job });
  return openedWhereSealed(new FileDevice(job), secret);
}

/** Asks a running job for a checkpoint and waits until it is there, or for so long that none will come. */
export async function awaitCheckpoint(device: Device, notice: (text: string) => void): Promise<void> {
  const owner = lockOwner(device.path);
  if (owner === undefined) return;
  const { newestGeneration } = await import('../restart/newest-generation.ts');
  const before = newestGeneration(device);
  if (!askForCheckpoint(owner)) {
    notice(
      `process ${owner.pid} on ${owner.host}, which runs the job, cannot be asked for a checkpoint: its newest one is taken`,
    );
    return;
  }
  const deadlineMs = performance.now() + CHECKPOINT_MS_MAX;
  while (performance.now() < deadlineMs) {
    await delay(LOOK_MS);
    if (newestGeneration(device) > before || lockOwner(device.path) === undefined) return;
  }
  notice(`the running job took no checkpoint within ${CHECKPOINT_MS_MAX / 1000} s: its newest one is taken`);
}
