/**
 * No run hangs, whatever becomes of the thread that pages it: it dies, it serves a fault for ever, the process exits, or the system
 * refuses to be told of faults.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { command, continuo, program, RunningCommand, scratch, sleep, workload } from '../cli/continuo.ts';
import { counts } from '../cli/guests.ts';
import { kernelPages } from './kernel-paging.ts';
import { moduleUrl, nobody, script, setpriv, writesForEver } from './machine-script.ts';

const paged = "frameCount: 16, tracker: 'kernel', intervalMs: 0";

describe.runIf(kernelPages)('a program that the kernel pages', { timeout: 240_000 }, () => {
  it('is stopped with an error when the thread that pages it dies', async () => {
    const { exitCode, output } = await script(writesForEver(paged, 'pager.terminate();'), 20_000);
    expect({ exitCode, output }).toMatchObject({
      exitCode: 7,
      output: expect.stringContaining('the thread that pages the program has ended'),
    });
  });

  it('does not keep a process from exiting', async () => {
    const { exitCode, output } = await script(writesForEver(paged, 'process.exit(3);'), 20_000);
    expect({ exitCode, output }).toEqual({ exitCode: 3, output: '' });
  });

  it('is stopped by a signal, with a checkpoint, and goes on with checks in its code', async () => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(60, 5_000_000));
    const job = ['--job', join(folder, 'job'), '--memory', '16p', '--interval', '20ms', '--verbose'];
    const running = new RunningCommand(['run', ...job, '--tracker', 'kernel', path]);
    await running.waitFor('checkpoint 2 ');
    await sleep(50);
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ exitCode: 85, signal: null });
    expect(await continuo(['run', ...job, '--tracker', 'software', path])).toMatchObject({ exitCode: 7 });
  });

  it('works with the garbage of both threads collected all the time', () => {
    const engine = ['--gc-interval=300', '--stress-compaction'];
    const options = ['--tracker', 'kernel', '--memory', '40p', '--interval', '10ms', '--job', join(scratch(), 'job')];
    const args = [...engine, command, 'run', ...options, workload('sort'), '20000', '3'];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 50_000 });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toMatch(/^sort size=20000 seed=3 digest=[0-9a-f]{16}\n$/);
  });

  it.runIf(setpriv)('is refused where the system refuses, with the reason; auto pages it by checks in its code', () => {
    const env = { ...process.env, CONTINUO_CACHE: join(scratch(), 'none') };
    const run = (tracker: string): ReturnType<typeof spawnSync> => {
      const words = ['run', '--tracker', tracker, '--memory', '16p', '--verbose', workload('fib'), '20', '3'];
      const args = [...nobody, process.execPath, command, ...words];
      return spawnSync('setpriv', args, { encoding: 'utf8', timeout: 30_000, env });
    };
    const { status, stderr } = run('kernel');
    expect({ status, stderr }).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--tracker kernel cannot be had here: the system refuses userfaultfd/),
    });
    const paged = run('auto');
    expect({ status: paged.status, stderr: paged.stderr }).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('tracker software: '),
    });
    expect(paged.stdout).toMatch(/^fib size=20 /);
  });
});

describe('the watch over the thread that pages', () => {
  it('gives a fault up that takes too long, so that the guest is stopped', async () => {
    // The thread waits for its first order; to its watch it serves one fault all the time.
    const { exitCode, output } = await script(
      `import { PagerWord } from ${JSON.stringify(moduleUrl('pager-link'))};
      import { PagerWorker } from ${JSON.stringify(moduleUrl('pager-worker'))};
      const startMs = performance.now();
      const worker = new PagerWorker(() => {
        const failed = Atomics.load(words, PagerWord.failed) === 1 && Atomics.load(words, PagerWord.dead) === 1;
        console.log(failed && performance.now() - startMs >= 500 ? 'given up' : 'wrong');
        worker.stop();
        process.exit(0);
      }, () => {}, 500);
      const words = new Int32Array(worker.link.words);
      Atomics.store(words, PagerWord.serving, 7);
      setTimeout(() => process.exit(1), 10000);`,
      20_000,
    );
    expect({ exitCode, output }).toEqual({ exitCode: 0, output: 'given up\n' });
  });
});
