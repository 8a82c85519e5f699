import { dirname } from 'node:path';
import { Command, Option } from 'commander';
import { kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { type DirectoryGrant, Machine } from '../machine/machine.ts';
import type { OutputMode } from '../wasi/config.ts';
import { reportError } from './messages.ts';
import { parseDirectory, parseVariable } from './option-values.ts';
import { readProgramFile } from './program-file.ts';
import { addSecretOptions, type SecretFlags, secretOptionOf } from './secret-file.ts';
import { type RunFlags, addRunOptions, resumeOptionsOf, supervise } from './supervision.ts';

/** As the parsers of the options below leave them. */
interface Flags extends RunFlags, SecretFlags {
  readonly job?: string;
  readonly dir: readonly DirectoryGrant[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly output?: OutputMode;
  readonly fresh?: boolean;
  readonly canonicalNan?: boolean;
}

/** `continuo run`: starts a program, or goes on with it where its job directory holds a checkpoint of this very run. */
export function runCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('run')
    .description('run a program; with --job, go on from its last checkpoint when the job has one')
    .argument('<program>', 'a WASI preview 1 command in WebAssembly binary format')
    .argument('[arguments...]', 'everything after the program belongs to it')
    .passThroughOptions()
    .option('--job <directory>', 'keep checkpoints here; made when it is missing')
    .option('--fresh', 'give up what the job directory holds and start anew')
    .addOption(
      new Option('--dir <host[::guest]>', 'a directory that the program may use, and its name there; repeatable')
        .argParser(parseDirectory)
        .default([], 'none'),
    )
    .addOption(
      new Option('--env <name[=value]>', 'a variable of its environment; without a value, the one here; repeatable')
        .argParser(parseVariable)
        .default({}, 'none'),
    )
    .option('--stdin <file>', 'standard input, instead of that of this process')
    .option('--stdout <file>', 'standard output; after any number of kills as if there had been none')
    .option('--stderr <file>', 'standard error of the program, in the same way')
    .option('--canonical-nan', 'the same bits for NaNs on every processor; part of what the job is')
    .addOption(
      new Option(
        '--output <mode>',
        'when output to an inherited stream leaves: at once, or when a checkpoint covers it',
      ).choices(['immediate', 'commit']),
    );
  addRunOptions(command);
  addSecretOptions(command);
  return command.action(async (program: string, args: string[]) => {
    settle(await run(program, args, command.opts<Flags>()));
  });
}

async function run(path: string, args: readonly string[], flags: Flags): Promise<number> {
  try {
    const program = readProgramFile(path);
    checkPaths(flags);
    const machine = Machine.start({
      program,
      name: path,
      arguments: args,
      environment: flags.env,
      directories: flags.dir,
      ...(flags.stdin === undefined ? {} : { stdin: { kind: 'file', path: flags.stdin } }),
      ...(flags.stdout === undefined ? {} : { stdout: { kind: 'file', path: flags.stdout } }),
      ...(flags.stderr === undefined ? {} : { stderr: { kind: 'file', path: flags.stderr } }),
      ...(flags.output === undefined ? {} : { outputMode: flags.output }),
      ...(flags.canonicalNan === undefined ? {} : { canonicalNan: flags.canonicalNan }),
      ...(flags.job === undefined ? {} : { job: flags.job }),
      ...(flags.fresh === undefined ? {} : { fresh: flags.fresh }),
      ...resumeOptionsOf(flags),
      ...secretOptionOf(flags),
      // Without a job there is nothing that a timer could save.
      intervalMs: flags.job === undefined ? 0 : flags.interval,
    });
    return await supervise(machine, {
      flags,
      job: flags.job,
      describe: () => Promise.resolve({ program: path, arguments: args }),
    });
  } catch (error) {
    return reportError(error, path);
  }
}

/**
 * Refuses options that cannot work before anything is made.
 * @throws UsageError `bad-argument`.
 */
function checkPaths({ job, fresh, policy, fork, dir, stdin, stdout, stderr, stats }: Flags): void {
  if (fresh && job === undefined) {
    throw new UsageError('bad-argument', '--fresh gives up the checkpoints of a job: name it with --job');
  }
  if (job === undefined && (fork === true || (policy !== undefined && policy !== 'none'))) {
    throw new UsageError('bad-argument', '--policy and --fork are about the checkpoints of a job: name it with --job');
  }
  for (const { host } of dir) checkPath('--dir', host, 'directory');
  if (stdin !== undefined) checkPath('--stdin', stdin, 'file');
  for (const [option, file] of Object.entries({ '--stdout': stdout, '--stderr': stderr, '--stats': stats })) {
    if (file === undefined) continue;
    checkPath(option, dirname(file), 'directory');
    if (kindOfPath(file) === 'directory') {
      throw new UsageError('bad-argument', `${option}: ${file} is a directory; name a file`, { path: file });
    }
  }
}

function checkPath(option: string, path: string, wanted: 'file' | 'directory'): void {
  const kind = kindOfPath(path);
  if (kind === 'absent') throw new UsageError('bad-argument', `${option}: there is no ${wanted} ${path}`, { path });
  if ((kind === 'directory') !== (wanted === 'directory')) {
    throw new UsageError('bad-argument', `${option}: ${path} is not a ${wanted}`, { path });
  }
}
