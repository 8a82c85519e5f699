/** The tracker of the kernel after a restart, for any user, and where it cannot be had. */
import { spawnSync } from 'node:child_process';
import { chownSync, chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, command, continuo, scratch, workload } from '../cli/continuo.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { kernelTracks } from './kernel-tracking.ts';

const expected = (name: string, size: number): string =>
  `${name} size=${size} seed=1 digest=${referenceDigests[name](size, 1).toString(16).padStart(16, '0')}\n`;

interface Stats {
  readonly pages: number;
  readonly checkpoints: readonly { readonly trigger: string; readonly dirtyPages: number }[];
}

async function statsOf(...words: string[]): Promise<Stats & { readonly stderr: string }> {
  const file = join(scratch(), 'stats');
  const [verb, ...rest] = words;
  const { exitCode, stderr } = await continuo([verb, '--stats', file, '--verbose', ...rest]);
  expect({ exitCode, stderr }, words.join(' ')).toMatchObject({ exitCode: 0 });
  return { ...(JSON.parse(readFileSync(file, 'utf8')) as Stats), stderr };
}

describe.runIf(kernelTracks)('the tracker of the kernel', () => {
  it('writes what changed only at the first checkpoint after a restart', async () => {
    const job = join(scratch(), 'job');
    const words = ['--tracker', 'kernel', '--job', job, '--interval', '50ms', '--verbose', workload('matmul')];
    const running = new RunningCommand(['run', ...words, '900', '1']);
    await running.waitFor('checkpoint 4 ');
    running.kill('SIGKILL');
    await running.ended;
    const { checkpoints, pages } = await statsOf('resume', '--tracker', 'kernel', '--interval', '20ms', job);
    const [first] = checkpoints;
    expect(first.dirtyPages).toBeLessThan(pages / 2);
  });

  it('works for a user without any right', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('only root can run the command as somebody else');
    const folder = scratch();
    const home = join(folder, 'home');
    mkdirSync(home);
    chmodSync(folder, 0o755);
    chownSync(home, 65534, 65534);
    const stats = join(home, 'stats');
    const words = ['--job', join(home, 'job'), '--tracker', 'kernel', '--interval', '20ms', '--stats', stats];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [command, 'run', ...words, workload('apsp'), '300', '1'],
      {
        uid: 65534,
        gid: 65534,
        encoding: 'utf8',
        env: { PATH: process.env['PATH'], HOME: home, CONTINUO_CACHE: join(home, 'cache') },
      },
    );
    if (/Cannot find module|permission denied/i.test(stderr)) skip('this directory cannot be read by other users');
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toBe(expected('apsp', 300));
    expect(JSON.parse(readFileSync(stats, 'utf8'))).toMatchObject({ tracker: 'kernel' });
  });
});

it('what was asked for and cannot be had is refused, with the reason and what to do; auto goes on without', async () => {
  const folder = scratch();
  const env = { NODE_OPTIONS: `--require ${join(import.meta.dirname, 'without-koffi.cjs')}` };
  const words = ['--job', join(folder, 'job'), workload('fib'), '20', '1'];
  const budget = ['--memory', '64p', ...words];
  for (const refusable of [words, budget]) {
    const { exitCode, stderr } = await continuo(['run', '--tracker', 'kernel', ...refusable], { env });
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/--tracker kernel cannot be had here: .*; "continuo doctor" tells what to do/);
  }
  const { exitCode, stderr } = await continuo(['run', '--verbose', ...words], { env });
  expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
  expect(stderr).toContain('tracker software: ');
});
