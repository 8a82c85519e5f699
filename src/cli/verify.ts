import { Command } from 'commander';
import { lockOwner } from '../device/job-lock.ts';
import type { CheckedParts, Verification } from '../inspect/verification.ts';
import { byteText, countText } from './byte-text.ts';
import { reportError, say } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';

interface VerifyFlags extends SecretFlags {
  readonly json?: boolean;
}

/** The job goes on, from the checkpoint before one that is not whole. */
const UNFINISHED_EXIT_CODE = 1;
/** Below this it is done before a bar could be read. */
const BAR_PAGES_MIN = 20_000;

/** `continuo verify`: holds all that a job needs against its checksums and the rules that it was made by. Reads only. */
export function verifyCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('verify')
    .description('check every checksum and invariant of a job, while it runs as well')
    .argument('<job>', 'the job directory')
    .option('--json', 'as JSON');
  addSecretOptions(command);
  return command.action(async (job: string) => settle(await verify(job, command.opts<VerifyFlags>())));
}

async function verify(job: string, flags: VerifyFlags): Promise<number> {
  try {
    const [{ jobDevice, unlessOvertaken }, { verifyJob }, { RunProgress }] = await Promise.all([
      import('../inspect/open-view.ts'),
      import('../inspect/verification.ts'),
      import('./run-progress.ts'),
    ]);
    const device = jobDevice(job, readSecret(flags));
    const bar = new RunProgress(flags.json !== true);
    let found: Verification | undefined;
    try {
      unlessOvertaken(device, () => {
        const isRunning = lockOwner(device.path) !== undefined;
        found = verifyJob(device, {
          isRunning,
          onProgress: (done, total) => {
            if (total >= BAR_PAGES_MIN) bar.show(done, total);
          },
        });
        // Thrown, so that a job which was checkpointed meanwhile is looked at again.
        if (found.damage !== undefined) throw found.damage;
      });
    } catch (error) {
      if (found === undefined || error !== found.damage) throw error;
    } finally {
      bar.close();
    }
    const result = found!;
    if (flags.json) process.stdout.write(`${JSON.stringify({ job: device.path, ...jsonOf(result) }, undefined, 2)}\n`);
    else print(device.path, result);
    return exitCodeOf(result);
  } catch (error) {
    return reportError(error);
  }
}

function exitCodeOf({ verdict, damage }: Verification): number {
  if (damage !== undefined) return damage.exitCode;
  return verdict === 'sound' ? 0 : UNFINISHED_EXIT_CODE;
}

function jsonOf({ verdict, damage, unfinished, checked }: Verification): object {
  const fault = damage === undefined ? {} : { damage: { message: damage.message, ...damage.details } };
  return { verdict, ...fault, unfinished, checked };
}

function print(job: string, { damage, unfinished, checked }: Verification): void {
  for (const { path, byteOffset, what } of unfinished) {
    say(`${path}, byte ${byteOffset}: ${what}. It does not count: a save was interrupted there, or it is damaged`);
  }
  if (damage !== undefined) {
    reportError(damage);
    return;
  }
  process.stdout.write(`${job} ${summaryOf(checked)}\n`);
}

function summaryOf(checked: CheckedParts): string {
  const { generation, pages, checkedPages, stateBytes, frames, checkpointFiles, undoRecords, heldOutputBytes } =
    checked;
  if (generation === 0) return 'is sound and has no checkpoint yet';
  const parts = [
    `${countText(checkedPages, 'page')} with contents${checkpointFiles === 0 ? ` of ${pages}` : ` in ${countText(checkpointFiles, 'file')}`}`,
    `${byteText(stateBytes)} of machine state with ${countText(frames, 'frame')}`,
  ];
  if (undoRecords > 0) parts.push(countText(undoRecords, 'undo record'));
  if (heldOutputBytes > 0) parts.push(`${byteText(heldOutputBytes)} of held output`);
  return `is sound at checkpoint ${generation}: ${parts.join(', ')}`;
}
