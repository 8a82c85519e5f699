/**
 * Branching off a checkpoint of a job: a new job directory beside it, that goes on from there in its own way. The target of a copy
 * (`job-copy.ts`) that is a job directory; the original is read only, and may be running.
 *
 * The branch and its original are two programs that would write the same files. So the branch is given nothing by itself, as a
 * restarted program is: each directory and file is named for it. A file that both are certain to write is refused as long as
 * the original has not ended, and so is giving the branch all that its original has under the same paths.
 */
import { ImageImport } from '../checkpoint/image-import.ts';
import { kindOfDirectory, lockJobDirectory, removeUnfinishedJob } from '../checkpoint/job-directory.ts';
import { openStore } from '../checkpoint/policies.ts';
import type { Device } from '../device/device.ts';
import { FileDevice, isSameFile, kindOfPath, pathWithoutLinks } from '../device/file-device.ts';
import { lockOwner, type JobLock } from '../device/job-lock.ts';
import { assert, UsageError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { decodeHostState, encodeHostState } from '../machine/host-state.ts';
import { describeJob } from '../machine/job-description.ts';
import { isWithin, refuseExposedJob } from '../machine/job-isolation.ts';
import { decodeMachineState, encodeMachineState } from '../machine/machine-state.ts';
import { newJobSeal, placeSeal, sealedOrPlain } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { settleState } from '../wasi/file-evidence.ts';
import { withoutHeldOutput } from '../wasi/standard-output.ts';
import type { WasiState } from '../wasi/wasi-state.ts';
import { grantedIdentity, type Grants, wasiConfigOf } from './grants.ts';
import { copyJob, type CopyResult, type CopySettings, type CopyTarget } from './job-copy.ts';
import type { RestartCheckpoint, RestartDescription } from './restart-content.ts';

export interface BranchSettings extends CopySettings {
  /** The job directory to be made: empty, missing, or the remains of an unfinished creation. */
  readonly job: string;
  /** Seals the new directory. */
  readonly secret?: Secret | undefined;
  readonly grants: Grants;
  /** Goes on with files of the program that are not what they were. */
  readonly acceptChanges?: boolean;
  readonly notice?: (text: string) => void;
}

/**
 * Makes a job directory of a checkpoint of a job, the newest unless another is asked for; `Machine.resume` goes on from there.
 * What the program wrote to inherited streams before the checkpoint is its original's to show.
 * @throws UsageError `job-exists`, `job-exposed`, `branch-shares-files`, `restart-needs-grant`, and as `copyJob`.
 */
export async function branchJob(original: Device, settings: BranchSettings): Promise<CopyResult> {
  const { job } = settings;
  if (isWithin(pathWithoutLinks(job), pathWithoutLinks(original.path))) {
    throw new UsageError(
      'bad-argument',
      `--job: ${job} lies in the job directory ${original.path}; name another place`,
      {
        path: job,
      },
    );
  }
  if (kindOfPath(job) === 'directory' && kindOfDirectory(new FileDevice(job).list()) === 'job') {
    throw new UsageError('job-exists', `${job} holds a job already; name another directory with --job`, { path: job });
  }
  const target = new Branch(original, settings);
  try {
    return await copyJob(original, target, settings);
  } finally {
    target.close();
  }
}

class Branch implements CopyTarget {
  readonly #original: Device;
  readonly #settings: BranchSettings;
  readonly #plain: FileDevice;
  #lock: JobLock | undefined;
  #image: ImageImport | undefined;
  #identity: JobIdentity | undefined;
  /** Directories of the program, by their numbers, that the original has too, and may write to. */
  #shared: ReadonlySet<number> = new Set();
  #isJob = false;

  constructor(original: Device, settings: BranchSettings) {
    this.#original = original;
    this.#settings = settings;
    this.#plain = new FileDevice(settings.job);
  }

  begin({ identity, policy }: RestartDescription, program: Uint8Array | undefined): Promise<void> {
    assert(program !== undefined, 'a branch is made of a whole copy');
    const { job, secret, grants } = this.#settings;
    const hasEnded = hasEndedForGood(this.#original);
    if (grants.samePaths === true && !hasEnded) this.#refuseSamePaths(identity);
    const granted = grantedIdentity(identity, grants, this.#original.path, OF_A_BRANCH);
    if (!hasEnded) this.#refuseSharedStreams(identity, granted);
    this.#shared = sharedDirectories(identity, granted);
    const description = describeJob(granted);
    refuseExposedJob(job, description);
    refuseExposedJob(this.#original.path, description);
    this.#lock = lockJobDirectory(job, { create: true });
    const seal = secret === undefined ? undefined : newJobSeal(secret);
    placeSeal(this.#plain, seal);
    this.#image = ImageImport.begin(sealedOrPlain(this.#plain, seal), granted, program, policy);
    this.#identity = granted;
    return Promise.resolve();
  }

  addPages(pages: Uint32Array, contents: Uint8Array): Promise<void> {
    this.#image!.put(pages, contents);
    return Promise.resolve();
  }

  finish(checkpoint: RestartCheckpoint, state: Uint8Array): Promise<void> {
    assert(this.#identity !== undefined && this.#image !== undefined, 'a branch was finished before it was begun');
    const machine = decodeMachineState(state);
    const host = decodeHostState(machine.host);
    if (!hasEndedForGood(this.#original)) this.#refuseSharedFiles(host.wasi, checkpoint);
    const { acceptChanges, notice } = this.#settings;
    const onChange = acceptChanges === true ? (text: string): void => notice?.(text) : undefined;
    // What was set aside in a directory of both is the original's.
    const asides = host.wasi.asides.filter(({ at }) => !this.#shared.has(at.root));
    const before = { ...host.wasi, asides, output: withoutHeldOutput(host.wasi.output) };
    const wasi = settleState(wasiConfigOf(this.#identity), before, checkpoint, onChange);
    const { timeMs, trigger, guestPageCount, dirtyPages } = checkpoint;
    const { generation } = checkpoint.name;
    // A branch of a copy is no copy: it takes no updates of another job.
    const settled = encodeMachineState({ ...machine, host: encodeHostState({ wasi, directed: host.directed }) });
    this.#image.complete({ generation, timeMs, trigger, guestPageCount, dirtyPages }, settled);
    this.#image.publish();
    this.#isJob = true;
    const { preopens } = describeJob(this.#identity);
    for (const number of this.#shared) {
      notice?.(
        `the branch and its original both have ${preopens[number].hostPath}: neither may write what the other uses`,
      );
    }
    return Promise.resolve();
  }

  close(): void {
    this.#image?.close();
    if (this.#lock === undefined) return;
    try {
      if (!this.#isJob && kindOfDirectory(this.#plain.list()) === 'none') removeUnfinishedJob(this.#plain);
    } finally {
      this.#lock.release();
    }
  }

  #refuseSamePaths(identity: JobIdentity): void {
    const { preopens, stdout, stderr } = describeJob(identity);
    const files = [stdout, stderr].flatMap((stream) => (stream.kind === 'file' ? [stream.path] : []));
    const places = [...preopens.map(({ hostPath }) => hostPath), ...files];
    if (places.length === 0) return;
    throw this.#shares(
      `--same-paths: the original of the branch has not ended and may still write in ${places.join(', ')}`,
      'copy what the branch needs and name the copies with --dir, --stdout and --stderr',
      places,
    );
  }

  #refuseSharedStreams(identity: JobIdentity, granted: JobIdentity): void {
    const mine = describeJob(granted);
    const others = describeJob(identity);
    for (const name of ['stdout', 'stderr'] as const) {
      const stream = mine[name];
      if (stream.kind !== 'file') continue;
      for (const other of [others.stdout, others.stderr]) {
        if (other.kind !== 'file' || !isSameFile(stream.path, other.path)) continue;
        throw this.#shares(
          `--${name}: the original of the branch writes ${other.path} too`,
          `copy the file and name the copy with --${name}`,
          [other.path],
        );
      }
    }
  }

  /** Files that the program has open to write at the checkpoint, in a directory of both. */
  #refuseSharedFiles(state: WasiState, { files }: RestartCheckpoint): void {
    const written = new Set<number>();
    for (const descriptor of state.descriptors) {
      if (descriptor.kind === 'file' && descriptor.access !== 'read') written.add(descriptor.file);
    }
    const paths = [...written]
      .filter((file) => this.#shared.has(state.files[file].at.root))
      .map((file) => files[file].path);
    if (paths.length === 0) return;
    throw this.#shares(
      `--dir: the program has ${paths.join(', ')} open to write, as the original of the branch has`,
      'copy the directory as it was at the checkpoint and name the copy with --dir',
      paths,
    );
  }

  #shares(what: string, remedy: string, paths: readonly string[]): UsageError {
    const { path } = this.#original;
    return new UsageError('branch-shares-files', `${what}, so that both would spoil each other's files: ${remedy}`, {
      path,
      files: paths,
    });
  }
}

const OF_A_BRANCH = 'with copies of their own for the branch';

/** Whether the program of a job has come to its end and nobody goes back with it just now. */
function hasEndedForGood(device: Device): boolean {
  if (lockOwner(device.path) !== undefined) return false;
  const { store } = openStore(device, undefined, { readOnly: true });
  try {
    return store.latest !== undefined && decodeMachineState(store.latest.state).phase.finished;
  } finally {
    store.close();
  }
}

function sharedDirectories(original: JobIdentity, granted: JobIdentity): ReadonlySet<number> {
  const others = describeJob(original).preopens.map(({ hostPath }) => pathWithoutLinks(hostPath));
  const shared = new Set<number>();
  for (const [number, { hostPath }] of describeJob(granted).preopens.entries()) {
    const mine = pathWithoutLinks(hostPath);
    if (others.some((other) => isWithin(mine, other) || isWithin(other, mine))) shared.add(number);
  }
  return shared;
}
