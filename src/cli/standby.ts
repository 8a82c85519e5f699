import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { Command } from 'commander';
import { kindOfDirectory } from '../checkpoint/job-directory.ts';
import { ByteSource } from '../device/byte-stream.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import { openedWhereSealed } from '../seal/job-seal.ts';
import type { Secret } from '../seal/sealing-key.ts';
import type { StandbyUpdate } from '../restart/standby.ts';
import { addGrantOptions, checkGrants, type GrantFlags, grantsOf } from './grant-options.ts';
import { reportError, say } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';

interface Flags extends SecretFlags, GrantFlags {
  readonly to?: string;
  readonly command?: string;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
}

/** `continuo standby`: a copy that is brought up to date after each checkpoint of a job, to go on from when the job is lost. */
export function standbyCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('standby')
    .description('keep a copy of a job, brought up to date after each of its checkpoints')
    .argument('<job>', 'the job directory')
    .option('--to <directory>', 'the job directory of the copy')
    .option('--command <command>', 'a shell command, run for each update with its file as standard input');
  addSecretOptions(addGrantOptions(command))
    .option('--verbose', 'tell of each update')
    .option('--quiet', 'tell about errors only');
  return command.action(async (job: string) => settle(await standby(job, command.opts<Flags>())));
}

async function standby(job: string, flags: Flags): Promise<number> {
  const ended = new AbortController();
  const stop = (): void => ended.abort();
  process.on('SIGTERM', stop).on('SIGINT', stop);
  try {
    const { to, command, quiet = false, verbose = false } = flags;
    if ((to === undefined) === (command === undefined)) {
      throw new UsageError('bad-argument', 'say where the copy is: with --to or with --command');
    }
    const kind = kindOfPath(job);
    if (kind === 'absent') throw new UsageError('job-not-found', `there is no job directory ${job}`, { path: job });
    if (kind === 'other') throw new UsageError('job-not-a-job', `${job} is not a directory`, { path: job });
    checkGrants(flags);
    const secret = readSecret(flags);
    const notice = (text: string): void => {
      if (!quiet) say(text);
    };
    const device = openedWhereSealed(new FileDevice(job), secret);
    const { followJob } = await import('../restart/standby.ts');
    const { deliver, from } =
      to === undefined ? { deliver: toCommand(command!), from: undefined } : await toJob(to, flags, secret, notice);
    const isComplete = await followJob(device, {
      secret,
      from,
      notice,
      signal: ended.signal,
      deliver: async (update) => {
        const failure = await deliver(update);
        const { generation, pages, fileBytes, since } = update;
        const what = since === undefined ? 'the whole of it' : `what changed since checkpoint ${since.generation}`;
        if (failure === undefined && verbose) {
          notice(`the copy has checkpoint ${generation}: ${what}, ${pages} pages in ${fileBytes} bytes`);
        }
        return failure;
      },
    });
    notice(isComplete ? 'the job has ended, and the copy has all of it' : 'stopped; the copy stays at its last update');
    return 0;
  } catch (error) {
    return reportError(error);
  } finally {
    process.off('SIGTERM', stop).off('SIGINT', stop);
  }
}

type Deliver = (update: StandbyUpdate) => Promise<string | undefined>;

async function toJob(
  to: string,
  flags: Flags,
  secret: Secret | undefined,
  notice: (text: string) => void,
): Promise<{ deliver: Deliver; from: CheckpointName | undefined }> {
  const { applyToJob, originOfCopy } = await import('../restart/apply.ts');
  const from = originOf(to, (path) => originOfCopy(path, secret));
  const { acceptChanges = false } = flags;
  const settings = { job: to, secret, acceptChanges, notice, create: { grants: grantsOf(flags) } };
  return {
    from,
    deliver: ({ path }) => {
      const source = ByteSource.open(path);
      try {
        applyToJob(source, settings);
      } finally {
        source.close();
      }
      return Promise.resolve(undefined);
    },
  };
}

/** Where a copy that is there stands; undefined where there is none yet. @throws UsageError `job-exists` for another job. */
function originOf(to: string, read: (path: string) => CheckpointName | undefined): CheckpointName | undefined {
  if (kindOfPath(to) !== 'directory' || kindOfDirectory(new FileDevice(to).list()) !== 'job') return undefined;
  const origin = read(to);
  if (origin !== undefined) return origin;
  throw new UsageError(
    'job-exists',
    `${to} holds a job that is no copy, or has itself gone on; name another directory with --to`,
    { path: to },
  );
}

/** Runs a shell command for each update, with the file as its standard input. */
function toCommand(command: string): Deliver {
  return ({ path }) =>
    new Promise((settle, fail) => {
      const input = openSync(path, 'r');
      const child = spawn(command, { shell: true, stdio: [input, 'inherit', 'inherit'] });
      closeSync(input);
      child.on('error', fail);
      child.on('close', (exitCode, signal) => {
        if (exitCode === 0) settle(undefined);
        else settle(signal === null ? `the command ended with exit code ${exitCode}` : `${signal} ended the command`);
      });
    });
}
