/**
 * First writes found by mprotect and a handler of SIGSEGV: what only that has. Faults that are not the guest's, bounds of the memory, more
 * pages than the system has mappings for, runs that it is not for. What it has in common with the kernel's way is in `protected-runs.test.ts`.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { continuo, program, root, scratch, workload } from '../cli/continuo.ts';
import { killUntilDone, seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { script as timedScript } from './machine-script.ts';
import { guardsPages } from './page-guard-here.ts';

const TEST_MS = 120_000;
const file = (name: string): string => join(import.meta.dirname, name);

function script(name: string, ...args: string[]) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [file(name), ...args], { encoding: 'utf8' });
  return { status, signal, stdout: stdout.trim(), stderr };
}

/** Writes to every second page of 320 MiB, three times, between which it spends some time; prints `done`. */
const SCATTERED = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 5121)
  (func (export "_start") (local $at i32) (local $turn i32) (local $sum i32)
    (loop $turns
      (local.set $at (i32.const 0))
      (loop $write
        (i32.store offset=65536 (local.get $at) (i32.add (i32.load offset=65536 (local.get $at)) (local.get $turn)))
        (local.set $at (i32.add (local.get $at) (i32.const 8192)))
        (br_if $write (i32.lt_u (local.get $at) (i32.const 0x14000000))))
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (br_if $turns (i32.lt_u (local.get $turn) (i32.const 4))))
    (local.set $at (i32.const 0))
    (loop $count
      (local.set $sum (i32.add (local.get $sum) (i32.load offset=65536 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (br_if $count (i32.lt_u (local.get $at) (i32.const 0x14000000))))
    (if (i32.ne (local.get $sum) (i32.const 245760)) (then unreachable))
    (i64.store (i32.const 16) (i64.const 0x0a656e6f64))
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 5))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`;

/** Has host functions fill pages of its memory, now these and now those; traps when one of them fails. */
const HOST_WRITES = `(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fdstat (param i32 i32) (result i32)))
  (memory (export "memory") 40)
  (func (export "_start") (local $turn i32) (local $at i32)
    (loop $again
      (local.set $at (i32.rem_u (i32.mul (local.get $turn) (i32.const 77777)) (i32.const 0x240000)))
      (if (call $random (local.get $at) (i32.const 12000)) (then unreachable))
      (if (call $clock (i32.const 1) (i64.const 0) (i32.add (local.get $at) (i32.const 16384))) (then unreachable))
      (if (call $args (i32.add (local.get $at) (i32.const 20480)) (i32.add (local.get $at) (i32.const 24576))) (then unreachable))
      (if (call $sizes (i32.add (local.get $at) (i32.const 28672)) (i32.add (local.get $at) (i32.const 32768))) (then unreachable))
      (drop (call $prestat (i32.const 3) (i32.add (local.get $at) (i32.const 36864))))
      (if (call $fdstat (i32.const 1) (i32.add (local.get $at) (i32.const 40960))) (then unreachable))
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $turn) (i32.const 4000))))))`;

/** Writes to all its pages, then reads or writes behind its end. */
const passesItsEnd = (access: string): string => `(module (memory (export "memory") 2)
  (func (export "_start") (local $at i32)
    (loop $write
      (i32.store (local.get $at) (i32.const 1))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br_if $write (i32.lt_u (local.get $at) (i32.const 0x20000))))
    ${access}))`;

describe.runIf(guardsPages)('faults that are not the guest’s', { timeout: TEST_MS }, () => {
  it('out of bounds trap as before, reads and writes, and pages behind the end of a memory that has grown', () => {
    expect(script('outside-faults.mjs', 'trap')).toEqual({ status: 0, signal: null, stdout: 'trapped', stderr: '' });
  });

  it.each([
    ['null', 'at address 8'],
    ['read-only', 'at a page that somebody else protects'],
    ['sent', 'sent by another process'],
  ])('end the process by SIGSEGV: %s, %s', (kind) => {
    expect(script('outside-faults.mjs', kind)).toMatchObject({ signal: 'SIGSEGV', stdout: '' });
  });

  it('end the process where a page is protected for a thread that ended without a word', () => {
    expect(script('outside-faults.mjs', 'abandoned')).toMatchObject({ signal: 'SIGSEGV', stdout: 'trapped' });
  });

  it('would be taken by a handler that is installed later: that is an error', () => {
    expect(script('outside-faults.mjs', 'replaced')).toMatchObject({ status: 0, stdout: 'told', stderr: '' });
  });

  it('go to the handler before, on its stack, under its mask, and once where it wants them once', () => {
    const compiled = join(scratch(), 'chained-handlers');
    const compiler = process.env['CC'] ?? 'cc';
    const { status, stderr } = spawnSync(compiler, ['-o', compiled, file('chained-handlers.c'), '-lpthread']);
    expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: '' });
    const ended = (kind: string) => {
      const { status: code, signal, stdout, stderr: said } = spawnSync(compiled, [kind], { encoding: 'utf8' });
      return { code, signal, told: stdout.trim().split('\n'), said };
    };
    const well = { code: 0, signal: null, told: ['served', 'called', 'served', 'called'], said: '' };
    for (const kind of ['siginfo', 'nodefer', 'plain']) expect(ended(kind), kind).toEqual(well);
    const killed = { code: null, signal: 'SIGSEGV', said: '' };
    expect(ended('once')).toEqual({ ...killed, told: ['served', 'called'] });
    expect(ended('ignored')).toEqual({ ...killed, told: ['served', 'called'] });
    expect(ended('default')).toEqual({ ...killed, told: ['served'] });
  });

  it.each([
    ['a read', '(drop (i32.load (i32.const 0x20000)))'],
    ['a write', '(i32.store offset=65536 (i32.const 0x10000) (i32.const 1))'],
    ['a fill', '(memory.fill (i32.const 0x1fff0) (i32.const 1) (i32.const 17))'],
    ['a read far behind it', '(drop (i64.load offset=0x7fffffff (i32.const 0x7fffffff)))'],
  ])('are traps of a program with the same words under each tracker: %s', async (_, access) => {
    const folder = scratch();
    const path = program(folder, 'passes', passesItsEnd(access));
    const of = async (tracker: string) => {
      const job = ['--job', join(folder, tracker), '--policy', 'incremental', '--interval', '10ms'];
      const { exitCode, stdout, stderr } = await continuo(['run', ...job, '--tracker', tracker, path]);
      return { exitCode, stdout, stderr: stderr.replaceAll(tracker, 'TRACKER') };
    };
    const software = await of('software');
    expect(software).toMatchObject({ exitCode: 134, stderr: expect.stringContaining('memory access out of bounds') });
    expect(await of('mprotect')).toEqual(software);
  });
});

describe.runIf(guardsPages)('more separate pages than there are mappings', { timeout: TEST_MS }, () => {
  const check = (words: readonly string[], least: number, most: number): void => {
    const { status, signal, stdout, stderr } = script('scattered-writes.mjs', ...words);
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    const { first, second, notices } = JSON.parse(stdout) as Record<string, { faults: number; overflows: number }>;
    expect([first.overflows, second.overflows, notices]).toEqual([1, 2, 1]);
    expect(first.faults).toBeGreaterThan(least);
    expect(first.faults).toBeLessThanOrEqual(most);
  };
  const allowed = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));

  it.runIf(allowed < 80_000)('count as written where the system refuses one, and are saved as they were', () => {
    check([], allowed / 3, allowed / 2);
  });

  it('… and where a bound is met, which leaves mappings to the engine', () => {
    check(['2000'], 990, 1010);
  });

  it.each([6, 40, 300])('… whatever is written and saved at random, within %i mappings', (mappings) => {
    const { status, stdout, stderr } = script('protected-memory.mjs', 'mprotect', `${seed}`, '60', `${mappings}`);
    expect({ status, stderr }, `seed ${seed}`).toEqual({ status: 0, stderr: '' });
    const { overflows, saved, copies } = JSON.parse(stdout) as Record<string, number>;
    for (const count of [overflows, saved, copies]) expect(count).toBeGreaterThan(0);
  });

  it.runIf(allowed < 80_000).each([[[]], [['--fork']]])(
    'are counted in the statistics and told once, and a job goes on from there %s',
    async (fork) => {
      const folder = scratch();
      const path = program(folder, 'scattered', SCATTERED);
      const stats = join(folder, 'stats');
      const options = ['--policy', 'incremental', ...fork, '--tracker', 'mprotect', '--interval', '400ms'];
      const words = ['run', '--job', join(folder, 'job'), ...options, '--stats', stats, path];
      const { exitCode, stdout, stderr } = await continuo(words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: 'done\n' });
      expect(stderr).toMatch(/^continuo: pages far apart are written, [^\n]*vm\.max_map_count[^\n]*\n$/);
      const { paging } = JSON.parse(readFileSync(stats, 'utf8')) as { paging: { mappingOverflows: number } };
      expect(paging.mappingOverflows).toBeGreaterThan(0);
      const killed = ['run', '--job', join(folder, 'killed'), ...options, '--verbose', path];
      expect((await killUntilDone(killed, new Random(seed), 1500)).exitCode, `seed ${seed}`).toBe(0);
      expect((await continuo(['verify', join(folder, 'killed')])).exitCode).toBe(0);
    },
  );
});

describe.runIf(guardsPages)('--tracker mprotect', { timeout: TEST_MS }, () => {
  it.each([[['--policy', 'incremental']], [['--policy', 'sequential', '--fork']]])(
    'lets host functions write where they may, %s',
    async (options) => {
      const folder = scratch();
      const path = program(folder, 'host-writes', HOST_WRITES);
      const words = [...options, '--tracker', 'mprotect', '--job', join(folder, 'job'), '--interval', '5ms', path];
      expect(await continuo(['run', ...words])).toMatchObject({ exitCode: 0, stderr: '' });
    },
  );

  it.each([
    [['--policy', 'continuous'], 'the policy "continuous" without --fork is neither'],
    [['--policy', 'sequential'], 'the policy "sequential" without --fork is neither'],
    [['--policy', 'none', '--fork'], 'the policy "none" takes no checkpoints'],
    [['--policy', 'incremental', '--memory', '100p'], 'with --memory they are not'],
    [[], 'without --job there are no checkpoints'],
  ])('is refused with %s, which makes no job', async (options, reason) => {
    const folder = scratch();
    const job = options.length === 0 ? [] : ['--job', join(folder, 'job')];
    const words = ['run', ...job, ...options, '--tracker', 'mprotect', workload('fib'), '20', '1'];
    const { exitCode, stderr } = await continuo(words);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining(`${reason}: use --tracker software or kernel`),
    });
    expect(stderr).toContain('for --policy incremental and for --fork with any policy');
    expect(readdirSync(folder)).toEqual([]);
  });

  it('has many memories of a process at once, each with its own faults', () => {
    const ended = script('many-memories.mjs');
    expect(ended).toEqual({ status: 0, signal: null, stdout: 'each its own', stderr: '' });
  });

  it('runs several programs of a process at once', async () => {
    const library = pathToFileURL(join(root, 'dist', 'index.js')).href;
    const { exitCode, output } = await timedScript(
      `
      import { readFileSync } from 'node:fs';
      import { Machine } from ${JSON.stringify(library)};
      const run = async (name, size, policy, fork) => {
        let output = '';
        const stdout = { kind: 'sink', write: (bytes) => (output += Buffer.from(bytes)) };
        const program = readFileSync(${JSON.stringify(join(root, 'dist', 'workloads'))} + '/' + name + '.wasm');
        const job = ${JSON.stringify(scratch())} + '/' + name + size;
        const options = { job, policy, fork, tracker: 'mprotect', intervalMs: 10, arguments: [size, '3'], stdout };
        const end = await Machine.start({ program, ...options }).ended;
        if (end.paging.protectionFaults === 0) throw new Error('no faults');
        console.log(output.trim().replace('.wasm', ''));
      };
      await Promise.all([
        run('apsp', '300', 'incremental', false), run('apsp', '301', 'incremental', true),
        run('matmul', '200', 'continuous', true), run('floyd-warshall', '200', 'sequential', true),
      ]);`,
      60_000,
    );
    const expected = [
      ['apsp', 300],
      ['apsp', 301],
      ['matmul', 200],
      ['floyd-warshall', 200],
    ] as const;
    const lines = expected.map(([name, size]) => {
      const digest = referenceDigests[name](size, 3).toString(16).padStart(16, '0');
      return `${name} size=${size} seed=3 digest=${digest}`;
    });
    expect({ exitCode, lines: output.trim().split('\n').toSorted() }).toEqual({ exitCode: 0, lines: lines.toSorted() });
  });

  it('is never what auto takes', async () => {
    const folder = scratch();
    const words = ['--policy', 'incremental', '--verbose', '--job', join(folder, 'job'), workload('fib'), '20', '1'];
    expect((await continuo(['run', ...words])).stderr).toContain('tracker software: ');
  });
});

it('where there is no C compiler the build says so in one line, and succeeds', () => {
  const folder = scratch();
  for (const name of ['scripts/build-native.mjs', 'native/page-guard.c']) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    copyFileSync(join(root, name), join(folder, name));
  }
  const build = (compiler: string) =>
    spawnSync(process.execPath, [join(folder, 'scripts', 'build-native.mjs')], {
      encoding: 'utf8',
      env: { ...process.env, CC: compiler },
    });
  const { status, stdout, stderr } = build('no-such-compiler');
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  expect(stderr).toMatch(/^--tracker mprotect is left out, since [^\n]+; nothing else needs it\n$/);
  expect(readdirSync(folder).toSorted()).toEqual(
    process.platform === 'linux' ? ['dist', 'native', 'scripts'] : ['native', 'scripts'],
  );
  if (!guardsPages) return;
  expect(readdirSync(join(folder, 'dist', 'native'))).toEqual([]);
  expect(build(process.env['CC'] ?? 'cc')).toMatchObject({ status: 0, stdout: '', stderr: '' });
  expect(readdirSync(join(folder, 'dist', 'native'))).toEqual(['page-guard.so']);
});

it.runIf(guardsPages)(
  'where it was not built, runs that ask for it are refused with the reason, and doctor says what to do',
  () => {
    const folder = scratch();
    for (const name of ['command', 'assembly'])
      cpSync(join(root, 'dist', name), join(folder, 'dist', name), { recursive: true });
    copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    const run = (...words: string[]) =>
      spawnSync(process.execPath, [join(folder, 'dist', 'command', 'main.js'), ...words], {
        encoding: 'utf8',
        cwd: folder,
      });
    const job = ['--job', 'job', '--policy', 'incremental'];
    const refused = run('run', ...job, '--tracker', 'mprotect', workload('fib'), '20', '1');
    expect(refused).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/--tracker mprotect cannot be had here: its library, which a C compiler makes/),
    });
    expect(run('doctor').stdout).toMatch(/no {3}--tracker mprotect .*\n.*\n *to have it: install a C compiler/);
    expect(run('run', ...job, workload('fib'), '20', '1')).toMatchObject({ status: 0, stderr: '' });
  },
);
