import { Command } from 'commander';
import { ByteSource } from '../device/byte-stream.ts';
import { UsageError } from '../error/errors.ts';
import { addGrantOptions, checkGrants, checkRestartFile, type GrantFlags, grantsOf } from './grant-options.ts';
import { reportError, say } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends SecretFlags, GrantFlags {
  readonly job?: string;
  readonly create?: boolean;
  readonly quiet?: boolean;
}

/** `continuo apply`: brings a copy of a job up to date with what changed since, all or nothing. */
export function applyCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('apply')
    .description('bring a copy of a job up to date with a file of "continuo export --since"')
    .argument('<file>', 'the restart file; - for standard input')
    .option('--job <directory>', 'the job directory of the copy')
    .option('--create', 'take a whole restart file too: to make the copy where there is none, or all of it anew');
  addSecretOptions(addGrantOptions(command)).option('--quiet', 'tell about errors only');
  return command.action(async (file: string) => settle(await apply(file, command.opts<Flags>())));
}

async function apply(file: string, flags: Flags): Promise<number> {
  const progress = new TransferProgress(flags.quiet !== true);
  try {
    const { job, create = false, quiet = false, acceptChanges = false } = flags;
    if (job === undefined) {
      throw new UsageError('bad-argument', 'name the job directory of the copy with --job');
    }
    checkRestartFile(file);
    checkGrants(flags);
    const notice = (text: string): void => {
      if (!quiet) say(text);
    };
    const secret = readSecret(flags);
    const { applyToJob } = await import('../restart/apply.ts');
    const source = file === '-' ? ByteSource.ofStandardInput() : ByteSource.open(file);
    let result: ReturnType<typeof applyToJob>;
    try {
      result = applyToJob(source, {
        job,
        secret,
        acceptChanges,
        notice,
        create: create ? { grants: grantsOf(flags) } : undefined,
        onProgress: (done, total) => progress.show(done, total),
      });
    } finally {
      progress.close();
      source.close();
    }
    const { generation, origin, isNew } = result;
    notice(`${job} ${isNew ? 'is a job now, at' : 'stands at'} checkpoint ${origin.generation}, its own ${generation}`);
    return 0;
  } catch (error) {
    return reportError(error);
  }
}
