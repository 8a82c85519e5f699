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
import { hex } from '../format/commit-record.ts';
import { type JobIdentity, programDigest } from '../format/job-format.ts';
import { MAPPED_PAGES_MAX, SLOT_BYTES } from '../format/paging-format.ts';
import { CHUNK_PAGES_MAX, ChunkKind, ZERO_PAGE_FLAG } from '../format/restart-format.ts';
import { Workbench } from '../format/workbench.ts';
import { PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import { decodeHostState, encodeHostState } from '../machine/host-state.ts';
import { describeJob } from '../machine/job-description.ts';
import { refuseExposedJob } from '../machine/job-isolation.ts';
import { decodeMachineState, encodeMachineState } from '../machine/machine-state.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { settleState } from '../wasi/file-evidence.ts';
import { HeldOutputImport } from '../wasi/held-output.ts';
import { newJobSeal, placeSeal, sealedOrPlain } from '../seal/job-seal.ts';
import { allHasLeft, type StandardOutputState, writeReleasedBytes } from '../wasi/standard-output.ts';
import { type Chunk, ChunkReader, type RestartInput } from './chunk-reader.ts';
import { type Grants, grantedIdentity, wasiConfigOf } from './grants.ts';
import { parseCheckpoint, parseDescription, type RestartDescription } from './restart-content.ts';

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
      `${input.path} only says what changed since checkpoint ${description.base.generation}: it brings a copy of the job up to date, and is no whole restart file`,
      { path: input.path },
    );
  }
  const identity = grantedIdentity(description.identity, settings.grants, input.path);
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
    const generation = new Unpacking(reader, input, description, identity, device, settings).run();
    isJob = true;
    return {
      job,
      generation,
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
  readonly #input: RestartInput;
  readonly #description: RestartDescription;
  readonly #identity: JobIdentity;
  readonly #device: Device;
  readonly #settings: ImportSettings;
  #pagesTaken = 0;
  /** One more than the largest page that came. */
  #pagesReach = 0;

  constructor(
    reader: ChunkReader,
    input: RestartInput,
    description: RestartDescription,
    identity: JobIdentity,
    device: Device,
    settings: ImportSettings,
  ) {
    this.#reader = reader;
    this.#input = input;
    this.#description = description;
    this.#identity = identity;
    this.#device = device;
    this.#settings = settings;
  }

  /** Returns the number of the checkpoint. */
  run(): number {
    const { identity, policy, programBytes } = this.#description;
    const program = this.#reader.parts(ChunkKind.program, 'program');
    const digest = programDigest(program);
    if (digest !== identity.digest || program.length !== programBytes) {
      throw this.#reader.damaged('the SHA-256 digest of its program', identity.digest, digest);
    }
    const image = ImageImport.begin(this.#device, this.#identity, program, this.#settings.policy ?? policy);
    try {
      while (this.#reader.peek().kind === ChunkKind.pages) this.#takePages(image, this.#reader.next());
      const generation = this.#takeCheckpoint(image);
      image.publish();
      return generation;
    } finally {
      image.close();
    }
  }

  #takePages(image: ImageImport, { contents, entryCount }: Chunk): void {
    if (entryCount === 0 || entryCount > CHUNK_PAGES_MAX || contents.length < 4 * entryCount) {
      throw this.#reader.damaged('the number of pages in a chunk', `1 to ${CHUNK_PAGES_MAX}`, entryCount);
    }
    const list = new DataView(contents.buffer, contents.byteOffset, 4 * entryCount);
    const pages = new Uint32Array(entryCount);
    const zeros = new Uint8Array(entryCount);
    let solid = 0;
    for (let i = 0; i < entryCount; i++) {
      const entry = list.getUint32(4 * i, true);
      zeros[i] = entry >= ZERO_PAGE_FLAG ? 1 : 0;
      pages[i] = zeros[i] === 1 ? entry - ZERO_PAGE_FLAG : entry;
      if (pages[i] >= MAPPED_PAGES_MAX || (i > 0 && pages[i] <= pages[i - 1])) {
        throw this.#reader.damaged('a page of a chunk', `ascending, below ${MAPPED_PAGES_MAX}`, pages[i]);
      }
      if (zeros[i] === 0) solid += 1;
    }
    const wantedBytes = 4 * entryCount + solid * SLOT_BYTES;
    if (contents.length !== wantedBytes) {
      throw this.#reader.damaged('the length of a chunk of pages', String(wantedBytes), contents.length);
    }
    image.put(pages, solid === entryCount ? contents.subarray(4 * entryCount) : spread(contents, zeros));
    this.#pagesReach = Math.max(this.#pagesReach, pages[entryCount - 1] + 1);
    this.#pagesTaken += entryCount;
    this.#settings.onProgress?.(this.#pagesTaken, Math.max(this.#pagesTaken, this.#description.pages));
  }

  #takeCheckpoint(image: ImageImport): number {
    const reader = this.#reader;
    const checkpoint = parseCheckpoint(reader.parts(ChunkKind.checkpoint, 'checkpoint'), this.#input.path);
    const { timeMs, trigger, guestPageCount, dirtyPages, stateBytes, name } = checkpoint;
    const isPossible =
      guestPageCount <= MAPPED_PAGES_MAX &&
      guestPageCount >= this.#pagesReach &&
      guestPageCount % PAGES_PER_WASM_PAGE === 0 &&
      dirtyPages <= MAPPED_PAGES_MAX;
    if (!isPossible)
      throw reader.damaged('its number of pages', `${this.#pagesReach} to ${MAPPED_PAGES_MAX}`, guestPageCount);
    const { generation } = name;
    if (generation < 1 || generation > GENERATION_MAX) {
      throw reader.damaged('the number of its checkpoint', `1 to ${GENERATION_MAX}`, generation);
    }
    if (Buffer.byteLength(trigger) > TRIGGER_BYTES_MAX)
      throw reader.damaged('its trigger', 'a short text', trigger.length);
    const state = reader.parts(ChunkKind.state, 'machine state');
    const checksum = hex(Workbench.ofThread().checksumOf(state));
    if (state.length !== stateBytes || checksum !== name.stateChecksum) {
      throw reader.damaged('the checksum of its machine state', name.stateChecksum, checksum);
    }
    const machine = decodeMachineState(state);
    const host = decodeHostState(machine.host);
    const output = this.#takeHeldOutput(host.wasi.output, checkpoint.shownBytes);
    reader.end();
    // From here on the file is known to be whole. What it says of this machine's files is held against them.
    const { acceptChanges, notice } = this.#settings;
    const onChange = acceptChanges === true ? (text: string): void => notice?.(text) : undefined;
    const wasi = settleState(wasiConfigOf(this.#identity), { ...host.wasi, output }, checkpoint, onChange);
    if (checkpoint.shownBytes?.length === 2) writeReleasedBytes(this.#device, checkpoint.shownBytes);
    const settled = encodeMachineState({ ...machine, host: encodeHostState({ ...host, wasi }) });
    image.complete({ generation, timeMs, trigger, guestPageCount, dirtyPages }, settled);
    return generation;
  }

  /** Returns the state of the streams, without what had left when the file was made. */
  #takeHeldOutput(output: StandardOutputState, shownBytes: readonly number[] | null): StandardOutputState {
    if (output.held.length > 0 && this.#reader.peek().kind !== ChunkKind.heldOutput) {
      if (!allHasLeft(output, shownBytes))
        throw this.#reader.damaged('the kind of a chunk', 'that of held output', 'another');
      const streams = output.streams.map((stream) => ({ ...stream, releasedBytes: stream.producedBytes }));
      return { streams, held: [] };
    }
    const held = new HeldOutputImport(this.#device, output.held);
    try {
      while (this.#reader.peek().kind === ChunkKind.heldOutput) held.add(this.#reader.next().contents);
      held.finish();
    } finally {
      held.close();
    }
    return output;
  }
}

/** Generations are u32 in the files of a job. */
const GENERATION_MAX = 0xffff_ffff;
const TRIGGER_BYTES_MAX = 24;

/** The contents of a chunk of pages with those of its zero pages among them. */
function spread(contents: Uint8Array, zeros: Uint8Array): Uint8Array {
  const whole = new Uint8Array(zeros.length * SLOT_BYTES);
  let from = 4 * zeros.length;
  for (const [i, isZero] of zeros.entries()) {
    if (isZero === 1) continue;
    whole.set(contents.subarray(from, from + SLOT_BYTES), i * SLOT_BYTES);
    from += SLOT_BYTES;
  }
  return whole;
}
