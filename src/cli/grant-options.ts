/** Options of the commands that make a job of a restart file: what its program gets on this machine. */
import { isatty } from 'node:tty';
import { type Command, Option } from 'commander';
import { kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import type { DirectoryGrant } from '../machine/machine.ts';
import type { Grants } from '../restart/grants.ts';
import { parseDirectory } from './option-values.ts';

export interface GrantFlags {
  readonly dir: readonly DirectoryGrant[];
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly samePaths?: boolean;
  readonly acceptChanges?: boolean;
}

export function addGrantOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--dir <host[::guest]>', 'where a directory of the program is here, by its name there; repeatable')
        .argParser(parseDirectory)
        .default([], 'none'),
    )
    .option('--stdin <file>', 'where the file of its standard input is here')
    .option('--stdout <file>', 'where the file of its standard output is here')
    .option('--stderr <file>', 'where the file of its standard error is here')
    .option('--same-paths', 'give it the directories and files that have the same paths here')
    .option('--accept-changes', 'go on although a file that it has open is not what it was');
}

export function grantsOf({ dir, stdin, stdout, stderr, samePaths = false }: GrantFlags): Grants {
  return { directories: dir, stdin, stdout, stderr, samePaths };
}

/** @throws UsageError `bad-argument`. */
export function checkGrants({ dir, stdin, stdout, stderr }: GrantFlags): void {
  for (const { host } of dir)
    if (kindOfPath(host) !== 'directory') refuse(`--dir: there is no directory ${host}`, host);
  for (const [option, path] of Object.entries({ '--stdin': stdin, '--stdout': stdout, '--stderr': stderr })) {
    if (path !== undefined && kindOfPath(path) !== 'other') refuse(`${option}: there is no file ${path}`, path);
  }
}

/** @throws UsageError `bad-argument`. */
export function checkRestartFile(file: string): void {
  if (file === '-') {
    if (isatty(0)) refuse('-: a restart file cannot be typed; redirect standard input, or name the file', file);
  } else if (kindOfPath(file) !== 'other') {
    refuse(
      kindOfPath(file) === 'absent'
        ? `there is no restart file ${file}`
        : `${file} is a directory; name a restart file`,
      file,
    );
  }
}

export function refuse(text: string, path: string): never {
  throw new UsageError('bad-argument', text, { path });
}
