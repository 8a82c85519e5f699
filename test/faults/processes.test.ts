/** Real processes: killed again and again, racing for one job, stopped while they own it, with a wall clock that jumps. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, continuo, program, root, scratch, workload } from '../cli/continuo.ts';
import { LOOPS } from '../cli/guests.ts';
import { failingSystem } from './fault-rules.ts';

const ROUNDS = 100;

it('some twenty kills over workloads and policies leave right results', () => {
  const words = [join(root, 'bench', 'kills.mjs'), '--kills', '20', '--sizes', 'small'];
  const { status, stdout } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  console.log(stdout);
  expect(status, stdout).toBe(0);
  expect(stdout).toMatch(/\d+ kills .*, (\d+) jobs, \1 of them right/);
}, 180_000);

describe('a job directory', () => {
  it(`goes to exactly one of two processes that want it at once, ${ROUNDS} times`, async () => {
    const folder = scratch();
    const lock = new URL('../../dist/device/job-lock.js', import.meta.url).href;
    const script = `
      import { createInterface } from 'node:readline';
      const { JobLock } = await import(${JSON.stringify(lock)});
      let held;
      for await (const line of createInterface({ input: process.stdin })) {
        if (line === 'release') { held?.release(); held = undefined; console.log('released'); continue; }
        const atMs = Number(line);
        while (Date.now() < atMs);
        try { held = JobLock.acquire(${JSON.stringify(folder)}); console.log('held'); }
        catch (error) { console.log(error.code); }
      }`;
    const rivals = [0, 1].map(() =>
      spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    const askAll = (text: string): Promise<string[]> =>
      Promise.all(
        rivals.map(async (rival) => {
          const answer = once(rival.stdout, 'data') as Promise<[Buffer]>;
          rival.stdin.write(`${text}\n`);
          return (await answer)[0].toString().trim();
        }),
      );
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const answers = await askAll(String(Date.now() + 15));
        expect(answers.toSorted(), `round ${round}`).toEqual(['held', 'job-locked']);
        expect(await askAll('release')).toEqual(['released', 'released']);
      }
    } finally {
      for (const rival of rivals) rival.kill('SIGKILL');
    }
  }, 180_000);

  it.runIf(process.platform !== 'win32')('of a process that is stopped is still its own', async () => {
    const folder = scratch();
    const args = [
      'run',
      '--job',
      join(folder, 'job'),
      '--interval',
      '20ms',
      '--verbose',
      program(folder, 'loops', LOOPS),
    ];
    const owner = new RunningCommand(args);
    await owner.waitFor('checkpoint 2 ');
    owner.kill('SIGSTOP');
    const refused = await continuo(args);
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(`in use by process ${owner.pid}`) });
    owner.kill('SIGCONT');
    owner.kill('SIGTERM');
    expect((await owner.ended).exitCode).toBe(85);
  });
});

describe('a wall clock that jumps', () => {
  it.each([-86_400_000, 86_400_000])(
    'by %i ms changes nothing: checkpoints come by the monotonic clock',
    async (byMs) => {
      const folder = scratch();
      const stats = join(folder, 'stats.json');
      const args = [
        'run',
        '--job',
        join(folder, 'job'),
        '--interval',
        '20ms',
        '--stats',
        stats,
        workload('apsp'),
        '500',
        '3',
      ];
      const jumps = [200, 400, 600].map((afterMs) => ({ afterMs, byMs }));
      const ended = await continuo(args, { env: failingSystem([], jumps) });
      expect(ended, ended.stderr).toMatchObject({ exitCode: 0, stderr: '' });
      const { checkpoints, guestMs } = JSON.parse(readFileSync(stats, 'utf8'));
      expect(checkpoints.length).toBeGreaterThan(2);
      expect(checkpoints.length).toBeLessThan(guestMs / 10 + 4);
      // The job is found ended, whatever its times say.
      expect(await continuo(args)).toMatchObject({ exitCode: 0, stderr: expect.stringContaining('had ended before') });
    },
  );
});

it('checkpoints that take longer than their interval leave the program its time', async () => {
  const folder = scratch();
  const stats = join(folder, 'stats.json');
  const job = ['run', '--job', join(folder, 'job'), '--policy', 'sequential', '--interval', '5ms', '--stats', stats];
  const ended = await continuo([...job, workload('sort'), '200000', '3']);
  expect(ended).toMatchObject({ exitCode: 0 });
  const { checkpoints, guestMs } = JSON.parse(readFileSync(stats, 'utf8'));
  // Half of the interval on average; without it a safepoint each.
  expect(guestMs / checkpoints.length).toBeGreaterThan(1);
}, 240_000);
