/**
 * Making a job directory of a restart file. Nothing of the file is believed: lengths and numbers are held against their
 * bounds, chunks against their checksums and, where the file is sealed, their seals; and nothing that it names on this machine is
 * touched that the caller has not granted. The directory becomes a job when all of that held to the last byte.
 */
import { basename } from 'node:path';
import { ImageImport } from '../checkpoint/image-import.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { kindOfDirectory, lockJobDirectory, removeUnfinishedJob } from '../checkpoint/job-directory.ts';
import type { Device } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { type JobIdentity, programDigest } from '../format/job-format.ts';
import { ChunkKind } from '../format/restart-format.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import { describeJob } from '../machine/job-description.ts';
import { refuseExposedJob } from '../machine/job-isolation.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { HeldOutputImport } from '../wasi/held-output.ts';
import { newJobSeal, placeSeal, sealedOrPlain } from '../seal/job-seal.ts';
import { writeReleasedBytes } from '../wasi/standard-output.ts';
import { ChunkReader, type RestartInput } from './chunk-reader.ts';
import { FileContents } from './file-contents.ts';
import { type Grants, grantedIdentity } from './grants.ts';
import { parseDescription, type RestartDescription } from './restart-content.ts';
import { settledState } from './settled-state.ts';

export interface ImportSettings {
  /** The job directory to be made: empty, missing, or the remains of an unfinished creation. Undefined: by the program's name. */
  readonly job?: string | undefined;
  /** How its pages will be saved; undefined: as they were. */
  readonly policy?: PolicyName | undefined;
  readonly secret?: Secret | undefined;
  readonly grants: Grants;
  /** Goes on with files of the program that are not what they were. */
  readonly acceptChanges?: boolean;
  readonly onProgress?: (donePages: number, totalPages: number) => void;
  readonly notice?: (text: string) => void;
}

export interface ImportResult {
  readonly job: string;
  readonly generation: number;
  /** Which checkpoint of which job it is a copy of. */
  readonly origin: CheckpointName;
  readonly policy: PolicyName;
  readonly program: string;
  readonly arguments: readonly string[];
}

/**
 * Unpacks a restart file into a job directory; `Machine.resume` goes on from there.
 * @throws UsageError `not-a-restart-file`, `restart-file-newer`, `wrong-key`, `restart-needs-grant`, `job-exists`,
 * `guest-file-changed`, `bad-argument`; CorruptionError `file-damaged`; StorageError.
 */
export function importJob(input: RestartInput, settings: ImportSettings): ImportResult {
  const reader = new ChunkReader(input, settings.secret);
  const description = parseDescription(reader.parts(ChunkKind.description, 'description'), input.path);
  if (description.base !== null) {
    throw new UsageError(
      'not-a-restart-file',
      `${input.path} only says what changed since checkpoint ${description.base.generation}: "continuo apply" brings a copy of the job up to date with it`,
      { path: input.path },
    );
  }
  return importContents(reader, input.path, description, settings);
}

/** The same, for a file whose description was read. */
export function importContents(
  reader: ChunkReader,
  path: string,
  description: RestartDescription,
  settings: ImportSettings,
): ImportResult {
  const identity = grantedIdentity(description.identity, settings.grants, path);
  const config = describeJob(identity);
  const job = settings.job ?? unusedName(description.identity.program);
  if (kindOfPath(job) === 'directory' && kindOfDirectory(new FileDevice(job).list()) === 'job') {
    throw new UsageError('job-exists', `${job} holds a job already; name another directory with --job`, { path: job });
  }
  refuseExposedJob(job, config);
  const lock = lockJobDirectory(job, { create: true });
  const { secret } = settings;
  // What came sealed is kept sealed.
  const seal = secret === undefined ? undefined : newJobSeal(secret);
  const plain = new FileDevice(job);
  const device = sealedOrPlain(plain, seal);
  let isJob = false;
  try {
    placeSeal(plain, seal);
    const origin = new Unpacking(reader, path, description, identity, device, settings).run();
    isJob = true;
    return {
      job,
      generation: origin.generation,
      origin,
      policy: settings.policy ?? description.policy,
      program: identity.program,
      arguments: config.arguments.slice(1),
    };
  } finally {
    if (!isJob && kindOfDirectory(plain.list()) === 'none') removeUnfinishedJob(plain);
    lock.release();
  }
}

/** A name in the working directory that nothing has, after the program. */
function unusedName(program: string): string {
  const name = basename(program.replaceAll('\\', '/'))
    .replace(/\.wasm$/i, '')
    .replaceAll(/[^\w.-]/g, '_')
    .replace(/^[.-]+/, '');
  const stem = name === '' ? 'job' : name.slice(0, 100);
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? `${stem}.job` : `${stem}-${number}.job`;
    if (kindOfPath(candidate) === 'absent') return candidate;
  }
}

class Unpacking {
  readonly #reader: ChunkReader;
  readonly #path: string;
  readonly #description: RestartDescription;
  readonly #identity: JobIdentity;
  readonly #device: Device;
  readonly #settings: ImportSettings;

  constructor(
    reader: ChunkReader,
    path: string,
    description: RestartDescription,
    identity: JobIdentity,
    device: Device,
    settings: ImportSettings,
  ) {
    this.#reader = reader;
    this.#path = path;
    this.#description = description;
    this.#identity = identity;
    this.#device = device;
    this.#settings = settings;
  }

  /** Returns the checkpoint that came. */
  run(): CheckpointName {
    const { identity, policy, programBytes, pages } = this.#description;
    const program = this.#reader.parts(ChunkKind.program, 'program');
    const digest = programDigest(program);
    if (digest !== identity.digest || program.length !== programBytes) {
      throw this.#reader.damaged('the SHA-256 digest of its program', identity.digest, digest);
    }
    const image = ImageImport.begin(this.#device, this.#identity, program, this.#settings.policy ?? policy);
    try {
      const contents = new FileContents(this.#reader, this.#path, pages, this.#settings.onProgress);
      contents.takePages((list, pageContents) => image.put(list, pageContents));
      const name = this.#takeCheckpoint(contents, image);
      image.publish();
      return name;
    } finally {
      image.close();
    }
  }

  #takeCheckpoint(contents: FileContents, image: ImageImport): CheckpointName {
    const found = contents.takeCheckpoint();
    const { name, timeMs, trigger, guestPageCount, dirtyPages, shownBytes } = found.checkpoint;
    const output = contents.takeHeldOutput(
      found.host.wasi.output,
      found.checkpoint,
      (parts) => new HeldOutputImport(this.#device, parts),
    );
    // From here on the file is known to be whole. What it says of this machine's files is held against them.
    const state = settledState(found, output, this.#identity, this.#settings);
    if (shownBytes?.length === 2) writeReleasedBytes(this.#device, shownBytes);
    const { generation } = name;
    image.complete({ generation, timeMs, trigger, guestPageCount, dirtyPages }, state);
    return name;
  }
}
