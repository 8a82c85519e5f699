/** The `job` file: what the job is. Written once, when the job is made; its presence is what makes a directory a job. */
import { createHash } from 'node:crypto';
import { bytes, FieldTable, text, u32, u53, xxh64 } from './field-table.ts';
import { hex } from './commit-record.ts';
import { FORMAT_VERSION } from './paging-format.ts';
import type { Workbench } from './workbench.ts';

export type JsonValue =
  string | number | boolean | null | readonly JsonValue[] | { readonly [name: string]: JsonValue };

/** What makes a job this job and no other: a run with another identity is refused. */
export interface JobIdentity {
  /** Name of the program as people know it. */
  readonly program: string;
  /** SHA-256 of the program's bytes, in hexadecimal. */
  readonly digest: string;
  /** Arguments, environment, directories: what the machine chooses to pin. */
  readonly [name: string]: JsonValue;
}

export const JOB_MAGIC = 'CONTINUO';
export const JOB_ID_BYTES = 16;

export const jobTable = new FieldTable({
  magic: text(8, `\`${JOB_MAGIC}\`: tells a job file from any other`),
  formatVersion: u32('version of all files of the job; a reader refuses what is newer than itself'),
  identityBytes: u32('length of the identity that follows: an object in JSON, UTF-8'),
  jobId: bytes(JOB_ID_BYTES, 'random name of the job, as in the header of its paging file'),
  programDigest: bytes(32, 'SHA-256 of `program.wasm`'),
  programBytes: u53('length of `program.wasm`'),
  checksum: xxh64('of the bytes before it and of the identity, in this order'),
});

export interface JobFile {
  readonly jobId: Uint8Array;
  readonly programBytes: number;
  readonly identity: JobIdentity;
}

/** Why a job file cannot be used; `foreign`: it never was one. */
export type JobFault =
  | { readonly kind: 'foreign' }
  | { readonly kind: 'newer'; readonly version: number }
  | {
      readonly kind: 'damaged';
      readonly byteOffset: number;
      readonly expected: string;
      readonly found: string;
    };

export function programDigest(program: Uint8Array): string {
  return createHash('sha256').update(program).digest('hex');
}

export function encodeJob(job: JobFile, bench: Workbench): Uint8Array {
  const identity = new TextEncoder().encode(JSON.stringify(job.identity));
  const file = new Uint8Array(jobTable.lengthBytes + identity.length);
  const fields = {
    magic: JOB_MAGIC,
    formatVersion: FORMAT_VERSION,
    identityBytes: identity.length,
    jobId: job.jobId,
    programDigest: Uint8Array.from(Buffer.from(job.identity.digest, 'hex')),
    programBytes: job.programBytes,
  };
  jobTable.encode({ ...fields, checksum: 0n }, file);
  file.set(identity, jobTable.lengthBytes);
  jobTable.encode({ ...fields, checksum: checksumOfJob(file, bench) }, file);
  return file;
}

export function decodeJob(file: Uint8Array, bench: Workbench): JobFile | JobFault {
  if (file.length < jobTable.lengthBytes) return damaged(0, `at least ${jobTable.lengthBytes} bytes`, file.length);
  const fields = jobTable.decode(file);
  if (fields.magic !== JOB_MAGIC) return { kind: 'foreign' };
  if (fields.formatVersion > FORMAT_VERSION) return { kind: 'newer', version: fields.formatVersion };
  const lengthBytes = jobTable.lengthBytes + fields.identityBytes;
  if (file.length !== lengthBytes) return damaged(0, `${lengthBytes} bytes`, file.length);
  const checksum = checksumOfJob(file, bench);
  if (checksum !== fields.checksum) return damaged(jobTable.offsetOf('checksum'), hex(fields.checksum), hex(checksum));
  const identity = parseIdentity(new TextDecoder().decode(file.subarray(jobTable.lengthBytes)));
  const digest = Buffer.from(fields.programDigest).toString('hex');
  if (identity === undefined || identity.digest !== digest)
    return damaged(jobTable.lengthBytes, `an identity of the program ${digest}`, identity?.digest ?? 'none');
  return { jobId: fields.jobId, programBytes: fields.programBytes, identity };
}

function damaged(byteOffset: number, expected: string, found: string | number): JobFault {
  return { kind: 'damaged', byteOffset, expected, found: String(found) };
}

/** The checksum field itself does not count: it is left out. */
function checksumOfJob(file: Uint8Array, bench: Workbench): bigint {
  const atBytes = jobTable.offsetOf('checksum');
  const checked = new Uint8Array(file.length - 8);
  checked.set(file.subarray(0, atBytes));
  checked.set(file.subarray(atBytes + 8), atBytes);
  return bench.checksumOf(checked);
}

function parseIdentity(json: string): JobIdentity | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  return isIdentity(value) ? value : undefined;
}

function isIdentity(value: unknown): value is JobIdentity {
  return (
    typeof value === 'object' &&
    value !== null &&
    'program' in value &&
    typeof value.program === 'string' &&
    'digest' in value &&
    typeof value.digest === 'string'
  );
}
