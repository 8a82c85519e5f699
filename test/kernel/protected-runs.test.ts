/**
 * Guests that are stopped at first writes to pages, by the kernel or by mprotect, for the policy `incremental` and for `--fork`: they leave
 * what they leave under the software's protection, with checkpoints of the same pages, and none of them hangs, whatever becomes of the
 * thread that serves the faults.
 */
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { command, continuo, program, RunningCommand, scratch, sleep, workload } from '../cli/continuo.ts';
import { COPIES, counted, counts } from '../cli/guests.ts';
import { killUntilDone, seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { faultTrackers } from '../support/trackers.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { nobody, script, setpriv, writesForEver } from './machine-script.ts';

const TEST_MS = 120_000;
const FULL_ROOM_SCRIPT = join(import.meta.dirname, 'full-copy-room.mjs');
const MEMORY_SCRIPT = join(import.meta.dirname, 'protected-memory.mjs');

/** Every way to save that needs to know first writes. */
const WAYS = [
  ['--policy', 'incremental'],
  ['--policy', 'incremental', '--fork'],
  ['--policy', 'continuous', '--fork'],
  ['--policy', 'sequential', '--fork'],
].map((options) => ({ way: options.slice(1).join(' '), options }));

interface Stats {
  readonly tracker: string;
  readonly pages: number;
  readonly faults: { readonly protection: number; readonly protectionUs: number; readonly copy: number };
  readonly checkpoints: readonly {
    readonly trigger: string;
    readonly dirtyPages: number;
    readonly pagesWritten: number;
    readonly forked: boolean;
    readonly copyFaults: number;
  }[];
}

const digestOf = (name: string, size: number): string => referenceDigests[name](size, 3).toString(16).padStart(16, '0');

async function run(words: readonly string[], options: Parameters<typeof continuo>[1] = {}) {
  const statsFile = join(scratch(), 'stats');
  const { exitCode, stdout, stderr } = await continuo(['run', '--stats', statsFile, ...words], options);
  return { exitCode, stdout, stderr, stats: JSON.parse(readFileSync(statsFile, 'utf8')) as Stats };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Grows by a MiB sixty times, writes to each of the new pages and, meanwhile, to old ones; prints how many bytes hold what they should. */
const GROWS = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $at i32) (local $turn i32) (local $sum i32)
    (loop $grow
      (drop (memory.grow (i32.const 16)))
      (loop $fill
        (i32.store8 offset=65536 (local.get $at) (i32.const 1))
        (i32.store8 offset=65536 (i32.rem_u (i32.mul (local.get $at) (i32.const 7)) (i32.add (local.get $at) (i32.const 1))) (i32.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 64)))
        (br_if $fill (i32.lt_u (local.get $at) (i32.mul (i32.const 0x100000) (i32.add (local.get $turn) (i32.const 1))))))
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (br_if $grow (i32.lt_u (local.get $turn) (i32.const 60))))
    (local.set $at (i32.const 0))
    (loop $count
      (local.set $sum (i32.add (local.get $sum) (i32.load8_u offset=65536 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br_if $count (i32.lt_u (local.get $at) (i32.const 0x3c00000))))
    (if (i32.ne (local.get $sum) (i32.const 983040)) (then unreachable))
    (i64.store (i32.const 16) (i64.const 0x0a656e6f64))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 5))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`;

describe.each(faultTrackers)('first writes told by faults, %s', { timeout: TEST_MS }, (tracker) => {
  describe.each(WAYS)('$way', ({ options }) => {
    it.each([
      { name: 'apsp', size: 200, steps: 20 },
      { name: 'floyd-warshall', size: 160, steps: 10 },
      { name: 'matmul', size: 130, steps: 10 },
    ])('saves the same pages of $name under either tracker', async ({ name, size, steps }) => {
      const of = async (by: string): Promise<Stats> => {
        const words = [...options, '--job', join(scratch(), 'job'), '--interval', 'none', '--every', `${steps}steps`];
        const args = ['--tracker', by, workload(`${name}.directed`), String(size), '3'];
        const { exitCode, stdout, stderr, stats } = await run([...words, ...args]);
        expect({ exitCode, stderr, tracker: stats.tracker }).toEqual({ exitCode: 0, stderr: '', tracker: by });
        expect(stdout).toContain(digestOf(name, size));
        return stats;
      };
      const [software, told] = [await of('software'), await of(tracker)];
      const written = ({ checkpoints }: Stats): number[] => checkpoints.map(({ pagesWritten }) => pagesWritten);
      const dirty = ({ checkpoints }: Stats): number[] => checkpoints.map(({ dirtyPages }) => dirtyPages);
      expect(told.checkpoints.length).toBeGreaterThan(4);
      expect(written(told)).toEqual(written(software));
      const forked = told.checkpoints.filter((one) => one.forked).length;
      expect(forked).toBe(software.checkpoints.filter((one) => one.forked).length);
      expect(told.faults.copy).toBe(sum(told.checkpoints.map(({ copyFaults }) => copyFaults)));
      if (options.includes('sequential')) return;
      expect(dirty(told)).toEqual(dirty(software));
      // Each page once in each interval.
      expect(told.faults.protection).toBe(sum(dirty(told)));
      expect(told.faults.protectionUs).toBeGreaterThan(0);
      if (options.includes('incremental')) expect(told.faults.protection).toBe(software.faults.protection);
    });

    it('goes on where it was killed, under either tracker', async () => {
      const folder = scratch();
      const output = join(folder, 'output');
      const random = new Random(seed);
      const words = [...options, '--job', join(folder, 'job'), '--interval', '15ms', '--verbose', '--stdout', output];
      let turn = 0;
      const args = (): string[] => {
        const by = turn++ % 3 === 2 ? 'software' : tracker;
        return ['run', ...words, '--tracker', by, workload('apsp'), '420', '3'];
      };
      const { exitCode } = await killUntilDone(args, random, 400);
      expect(exitCode, `seed ${seed}`).toBe(0);
      expect(readFileSync(output, 'utf8'), `seed ${seed}`).toContain(digestOf('apsp', 420));
    });

    it('prints each line once, however often it is killed', async () => {
      const folder = scratch();
      const output = join(folder, 'output');
      const path = program(folder, 'counts', counts(60, 5_000_000));
      const words = [...options, '--job', join(folder, 'job'), '--interval', '10ms', '--verbose', '--stdout', output];
      await killUntilDone(['run', ...words, '--tracker', tracker, path], new Random(seed), 200);
      expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(counted(60));
    });

    it('knows memory that grows', async () => {
      const folder = scratch();
      const path = program(folder, 'grows', GROWS);
      const words = [...options, '--tracker', tracker, '--job', join(folder, 'job'), '--interval', '10ms'];
      const { exitCode, stdout, stats } = await run([...words, path]);
      expect({ exitCode, stdout, by: stats.tracker }).toEqual({ exitCode: 0, stdout: 'done\n', by: tracker });
      const { dirtyPages, trigger } = stats.checkpoints.at(-1)!;
      expect(trigger).toBe('end');
      if (!options.includes('sequential'))
        expect(stats.faults.protection).toBe(sum(stats.checkpoints.map((one) => one.dirtyPages)));
      expect(dirtyPages).toBeLessThanOrEqual(stats.pages);
      expect((await continuo(['verify', join(folder, 'job')])).exitCode).toBe(0);
    });

    it('knows what host functions read into memory', async () => {
      const folder = scratch();
      const path = program(folder, 'copies', COPIES);
      const input = Array.from({ length: 20_000 }, (_, k) => `line ${k}\n`).join('');
      const words = [...options, '--tracker', tracker, '--job', join(folder, 'job'), '--interval', '5ms', path];
      const { exitCode, stdout } = await run(words, { input });
      expect(exitCode).toBe(0);
      expect(stdout).toContain(input);
    });

    it('works with the garbage of all threads collected all the time', () => {
      const engine = ['--gc-interval=300', '--stress-compaction'];
      const words = [...options, '--tracker', tracker, '--interval', '10ms', '--job', join(scratch(), 'job')];
      const args = [...engine, command, 'run', ...words, workload('sort'), '20000', '3'];
      const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: TEST_MS });
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/^sort size=20000 seed=3 digest=[0-9a-f]{16}\n$/);
    });

    it.runIf(tracker === 'kernel')(
      'is stopped with an error when the thread that serves its faults dies, and goes on from its checkpoint',
      async () => {
        const job = join(scratch(), 'job');
        const policy = `policy: '${options[1]}', fork: ${options.includes('--fork')}`;
        const machine = `job: ${JSON.stringify(job)}, ${policy}, tracker: '${tracker}', intervalMs: 10`;
        const { exitCode, output } = await script(writesForEver(machine, 'pager.terminate();'), 20_000);
        expect({ exitCode, output }).toMatchObject({
          exitCode: 7,
          output: expect.stringContaining('the thread that is told of first writes to pages has ended'),
        });
        // The save that was under way may have left its file, which does not count.
        expect((await continuo(['verify', job])).stderr).toMatch(/^$|byte 0: .* a save was interrupted there/);
        const going = new RunningCommand(['resume', job, '--verbose', '--tracker', tracker]);
        await going.waitFor('goes on from');
        going.kill('SIGTERM');
        expect(await going.ended).toMatchObject({ exitCode: 85 });
        expect(await continuo(['verify', job])).toMatchObject({ exitCode: 0, stderr: '' });
      },
    );

    it('does not keep a process from exiting', async () => {
      const policy = `policy: '${options[1]}', fork: ${options.includes('--fork')}`;
      const machine = `job: ${JSON.stringify(join(scratch(), 'job'))}, ${policy}, tracker: '${tracker}', intervalMs: 10`;
      const { exitCode, output } = await script(writesForEver(machine, 'process.exit(3);'), 20_000);
      expect({ exitCode, output }).toEqual({ exitCode: 3, output: '' });
    });

    it.runIf(setpriv)('needs no right', ({ skip }) => {
      const home = scratch();
      for (const name of ['', 'job']) {
        mkdirSync(join(home, name), { recursive: true });
        chownSync(join(home, name), 65534, 65534);
      }
      const stats = join(home, 'stats');
      const words = [
        ...options,
        '--tracker',
        tracker,
        '--job',
        join(home, 'job'),
        '--interval',
        '20ms',
        '--stats',
        stats,
      ];
      const args = [...nobody, process.execPath, command, 'run', ...words, workload('apsp'), '300', '3'];
      const env = { PATH: process.env['PATH'], HOME: home, CONTINUO_CACHE: join(home, 'cache') };
      const { status, stdout, stderr } = spawnSync('setpriv', args, { encoding: 'utf8', timeout: TEST_MS, env });
      if (/Cannot find module|permission denied/i.test(stderr)) skip('this directory cannot be read by other users');
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toContain(digestOf('apsp', 300));
      expect(JSON.parse(readFileSync(stats, 'utf8'))).toMatchObject({ tracker });
    });

    it('is refused where the system cannot be asked, with the reason', async () => {
      const env = { NODE_OPTIONS: `--require ${join(import.meta.dirname, 'without-koffi.cjs')}` };
      const words = [...options, '--tracker', tracker, '--job', join(scratch(), 'job'), workload('fib'), '20', '1'];
      const { exitCode, stderr } = await continuo(['run', ...words], { env });
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 2,
        stderr: expect.stringMatching(`--tracker ${tracker} cannot be had here: .*koffi`),
      });
    });
  });

  it('is stopped by a signal while a checkpoint is saved, with one more', async () => {
    const path = program(scratch(), 'counts', counts(60, 5_000_000));
    const job = ['--job', join(scratch(), 'job'), '--fork', '--interval', '20ms', '--verbose'];
    const running = new RunningCommand(['run', ...job, '--tracker', tracker, path]);
    await running.waitFor('checkpoint 2 ');
    await sleep(50);
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({ exitCode: 85, signal: null });
    expect(await continuo(['run', ...job, '--tracker', 'software', path])).toMatchObject({ exitCode: 7 });
  });
});

describe.each(faultTrackers)('memory under protection, %s', { timeout: TEST_MS }, (tracker) => {
  const limits = { encoding: 'utf8', timeout: TEST_MS } as const;
  const check = ({ status, stdout, stderr }: { status: number | null; stdout: string; stderr: string }): void => {
    expect({ status, stderr }, `seed ${seed}`).toEqual({ status: 0, stderr: '' });
    const totals = JSON.parse(stdout) as Record<string, number>;
    for (const name of ['checkpoints', 'faults', 'copies', 'pages', 'saved', 'refused'])
      expect(totals[name], name).toBeGreaterThan(0);
  };

  it('is written by programs, host functions and system calls, and each page is known and saved as it was', () => {
    check(spawnSync(process.execPath, [MEMORY_SCRIPT, tracker, String(seed), '150'], limits));
  });

  it('… with the garbage of both threads collected all the time', () => {
    const engine = ['--gc-interval=300', '--stress-compaction'];
    check(spawnSync(process.execPath, [...engine, MEMORY_SCRIPT, tracker, String(seed), '20'], limits));
  });

  it('waits for the save where there is no more room for copies', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [FULL_ROOM_SCRIPT, tracker], limits);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ copies: 2, waited: true });
  });

  it.runIf(setpriv)('… by a user without rights', ({ skip }) => {
    const ended = spawnSync(
      'setpriv',
      [...nobody, process.execPath, MEMORY_SCRIPT, tracker, String(seed), '40'],
      limits,
    );
    if (/Cannot find module|permission denied/i.test(ended.stderr))
      skip('this directory cannot be read by other users');
    check(ended);
  });
});
