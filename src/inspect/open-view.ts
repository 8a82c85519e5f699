/** Opens what people name to be looked at, while the job runs as well. */
import { isCheckpointFile, kindOfDirectory, PAGING_NAME } from '../checkpoint/job-directory.ts';
import { recordStamps } from '../checkpoint/recovery.ts';
import type { Device } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { type ContinuoError, CorruptionError, StorageError, UsageError } from '../error/errors.ts';
import { sealedOrPlain, sealOfJob } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';
import type { CheckpointView } from './checkpoint-view.ts';
import { openFilesView } from './files-view.ts';
import { openPagingView } from './paging-view.ts';

/** What a job is opened to be looked at with: its newest checkpoint. @throws as `withCheckpoint`. */
export function openView(origin: string, secret?: Secret): CheckpointView {
  return openViewOf(jobDevice(origin, secret), origin);
}

/** The same of a device; `origin` is what it is called, `at` a kept checkpoint that is meant instead of the newest. */
export function openViewOf(device: Device, origin: string, at?: number): CheckpointView {
  return device.list().some(isCheckpointFile) ? openFilesView(device, origin, at) : openPagingView(device, origin, at);
}

/**
 * The device of a path that must be a directory, its seal opened.
 * @throws UsageError `job-not-found`, `job-not-a-job`, `wrong-key`.
 */
export function jobDevice(path: string, secret?: Secret): Device {
  const device = new FileDevice(path);
  const kind = kindOfPath(device.path);
  if (kind === 'absent') {
    throw new UsageError('job-not-found', `there is no job directory ${device.path}`, { path: device.path });
  }
  if (kind === 'other') {
    throw new UsageError('job-not-a-job', `${device.path} is not a directory`, { path: device.path });
  }
  return kindOfDirectory(device.list()) === 'job' ? sealedOrPlain(device, sealOfJob(device, secret)) : device;
}

/** A running job commits beside us: what is read may be gone before the next read, so a few more are worth it. */
const READS_MAX = 20;

/**
 * Looks at the newest checkpoint of a job. Where the job was checkpointed meanwhile and what is read is no longer there, it is
 * looked at once more: `use` must bear that.
 * @throws UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`, `no-checkpoint`, `job-busy`; CorruptionError;
 * StorageError.
 */
export function withCheckpoint<T>(origin: string, use: (view: CheckpointView) => T, secret?: Secret, at?: number): T {
  const device = jobDevice(origin, secret);
  return unlessOvertaken(device, () => {
    const view = openViewOf(device, origin, at);
    try {
      return use(view);
    } finally {
      view.close();
    }
  });
}

/** Does `look` again when it failed and the job was checkpointed meanwhile, a few times. @throws UsageError `job-busy`. */
export function unlessOvertaken<T>(device: Device, look: () => T): T {
  for (let readCount = 1; ; readCount++) {
    const before = stampOf(device);
    try {
      return look();
    } catch (error) {
      const mayBeOvertaken = error instanceof CorruptionError || error instanceof StorageError;
      if (!mayBeOvertaken || stampOf(device) === before) throw error;
      if (readCount === READS_MAX) throw overtaken(device.path, error);
    }
  }
}

/** The error of whoever cannot look again. */
export function overtaken(path: string, cause?: ContinuoError): UsageError {
  return new UsageError(
    'job-busy',
    `the job in ${path} takes checkpoints faster than they can be read; stop it, or look at it between two that are further apart`,
    { path },
    cause,
  );
}

/** Differs when a checkpoint was committed meanwhile, or a file of one removed. */
function stampOf(device: Device): string {
  const names = device.list();
  const files = names.filter(isCheckpointFile);
  if (files.length > 0 || !names.includes(PAGING_NAME)) return files.join();
  const file = device.openFile(PAGING_NAME, 'read');
  try {
    return recordStamps(file);
  } finally {
    file.close();
  }
}
