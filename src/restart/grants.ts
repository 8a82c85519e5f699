/**
 * What a restarted program may touch on this machine. A restart file names the directories and files that it had; since it may
 * come from anybody, none of them is given to the program unless the user names it, or says that those under the same paths
 * are meant.
 */
import { resolve } from 'node:path';
import { CorruptionError, UsageError } from '../error/errors.ts';
import type { JobIdentity, JsonValue } from '../format/job-format.ts';
import { describeJob } from '../machine/job-description.ts';
import type { WasiConfig } from '../wasi/config.ts';

export interface Grants {
  /** Directories, by the names that the program knows them by. */
  readonly directories: readonly { readonly host: string; readonly guest?: string }[];
  readonly stdin?: string | undefined;
  readonly stdout?: string | undefined;
  readonly stderr?: string | undefined;
  /** Whatever is not named is what has the same path here. */
  readonly samePaths?: boolean;
}

const STREAMS = ['stdin', 'stdout', 'stderr'] as const;

/**
 * The identity of the job on this machine; `places` says for people what is to be named.
 * @throws UsageError `restart-needs-grant` that names all that is missing; `bad-argument` for a grant of something else.
 */
export function grantedIdentity(
  identity: JobIdentity,
  grants: Grants,
  path: string,
  places = 'with the places that they have here',
): JobIdentity {
  const { preopens, ...description } = describeJob(identity);
  const missing: string[] = [];
  const known = new Set(preopens.map(({ guestPath }) => guestPath));
  for (const { host, guest = host } of grants.directories) {
    if (known.has(guest)) continue;
    const names = preopens.length === 0 ? 'none' : [...known].map((name) => `"${name}"`).join(', ');
    throw new UsageError(
      'bad-argument',
      `--dir: the program has no directory "${guest}"; those it has are: ${names}. Write --dir HOST::GUEST`,
      { guest },
    );
  }
  const granted: JsonValue[] = preopens.map(({ guestPath, hostPath }) => {
    const grant = grants.directories.find(({ host, guest = host }) => guest === guestPath);
    if (grant !== undefined) return { guestPath, hostPath: resolve(grant.host) };
    if (grants.samePaths !== true) missing.push(`--dir ${hostPath}::${guestPath}`);
    return { guestPath, hostPath };
  });
  const streams: Record<string, JsonValue> = {};
  for (const name of STREAMS) {
    const stream = description[name];
    const grant = grants[name];
    if (grant !== undefined) streams[name] = checkedStream(name, stream.kind, grant);
    else if (stream.kind === 'file' && grants.samePaths !== true) missing.push(`--${name} ${stream.path}`);
  }
  if (missing.length > 0) {
    throw new UsageError(
      'restart-needs-grant',
      `the program of ${path} had directories or files, and gets none that you do not name: give ${missing.join(' ')} ` +
        `${places}, or --same-paths for all under these paths`,
      { path, missing },
    );
  }
  return { ...identity, preopens: granted, ...streams };
}

/** Input may come from a file wherever it came from; output that went on from a file goes on in one. */
function checkedStream(name: (typeof STREAMS)[number], kind: string, path: string): JsonValue {
  if (kind === 'file') return { kind, path: resolve(path) };
  throw new UsageError(
    'bad-argument',
    `--${name}: the program had no file there but what the process inherited; redirect this command instead`,
    { path },
  );
}

/** What the program of a job may touch. */
export function wasiConfigOf(identity: JobIdentity): WasiConfig {
  const { stdout, stderr, ...rest } = describeJob(identity);
  const target = (output: typeof stdout): { kind: 'inherit' } | { kind: 'file'; path: string } => {
    if (output.kind === 'sink') throw new CorruptionError('a restart file cannot name a function of an embedder');
    return output;
  };
  return { ...rest, stdout: target(stdout), stderr: target(stderr) };
}
