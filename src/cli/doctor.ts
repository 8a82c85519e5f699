import { Command } from 'commander';

/** `continuo doctor`: what works here, what each thing is for, and what to do to have more. Leaves nothing behind. */
export function doctorCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('doctor')
    .description('tell what Continuo can make use of here, and what to do to enable more')
    .option('--json', 'as JSON');
  return command.action(async () => {
    // No other command needs it, and loading it takes time.
    const { examineMachine, printProbes } = await import('./doctor-probes.ts');
    const probes = examineMachine(process.cwd());
    const { json } = command.opts<{ json?: boolean }>();
    process.stdout.write(json ? `${JSON.stringify({ probes }, undefined, 2)}\n` : printProbes(probes));
    settle(0);
  });
}
