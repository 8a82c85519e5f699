import { basename, dirname, resolve } from 'node:path';
import { isatty } from 'node:tty';
import { Command } from 'commander';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { type ByteSink, ByteSource, NewFile, StandardSink } from '../device/byte-stream.ts';
import { kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { awaitCheckpoint, openCopied } from './copied-job.ts';
import { reportError, say } from './messages.ts';
import { generationOption } from './option-values.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { TransferProgress } from './transfer-progress.ts';

interface Flags extends SecretFlags {
  readonly output?: string;
  readonly at?: number;
  readonly since?: string;
  readonly quiet?: boolean;
}

/** `continuo export`: one file of a checkpoint of a job, from which it goes on anywhere. */
export function exportCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('export')
    .description(
      'make one file of a job, from which "continuo restart" goes on anywhere; a running job is asked for a checkpoint',
    )
    .argument('<job>', 'the job directory')
    .option('-o, --output <file>', 'the restart file; - for standard output; default: named after the job')
    .addOption(generationOption('a kept checkpoint; default: the newest'))
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
    const secret = readSecret(flags);
    const device = openCopied(job, secret);
    const output = outputOf(job, flags.output);
    const notice = (text: string): void => {
      if (flags.quiet !== true) say(text);
    };
    // No other command needs it, and loading it takes time.
    const { exportJob } = await import('../restart/export.ts');
    const since = flags.since === undefined ? undefined : await baseOf(flags.since, secret);
    if (flags.at === undefined) await awaitCheckpoint(device, notice);
    const target = (sink = output === '-' ? new StandardSink() : new NewFile(output));
    const result = await exportJob(device, (bytes) => target.write(bytes), {
      secret,
      since,
      notice,
      at: flags.at,
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
