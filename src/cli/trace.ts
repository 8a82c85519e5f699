import { dirname } from 'node:path';
import { Command, Option } from 'commander';
import { kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { Machine, type DirectoryGrant } from '../machine/machine.ts';
import { reportError, say } from './messages.ts';
import { EVERY_MAX, type Every, parseDirectory, parseEvery, parseVariable } from './option-values.ts';
import { readProgramFile } from './program-file.ts';
import { SIGNAL_EXIT_CODES, SignalWatch } from './signals.ts';

interface Flags {
  readonly output: string;
  readonly every?: Every;
  readonly dir: readonly DirectoryGrant[];
  readonly env: Readonly<Record<string, string>>;
  readonly quiet?: boolean;
}

/** `continuo trace`: runs a program and records its page references, for `continuo simulate`. */
export function traceCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('trace')
    .description('run a program and record its page references and checkpoints in a file, for "continuo simulate"')
    .argument('<program>', 'a WASI preview 1 command in WebAssembly binary format')
    .argument('[arguments...]', 'everything after the program belongs to it')
    .passThroughOptions()
    .requiredOption('-o, --output <file>', 'the trace')
    .addOption(
      new Option(
        '--every <count>',
        'note a checkpoint after every so many safepoints (loop heads and calls), or steps that the program reports: 40steps',
      ).argParser(parseEvery),
    )
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
    .option('--quiet', 'tell about errors only');
  return command.action(async (program: string, args: string[]) => {
    settle(await trace(program, args, command.opts<Flags>()));
  });
}

async function trace(path: string, args: readonly string[], flags: Flags): Promise<number> {
  try {
    const { output, dir, env, every, quiet } = flags;
    const program = readProgramFile(path);
    checkPaths(flags);
    const machine = Machine.start({
      program,
      name: path,
      arguments: args,
      environment: env,
      directories: dir,
      intervalMs: 0,
      // Code that counts its safepoints is captured at the same places, and so asks for the same pages, in every run.
      everySafepoints: every?.unit === 'safepoints' ? every.count : EVERY_MAX,
      ...(every?.unit === 'steps' ? { everySteps: every.count } : {}),
      trace: output,
    });
    const signals = new SignalWatch(machine);
    const { kind, trace, ...end } = await machine.ended;
    if (trace !== undefined && !quiet) {
      const { references, checkpoints, fileBytes } = trace;
      say(`${output}: ${references} references and ${checkpoints} checkpoints in ${fileBytes} bytes`);
    }
    if (kind === 'exited' && 'exitCode' in end) return end.exitCode;
    return SIGNAL_EXIT_CODES[signals.stoppedBy ?? 'SIGTERM'];
  } catch (error) {
    return reportError(error, path);
  }
}

/** @throws UsageError `bad-argument`. */
function checkPaths({ output, dir }: Flags): void {
  for (const { host } of dir) {
    if (kindOfPath(host) !== 'directory') {
      throw new UsageError('bad-argument', `--dir: there is no directory ${host}`, { path: host });
    }
  }
  if (kindOfPath(dirname(output)) !== 'directory') {
    throw new UsageError('bad-argument', `--output: there is no directory ${dirname(output)}`, { path: output });
  }
  if (kindOfPath(output) === 'directory') {
    throw new UsageError('bad-argument', `--output: ${output} is a directory; name a file`, { path: output });
  }
}
