import { kindOfDirectory, lockJobDirectory } from '../checkpoint/job-directory.ts';
import { FileDevice } from '../device/file-device.ts';
import type { JobLock } from '../device/job-lock.ts';
import { UsageError } from '../error/errors.ts';
import { type JobSeal, newJobSeal, sealOfJob } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';

/** A job directory that belongs to this process now, and what its files are sealed with. */
export interface TakenJob {
  readonly lock: JobLock | undefined;
  readonly seal: JobSeal | undefined;
}

interface TakeOptions {
  readonly create?: boolean;
  readonly fresh?: boolean;
  /** The signal that asks this process for a checkpoint, where others may send it. */
  readonly checkpointSignal?: 'SIGUSR1' | undefined;
}

/**
 * Takes the lock of a job and opens its seal, or makes one for a job that is to be made.
 * @throws UsageError `wrong-key`, and as `lockJobDirectory`.
 */
export function takeJob(
  directory: string | undefined,
  secret: Secret | undefined,
  { create = false, fresh = false, checkpointSignal }: TakeOptions = {},
): TakenJob {
  if (directory === undefined) {
    if (secret === undefined) return { lock: undefined, seal: undefined };
    throw new UsageError('bad-argument', 'a key seals the files of a job: name its directory with --job');
  }
  const lock = lockJobDirectory(directory, { create, checkpointSignal });
  try {
    return { lock, seal: sealFor(new FileDevice(directory), secret, fresh) };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function sealFor(device: FileDevice, secret: Secret | undefined, fresh: boolean): JobSeal | undefined {
  if (kindOfDirectory(device.list()) !== 'job') return secret === undefined ? undefined : newJobSeal(secret);
  if (!fresh) return sealOfJob(device, secret);
  try {
    // The same secret opens the old job, whose leavings can then be found.
    return sealOfJob(device, secret);
  } catch (error) {
    if (!(error instanceof UsageError) || error.code !== 'wrong-key') throw error;
    return secret === undefined ? undefined : newJobSeal(secret);
  }
}
