import { Command } from 'commander';
import { awaitCheckpoint, openCopied } from './copied-job.ts';
import { addGrantOptions, checkGrants, type GrantFlags, grantsOf } from './grant-options.ts';
import { reportError, say } from './messages.ts';
import { generationOption } from './option-values.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends SecretFlags, GrantFlags {
  readonly job: string;
  readonly at?: number;
  readonly quiet?: boolean;
}

/** `continuo fork`: a new job that branches off a checkpoint of another, which is left as it is. */
export function forkCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('fork')
    .description(
      'make a new job that branches off a checkpoint of a job, running or not; the job itself is left as it is',
    )
    .argument('<job>', 'the job directory to branch off')
    .requiredOption('--job <directory>', 'the job directory to be made')
    .addOption(generationOption('a kept checkpoint; default: the newest, which a running job is asked for'));
  addGrantOptions(command);
  addSecretOptions(command).option('--quiet', 'tell about errors only');
  return command.action(async (job: string) => settle(await fork(job, command.opts<Flags>())));
}

async function fork(original: string, flags: Flags): Promise<number> {
  const progress = new TransferProgress(flags.quiet !== true);
  try {
    checkGrants(flags);
    const { job, at, acceptChanges = false } = flags;
    const secret = readSecret(flags);
    const device = openCopied(original, secret);
    const notice = (text: string): void => {
      if (flags.quiet !== true) say(text);
    };
    // No other command needs it, and loading it takes time.
    const { branchJob } = await import('../restart/branch.ts');
    if (at === undefined) await awaitCheckpoint(device, notice);
    const { generation } = await branchJob(device, {
      job,
      at,
      secret,
      acceptChanges,
      notice,
      grants: grantsOf(flags),
      onProgress: (done, total) => progress.show(done, total),
    });
    progress.close();
    notice(`${job} branches off checkpoint ${generation} of ${original}; go on with it: continuo resume ${job}`);
    return 0;
  } catch (error) {
    progress.close();
    return reportError(error);
  }
}
