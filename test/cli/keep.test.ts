/** `--keep` and `resume --at` with real processes: killed at random, gone back, the output and files are those of one run. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, continuo, program, scratch, sleep } from './continuo.ts';
import { counted, counts } from './guests.ts';

const COUNT = 150;
const TURNS = 4_000_000;

interface Report {
  readonly keep: number;
  readonly generations: readonly { generation: number; ownBytes: number; sharedBytes: number; trigger: string }[];
}

async function inspect(job: string): Promise<Report> {
  const { stdout, exitCode } = await continuo(['inspect', '--json', job]);
  expect(exitCode).toBe(0);
  return JSON.parse(stdout) as Report;
}

const generationsOf = ({ generations }: Report): number[] => generations.map(({ generation }) => generation);

describe.each([
  { name: 'continuous', options: [] },
  { name: 'continuous, saved beside the program', options: ['--fork'] },
  { name: 'continuous, paged', options: ['--memory', '16p'] },
  { name: 'incremental', options: ['--policy', 'incremental'] },
  { name: 'sequential', options: ['--policy', 'sequential'] },
])('$name', ({ options }) => {
  it('goes back to an older checkpoint after a kill, again and again, and ends as if nothing had happened', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const out = join(folder, 'out.txt');
    const path = program(folder, 'counts', counts(COUNT, TURNS));
    const run = ['--interval', '30ms', ...options];
    const first = new RunningCommand(['run', '--verbose', '--job', job, '--keep', '3', ...run, '--stdout', out, path]);
    await first.waitFor('checkpoint 4 ');
    for (let round = 0; round < 2; round++) {
      const running = round === 0 ? first : new RunningCommand(['resume', job, ...run]);
      await sleep(300);
      running.kill('SIGKILL');
      await running.ended;
      const report = await inspect(job);
      const kept = generationsOf(report);
      expect(report.keep).toBe(3);
      // Going back leaves fewer, until the next checkpoints are there.
      expect(kept.length).toBeGreaterThanOrEqual(round === 0 ? 3 : 1);
      expect(kept.length).toBeLessThanOrEqual(3);
      const verified = await continuo(['verify', job]);
      expect(verified.exitCode, verified.stdout + verified.stderr).toBeLessThan(2);
      expect((await continuo(['gc', job])).exitCode).toBe(0);
      expect(generationsOf(await inspect(job))).toEqual(kept);
      const back = new RunningCommand(['resume', job, '--at', String(kept.at(-1)), '--interval', 'none', ...options]);
      // At any moment of the start the first time, after the going back the second.
      if (round === 0) await sleep(100 + 500 * Math.random());
      else await back.waitFor('goes on from checkpoint');
      back.kill('SIGKILL');
      await back.ended;
    }
    const report = await inspect(job);
    // The program may have come to its end before the kill.
    expect(['back', 'end']).toContain(report.generations[0].trigger);
    const refused = await continuo(['resume', job, '--at', '999999']);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain('does not keep checkpoint 999999');
    const end = await continuo(['resume', job, ...run]);
    expect(end.exitCode, end.stderr).toBe(7);
    expect(readFileSync(out, 'utf8')).toBe(counted(COUNT));
    // A job that has ended can be gone back to as well, and ends in the same way again.
    const { generations } = await inspect(job);
    const again = await continuo([
      'resume',
      job,
      '--at',
      String(generations.at(-1)!.generation),
      '--keep',
      '1',
      ...run,
    ]);
    expect(again.exitCode, again.stderr).toBe(7);
    expect(readFileSync(out, 'utf8')).toBe(counted(COUNT));
    expect(generationsOf(await inspect(job))).toHaveLength(1);
    const verified = await continuo(['verify', job]);
    expect(verified.exitCode, verified.stdout + verified.stderr).toBe(0);
  });
});
