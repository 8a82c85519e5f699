import { CorruptionError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { encodeHostState } from '../machine/host-state.ts';
import { describeJob } from '../machine/job-description.ts';
import { encodeMachineState } from '../machine/machine-state.ts';
import { settleState } from '../wasi/file-evidence.ts';
import type { StandardOutputState } from '../wasi/standard-output.ts';
import type { FileCheckpoint } from './file-contents.ts';

export interface SettleSettings {
  /** Goes on with files of the program that are not what they were. */
  readonly acceptChanges?: boolean;
  readonly notice?: (text: string) => void;
}

/**
 * The machine state of a file in terms of this machine, whose files are held against the evidence; it says which
 * checkpoint of which job it is a copy of.
 * @throws UsageError `guest-file-changed`.
 */
export function settledState(
  { checkpoint, machine, host }: FileCheckpoint,
  output: StandardOutputState,
  identity: JobIdentity,
  { acceptChanges, notice }: SettleSettings,
): Uint8Array {
  const onChange = acceptChanges === true ? (text: string): void => notice?.(text) : undefined;
  const wasi = settleState(wasiConfigOf(identity), { ...host.wasi, output }, checkpoint, onChange);
  return encodeMachineState({ ...machine, host: encodeHostState({ ...host, wasi, origin: checkpoint.name }) });
}

function wasiConfigOf(identity: JobIdentity): Parameters<typeof settleState>[0] {
  const { stdout, stderr, ...rest } = describeJob(identity);
  const target = (output: typeof stdout): { kind: 'inherit' } | { kind: 'file'; path: string } => {
    if (output.kind === 'sink') throw new CorruptionError('a restart file cannot name a function of an embedder');
    return output;
  };
  return { ...rest, stdout: target(stdout), stderr: target(stderr) };
}
