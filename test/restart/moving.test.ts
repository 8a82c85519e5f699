/** Jobs that are moved by restart files, as their users move them: between policies, machines' worth of paths, and through pipes. */
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { POLICY_NAMES } from '../../src/checkpoint/checkpoint-store.ts';
import { command, continuo, program, root, RunningCommand, scratch, sleep, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { instants } from './copies.ts';

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

const PROGRAM = [workload('apsp'), '600', '1'];
let expected: string;

beforeAll(() => {
  expected = spawnSync(process.execPath, [command, 'run', ...PROGRAM], { encoding: 'utf8' }).stdout;
  expect(expected.length).toBeGreaterThan(10);
});

/** A job that was stopped in its middle. */
async function stoppedJob(folder: string, ...options: string[]): Promise<string> {
  const job = join(folder, 'job');
  const running = new RunningCommand(['run', '--job', job, '--verbose', '--interval', '20ms', ...options, ...PROGRAM]);
  await running.waitFor(options.includes('none') ? 'checkpoint 1 ' : 'checkpoint 2 ');
  running.kill('SIGTERM');
  const { exitCode, stderr } = await running.ended;
  expect([exitCode, stderr]).toEqual([85, stderr]);
  return job;
}

describe.each(POLICY_NAMES)('a job of the policy %s', (policy) => {
  it('goes on under each policy, with and without a budget of memory', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const file = join(folder, 'job.restart');
    const job = await stoppedJob(folder, '--policy', policy);
    expect((await continuo(['export', job, '-o', file])).exitCode).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    for (const to of POLICY_NAMES) {
      const budget = to === 'sequential' || policy === 'none' ? [] : ['--memory', '1200p'];
      const args = ['restart', file, '--job', join(folder, to), '--policy', to, ...budget];
      const { exitCode, stdout, stderr } = await continuo(args);
      expect([to, exitCode, stdout, stderr]).toEqual([to, 0, expected, stderr]);
      expect(stderr).toContain('goes on from checkpoint');
    }
  });
});

describe.each(['continuous', 'incremental', 'sequential'])('a running job of the policy %s', (policy) => {
  it('is asked for a checkpoint, exported, and goes on; so does its copy', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const file = join(folder, 'job.restart');
    const job = join(folder, 'job');
    const args = ['run', '--job', job, '--verbose', '--interval', 'none', '--policy', policy, ...PROGRAM];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 1 ');
    // The program stands still while the other process starts, which may take longer than the program has to run.
    running.kill('SIGSTOP');
    const exporting = continuo(['export', job, '-o', file]);
    await sleep(500);
    running.kill('SIGCONT');
    const exported = await exporting;
    expect([exported.exitCode, exported.stderr]).toEqual([0, expect.stringContaining('checkpoint 2 of')]);
    expect((await running.ended).stdout).toBe(expected);
    const copy = await continuo(['restart', file, '--job', join(folder, 'copy')]);
    expect([copy.exitCode, copy.stdout]).toEqual([0, expected]);
  });

  it('is exported while it commits all the time', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const file = join(folder, 'job.restart');
    const job = join(folder, 'job');
    const args = ['run', '--job', job, '--verbose', '--interval', '10ms', '--policy', policy, ...PROGRAM];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 3 ');
    const exported = await continuo(['export', job, '-o', file]);
    running.kill('SIGKILL');
    await running.ended;
    expect([exported.exitCode, exported.stderr]).toEqual([0, exported.stderr]);
    const copy = await continuo(['restart', file, '--job', join(folder, 'copy')]);
    expect([copy.exitCode, copy.stdout]).toEqual([0, expected]);
    // A dead job's directory can be exported as well.
    const dead = await continuo(['export', job, '-o', file]);
    expect([dead.exitCode, dead.stderr]).toEqual([0, dead.stderr]);
    const other = await continuo(['restart', file, '--job', join(folder, 'other')]);
    expect([other.exitCode, other.stdout]).toEqual([0, expected]);
  });
});

it.each(['continuous', 'sequential'])(
  'a job of the policy %s is moved through a pipe, sealed',
  { timeout: 240_000 },
  async (policy) => {
    const folder = scratch();
    const job = await stoppedJob(folder, '--policy', policy);
    const key = join(folder, 'key');
    writeFileSync(key, 'c0ffee00'.repeat(8));
    const line = '"$0" "$1" export "$2" -o - --key-file "$4" | "$0" "$1" restart - --job "$3" --key-file "$4"';
    const child = spawn('sh', ['-c', line, process.execPath, command, job, join(folder, 'copy'), key]);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const exitCode = await new Promise((settle) => child.on('close', settle));
    expect([exitCode, stdout, stderr]).toEqual([0, expected, expect.stringContaining('goes on from checkpoint')]);
  },
);

it('a kill at any instant of an export or a restart loses nothing', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const job = await stoppedJob(folder);
  const file = join(folder, 'job.restart');
  expect((await continuo(['export', job, '-o', file])).exitCode).toBe(0);
  const before = readFileSync(file);
  for (const delayMs of instants(new Random(seed), 4, 60, 300)) {
    const exporting = new RunningCommand(['export', job, '-o', file]);
    setTimeout(() => exporting.kill('SIGKILL'), delayMs);
    await exporting.ended;
    expect(readFileSync(file).equals(before)).toBe(true);
    const copy = join(folder, `copy-${delayMs}`);
    const restarting = new RunningCommand(['restart', file, '--job', copy, '--no-run']);
    setTimeout(() => restarting.kill('SIGKILL'), delayMs);
    const { signal } = await restarting.ended;
    // What is there is a whole job, or none that could begin anew unnoticed.
    const isJob = existsSync(join(copy, 'job'));
    if (signal === null) expect(isJob).toBe(true);
    const again = await continuo(['restart', file, '--job', copy, '--no-run']);
    expect([again.exitCode, again.stderr]).toEqual([isJob ? 2 : 0, again.stderr]);
    const { exitCode, stdout } = await continuo(['resume', copy]);
    expect([exitCode, stdout]).toEqual([0, expected]);
  }
});

it('output that was held is neither lost nor repeated', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const file = join(folder, 'job.restart');
  const job = await stoppedJob(folder);
  await continuo(['export', job, '-o', file]);
  const first = await continuo(['restart', file, '--job', join(folder, 'end')]);
  expect(first.stdout).toBe(expected);
  // The job has ended and shown all: a restart of it shows nothing again.
  await continuo(['export', join(folder, 'end'), '-o', join(folder, 'end.restart')]);
  const again = await continuo(['restart', join(folder, 'end.restart'), '--job', join(folder, 'again')]);
  expect([again.exitCode, again.stdout]).toEqual([0, '']);
});

it('what a file has of the output is not in what the restarted job writes', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const [job, out] = [join(folder, 'job'), join(folder, 'out')];
  const path = program(folder, 'counts', counts(60, 40_000_000));
  const descriptor = openSync(out, 'w');
  const running = new RunningCommand(['run', '--job', job, '--interval', 'none', '--verbose', path], {
    stdout: descriptor,
  });
  await running.waitFor('checkpoint 1 ');
  await sleep(400);
  running.kill('SIGTERM');
  expect((await running.ended).exitCode).toBe(85);
  closeSync(descriptor);
  const file = join(folder, 'job.restart');
  expect((await continuo(['export', job, '-o', file])).exitCode).toBe(0);
  const { exitCode, stdout } = await continuo(['restart', file, '--job', join(folder, 'copy')]);
  expect([exitCode, readFileSync(out, 'utf8') + stdout]).toEqual([7, counted(60)]);
});

it('says what is wrong with a call', async () => {
  const folder = scratch();
  const job = await stoppedJob(folder);
  const file = join(folder, 'job.restart');
  expect((await continuo(['export', job, '-o', file])).exitCode).toBe(0);
  const refusals: [string[], string][] = [
    [['restart', join(folder, 'none')], 'there is no restart file'],
    [['restart', join(job, 'paging')], 'is no restart file'],
    [['restart', file, '--job', job], 'holds a job already'],
    [['restart', file, '--dir', folder], 'the program has no directory'],
    [['export', join(root, 'docs')], "files that are not a job's"],
    [['export', join(folder, 'none')], 'there is no job directory'],
    [['export', job, '-o', join(folder, 'no', 'file')], 'there is no directory'],
  ];
  for (const [args, text] of refusals) {
    const { exitCode, stderr } = await continuo(args, { cwd: folder });
    expect([args, exitCode, stderr]).toEqual([args, 2, expect.stringContaining(text)]);
  }
  expect(readdirSync(folder).toSorted()).toEqual(['job', 'job.restart']);
});
