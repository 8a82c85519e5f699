/**
 * Every policy, with and without `--fork`, with all pages resident and with few: killed at any instant, again and again, a job
 * leaves what an uninterrupted run leaves. Timers, budgets, `--fork` and the tracker change from run to run; the policy stays.
 */
import { existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, continuo, program, scratch, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { Random } from '../support/random.ts';
import { faultTrackers, pagingTrackers, protectingTrackers } from '../support/trackers.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { killUntilDone, seed } from './kill-schedule.ts';

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

const expected = (name: string, size: number): string =>
  `${name} size=${size} seed=3 digest=${referenceDigests[name](size, 3).toString(16).padStart(16, '0')}\n`;

const POLICIES = ['none', 'sequential', 'incremental', 'continuous'];

interface Stats {
  readonly policy: string;
  readonly fork: boolean;
  readonly pages: number;
  readonly runMs: number;
  readonly faults: { readonly protection: number; readonly copy: number };
  readonly checkpoints: readonly {
    readonly trigger: string;
    readonly dirtyPages: number;
    readonly residentDirtyPages: number;
    readonly pagesWritten: number;
    readonly pagesRead: number;
    readonly zeroPages: number;
    readonly pauseMs: number;
    readonly forked: boolean;
  }[];
}

async function stats(
  path: string,
  args: readonly string[],
  ...options: string[]
): Promise<{ text: string; run: Stats }> {
  const folder = scratch();
  const file = join(folder, 'stats');
  const words = ['run', '--job', join(folder, 'job'), '--stats', file, '--interval', 'none', ...options, path, ...args];
  const { exitCode, stdout, stderr } = await continuo(words);
  expect({ exitCode, stderr }, words.join(' ')).toEqual({ exitCode: 0, stderr: '' });
  return { text: stdout, run: JSON.parse(readFileSync(file, 'utf8')) };
}

describe.each(POLICIES)('%s', (policy) => {
  it.each(
    protectingTrackers.flatMap((tracker) => [
      { name: 'apsp', size: 420, tracker },
      { name: 'sort', size: 700_000, tracker },
    ]),
  )('$name, killed until it is done, $tracker', async ({ name, size, tracker }) => {
    const folder = scratch();
    const output = join(folder, 'output');
    const random = new Random(seed);
    const draw = (): string[] => {
      const options = ['run', '--job', join(folder, 'job'), '--policy', policy, '--verbose', '--stdout', output];
      options.push('--interval', ['7ms', '20ms', '60ms'][random.below(3)]);
      const forks = random.chance(0.5);
      if (forks) options.push('--fork');
      const isPaged = tracker !== 'mprotect' && pagingTrackers.includes(tracker) && random.chance(0.5);
      // That one is refused where no first write needs to be told.
      const isTold = policy === 'incremental' || (forks && policy !== 'none');
      options.push('--tracker', tracker === 'mprotect' && !isTold ? 'software' : tracker);
      if (isPaged) options.push('--memory', ['60p', '300p', '2000p'][random.below(3)]);
      return [...options, workload(name), String(size), '3'];
    };
    const { exitCode, kills } = await killUntilDone(draw, random, 400);
    expect(exitCode, `seed ${seed}, ${kills} kills`).toBe(0);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(expected(name, size));
  });

  it('keeps files and output that the program writes while checkpoints are saved, each byte once', async () => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(60, 2_000_000));
    const output = join(folder, 'output');
    writeFileSync(output, '');
    const random = new Random(seed + 1);
    const args = ['run', '--job', join(folder, 'job'), '--policy', policy, '--fork', '--interval', '5ms'];
    const { exitCode } = await killUntilDone([...args, '--verbose', '--stdout', output, path], random, 200);
    expect(exitCode, `seed ${seed}`).toBe(7);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(counted(60));
  });
});

describe('a checkpoint every so many safepoints', () => {
  const size = 160;
  const run = (policy: string, ...options: string[]) =>
    stats(workload('apsp'), [String(size), '3'], '--policy', policy, '--every', '4001', ...options);

  it.each(POLICIES.slice(1))('of %s is taken at the same places with and without --fork', async (policy) => {
    // How many safepoints a loop has depends on how writes become known, which --fork changes where all pages are resident.
    for (const memory of policy === 'incremental' ? [[], ['--memory', '40p']] : [['--memory', '40p']]) {
      const plain = await run(policy, ...memory);
      const forked = await run(policy, ...memory, '--fork');
      for (const { text } of [plain, forked]) expect(text).toBe(expected('apsp', size));
      const counts = ({ checkpoints }: Stats) => checkpoints.filter(({ trigger }) => trigger === 'safepoints').length;
      expect(counts(plain.run)).toBeGreaterThan(5);
      expect(counts(forked.run)).toBe(counts(plain.run));
      expect(forked.run.checkpoints.filter(({ forked: aside }) => aside)).toHaveLength(counts(plain.run));
      expect(plain.run.checkpoints.every(({ forked: aside }) => !aside)).toBe(true);
    }
  });

  it('costs the pages that the policy says', async () => {
    const memory = ['--memory', '40p'];
    const sequential = (await run('sequential', ...memory)).run;
    const incremental = (await run('incremental', ...memory)).run;
    const continuous = (await run('continuous', ...memory)).run;
    const middle = ({ checkpoints }: Stats) => checkpoints.filter(({ trigger }) => trigger === 'safepoints').slice(2);
    for (const one of middle(sequential)) {
      expect(one.pagesWritten).toBeGreaterThan(sequential.pages >>> 2);
      expect(one.pagesRead).toBeGreaterThan(0);
    }
    for (const one of middle(incremental)) {
      expect(one.pagesWritten + one.zeroPages).toBe(one.dirtyPages);
      expect(one.pagesRead).toBeLessThanOrEqual(one.dirtyPages - one.residentDirtyPages);
    }
    const paged = pagingTrackers.includes('kernel')
      ? (await run('continuous', ...memory, '--tracker', 'kernel')).run
      : continuous;
    expect(middle(paged).length).toBeGreaterThan(5);
    for (const one of [...middle(continuous), ...middle(paged)]) {
      expect(one.pagesWritten + one.zeroPages).toBe(one.residentDirtyPages);
      expect(one.pagesRead).toBe(0);
    }
    const dirty = ({ checkpoints }: Stats) => checkpoints.map(({ dirtyPages }) => dirtyPages).slice(2, -1);
    // The same pages at the same safepoints, whoever counts them.
    expect(dirty(incremental)).toEqual(dirty(continuous));
    // Each page once in each interval, and in the last one, which ends with the program.
    const total = incremental.checkpoints.slice(1).reduce((sum, { dirtyPages }) => sum + dirtyPages, 0);
    expect(incremental.faults.protection).toBe(total + incremental.checkpoints[0].dirtyPages);
  });
});

describe('an interval much shorter than a checkpoint takes', () => {
  it.each([[[]], [['--fork']]])('leaves the program half of the time %s', async (option) => {
    // Few frames: beside a save the program comes to its next pageout, and no further.
    const options = ['--policy', 'sequential', '--interval', '1ms', '--memory', '60p', ...option];
    const { text, run } = await stats(workload('sort'), ['300000', '3'], ...options);
    expect(text).toBe(expected('sort', 300_000));
    const heldUpMs = run.checkpoints.filter(({ trigger }) => trigger === 'request').map(({ pauseMs }) => pauseMs);
    expect(heldUpMs.length).toBeGreaterThan(2);
    expect(heldUpMs.slice(0, -1).reduce((sum, ms) => sum + ms, 0)).toBeLessThan(run.runMs / 2);
  });
});

describe('a save that fails', () => {
  it.each([
    ['sequential', '--quiet'],
    ['incremental', '--quiet'],
    ['sequential', '--fork'],
    ['incremental', '--fork'],
    ...faultTrackers.flatMap((tracker) => [
      ['incremental', `--tracker=${tracker}`],
      ['sequential', `--tracker=${tracker}`, '--fork'],
      ['incremental', `--tracker=${tracker}`, '--fork'],
    ]),
  ])('%s %s ends the run with the reason, and the last checkpoint stands', async (policy, ...options) => {
    const folder = scratch();
    const [job, away] = [join(folder, 'job'), join(folder, 'away')];
    const words = ['run', '--job', job, '--policy', policy, '--interval', '20ms', workload('apsp'), '420', '3'];
    const running = new RunningCommand([...words.slice(0, 5), ...options, ...words.slice(5)]);
    await expect.poll(() => checkpointCount(job), { interval: 5, timeout: 20_000 }).toBeGreaterThan(1);
    // No file can be made in a directory that is not where it was.
    renameSync(job, away);
    const failed = await running.ended;
    expect(failed).toMatchObject({
      exitCode: 74,
      stdout: '',
      stderr: expect.stringMatching(/^continuo: cannot .*job/),
    });
    renameSync(away, job);
    const { exitCode, stdout } = await continuo(words);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: expected('apsp', 420) });
  });
});

describe('a job', () => {
  it('goes on in its own way without --policy, and refuses another', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const command = ['--job', job, '--interval', 'none', workload('fib'), '20', '3'];
    expect((await continuo(['run', '--policy', 'incremental', ...command])).exitCode).toBe(0);
    expect((await continuo(['run', ...command])).exitCode).toBe(0);
    const refused = await continuo(['run', '--policy', 'continuous', ...command]);
    expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--fresh') });
    const shown = JSON.parse((await continuo(['inspect', '--json', job])).stdout) as { policy: string };
    expect(shown.policy).toBe('incremental');
    expect((await continuo(['run', '--policy', 'continuous', '--fresh', ...command])).exitCode).toBe(0);
  });

  it('is what --policy and --fork are about', async () => {
    for (const option of [['--policy', 'incremental'], ['--fork']]) {
      const refused = await continuo(['run', ...option, workload('fib'), '10', '3']);
      expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--job') });
    }
  });
});

/** Files of checkpoints that were ever made, by the number of the newest; 0 before there is a job. */
function checkpointCount(job: string): number {
  if (!existsSync(job)) return 0;
  return Math.max(0, ...readdirSync(job).map((name) => Number(/^checkpoint-(\d+)$/.exec(name)?.[1] ?? 0)));
}
