import { Command } from 'commander';
import type { Cleanup } from '../machine/job-cleanup.ts';
import { byteText } from './byte-text.ts';
import { reportError } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';

interface GcFlags extends SecretFlags {
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** `continuo gc`: removes what no checkpoint of the job needs. Takes the lock, so it waits for nobody and disturbs nobody. */
export function gcCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('gc')
    .description('remove from a job directory what none of its checkpoints needs')
    .argument('<job>', 'the job directory')
    .option('--dry-run', 'only tells what would be removed')
    .option('--json', 'as JSON');
  addSecretOptions(command);
  return command.action(async (job: string) => settle(await gc(job, command.opts<GcFlags>())));
}

async function gc(job: string, flags: GcFlags): Promise<number> {
  try {
    const { dryRun = false, json = false } = flags;
    const [{ jobDevice }, { lockJobDirectory }, { cleanJob }] = await Promise.all([
      import('../inspect/open-view.ts'),
      import('../checkpoint/job-directory.ts'),
      import('../machine/job-cleanup.ts'),
    ]);
    const device = jobDevice(job, readSecret(flags));
    const lock = lockJobDirectory(job);
    let cleanup: Cleanup;
    try {
      cleanup = cleanJob(device, dryRun);
    } finally {
      lock.release();
    }
    const { generation, removals } = cleanup;
    const freedBytes = removals.reduce((sum, { bytes }) => sum + bytes, 0);
    process.stdout.write(
      json
        ? `${JSON.stringify({ job: device.path, dryRun, generation, freedBytes, removals }, undefined, 2)}\n`
        : print(device.path, cleanup, freedBytes, dryRun),
    );
    return 0;
  } catch (error) {
    return reportError(error);
  }
}

function print(job: string, { removals }: Cleanup, freedBytes: number, dryRun: boolean): string {
  if (removals.length === 0) return `${job} holds nothing that could go\n`;
  const width = Math.max(...removals.map(({ name }) => name.length));
  const lines = removals.map(({ name, bytes, reason }) => `    ${name.padEnd(width)}  ${byteText(bytes)}, ${reason}`);
  const verb = dryRun ? 'would free' : 'freed';
  return `${[`${verb} ${byteText(freedBytes)} of ${job}`, ...lines].join('\n')}\n`;
}
