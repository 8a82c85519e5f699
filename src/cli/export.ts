import { basename, dirname, resolve } from 'node:path';
import { isatty } from 'node:tty';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { type ByteSink, ByteSource, NewFile, StandardSink } from '../device/byte-stream.ts';
import type { Device } from '../device/device.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { askForCheckpoint, lockOwner } from '../device/job-lock.ts';
import { UsageError } from '../error/errors.ts';
import { reportError, say } from './messages.ts';
import { openedWhereSealed } from '../seal/job-seal.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends SecretFlags {
  readonly output?: string;
  readonly since?: string;
  readonly quiet?: boolean;
}

/** How long a running job may take for the checkpoint that it was asked for. */
const CHECKPOINT_MS_MAX = 10_000;
const LOOK_MS = 25;

/** `continuo export`: one file of a job's newest checkpoint, from which it goes on anywhere. */
export function exportCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('export')
    .description(
      'make one file of a job, from which "continuo restart" goes on anywhere; a running job is asked for a checkpoint',
    )
    .argument('<job>', 'the job directory')
    .option('-o, --output <file>', 'the restart file; - for standard output; default: named after the job')
    .option(
      '--since <base>',
      'only what changed since a checkpoint, named by its number or by an earlier restart file',
    );
  addSecretOptions(command).option('--quiet', 'tell about errors only');
  return command.action(async (job: string) => settle(await exportTo(job, command.opts<Flags>())));
}

async function exportTo(job: string, flags: Flags): Promise<number> {
  let sink: ByteSink | undefined;
  const progress = new TransferProgress(flags.quiet !== true);
  try {
    const kind = kindOfPath(job);
    if (kind === 'absent') throw new UsageError('job-not-found', `there is no job directory ${job}`, { path: job });
    if (kind === 'other') throw new UsageError('job-not-a-job', `${job} is not a directory`, { path: job });
    const secret = readSecret(flags);
    const device = openedWhereSealed(new FileDevice(job), secret);
    const output = outputOf(job, flags.output);
    const notice = (text: string): void => {
      if (flags.quiet !== true) say(text);
    };
    // No other command needs it, and loading it takes time.
    const { exportJob } = await import('../restart/export.ts');
    const since = flags.since === undefined ? undefined : await baseOf(flags.since, secret);
    await awaitCheckpoint(device, notice);
    const target = (sink = output === '-' ? new StandardSink() : new NewFile(output));
    const result = await exportJob(device, (bytes) => target.write(bytes), {
      secret,
      since,
      notice,
      onProgress: (done, total) => progress.show(done, total),
    });
    sink.finish();
    progress.close();
    const { generation, pages, fileBytes } = result;
    const name = output === '-' ? 'standard output' : output;
    const what = since === undefined ? '' : `what changed in ${job} up to `;
    const of = since === undefined ? ` of ${job}` : '';
    notice(`${what}checkpoint ${generation}${of} is in ${name}: ${pages} pages in ${fileBytes} bytes`);
    return 0;
  } catch (error) {
    progress.close();
    return reportError(error);
  } finally {
    sink?.close();
  }
}

/** A checkpoint by its number, or by an earlier file. @throws UsageError `bad-argument`, and as the reading of the file. */
async function baseOf(since: string, secret: Secret | undefined): Promise<CheckpointName | number> {
  if (/^\d{1,10}$/.test(since)) return Number(since);
  if (kindOfPath(since) !== 'other') {
    throw new UsageError('bad-argument', `--since: ${since} is no number of a checkpoint, and no restart file`, {
      path: since,
    });
  }
  const { nameInFile } = await import('../restart/name-in-file.ts');
  const source = ByteSource.open(since);
  try {
    return nameInFile(source, secret);
  } finally {
    source.close();
  }
}

/** @throws UsageError `bad-argument`. */
function outputOf(job: string, output: string | undefined): string {
  if (output === '-') {
    if (!isatty(1)) return output;
    throw new UsageError('bad-argument', '-o -: a restart file is nothing for a terminal; redirect standard output');
  }
  const file = output ?? `${basename(resolve(job))}.restart`;
  if (output === undefined && kindOfPath(file) !== 'absent') {
    throw new UsageError('bad-argument', `${file} exists; name the restart file with -o`, { path: file });
  }
  if (kindOfPath(dirname(file)) !== 'directory') {
    throw new UsageError('bad-argument', `-o: there is no directory ${dirname(file)}`, { path: file });
  }
  if (kindOfPath(file) === 'directory') {
    throw new UsageError('bad-argument', `-o: ${file} is a directory; name a file`, { path: file });
  }
  return file;
}

/** Asks a running job for a checkpoint and waits until it is there, or for so long that none will come. */
async function awaitCheckpoint(device: Device, notice: (text: string) => void): Promise<void> {
  const owner = lockOwner(device.path);
  if (owner === undefined) return;
  const { newestGeneration } = await import('../restart/newest-generation.ts');
  const before = newestGeneration(device);
  if (!askForCheckpoint(owner)) {
    notice(
      `process ${owner.pid} on ${owner.host}, which runs the job, cannot be asked for a checkpoint: its newest one is exported`,
    );
    return;
  }
  const deadlineMs = performance.now() + CHECKPOINT_MS_MAX;
  while (performance.now() < deadlineMs) {
    await delay(LOOK_MS);
    if (newestGeneration(device) > before || lockOwner(device.path) === undefined) return;
  }
  notice(`the running job took no checkpoint within ${CHECKPOINT_MS_MAX / 1000} s: its newest one is exported`);
}
