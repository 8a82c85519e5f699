/** Jobs whose written pages the kernel tells go on after any kill, with the same or another tracker, for any user. */
import { spawnSync } from 'node:child_process';
import { chownSync, chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, command, continuo, scratch, workload } from '../cli/continuo.ts';
import { killUntilDone, seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { kernelPages } from './kernel-paging.ts';
import { kernelTracks } from './kernel-tracking.ts';

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

const expected = (name: string, size: number): string =>
  `${name} size=${size} seed=1 digest=${referenceDigests[name](size, 1).toString(16).padStart(16, '0')}\n`;

interface Stats {
  readonly tracker: string;
  readonly trackerReason: string;
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

describe.runIf(kernelTracks)('a job killed until it is done, under the tracker of the kernel', () => {
  it.each([
    { name: 'apsp', size: 500, policy: 'continuous', interval: '20ms' },
    { name: 'sort', size: 1_000_000, policy: 'continuous', interval: '20ms' },
    { name: 'apsp', size: 400, policy: 'sequential', interval: '100ms' },
    { name: 'sort', size: 500_000, policy: 'sequential', interval: '100ms' },
  ])('$name, $policy', async ({ name, size, policy, interval }) => {
    const folder = scratch();
    const output = join(folder, 'output');
    const common = ['--job', join(folder, 'job'), '--interval', interval, '--verbose', '--stdout', output];
    const words = ['run', '--tracker', 'kernel', '--policy', policy, ...common, workload(name), String(size), '1'];
    const { exitCode } = await killUntilDone(words, new Random(seed), 350);
    expect(exitCode, `seed ${seed}`).toBe(0);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(expected(name, size));
  });

  it('whichever tracker each run has, with and without a budget of memory', async () => {
    const folder = scratch();
    const output = join(folder, 'output');
    const random = new Random(seed);
    const common = ['--job', join(folder, 'job'), '--interval', '20ms', '--verbose', '--stdout', output];
    const args = (): string[] => {
      const budget = random.chance(0.5) ? ['--memory', `${150 + random.below(400)}p`] : [];
      const trackers = budget.length > 0 && !kernelPages ? ['software', 'auto'] : ['kernel', 'software', 'auto'];
      return ['run', '--tracker', random.pick(trackers), ...budget, ...common, workload('apsp'), '500', '1'];
    };
    const { exitCode } = await killUntilDone(args, random, 350);
    expect(exitCode, `seed ${seed}`).toBe(0);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(expected('apsp', 500));
  });
});

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

describe('what was chosen, and why', () => {
  const short = [workload('fib'), '20', '1'];

  it('is told in the statistics and with --verbose', async () => {
    const job = (...options: string[]): Promise<Stats & { readonly stderr: string }> =>
      statsOf('run', '--job', join(scratch(), 'job'), ...options, ...short);
    expect(await job('--tracker', 'software')).toMatchObject({
      tracker: 'software',
      trackerReason: 'it was asked for',
      stderr: expect.stringContaining('tracker software: it was asked for'),
    });
    expect((await job()).tracker).toBe(kernelTracks ? 'kernel' : 'software');
    expect(await job('--policy', 'incremental', '--tracker', 'kernel')).toMatchObject({
      tracker: 'software',
      trackerReason: expect.stringContaining('the policy "incremental" needs'),
      stderr: expect.stringContaining('tracker software'),
    });
    expect((await job('--fork')).trackerReason).toContain('--fork needs');
    expect(await job('--policy', 'sequential')).toMatchObject({ tracker: 'none' });
    expect(await statsOf('run', ...short)).toMatchObject({ tracker: 'none', trackerReason: 'no checkpoints are kept' });
  });

  it('is refused where the kernel was asked for and cannot be used, with the reason', async () => {
    const folder = scratch();
    // A Node.js whose koffi cannot be loaded stands for a system where something is missing.
    const options = ['--require', join(import.meta.dirname, 'without-koffi.cjs')].join(' ');
    const env = { NODE_OPTIONS: options };
    const words = ['--job', join(folder, 'job'), ...short];
    const refused = await continuo(['run', '--tracker', 'kernel', ...words], { env });
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toMatch(/the kernel cannot tell here .*koffi.*continuo doctor/);
    const { exitCode, stderr } = await continuo(['run', '--verbose', ...words], { env });
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
    expect(stderr).toMatch(/tracker software: .*koffi/);
  });
});
