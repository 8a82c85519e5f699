import type { CheckpointStore, PolicyName } from '../checkpoint/checkpoint-store.ts';
import { readJob } from '../checkpoint/job-directory.ts';
import { createStore, openStore } from '../checkpoint/policies.ts';
import { Store } from '../checkpoint/store.ts';
import type { Device } from '../device/device.ts';
import { FileDevice } from '../device/file-device.ts';
import { ContinuoError, UsageError } from '../error/errors.ts';
import { programDigest } from '../format/job-format.ts';
import { Workbench } from '../format/workbench.ts';
import { goBack } from '../checkpoint/going-back.ts';
import { placeSeal, sealedOrPlain } from '../seal/job-seal.ts';
import { removeAsidesOfAbandonedJob } from '../wasi/abandoned-job.ts';
import { decodeHostState } from './host-state.ts';
import { withoutHeldOutputIn } from './kept-host-states.ts';
import { describeJob, identityOf, refuseForeignJob } from './job-description.ts';
import { refuseExposedJob } from './job-isolation.ts';
import { decodeMachineState } from './machine-state.ts';
import type { GuestThreadData, JobDescription } from './protocol.ts';

/** A job that is ready to be run or gone on with. */
export interface GuestJob {
  readonly store: CheckpointStore;
  readonly policy: PolicyName;
  readonly description: JobDescription;
  readonly programBytes: Uint8Array;
}

export interface GuestJobSeams {
  readonly notice: (text: string) => void;
  /** Throws when the program cannot run with the policy; called before a job is made. */
  readonly check: (program: Uint8Array, policy: PolicyName, description: JobDescription) => void;
}

/** Opens the job that the directory holds, or makes one there. */
export function openGuestJob(data: GuestThreadData, jobDirectory: string, { notice, check }: GuestJobSeams): GuestJob {
  const { programBytes, fresh, description: wanted } = data;
  const plain = new FileDevice(jobDirectory);
  const device = sealedOrPlain(plain, data.seal);
  const exists = Store.exists(device);
  if (exists && !fresh) {
    if (wanted !== undefined && programBytes !== undefined) {
      // Opening the store for writing may clear away an unfinished checkpoint: not in a job of somebody else's.
      const { identity } = readJob(device, Workbench.ofThread());
      refuseForeignJob(jobDirectory, identity, identityOf(wanted, programDigest(programBytes)));
    }
    if (data.at !== undefined) goBack(device, data.at, withoutHeldOutputIn);
    const { store, policy } = openStore(device, data.policy);
    if (data.keep !== undefined && data.keep !== store.keep) store.retain(data.keep);
    if (store.keptDamage !== undefined) {
      notice(`checkpoints before the newest are given up, because they are damaged: ${store.keptDamage.message}`);
    }
    if (store.rejectedCheckpoint !== undefined) {
      const goesOn =
        store.latest === undefined
          ? 'there is none before it: the program begins anew'
          : 'going on from the one before';
      notice(`an unfinished checkpoint was left aside (${store.rejectedCheckpoint}); ${goesOn}`);
    }
    const description = describeJob(store.identity, wanted);
    // Directories may have been moved or linked anew since the job was made.
    refuseExposedJob(jobDirectory, description);
    return { store, policy, description, programBytes: store.readProgram() };
  }
  if (wanted === undefined || programBytes === undefined) {
    throw new UsageError('job-not-found', `there is no job in ${jobDirectory}`, { path: jobDirectory });
  }
  const policy = data.policy ?? 'continuous';
  check(programBytes, policy, wanted);
  if (exists) {
    removeAsides(device, wanted, notice);
    Store.discard(device);
  }
  placeSeal(plain, data.seal);
  const store = createStore(device, identityOf(wanted, programDigest(programBytes)), programBytes, policy);
  if (data.keep !== undefined) store.retain(data.keep);
  return { store, policy, description: wanted, programBytes };
}

/** A job that is given up leaves nothing of its own among the guest's files, as far as it can still be read. */
function removeAsides(device: Device, wanted: JobDescription, notice: (text: string) => void): void {
  try {
    const { store: old } = openStore(device, undefined, { readOnly: true });
    try {
      if (old.latest === undefined) return;
      const config = describeJob(old.identity, wanted);
      const state = decodeHostState(decodeMachineState(old.latest.state).host).wasi;
      removeAsidesOfAbandonedJob(
        { ...config, stdout: { kind: 'inherit' }, stderr: { kind: 'inherit' } },
        state,
        device,
      );
    } finally {
      old.close();
    }
  } catch (error) {
    if (!(error instanceof ContinuoError)) throw error;
    notice(`files that the old job had set aside may be left in its directories: ${error.message}`);
  }
}
