import { Command } from 'commander';
import { reportError } from './messages.ts';
import { terminalColumns } from './terminal.ts';

/** `continuo inspect`: shows what a job directory holds, running or not. Reads only, and takes no lock. */
export function inspectCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('inspect')
    .description('show what a job directory holds, while the job runs as well')
    .argument('<job>', 'the job directory')
    .option('--json', 'as JSON');
  return command.action(async (job: string) => settle(await inspect(job, command.opts<{ json?: boolean }>())));
}

async function inspect(job: string, flags: { readonly json?: boolean }): Promise<number> {
  try {
    // No other command needs them, and loading them takes time.
    const { readJobReport } = await import('./job-report.ts');
    const { printJobReport } = await import('./job-report-text.ts');
    const report = readJobReport(job);
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
