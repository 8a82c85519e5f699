/** A copy that follows a job: when the job's process is killed, the copy goes on from its last update to the right end. */
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { command, continuo, program, RunningCommand, scratch, sleep, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { contentsOfJob, inFolder, refused, runSome, sameContents, succeed } from './copies.ts';

const PROGRAM = [workload('apsp'), '900', '1'];

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);
let expected: string;

beforeAll(() => {
  expected = spawnSync(process.execPath, [command, 'run', ...PROGRAM], { encoding: 'utf8' }).stdout;
  expect(expected.length).toBeGreaterThan(10);
});

describe.each(['continuous', 'incremental'])('a job of the policy %s', (policy) => {
  it('is killed at any instant, and its standby goes on', { timeout: 240_000 }, async () => {
    const random = new Random(seed + policy.length);
    for (let round = 1; round <= 2; round++) {
      const [job, copy] = inFolder(scratch(), 'job', 'copy');
      const running = new RunningCommand(['run', '--job', job, '--policy', policy, '--interval', '60ms', ...PROGRAM]);
      while (!existsSync(join(job, 'job'))) await sleep(5);
      const standby = new RunningCommand(['standby', job, '--to', copy, '--verbose']);
      await standby.waitFor('the copy has checkpoint');
      await sleep(random.below(900));
      running.kill('SIGKILL');
      const { stdout: shown } = await running.ended;
      standby.kill(round % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
      const { exitCode: ended, stderr } = await standby.ended;
      if (round % 2 === 1) expect([ended, stderr]).toEqual([0, stderr]);
      await succeed('verify', copy);
      const { exitCode, stdout } = await continuo(['resume', copy]);
      // Nothing is lost: what the copy does not show, the job had.
      expect([exitCode, stdout]).toEqual([0, shown.includes(expected) ? expect.any(String) : expected]);
    }
  });
});

it('follows a job over restarts, and ends with it', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const [job, copy, key] = inFolder(folder, 'job', 'copy', 'key');
  writeFileSync(key, 'c0ffee00'.repeat(8));
  await runSome(['run', '--job', job, ...PROGRAM], 50);
  const standby = new RunningCommand(['standby', job, '--to', copy, '--verbose', '--key-file', key]);
  await standby.waitFor('waiting for it to go on');
  for (let times = 0; times < 2; times++) {
    const resumed = new RunningCommand(['resume', job, '--interval', '50ms', '--verbose']);
    await resumed.waitFor('checkpoint ');
    await sleep(200);
    resumed.kill('SIGKILL');
    await resumed.ended;
  }
  const last = await continuo(['resume', job, '--interval', '50ms']);
  expect([last.exitCode, last.stdout]).toEqual([0, expected]);
  const { exitCode, stderr } = await standby.ended;
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining('the copy has all of it')]);
  expect(stderr).toContain('what changed since checkpoint');
  // What the job has shown is not shown again.
  const copied = await continuo(['resume', copy, '--key-file', key]);
  expect([copied.exitCode, copied.stdout]).toEqual([0, '']);
});

it('goes on with a copy that is there, and refuses one that has gone on itself', { timeout: 240_000 }, async () => {
  const [job, copy, other] = inFolder(scratch(), 'job', 'copy', 'other');
  await runSome(['run', '--job', job, ...PROGRAM], 50);
  const first = new RunningCommand(['standby', job, '--to', copy, '--verbose']);
  await first.waitFor('waiting for it to go on');
  first.kill('SIGINT');
  expect((await first.ended).exitCode).toBe(0);
  await runSome(['resume', job], 50);
  const second = new RunningCommand(['standby', job, '--to', copy, '--verbose']);
  await second.waitFor('waiting for it to go on');
  second.kill('SIGTERM');
  const { exitCode, stderr } = await second.ended;
  expect([exitCode, stderr]).toEqual([0, expect.stringContaining('what changed since checkpoint')]);
  expect(stderr).not.toContain('the whole of it');
  await succeed('export', job, '-o', `${other}.file`);
  await succeed('restart', `${other}.file`, '--job', other, '--no-run');
  expect(sameContents(contentsOfJob(copy), contentsOfJob(other))).toBe(true);
  expect((await continuo(['resume', copy])).stdout).toBe(expected);
  await refused('is no copy', 'standby', job, '--to', copy);
  await refused('--to or with --command', 'standby', job);
  await refused('there is no job directory', 'standby', `${job}-none`, '--to', copy);
});

describe('a command', () => {
  it('gets each update, and the copy goes on', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const [job, copy] = inFolder(folder, 'job', 'copy');
    const path = program(folder, 'counts', counts(60, 20_000_000));
    const running = new RunningCommand(['run', '--job', job, '--interval', '100ms', path]);
    while (!existsSync(join(job, 'job'))) await sleep(5);
    const apply = `"${process.execPath}" "${command}" apply - --job "${copy}" --create --quiet`;
    const standby = new RunningCommand(['standby', job, '--command', apply, '--verbose']);
    await standby.waitFor('what changed since');
    running.kill('SIGKILL');
    const { stdout: shown } = await running.ended;
    standby.kill('SIGTERM');
    expect((await standby.ended).exitCode).toBe(0);
    const { exitCode, stdout } = await continuo(['resume', copy]);
    expect(exitCode).toBe(7);
    // What the copy shows begins with the first byte that the job had not shown at its update, or earlier: nothing is missing.
    expect(counted(60).startsWith(shown)).toBe(true);
    expect(counted(60).endsWith(stdout)).toBe(true);
    expect(shown.length + stdout.length).toBeGreaterThanOrEqual(counted(60).length);
  });

  it('that fails gets a whole copy the next time, and gives up at last', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const [job, copy, tried] = inFolder(folder, 'job', 'copy', 'tried');
    await runSome(['run', '--job', job, ...PROGRAM], 50);
    const apply = `"${process.execPath}" "${command}" apply - --job "${copy}" --create --quiet`;
    const once = new RunningCommand([
      'standby',
      job,
      '--verbose',
      '--command',
      `[ -e ${tried} ] || { touch ${tried}; exit 3; }; ${apply}`,
    ]);
    await once.waitFor('the copy has checkpoint');
    once.kill('SIGTERM');
    expect((await once.ended).stderr).toContain('the command ended with exit code 3');
    expect((await continuo(['resume', copy])).stdout).toBe(expected);
    const { exitCode, stderr } = await continuo(['standby', job, '--command', 'exit 5']);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining('took none of 3 updates')]);
  });
});
