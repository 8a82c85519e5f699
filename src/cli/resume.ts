import { Command } from 'commander';
import { Machine } from '../machine/machine.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { reportError } from './messages.ts';
import { generationOption } from './option-values.ts';
import { addSecretOptions, type SecretFlags, secretOptionOf } from './secret-file.ts';
import { type RunFlags, addRunOptions, resumeOptionsOf, supervise } from './supervision.ts';

interface ResumeFlags extends RunFlags, SecretFlags {
  readonly at?: number;
}

/** `continuo resume`: goes on with a job as it was described when it was made; needs nothing but its directory. */
export function resumeCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('resume')
    .description('go on with a job from its last checkpoint; its directory is all that is needed')
    .argument('<job>', 'the job directory');
  addRunOptions(command).addOption(
    generationOption('go back to a kept checkpoint; those after it are given up at once'),
  );
  addSecretOptions(command);
  return command.action(async (job: string) => settle(await resume(job, command.opts<ResumeFlags>())));
}

async function resume(job: string, flags: ResumeFlags): Promise<number> {
  try {
    const secret = secretOptionOf(flags);
    const machine = Machine.resume(job, {
      intervalMs: flags.interval,
      ...resumeOptionsOf(flags),
      ...secret,
      ...(flags.at === undefined ? {} : { at: flags.at }),
    });
    return await supervise(machine, { flags, job, describe: () => describe(job, secret.secret) });
  } catch (error) {
    return reportError(error);
  }
}

async function describe(
  job: string,
  secret: Secret | undefined,
): Promise<{ program: string; arguments: readonly string[] }> {
  // Only statistics need it, and loading it takes time.
  const { readIdentity } = await import('./job-report.ts');
  const { program, arguments: args } = readIdentity(job, secret);
  return { program, arguments: args.slice(1) };
}
