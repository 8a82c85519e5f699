/** The parts of a restart file that are JSON, and one checked parse for each. */
import { CorruptionError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import {
  type Check,
  constant,
  count,
  flag,
  list,
  nullable,
  oneOf,
  record,
  ShapeError,
  text,
  variant,
} from '../wasi/checked-json.ts';
import type { FileEvidence } from '../wasi/file-evidence.ts';
import type { Location } from '../wasi/host-tree.ts';
import { checkLocation } from '../wasi/undo-record.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { checkCheckpointName, type CheckpointName } from '../machine/checkpoint-name.ts';

/** The first chunk: what the job is. */
export interface RestartDescription {
  identity: JobIdentity;
  policy: PolicyName;
  programBytes: number;
  /** Pages that will come, as far as it is known when the file is begun; for people. */
  pages: number;
  /** Undefined in JSON as null: the file is whole. */
  base: CheckpointName | null;
}

/** Behind the pages: which checkpoint they belong to. */
export interface RestartCheckpoint {
  name: CheckpointName;
  timeMs: number;
  trigger: string;
  guestPageCount: number;
  dirtyPages: number;
  stateBytes: number;
  /** Evidence for each file of the state. */
  files: FileEvidence[];
  streams: (Location | null)[];
  /** Bytes of standard output and error that had left when the file was made; null where nobody counted. */
  shownBytes: number[] | null;
}

const digest: Check<string> = (value, place) => {
  if (typeof value !== 'string' || !/^([0-9a-f]{64})?$/.test(value)) throw new ShapeError(place, 'a digest');
  return value;
};

const checkPair: Check<string[]> = (value, place) => {
  const pair = list(text)(value, place);
  if (pair.length !== 2) throw new ShapeError(place, 'a name and a value');
  return pair;
};

const checkStream = variant<{ kind: 'file'; path: string } | { kind: 'inherit' } | { kind: 'empty' }>({
  file: record({ kind: constant('file'), path: text }),
  inherit: record({ kind: constant('inherit') }),
  empty: record({ kind: constant('empty') }),
});

const identityParts = {
  program: text,
  digest,
  arguments: list(text),
  environment: list(checkPair),
  preopens: list(record<{ guestPath: string; hostPath: string }>({ guestPath: text, hostPath: text })),
  stdin: checkStream,
  stdout: checkStream,
  stderr: checkStream,
  outputMode: oneOf('auto', 'commit', 'immediate'),
} as const;

/** Identities are made by `identityOf`: what is needed to describe a run, and nothing else. */
const checkIdentity: Check<JobIdentity> = (value, place) => {
  // Only jobs with canonical NaNs mention them.
  const mentionsNans = typeof value === 'object' && value !== null && 'canonicalNan' in value;
  const parts = mentionsNans ? { ...identityParts, canonicalNan: flag } : identityParts;
  return record<JobIdentity>(parts)(value, place);
};

const checkDescription: Check<RestartDescription> = record<RestartDescription>({
  identity: checkIdentity,
  policy: oneOf('none', 'sequential', 'incremental', 'continuous'),
  programBytes: count,
  pages: count,
  base: nullable(checkCheckpointName),
});

const checkCheckpoint: Check<RestartCheckpoint> = record<RestartCheckpoint>({
  name: checkCheckpointName,
  timeMs: count,
  trigger: text,
  guestPageCount: count,
  dirtyPages: count,
  stateBytes: count,
  files: list(record<FileEvidence>({ path: text, lengthBytes: count, mayBeLonger: flag, sha256: digest })),
  streams: list(nullable(checkLocation)),
  shownBytes: nullable(list(count)),
});

/** @throws CorruptionError. */
export function parseDescription(bytes: Uint8Array, path: string): RestartDescription {
  return parse(bytes, checkDescription, 'description', path);
}

/** @throws CorruptionError. */
export function parseCheckpoint(bytes: Uint8Array, path: string): RestartCheckpoint {
  return parse(bytes, checkCheckpoint, 'checkpoint', path);
}

function parse<Value>(bytes: Uint8Array, check: Check<Value>, what: string, path: string): Value {
  try {
    return check(JSON.parse(new TextDecoder().decode(bytes)), what);
  } catch (error) {
    if (!(error instanceof ShapeError) && !(error instanceof SyntaxError)) throw error;
    throw new CorruptionError(
      `${path} is damaged, or was made by a program that is not Continuo: ${error.message}`,
      { path },
      error,
      'file-damaged',
    );
  }
}
