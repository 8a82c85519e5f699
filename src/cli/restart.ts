import { isatty } from 'node:tty';
import { fstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command, Option } from 'commander';
import { ByteSource } from '../device/byte-stream.ts';
import { kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { type DirectoryGrant, Machine } from '../machine/machine.ts';
import { reportError, say } from './messages.ts';
import { parseDirectory } from './option-values.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { addRunOptions, resumeOptionsOf, type RunFlags, supervise } from './supervision.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends RunFlags, SecretFlags {
  readonly job?: string;
  readonly run: boolean;
  readonly dir: readonly DirectoryGrant[];
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly samePaths?: boolean;
  readonly acceptChanges?: boolean;
}

/** `continuo restart`: unpacks a restart file into a new job directory and goes on from there. */
export function restartCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('restart')
    .description('make a job of a restart file and go on with it')
    .argument('<file>', 'the restart file; - for standard input')
    .option('--job <directory>', 'the job directory to be made; default: a new one named after the program')
    .option('--no-run', 'make the job directory only; "continuo resume" goes on with it')
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
  addRunOptions(addSecretOptions(command));
  return command.action(async (file: string) => settle(await restart(file, command.opts<Flags>())));
}

async function restart(file: string, flags: Flags): Promise<number> {
  const progress = new TransferProgress(flags.quiet !== true);
  try {
    checkPaths(file, flags);
    const secret = readSecret(flags);
    const notice = (text: string): void => {
      if (flags.quiet !== true) say(text);
    };
    const { importJob } = await import('../restart/import.ts');
    const source = file === '-' ? ByteSource.ofStandardInput() : ByteSource.open(file);
    let result: ReturnType<typeof importJob>;
    try {
      const { dir, stdin, stdout, stderr, samePaths = false, acceptChanges = false, job, policy } = flags;
      result = importJob(source, {
        job,
        policy,
        secret,
        acceptChanges,
        notice,
        grants: { directories: dir, stdin, stdout, stderr, samePaths },
        onProgress: (done, total) => progress.show(done, total),
      });
    } finally {
      progress.close();
      source.close();
    }
    const { job, generation, policy, program, arguments: args } = result;
    notice(`${job} is a job now, at checkpoint ${generation}`);
    if (!flags.run) return 0;
    // A paging file does not tell `none` from `continuous`.
    const options = { ...(policy === 'none' ? { policy } : {}), ...(secret === undefined ? {} : { secret }) };
    const machine = Machine.resume(job, { intervalMs: flags.interval, ...options, ...resumeOptionsOf(flags) });
    return await supervise(machine, {
      flags,
      job,
      describe: () => Promise.resolve({ program, arguments: args }),
    });
  } catch (error) {
    return reportError(error);
  }
}

/** @throws UsageError `bad-argument`. */
function checkPaths(file: string, { dir, stdin, stdout, stderr, stats, run }: Flags): void {
  const refuse = (text: string, path: string): never => {
    throw new UsageError('bad-argument', text, { path });
  };
  if (file === '-') {
    if (isatty(0)) refuse('-: a restart file cannot be typed; redirect standard input, or name the file', file);
    // The program would go on reading in the restart file.
    if (run && fstatSync(0).isFile()) refuse('-: standard input is a file; name it instead', file);
  } else if (kindOfPath(file) !== 'other') {
    refuse(
      kindOfPath(file) === 'absent'
        ? `there is no restart file ${file}`
        : `${file} is a directory; name a restart file`,
      file,
    );
  }
  for (const { host } of dir)
    if (kindOfPath(host) !== 'directory') refuse(`--dir: there is no directory ${host}`, host);
  for (const [option, path] of Object.entries({ '--stdin': stdin, '--stdout': stdout, '--stderr': stderr })) {
    if (path !== undefined && kindOfPath(path) !== 'other') refuse(`${option}: there is no file ${path}`, path);
  }
  if (stats !== undefined && kindOfPath(dirname(stats)) !== 'directory') {
    refuse(`--stats: there is no directory ${dirname(stats)}`, stats);
  }
}
