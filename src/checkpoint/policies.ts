/** Which store a job has: by the policy asked for, or by what its directory holds. */
import type { Device } from '../device/device.ts';
import { UsageError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { CheckpointFiles } from './checkpoint-files.ts';
import type { CheckpointStore, PolicyName } from './checkpoint-store.ts';
import { isCheckpointFile } from './job-directory.ts';
import { Store } from './store.ts';

/** Makes a job in a directory that holds none. */
export function createStore(
  device: Device,
  identity: JobIdentity,
  program: Uint8Array,
  policy: PolicyName,
): CheckpointStore {
  if (!savesToFiles(policy)) return Store.create(device, identity, program);
  return CheckpointFiles.create(device, identity, program, { incremental: policy === 'incremental' });
}

export interface OpenedStore {
  readonly store: CheckpointStore;
  readonly policy: PolicyName;
}

/**
 * Opens a job with the policy asked for, or else the one it had.
 * @throws UsageError `job-other-policy`: its checkpoints are kept in another way; and what `Store.open` throws.
 */
export function openStore(
  device: Device,
  wanted: PolicyName | undefined,
  options: { readonly readOnly?: boolean } = {},
): OpenedStore {
  const hasFiles = device.list().some(isCheckpointFile);
  const policy = wanted ?? (hasFiles ? policyOfFiles(device) : 'continuous');
  if (savesToFiles(policy) && !hasFiles) refuseRecords(device, policy);
  if (!savesToFiles(policy) && hasFiles) throw otherPolicy(device.path, 'files of their own', policy);
  if (!savesToFiles(policy)) return { store: Store.open(device, options), policy };
  return { store: new CheckpointFiles(device, { incremental: policy === 'incremental', ...options }), policy };
}

/** Whether the policy writes each checkpoint to a file of its own. */
function savesToFiles(policy: PolicyName): boolean {
  return policy === 'sequential' || policy === 'incremental';
}

/** What the newest file says of itself, without a look at whether it is complete. */
function policyOfFiles(device: Device): PolicyName {
  const store = new CheckpointFiles(device, { incremental: true, readOnly: true });
  return store.latestPolicy;
}

function refuseRecords(device: Device, policy: PolicyName): void {
  const store = Store.open(device, { readOnly: true });
  const { latest } = store;
  store.close();
  if (latest !== undefined) throw otherPolicy(device.path, 'the paging file', policy);
}

function otherPolicy(path: string, place: string, policy: PolicyName): UsageError {
  return new UsageError(
    'job-other-policy',
    `${path} keeps its checkpoints in ${place}, which the policy "${policy}" does not; go on without --policy, or start anew with --fresh`,
    { path, policy },
  );
}
