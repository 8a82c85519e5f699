import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { UsageError } from '../error/errors.ts';
import { applyCommand } from './apply.ts';
import { compareCommand } from './compare.ts';
import { diffCommand } from './diff.ts';
import { forkCommand } from './fork.ts';
import { gcCommand } from './gc.ts';
import { doctorCommand } from './doctor.ts';
import { exportCommand } from './export.ts';
import { inspectCommand } from './inspect.ts';
import { intervalCommand } from './interval.ts';
import { memoryCommand } from './memory.ts';
import { reportError } from './messages.ts';
import { restartCommand } from './restart.ts';
import { resumeCommand } from './resume.ts';
import { runCommand } from './run.ts';
import { simulateCommand } from './simulate.ts';
import { standbyCommand } from './standby.ts';
import { traceCommand } from './trace.ts';
import { verifyCommand } from './verify.ts';

/** Parses a command line, carries it out and returns its exit code. */
export async function main(args: readonly string[]): Promise<number> {
  process.on('uncaughtException', (error) => process.exit(reportError(error)));
  let exitCode = 0;
  const settle = (code: number): void => {
    exitCode = code;
  };
  const continuo = new Command('continuo')
    .description('Runs WebAssembly programs that can be stopped at any instant and go on from their last checkpoint.')
    .version(ownVersion())
    .helpCommand(false)
    .enablePositionalOptions();
  // All that a run prints is written at once. Leaving on one's own would first take down the process bit by bit, and a signal
  // that comes meanwhile would find no handler and take the place of the exit code.
  const leave = (code: number): void => process.exit(code);
  for (const command of [
    runCommand(leave),
    resumeCommand(leave),
    inspectCommand(settle),
    diffCommand(settle),
    memoryCommand(settle),
    verifyCommand(settle),
    gcCommand(settle),
    exportCommand(settle),
    restartCommand(leave),
    forkCommand(settle),
    applyCommand(settle),
    standbyCommand(leave),
    compareCommand(settle),
    traceCommand(leave),
    simulateCommand(settle),
    intervalCommand(settle),
    doctorCommand(settle),
  ]) {
    continuo.addCommand(command);
  }
  for (const command of [continuo, ...continuo.commands]) {
    command.exitOverride().configureOutput({ outputError: () => {} });
  }
  try {
    await continuo.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version were asked for and are printed.
    if (error.exitCode === 0) return 0;
    const mistake = new UsageError('bad-argument', mistakeOf(error));
    // A command line without a command got the help already.
    return error.code === 'commander.help' ? mistake.exitCode : reportError(mistake);
  }
}

/** Commander's sentences about a mistake as one line. */
function mistakeOf({ message }: CommanderError): string {
  const text = message.replace(/^error: /, '').replaceAll('\n', ' ');
  return `${text.replace(/\.$/, '')}; "continuo --help" tells more`;
}

function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  return String((manifest as { version: unknown }).version);
}
