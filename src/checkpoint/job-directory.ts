/**
 * The job directory: which files it has, how it comes into being, how it is told from other directories.
 *
 * A job is made in an order that leaves no doubt at any instant: the program and the paging file are written and
 * synced, then the `job` file under another name, then the directory is synced, and a rename makes it a job. So
 * the `job` file is there exactly when everything else is, and durable.
 *
 * A directory without a `job` file that holds nothing but names of ours is half made (or half discarded) and may be
 * made again; one that holds anything else is not ours and is not touched.
 */
import { randomBytes } from 'node:crypto';
import type { Device, DeviceFile } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { isLockName, JobLock, type LockOptions } from '../device/job-lock.ts';
import { assert, CorruptionError, UsageError } from '../error/errors.ts';
import { hex } from '../format/commit-record.ts';
import {
  decodeJob,
  encodeJob,
  JOB_ID_BYTES,
  programDigest,
  type JobFile,
  type JobIdentity,
} from '../format/job-format.ts';
import {
  FIRST_FREE_SLOT,
  FORMAT_VERSION,
  PAGING_MAGIC,
  pagingHeaderTable,
  RECORD_AREA_SLOTS,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import { damagedFile } from '../pager/page-damage.ts';

export const JOB_NAME = 'job';
export const PAGING_NAME = 'paging';
export const NEW_JOB_NAME = 'job.new';
const PROGRAM_NAME = 'program.wasm';
/** How the key of a sealed job is made; what it holds is the matter of `seal/job-seal.ts`. */
export const SEAL_NAME = 'seal';

/** Tells which checkpoints were given up by going back; see `given-up.ts`. */
export const GIVEN_UP_NAME = 'given-up';

/** `job`: a whole job. `none`: empty, or the remains of an unfinished creation. `other`: holds somebody else's files. */
export type DirectoryKind = 'job' | 'none' | 'other';

/** What a directory is, by the names of its entries. */
export function kindOfDirectory(names: readonly string[]): DirectoryKind {
  if (names.includes(JOB_NAME)) return 'job';
  return names.every(isOwnName) ? 'none' : 'other';
}

function isOwnName(name: string): boolean {
  const isFixed = name === PAGING_NAME || name === NEW_JOB_NAME || name === PROGRAM_NAME || name === SEAL_NAME;
  const isNote = name === GIVEN_UP_NAME || name === `${GIVEN_UP_NAME}.new`;
  return isFixed || isNote || isRunFile(name) || isCheckpointFile(name) || isLockName(name);
}

const CHECKPOINT_FILE = /^checkpoint-\d{10}$/;
const CHECKPOINT_PREFIX_LENGTH = 'checkpoint-'.length;

/** The file of a checkpoint that has one of its own. */
export function checkpointFileName(generation: number): string {
  return `checkpoint-${String(generation).padStart(10, '0')}`;
}

export function isCheckpointFile(name: string): boolean {
  return CHECKPOINT_FILE.test(name);
}

export function generationOfFile(name: string): number {
  return Number(name.slice(CHECKPOINT_PREFIX_LENGTH));
}

/** Files beside the store's own that a run keeps in the directory: undo journals and output not yet released. */
function isRunFile(name: string): boolean {
  return name.startsWith('undo-') || name.startsWith('output-');
}

/**
 * Takes a job directory for this process, before anything is written there; see `JobLock.acquire`.
 * @throws UsageError `job-not-a-job`: the path holds other things, which were not touched.
 */
export function lockJobDirectory(directory: string, options: LockOptions = {}): JobLock {
  const device = new FileDevice(directory);
  if (kindOfPath(device.path) === 'directory' && kindOfDirectory(device.list()) === 'other') throw notAJob(device.path);
  return JobLock.acquire(device.path, options);
}

/** Makes the directory a job. It must be one of kind `none`. */
export function createJob(device: Device, identity: JobIdentity, program: Uint8Array, bench: Workbench): void {
  publishJob(device, prepareJob(device, identity, program, bench), bench);
}

/** Puts everything of a new job into the directory but the file that makes it one. */
export function prepareJob(device: Device, identity: JobIdentity, program: Uint8Array, bench: Workbench): JobFile {
  const jobId = Uint8Array.from(randomBytes(JOB_ID_BYTES));
  // Journals and checkpoints of a job that was given up say nothing about this one; they are gone for good before it is a job.
  for (const name of device.list()) {
    if (isRunFile(name) || isCheckpointFile(name) || name === GIVEN_UP_NAME) device.remove(name);
  }
  writeFile(device, PROGRAM_NAME, program);
  writeFile(device, PAGING_NAME, newPagingFile(jobId, bench));
  return { jobId, programBytes: program.length, identity };
}

/** Makes a prepared directory a job, durably. */
export function publishJob(device: Device, job: JobFile, bench: Workbench): void {
  writeFile(device, NEW_JOB_NAME, encodeJob(job, bench));
  // The names of all other files first, the name that vouches for them second.
  device.syncDirectory();
  device.rename(NEW_JOB_NAME, JOB_NAME);
  device.syncDirectory();
}

/** Removes what an unfinished creation left; the caller holds the lock. */
export function removeUnfinishedJob(device: Device): void {
  const names = device.list();
  assert(kindOfDirectory(names) === 'none', `${device.path} is a job, or none of ours`);
  for (const name of names) if (!isLockName(name)) device.remove(name);
}

/** Makes a job none: durable before it returns, so that a job made in its place is never mixed with it. */
export function discardJob(device: Device): void {
  device.remove(JOB_NAME);
  device.syncDirectory();
}

export function readJob(device: Device, bench: Workbench): JobFile {
  const kind = kindOfDirectory(device.list());
  if (kind === 'none')
    throw new UsageError('job-not-found', `${device.path} holds no job; start one with "continuo run --job"`, {
      path: device.path,
    });
  if (kind === 'other') throw notAJob(device.path);
  const file = device.openFile(JOB_NAME, 'read');
  try {
    const job = decodeJob(readAll(file), bench);
    if (!('kind' in job)) return job;
    if (job.kind === 'foreign') throw notAJob(device.path);
    if (job.kind === 'newer') {
      throw new UsageError(
        'job-newer-format',
        `${device.path} was made by a newer version of Continuo (format ${job.version}, this one reads up to ` +
          `${FORMAT_VERSION}); use that version or start a new job`,
        { path: device.path, formatVersion: job.version },
      );
    }
    throw damagedFile(file.path, job.byteOffset, 'the job file', job.expected, job.found);
  } finally {
    file.close();
  }
}

export function notAJob(path: string): UsageError {
  return new UsageError(
    'job-not-a-job',
    `${path} holds files that are not a job's; nothing was touched, name another directory`,
    { path },
  );
}

/** Holds the header of the paging file against the job it should belong to. */
export function checkPagingHeader(file: DeviceFile, job: JobFile, bench: Workbench): void {
  const header = new Uint8Array(SLOT_BYTES);
  file.readInto(header, 0);
  const fields = pagingHeaderTable.decode(header);
  const expected = pagingHeader(job.jobId, bench);
  const wanted = pagingHeaderTable.decode(expected);
  for (const { name, offsetBytes } of pagingHeaderTable.rows()) {
    const key = name as keyof typeof fields;
    if (printed(fields[key]) === printed(wanted[key])) continue;
    throw damagedFile(file.path, offsetBytes, `${name} of the header`, printed(wanted[key]), printed(fields[key]));
  }
  // A file that was cut in its record areas must not pass for one that has no record yet.
  const sizeBytes = file.sizeBytes();
  const least = FIRST_FREE_SLOT * SLOT_BYTES;
  if (sizeBytes < least) throw damagedFile(file.path, sizeBytes, 'the length', `at least ${least}`, String(sizeBytes));
}

export function readProgram(device: Device, job: JobFile): Uint8Array {
  const file = device.openFile(PROGRAM_NAME, 'read');
  try {
    if (file.sizeBytes() !== job.programBytes)
      throw damagedFile(file.path, 0, 'the length', String(job.programBytes), String(file.sizeBytes()));
    const program = readAll(file);
    const digest = programDigest(program);
    if (digest !== job.identity.digest)
      throw damagedFile(file.path, 0, 'the SHA-256 digest', job.identity.digest, digest);
    return program;
  } finally {
    file.close();
  }
}

function pagingHeader(jobId: Uint8Array, bench: Workbench): Uint8Array {
  const fields = {
    magic: PAGING_MAGIC,
    formatVersion: FORMAT_VERSION,
    slotBytes: SLOT_BYTES,
    recordAreaSlots: RECORD_AREA_SLOTS,
    firstFreeSlot: FIRST_FREE_SLOT,
    jobId,
  };
  const header = new Uint8Array(SLOT_BYTES);
  pagingHeaderTable.encode({ ...fields, checksum: 0n }, header);
  const checksum = bench.checksumOf(header.subarray(0, pagingHeaderTable.offsetOf('checksum')));
  pagingHeaderTable.encode({ ...fields, checksum }, header);
  return header;
}

/** The header and two record areas of zeros, which say that there is no checkpoint. */
function newPagingFile(jobId: Uint8Array, bench: Workbench): Uint8Array {
  const bytes = new Uint8Array(FIRST_FREE_SLOT * SLOT_BYTES);
  bytes.set(pagingHeader(jobId, bench));
  return bytes;
}

function writeFile(device: Device, name: string, bytes: Uint8Array): void {
  const file = device.openFile(name, 'create');
  try {
    file.write(bytes, 0);
    file.sync();
  } finally {
    file.close();
  }
}

function readAll(file: DeviceFile): Uint8Array {
  const bytes = new Uint8Array(file.sizeBytes());
  const readBytes = file.readInto(bytes, 0);
  if (readBytes < bytes.length)
    throw new CorruptionError(`${file.path} became shorter while it was read`, { path: file.path });
  return bytes;
}

function printed(value: string | number | bigint | Uint8Array): string {
  if (typeof value === 'bigint') return hex(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : String(value);
}
