import { CorruptionError, UsageError } from '../error/errors.ts';
import type { JobIdentity, JsonValue } from '../format/job-format.ts';
import type { InputSource, OutputMode, Preopen } from '../wasi/config.ts';
import type { JobDescription, OutputDescription } from './protocol.ts';

/** What the job directory remembers of a description; an embedder's functions and bytes are not part of it. */
export function identityOf(description: JobDescription, digest: string): JobIdentity {
  const { program, environment, preopens, stdin, stdout, stderr, outputMode, canonicalNan } = description;
  return {
    program,
    digest,
    arguments: [...description.arguments],
    environment: environment.map(([name, value]) => [name, value]),
    preopens: preopens.map(({ guestPath, hostPath }) => ({ guestPath, hostPath })),
    stdin: streamIdentity(stdin),
    stdout: streamIdentity(stdout),
    stderr: streamIdentity(stderr),
    outputMode,
    // A job whose NaNs are the processor's does not mention them, as jobs did not before there was a choice.
    ...(canonicalNan ? { canonicalNan } : {}),
  };
}

function streamIdentity(stream: InputSource | OutputDescription): JsonValue {
  return stream.kind === 'file' ? { kind: 'file', path: stream.path } : { kind: stream.kind };
}

const partNames: Readonly<Record<string, string>> = {
  digest: 'program',
  arguments: 'arguments',
  environment: 'environment (--env)',
  preopens: 'directories (--dir)',
  stdin: 'standard input (--stdin)',
  stdout: 'standard output (--stdout)',
  stderr: 'standard error (--stderr)',
  canonicalNan: 'NaNs (--canonical-nan)',
};

/** @throws UsageError `job-foreign` that names what differs. */
export function refuseForeignJob(directory: string, job: JobIdentity, wanted: JobIdentity): void {
  const differing = Object.keys(partNames).filter((part) => JSON.stringify(job[part]) !== JSON.stringify(wanted[part]));
  if (differing.length === 0) return;
  throw new UsageError(
    'job-foreign',
    `the job in ${directory} belongs to another run: it has other ${differing.map((part) => partNames[part]).join(', ')}. ` +
      `Name another directory with --job, or give the job up with --fresh`,
    { path: directory, differing },
  );
}

/**
 * The description that a job directory remembers. Functions and bytes of an embedder are taken from what it wants now,
 * which has been compared with the job.
 */
export function describeJob(identity: JobIdentity, wanted?: JobDescription): JobDescription {
  return {
    program: identity.program,
    arguments: textList(identity['arguments'], 'arguments'),
    environment: list(identity['environment'], 'environment').map((pair) => {
      const [name, value] = textList(pair, 'environment');
      return [name, value] as const;
    }),
    preopens: list(identity['preopens'], 'preopens').map((entry): Preopen => {
      const { guestPath, hostPath } = record(entry, 'preopens');
      return { guestPath: text(guestPath, 'preopens'), hostPath: text(hostPath, 'preopens') };
    }),
    stdin: inputOf(identity['stdin'], wanted?.stdin),
    stdout: outputOf(identity['stdout'], 'standard output', wanted?.stdout),
    stderr: outputOf(identity['stderr'], 'standard error', wanted?.stderr),
    outputMode: outputModeOf(identity['outputMode'], wanted?.outputMode),
    canonicalNan: identity['canonicalNan'] === true,
  };
}

/** What is asked for now, else what was when the job was made: it may change from run to run. */
function outputModeOf(value: JsonValue | undefined, wanted: OutputMode = 'auto'): OutputMode {
  if (wanted !== 'auto') return wanted;
  if (value === 'commit' || value === 'immediate' || value === 'auto') return value;
  throw damaged('output mode');
}

function inputOf(value: JsonValue | undefined, given: InputSource | undefined): InputSource {
  const { kind, path } = record(value, 'standard input');
  if (kind === 'file') return { kind, path: text(path, 'standard input') };
  if (kind === 'inherit' || kind === 'empty') return { kind };
  if (given !== undefined) return given;
  throw notRestartable('standard input', kind);
}

function outputOf(value: JsonValue | undefined, part: string, given: OutputDescription | undefined): OutputDescription {
  const { kind, path } = record(value, part);
  if (kind === 'file') return { kind, path: text(path, part) };
  if (kind === 'inherit') return { kind };
  if (given !== undefined) return given;
  throw notRestartable(part, kind);
}

function notRestartable(what: string, kind: JsonValue | undefined): UsageError {
  return new UsageError(
    'bad-argument',
    `the job's ${what} was given by a program that embeds Continuo (${JSON.stringify(kind)}): only that program can go on with it`,
  );
}

function list(value: JsonValue | undefined, part: string): readonly JsonValue[] {
  if (!Array.isArray(value)) throw damaged(part);
  return value as readonly JsonValue[];
}

function textList(value: JsonValue | undefined, part: string): string[] {
  return list(value, part).map((entry) => text(entry, part));
}

function text(value: JsonValue | undefined, part: string): string {
  if (typeof value !== 'string') throw damaged(part);
  return value;
}

function record(value: JsonValue | undefined, part: string): { readonly [name: string]: JsonValue } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(part);
  return value as { readonly [name: string]: JsonValue };
}

function damaged(part: string): CorruptionError {
  return new CorruptionError(`the job's description of its ${part} cannot be read`, { part });
}
