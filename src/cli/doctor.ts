import { Command } from 'commander';

/** `continuo doctor`: what works here, tried out, and what to do where something does not. Leaves nothing behind. */
export function doctorCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('doctor')
    .description('show what works on this machine, and what to do to enable more')
    .option('--json', 'as JSON');
  return command.action(async () => {
    // No other command needs it, and loading it takes time.
    const { examineMachine, printFindings } = await import('./doctor-probes.ts');
    const findings = examineMachine(process.cwd());
    const { json } = command.opts<{ json?: boolean }>();
    process.stdout.write(json ? `${JSON.stringify(findings, undefined, 2)}\n` : printFindings(findings));
    settle(0);
  });
}
