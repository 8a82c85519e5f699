import { Command } from 'commander';
import { reportError } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { terminalColumns } from './terminal.ts';

interface InspectFlags extends SecretFlags {
  readonly json?: boolean;
}

/** `continuo inspect`: shows what a job directory holds, running or not. Reads only, and takes no lock. */
export function inspectCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('inspect')
    .description('show what a job directory holds, while the job runs as well')
    .argument('<job>', 'the job directory')
    .option('--json', 'as JSON');
  addSecretOptions(command);
  return command.action(async (job: string) => settle(await inspect(job, command.opts<InspectFlags>())));
}

async function inspect(job: string, flags: InspectFlags): Promise<number> {
  try {
    // No other command needs them, and loading them takes time.
    const { readJobReport } = await import('./job-report.ts');
    const { printJobReport } = await import('./job-report-text.ts');
    const report = readJobReport(job, readSecret(flags));
    // Whoever reads only the beginning, as `head` does, has seen what it wanted.
    process.stdout.on('error', () => {});
    process.stdout.write(
      flags.json ? `${JSON.stringify(report, undefined, 2)}\n` : printJobReport(report, terminalColumns()),
    );
    return 0;
  } catch (error) {
    return reportError(error);
  }
}
