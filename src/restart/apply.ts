/**
 * Bringing a copy of a job up to date with a restart file: a delta, or a whole one of the same job.
 *
 * All or nothing. What comes goes to places that the copy's checkpoint does not name (`checkpoint/image-update.ts`), and the file has
 * ended, whole and as its checksums and seals say, before one barrier makes its checkpoint the copy's newest. Output counted as
 * shown is noted before that: should the barrier not come, the older checkpoint says that more was shown, which is so.
 *
 * Which checkpoint a copy stands at is part of its machine state (`HostState.origin`). A checkpoint that the copy takes itself has
 * none, so a copy that has run on is not mixed with what the other became meanwhile.
 */
import { ImageUpdate } from '../checkpoint/image-update.ts';
import { openStore } from '../checkpoint/policies.ts';
import { kindOfDirectory, lockJobDirectory } from '../checkpoint/job-directory.ts';
import type { Device } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { hex } from '../format/commit-record.ts';
import { ChunkKind } from '../format/restart-format.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import { decodeHostState, type HostState } from '../machine/host-state.ts';
import { decodeMachineState } from '../machine/machine-state.ts';
import { Workbench } from '../format/workbench.ts';
import { sealedOrPlain, sealOfJob } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { HeldOutputUpdate } from '../wasi/held-output.ts';
import { writeReleasedBytes } from '../wasi/standard-output.ts';
import { FoundJournal } from '../wasi/undo-journal.ts';
import { ChunkReader, type RestartInput } from './chunk-reader.ts';
import { FileContents } from './file-contents.ts';
import type { Grants } from './grants.ts';
import { importContents } from './import.ts';
import { parseDescription, type RestartDescription } from './restart-content.ts';
import { settledState } from './settled-state.ts';

export interface ApplySettings {
  /** The copy. */
  readonly job: string;
  readonly secret?: Secret | undefined;
  /** What a whole file may do: undefined: it is refused; otherwise it makes the job where there is none, with these. */
  readonly create?: { readonly grants: Grants } | undefined;
  /** Goes on with files of the program that are not what they were. */
  readonly acceptChanges?: boolean;
  readonly onProgress?: (donePages: number, totalPages: number) => void;
  readonly notice?: (text: string) => void;
}

export interface ApplyResult {
  /** The number of the checkpoint in the copy. */
  readonly generation: number;
  /** Which it is of the other job. */
  readonly origin: CheckpointName;
  readonly isNew: boolean;
}

/**
 * Takes a restart file into a job directory.
 * @throws UsageError `wrong-base`, `job-not-found`, `job-locked`, `not-a-restart-file`, `restart-file-newer`, `wrong-key`,
 * `guest-file-changed`; CorruptionError; StorageError. The copy's checkpoint is as it was then.
 */
export function applyToJob(input: RestartInput, settings: ApplySettings): ApplyResult {
  const { job, secret, create } = settings;
  const reader = new ChunkReader(input, secret);
  const description = parseDescription(reader.parts(ChunkKind.description, 'description'), input.path);
  const isJob = kindOfPath(job) === 'directory' && kindOfDirectory(new FileDevice(job).list()) === 'job';
  if (description.base === null && create === undefined) {
    throw new UsageError(
      'wrong-base',
      `${input.path} is a whole restart file: "continuo restart --no-run" makes a job of it; with --create, this command does`,
      { path: input.path },
    );
  }
  if (!isJob && description.base === null) {
    const imported = importContents(reader, input.path, description, { ...settings, grants: create!.grants });
    return { generation: imported.generation, origin: imported.origin, isNew: true };
  }
  const lock = lockJobDirectory(job);
  try {
    const plain = new FileDevice(job);
    const device = sealedOrPlain(plain, sealOfJob(plain, secret));
    return new Update(reader, input.path, description, device, settings).run();
  } finally {
    lock.release();
  }
}

/**
 * The checkpoint of another job that a job directory is a copy of; undefined where it is none, or has gone on by itself.
 * @throws UsageError `job-not-found`, `wrong-key`; CorruptionError; StorageError.
 */
export function originOfCopy(job: string, secret: Secret | undefined): CheckpointName | undefined {
  const plain = new FileDevice(job);
  const { store } = openStore(sealedOrPlain(plain, sealOfJob(plain, secret)), undefined, { readOnly: true });
  try {
    return store.latest === undefined ? undefined : decodeHostState(decodeMachineState(store.latest.state).host).origin;
  } finally {
    store.close();
  }
}

class Update {
  readonly #reader: ChunkReader;
  readonly #path: string;
  readonly #description: RestartDescription;
  readonly #device: Device;
  readonly #settings: ApplySettings;

  constructor(
    reader: ChunkReader,
    path: string,
    description: RestartDescription,
    device: Device,
    settings: ApplySettings,
  ) {
    this.#reader = reader;
    this.#path = path;
    this.#description = description;
    this.#device = device;
    this.#settings = settings;
  }

  run(): ApplyResult {
    const image = ImageUpdate.begin(this.#device);
    try {
      return this.#take(image);
    } finally {
      image.close();
    }
  }

  #take(image: ImageUpdate): ApplyResult {
    const { base, pages } = this.#description;
    const reader = this.#reader;
    const before = decodeHostState(decodeMachineState(image.latest.state).host);
    this.#refuseRun(before);
    const standsAt = before.origin ?? this.#ownName(image);
    if (base === null ? before.origin === undefined : !isSame(base, standsAt)) {
      throw this.#wrongBase(base ?? { ...standsAt, job: '' }, standsAt);
    }
    if (base === null) reader.parts(ChunkKind.program, 'program');
    const contents = new FileContents(reader, this.#path, pages, this.#settings.onProgress);
    contents.takePages((list, pageContents) => image.put(list, pageContents));
    const found = contents.takeCheckpoint();
    const { name, timeMs, trigger, guestPageCount, dirtyPages, shownBytes } = found.checkpoint;
    if (name.job !== standsAt.job) throw this.#wrongBase(name, standsAt);
    if (guestPageCount < image.latest.guestPageCount) {
      throw reader.damaged('its number of pages', `at least ${image.latest.guestPageCount}`, guestPageCount);
    }
    let held: HeldOutputUpdate | undefined;
    const output = contents.takeHeldOutput(found.host.wasi.output, found.checkpoint, (parts) => {
      return (held = new HeldOutputUpdate(this.#device, parts, found.host.wasi.generation, before.wasi.output.held));
    });
    // From here on the file is known to be whole. What it says of this machine's files is held against them.
    const here = { ...output, held: held?.parts ?? [] };
    const state = settledState(found, here, image.job.identity, this.#settings);
    if (shownBytes?.length === 2) writeReleasedBytes(this.#device, shownBytes);
    const generation = image.complete({ timeMs, trigger, guestPageCount, dirtyPages }, state, base === null);
    return { generation, origin: name, isNew: false };
  }

  /** Whoever copied the directory of a job itself has one that stands at its own checkpoint. */
  #ownName({ job, latest }: ImageUpdate): CheckpointName {
    return {
      job: Buffer.from(job.jobId).toString('hex'),
      generation: latest.generation,
      stateChecksum: hex(Workbench.ofThread().checksumOf(latest.state)),
    };
  }

  /** A run that took no checkpoint leaves what it did to files to be undone. */
  #refuseRun({ wasi }: HostState): void {
    let recordCount = 0;
    for (const journal of FoundJournal.findLive(this.#device, wasi.generation, true)) {
      recordCount += journal.records.length;
      journal.close();
    }
    if (recordCount === 0) return;
    throw new UsageError(
      'wrong-base',
      `the copy in ${this.#device.path} has itself run since its last update, and changed files: go on with it, or make it anew`,
      { path: this.#device.path },
    );
  }

  #wrongBase(wanted: CheckpointName, standsAt: CheckpointName): UsageError {
    const { path } = this.#device;
    const text =
      wanted.job === standsAt.job
        ? `${this.#path} builds on checkpoint ${wanted.generation}, and ${path} stands at ${
            wanted.generation === standsAt.generation ? 'another of that number' : standsAt.generation
          }`
        : `${this.#path} is of another job than ${path}, or ${path} has itself taken a checkpoint since its last update`;
    return new UsageError(
      'wrong-base',
      `${text}; export what changed since its checkpoint ("continuo export --since"), or make the copy anew`,
      { path, wanted: wanted.generation, found: standsAt.generation },
    );
  }
}

function isSame(base: CheckpointName, other: CheckpointName): boolean {
  const isState = base.stateChecksum === '' || base.stateChecksum === other.stateChecksum;
  return base.job === other.job && base.generation === other.generation && isState;
}
