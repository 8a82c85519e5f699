import { fstatSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { ByteSource } from '../device/byte-stream.ts';
import { kindOfPath } from '../device/file-device.ts';
import { Machine } from '../machine/machine.ts';
import { addGrantOptions, checkGrants, checkRestartFile, type GrantFlags, grantsOf, refuse } from './grant-options.ts';
import { reportError, say } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { addRunOptions, resumeOptionsOf, type RunFlags, supervise } from './supervision.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends RunFlags, SecretFlags, GrantFlags {
  readonly job?: string;
  readonly run: boolean;
}

/** `continuo restart`: unpacks a restart file into a new job directory and goes on from there. */
export function restartCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('restart')
    .description('make a job of a restart file and go on with it')
    .argument('<file>', 'the restart file; - for standard input')
    .option('--job <directory>', 'the job directory to be made; default: a new one named after the program')
    .option('--no-run', 'make the job directory only; "continuo resume" goes on with it');
  addRunOptions(addSecretOptions(addGrantOptions(command)));
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
      const { acceptChanges = false, job, policy } = flags;
      result = importJob(source, {
        job,
        policy,
        secret,
        acceptChanges,
        notice,
        grants: grantsOf(flags),
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
function checkPaths(file: string, flags: Flags): void {
  checkRestartFile(file);
  // The program would go on reading in the restart file.
  if (file === '-' && flags.run && fstatSync(0).isFile()) refuse('-: standard input is a file; name it instead', file);
  checkGrants(flags);
  const { stats } = flags;
  if (stats !== undefined && kindOfPath(dirname(stats)) !== 'directory') {
    refuse(`--stats: there is no directory ${dirname(stats)}`, stats);
  }
}
