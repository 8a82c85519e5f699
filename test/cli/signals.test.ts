/** Signals stop a job within 100 ms, wherever the program is, and it goes on from there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, continuo, program, scratch, sleep } from './continuo.ts';
import { COPIES, LOOPS, counted, counts, fills, sleeps } from './guests.ts';

/** What a stop may take, milliseconds. */
const STOP_MS_MAX = 100;

/**
 * Time from a signal to the checkpoint that it makes, the end of the process included: the best of a few, because other
 * tests keep the processors busy.
 */
async function stopTime(start: () => Promise<RunningCommand>): Promise<number> {
  let bestMs = Infinity;
  for (let turn = 0; turn < 8 && bestMs > STOP_MS_MAX; turn++) {
    const running = await start();
    const startMs = performance.now();
    running.kill('SIGTERM');
    const { exitCode } = await running.ended;
    bestMs = Math.min(bestMs, performance.now() - startMs);
    expect(exitCode).toBe(85);
  }
  return bestMs;
}

describe('a program is stopped at once', () => {
  it('in a loop that calls nothing', async () => {
    const folder = scratch();
    const path = program(folder, 'loops', LOOPS);
    const job = join(folder, 'job');
    const ms = await stopTime(async () => {
      const running = new RunningCommand(['run', '--job', job, '--interval', 'none', '--verbose', path]);
      await running.waitFor('tracker');
      // Some time into its loop, on the machine of a busy test run as well.
      await sleep(600);
      return running;
    });
    expect(ms).toBeLessThan(STOP_MS_MAX);
  });

  it('in a read of standard input that nobody writes to, and reads on afterwards', async () => {
    const folder = scratch();
    const path = program(folder, 'copies', COPIES);
    const job = join(folder, 'job');
    const output = join(folder, 'output');
    const args = ['run', '--job', job, '--interval', 'none', '--verbose', '--stdout', output, path];
    const ms = await stopTime(async () => {
      const running = new RunningCommand(args, { pipe: true });
      await running.waitFor('checkpoint');
      const written = (): string => (existsSync(output) ? readFileSync(output, 'utf8') : '');
      await expect.poll(written, { interval: 5, timeout: 20_000 }).toContain('ready\n');
      const had = written();
      running.write('first ');
      await expect.poll(written, { interval: 5, timeout: 20_000 }).toBe(`${had}first `);
      // It reads again.
      await sleep(100);
      running.kill('SIGUSR1');
      await running.waitFor('(request)');
      return running;
    });
    expect(ms).toBeLessThan(STOP_MS_MAX);
    // Each start wrote once: what was read before a stop is not lost, and not asked for again.
    const before = readFileSync(output, 'utf8');
    expect(before).toMatch(/^ready\n(first )+$/);
    const rest = await continuo(args, { input: 'second\n' });
    expect(rest).toMatchObject({ exitCode: 0, stdout: '' });
    expect(readFileSync(output, 'utf8')).toBe(`${before}second\nend\n`);
  });

  it('in a sleep, and sleeps only the rest of it afterwards', async () => {
    const folder = scratch();
    const path = program(folder, 'sleeps', sleeps(1500));
    const job = join(folder, 'job');
    const output = join(folder, 'output');
    const args = ['run', '--job', job, '--interval', 'none', '--stdout', output, path];
    const running = new RunningCommand(args);
    while (!existsSync(output) || readFileSync(output, 'utf8') === '') await sleep(5);
    await sleep(600);
    const startMs = performance.now();
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    expect(performance.now() - startMs).toBeLessThan(3 * STOP_MS_MAX);
    expect(readFileSync(output, 'utf8')).toBe('asleep\n');
    const rest = await continuo([...args.slice(0, 1), '--stats', join(folder, 'stats'), ...args.slice(1)]);
    expect(rest.exitCode).toBe(0);
    expect(readFileSync(output, 'utf8')).toBe('asleep\nawake\n');
    // Both sleeps together are what was asked for, and the time between does not count.
    const { guestMs } = JSON.parse(readFileSync(join(folder, 'stats'), 'utf8'));
    expect(guestMs).toBeGreaterThan(1400);
    expect(guestMs).toBeLessThan(2100);
  });
});

describe('a signal', () => {
  const started = async (...options: string[]): Promise<RunningCommand> => {
    const folder = scratch();
    const path = program(folder, 'loops', LOOPS);
    const job = join(folder, 'job');
    const running = new RunningCommand(['run', '--job', job, '--verbose', '--interval', 'none', ...options, path]);
    await running.waitFor('checkpoint 1 ');
    return running;
  };

  it('SIGUSR1 takes a checkpoint and the program goes on', async () => {
    const running = await started();
    for (const generation of [2, 3]) {
      running.kill('SIGUSR1');
      await running.waitFor(`checkpoint ${generation} (request)`);
    }
    running.kill('SIGINT');
    const { exitCode, stderr } = await running.ended;
    expect(exitCode).toBe(85);
    expect(stderr).toMatch(
      /checkpoint 4 \(stop\)[^\n]*\n[^\n]*stopped at checkpoint 4; the same command, or "continuo resume/,
    );
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('%s ends with the exit code that was asked for', async (signal) => {
    const running = await started('--checkpoint-exit-code', '3');
    running.kill(signal);
    expect((await running.ended).exitCode).toBe(3);
  });

  it.each([
    { signal: 'SIGTERM', exitCode: 143 },
    { signal: 'SIGINT', exitCode: 130 },
  ] as const)('$signal ends a run without a job with $exitCode', async ({ signal, exitCode }) => {
    const running = new RunningCommand(['run', '--verbose', program(scratch(), 'loops', LOOPS)]);
    await running.waitFor('no checkpoints are kept');
    await sleep(300);
    running.kill(signal);
    expect((await running.ended).exitCode).toBe(exitCode);
  });

  it('SIGINT, twice, ends at once', async () => {
    const folder = scratch();
    const path = program(folder, 'fills', fills(1000));
    const running = new RunningCommand(['run', '--verbose', '--job', join(folder, 'job'), path]);
    await running.waitFor('checkpoint 1 ');
    await sleep(50);
    running.kill('SIGINT');
    await sleep(50);
    const startMs = performance.now();
    running.kill('SIGINT');
    const { exitCode, stderr } = await running.ended;
    expect(exitCode).toBe(130);
    expect(performance.now() - startMs).toBeLessThan(1000);
    expect(stderr).not.toContain('stopped at');
  });
});

it('SIGTERM again and again until it is done leaves the output of a run that nobody stopped', async () => {
  const folder = scratch();
  const path = program(folder, 'counts', counts(200, 3_000_000));
  const output = join(folder, 'output');
  const args = ['run', '--job', join(folder, 'job'), '--verbose', '--stdout', output, path];
  let exitCode: number | null = 85;
  let stops = 0;
  for (; exitCode === 85; stops++) {
    const running = new RunningCommand(args);
    // The program runs from the first of these on.
    await Promise.race([running.waitFor(stops === 0 ? 'checkpoint 1 ' : 'goes on from'), running.ended]);
    await sleep(40);
    running.kill('SIGTERM');
    ({ exitCode } = await running.ended);
  }
  expect(exitCode).toBe(7);
  expect(stops).toBeGreaterThan(2);
  expect(readFileSync(output, 'utf8')).toBe(counted(200));
});
