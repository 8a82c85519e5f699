/** Deltas of restart files: what a copy holds after one is what a whole file of the same checkpoint gives, or what it held. */
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ContinuoError } from '../../src/error/errors.ts';
import { applyToJob, originOfCopy } from '../../src/restart/apply.ts';
import { command, continuo, RunningCommand, scratch, workload } from '../cli/continuo.ts';
import { seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { type Contents, contentsOfJob, inFolder, instants, refused, runSome, sameContents, succeed } from './copies.ts';
import { BufferInput } from './buffer-input.ts';

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

const PROGRAM = [workload('apsp'), '800', '1'];
let expected: string;

beforeAll(() => {
  expected = spawnSync(process.execPath, [command, 'run', ...PROGRAM], { encoding: 'utf8' }).stdout;
  expect(expected.length).toBeGreaterThan(10);
});

/** A job, a copy of it, and a delta that the copy lacks. */
async function behind(folder: string, policy: string): Promise<{ job: string; copy: string; delta: string }> {
  const [job, copy, whole, delta] = inFolder(folder, 'job', 'copy', 'whole', 'delta');
  await runSome(['run', '--job', job, '--policy', policy, ...PROGRAM], 100);
  await succeed('export', job, '-o', whole);
  await succeed('restart', whole, '--job', copy, '--no-run');
  await runSome(['resume', job], 100);
  await succeed('export', job, '--since', whole, '-o', delta);
  return { job, copy, delta };
}

describe.each(['continuous', 'incremental', 'sequential'])('a job of the policy %s', (policy) => {
  it('and its copy are the same after each delta, and end with the same output', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const [job, copy, whole] = inFolder(folder, 'job', 'copy', 'whole');
    await runSome(['run', '--job', job, '--policy', policy, ...PROGRAM], 50);
    await succeed('export', job, '-o', whole);
    await succeed('restart', whole, '--job', copy, '--no-run', '--policy', policy);
    let base = whole;
    for (const round of [1, 2]) {
      await runSome(['resume', job], 60);
      const [delta, now, other] = inFolder(folder, `delta-${round}`, `whole-${round}`, `other-${round}`);
      await succeed('export', job, '--since', base, '-o', delta);
      await succeed('export', job, '-o', now);
      await succeed('apply', delta, '--job', copy);
      await succeed('restart', now, '--job', other, '--no-run', '--policy', policy);
      const found = contentsOfJob(copy);
      expect(sameContents(found, contentsOfJob(other))).toBe(true);
      expect(found.host.origin).toEqual(contentsOfJob(other).host.origin);
      if (policy !== 'sequential') expect(statSync(delta).size).toBeLessThan(statSync(now).size);
      expect(await succeed('verify', copy)).toContain('is sound');
      // By the number of the checkpoint the same, and another time it changes nothing.
      const number = String(contentsOfJob(copy).host.origin!.generation);
      await succeed('export', job, '--since', number, '-o', delta);
      await succeed('apply', delta, '--job', copy);
      expect(sameContents(contentsOfJob(copy), found)).toBe(true);
      base = now;
    }
    const { exitCode, stdout } = await continuo(['resume', copy]);
    expect([exitCode, stdout]).toEqual([0, expected]);
    // It has gone on by itself: what the job becomes is nothing for it any more.
    await succeed('export', job, '--since', base, '-o', join(folder, 'late'));
    await refused('has itself taken a checkpoint', 'apply', join(folder, 'late'), '--job', copy);
  });

  it('that went back to an older checkpoint gives a delta with all that differs', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const [job, copy, whole, delta, now, other] = inFolder(folder, 'job', 'copy', 'whole', 'delta', 'now', 'other');
    await runSome(['run', '--job', job, '--policy', policy, '--keep', '3', ...PROGRAM], 20, 'checkpoint 4 ');
    await succeed('export', job, '-o', whole);
    await succeed('restart', whole, '--job', copy, '--no-run');
    const { origin } = contentsOfJob(copy).host;
    await runSome(['resume', job, '--at', String(origin!.generation - 2)], 20);
    await succeed('export', job, '--since', whole, '-o', delta);
    await succeed('export', job, '-o', now);
    await succeed('apply', delta, '--job', copy);
    await succeed('restart', now, '--job', other, '--no-run');
    expect(sameContents(contentsOfJob(copy), contentsOfJob(other))).toBe(true);
  });

  it('a kill at any instant of an update leaves the copy as it was, or up to date', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const { copy, delta } = await behind(folder, policy);
    const before = contentsOfJob(copy);
    const ends = new Set<string>();
    for (const [k, delayMs] of instants(new Random(seed), 4, 60, 420).entries()) {
      const copied = join(folder, `copy-${delayMs}`);
      cpSync(copy, copied, { recursive: true });
      const applying = new RunningCommand(['apply', delta, '--job', copied]);
      setTimeout(() => applying.kill('SIGKILL'), delayMs);
      const { signal } = await applying.ended;
      const isOld = sameContents(contentsOfJob(copied), before);
      ends.add(`${signal} ${isOld ? 'old' : 'new'}`);
      if (signal === null) expect(isOld).toBe(false);
      // 1: the update was killed while it was written down.
      const { exitCode: verdict, stdout: found } = await continuo(['verify', copied]);
      expect(verdict, found).toBeLessThanOrEqual(isOld ? 1 : 0);
      if (isOld) await succeed('apply', delta, '--job', copied);
      expect(contentsOfJob(copied).host.origin!.generation).toBeGreaterThan(before.host.origin!.generation);
      if (k % 2 === 0) continue;
      const { exitCode, stdout } = await continuo(['resume', copied]);
      expect([exitCode, stdout]).toEqual([0, expected]);
    }
    console.log(`updates that were killed, or not, by what they left: ${[...ends].join(', ')}`);
  });

  it('a delta that is cut or has a bit flipped changes nothing', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const { copy, delta } = await behind(folder, policy);
    const bytes = readFileSync(delta);
    const before = contentsOfJob(copy);
    const attempt = (file: Uint8Array): string => {
      try {
        applyToJob(new BufferInput(file), { job: copy });
        return 'accepted';
      } catch (error) {
        expect(error).toBeInstanceOf(ContinuoError);
        return (error as ContinuoError).name;
      }
    };
    const unchanged = (): Contents => contentsOfJob(copy);
    for (let i = 0; i < 24; i++) {
      const at = Math.floor((i * (bytes.length - 1)) / 23);
      const flipped = Uint8Array.from(bytes);
      flipped[at] ^= 1 << (i % 8);
      expect([at, attempt(flipped)]).toEqual([at, expect.stringMatching(/^(CorruptionError|UsageError)$/)]);
      expect([at, attempt(bytes.subarray(0, at))]).toEqual([
        at,
        expect.stringMatching(/^(CorruptionError|UsageError)$/),
      ]);
      expect(sameContents(unchanged(), before)).toBe(true);
    }
    expect(attempt(Buffer.concat([bytes, Uint8Array.of(0)]))).toBe('CorruptionError');
    expect(sameContents(unchanged(), before)).toBe(true);
    await succeed('verify', copy);
    expect(attempt(bytes)).toBe('accepted');
    expect(sameContents(unchanged(), before)).toBe(false);
  });
});

it('a delta that does not fit is refused, and says why', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const { job, copy, delta } = await behind(folder, 'continuous');
  const [whole, stranger, foreign, later] = inFolder(folder, 'whole', 'stranger', 'foreign', 'later');
  await runSome(['run', '--job', stranger, ...PROGRAM], 20);
  await succeed('export', stranger, '-o', foreign);
  await refused('is of another job', 'export', job, '--since', foreign, '-o', later);
  await refused('has no checkpoint 4000000', 'export', job, '--since', '4000000', '-o', later);
  await refused('no number of a checkpoint', 'export', job, '--since', join(folder, 'none'), '-o', later);
  await refused('"continuo apply" brings', 'restart', delta, '--job', join(folder, 'new'), '--no-run');
  await refused('no job directory', 'apply', delta, '--job', join(folder, 'new'));
  await refused('is a whole restart file', 'apply', whole, '--job', copy);
  await refused('another job', 'apply', foreign, '--job', copy, '--create');
  await refused('another job', 'apply', delta, '--job', stranger);
  await refused('--job', 'apply', delta);
  const before = contentsOfJob(copy);
  await succeed('apply', delta, '--job', copy);
  const after = contentsOfJob(copy);
  await refused('builds on checkpoint', 'apply', delta, '--job', copy);
  // A whole file of the same job takes the copy anywhere, back too.
  await succeed('apply', whole, '--job', copy, '--create');
  expect(sameContents(contentsOfJob(copy), before)).toBe(true);
  await succeed('apply', delta, '--job', copy);
  expect(sameContents(contentsOfJob(copy), after)).toBe(true);
  await succeed('apply', whole, '--job', join(folder, 'made'), '--create');
  expect(sameContents(contentsOfJob(join(folder, 'made')), before)).toBe(true);
  const running = new RunningCommand(['resume', copy, '--verbose', '--interval', '20ms']);
  await running.waitFor('goes on from checkpoint');
  await refused('is in use by process', 'apply', delta, '--job', copy);
  expect((await running.ended).stdout).toBe(expected);
});

it('a sealed copy takes sealed deltas, and no others', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const [job, copy, whole, delta, plain, key] = inFolder(folder, 'job', 'copy', 'whole', 'delta', 'plain', 'key');
  writeFileSync(key, 'c0ffee00'.repeat(8));
  const sealed = ['--key-file', key];
  await runSome(['run', '--job', job, ...PROGRAM], 50);
  await succeed('export', job, '-o', whole, ...sealed);
  await succeed('restart', whole, '--job', copy, '--no-run', ...sealed);
  await runSome(['resume', job], 50);
  await succeed('export', job, '--since', whole, '-o', delta, ...sealed);
  const number = originOfCopy(copy, { kind: 'key', key: Buffer.from('c0ffee00'.repeat(8), 'hex') })!.generation;
  await succeed('export', job, '--since', String(number), '-o', plain);
  await refused('is sealed', 'apply', delta, '--job', copy);
  await refused('not sealed', 'apply', plain, '--job', copy, ...sealed);
  await succeed('apply', delta, '--job', copy, ...sealed);
  const { exitCode, stdout } = await continuo(['resume', copy, ...sealed]);
  expect([exitCode, stdout]).toEqual([0, expected]);
});
