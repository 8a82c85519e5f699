/**
 * Programs with fewer frames than pages leave what they leave with all of their pages in memory: undisturbed, with a
 * checkpoint at every safepoint, and killed again and again while budget and tracker change from run to run; with checks in
 * their code, and paged by the kernel.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FIRST_FREE_SLOT, SLOT_BYTES } from '../../src/format/paging-format.ts';
import { command, continuo, program, scratch, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { Random } from '../support/random.ts';
import { pagingTrackers, type Tracker } from '../support/trackers.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { compileKernelCommand, hasClang } from '../../bench/kernels/common/command.mjs';
import { killUntilDone, seed } from './kill-schedule.ts';

console.log(`Instants of the kills and budgets: CONTINUO_TEST_SEED=${seed}`);

const hex = (digest: bigint): string => digest.toString(16).padStart(16, '0');
const expected = (name: string, size: number): string =>
  `${name} size=${size} seed=3 digest=${hex(referenceDigests[name](size, 3))}\n`;

interface PagingFigures {
  readonly residentPages: number;
  readonly frames: number;
  readonly hardFaults: number;
  readonly evictions: number;
}

/** Runs a program with so many frames, and gives what it printed and what paging did. */
async function run(tracker: Tracker, path: string, args: readonly string[], frames: number, ...options: string[]) {
  const stats = join(scratch(), 'stats');
  const words = ['run', '--tracker', tracker, '--memory', `${frames}p`, '--stats', stats, ...options, path, ...args];
  const { exitCode, stdout, stderr } = await continuo(words);
  expect({ exitCode, stderr }, words.join(' ')).toMatchObject({ exitCode: 0 });
  const {
    paging,
    pages,
    slots,
  }: { paging: PagingFigures; pages: number; slots?: { working: number; shadow: number } } = JSON.parse(
    readFileSync(stats, 'utf8'),
  );
  expect(paging.frames).toBe(frames);
  expect(paging.residentPages).toBeLessThanOrEqual(frames);
  if (slots !== undefined) expect(slots.working + slots.shadow).toBeLessThanOrEqual(2 * pages);
  return { stdout, paging, pages };
}

const WORKLOADS = [
  { name: 'apsp', size: 120 },
  { name: 'floyd-warshall', size: 160 },
  { name: 'matmul', size: 130 },
  { name: 'fib', size: 20 },
  { name: 'sort', size: 20000 },
];

describe.each(pagingTrackers.flatMap((tracker) => WORKLOADS.map((of) => ({ ...of, tracker }))))(
  '$name, $tracker',
  ({ name, size, tracker }) => {
    const args = [String(size), '3'];

    it('gives its result with 16 frames, half of what it uses and all of it', async () => {
      const all = await run(tracker, workload(name), args, 100_000);
      expect(all.stdout).toBe(expected(name, size));
      expect(all.paging).toMatchObject({ evictions: 0, hardFaults: 0 });
      const half = Math.max(16, all.paging.residentPages >>> 1);
      for (const frames of [16, half]) {
        const { stdout, paging } = await run(tracker, workload(name), args, frames);
        expect(stdout, `${frames} frames`).toBe(expected(name, size));
        if (all.paging.residentPages > 2 * frames) expect(paging.hardFaults, `${frames} frames`).toBeGreaterThan(0);
      }
    });

    it('gives it with checkpoints every few safepoints, in 16 frames', async () => {
      const { stdout } = await run(
        tracker,
        workload(name),
        args,
        16,
        '--job',
        join(scratch(), 'job'),
        '--every',
        '701',
        '--interval',
        'none',
      );
      expect(stdout).toBe(expected(name, size));
    });
  },
);

describe.each(pagingTrackers)('killed until done, each run with another budget or none, %s', (tracker) => {
  it.each([
    { name: 'apsp', size: 400, runMsMax: 400 },
    { name: 'floyd-warshall', size: 450, runMsMax: 400 },
    { name: 'matmul', size: 420, runMsMax: 400 },
    { name: 'sort', size: 600_000, runMsMax: 400 },
  ])('$name', async ({ name, size, runMsMax }) => {
    const folder = scratch();
    const output = join(folder, 'output');
    const random = new Random(seed);
    const by = ['--tracker', tracker];
    const budgets = [
      [...by, '--memory', '16p'],
      [...by, '--memory', '100p'],
      [...by, '--memory', '400p', '--replacement', 'second-chance'],
      ['--memory', '100p'],
      [],
    ];
    const options = ['--job', join(folder, 'job'), '--interval', '20ms', '--verbose', '--stdout', output];
    const args = (): string[] => ['run', ...options, ...random.pick(budgets), workload(name), String(size), '3'];
    const { exitCode } = await killUntilDone(args, random, runMsMax);
    expect(exitCode, `seed ${seed}`).toBe(0);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(expected(name, size));
  });

  it('a program that prints, whose output file is rolled back', async () => {
    const folder = scratch();
    const output = join(folder, 'output');
    const random = new Random(seed);
    const path = program(folder, 'counts', counts(60, 5_000_000));
    const options = ['--job', join(folder, 'job'), '--interval', '10ms', '--verbose', '--stdout', output];
    const args = (): string[] => [
      'run',
      ...options,
      ...(random.chance(0.7) ? ['--tracker', tracker, '--memory', '16p'] : []),
      path,
    ];
    await killUntilDone(args, random, 200);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(counted(60));
  });
});

/** Frames for those that leave no page alone: a million faults in 16 frames, a hundred thousand in so many; the kernel's take longer. */
const FRAMES_OF_THRASHING: Readonly<Record<string, Readonly<Record<Tracker, number>>>> = {
  lz: { software: 64, kernel: 200 },
  tree: { software: 400, kernel: 450 },
  list: { software: 800, kernel: 1000 },
};

const kernels = hasClang ? ['mutual', 'icall', 'simd', 'multi-value', 'lz', 'sha', 'tree', 'bulk', 'sort', 'list'] : [];
if (!hasClang) console.log('Programs in C are left out: clang or wasm-ld is not there.');

describe.each(pagingTrackers)('programs in C, %s', (tracker) => {
  it.each(kernels)(
    '%s, in few frames',
    async (name) => {
      const path = join(scratch(), `${name}.wasm`);
      const printed = compileKernelCommand(name, 1, path);
      const many = FRAMES_OF_THRASHING[name]?.[tracker];
      for (const frames of many === undefined ? [16, 64] : [many]) {
        const { stdout, paging } = await run(tracker, path, [], frames);
        expect(stdout, `${frames} frames`).toBe(printed);
        if (many !== undefined) expect(paging.hardFaults, `${frames} frames`).toBeGreaterThan(500);
      }
    },
    240_000,
  );
});

describe('a memory as large as there is', () => {
  // Grows to the maximum, writes a word to a page of each MB, reads all back, and exits with 0 when they agree.
  const GROWS = `(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $units i32) (local $at i32)
      (block $full (loop $grow
        (br_if $full (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (br $grow)))
      (local.set $units (memory.size))
      (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (call $proc_exit (i32.const 1))))
      (loop $write
        (i64.store offset=3 (local.get $at) (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))
        (local.set $at (i32.add (local.get $at) (i32.const 0x100ffd)))
        (br_if $write (i32.lt_u (i32.shr_u (local.get $at) (i32.const 16)) (i32.sub (local.get $units) (i32.const 17)))))
      (local.set $at (i32.const 0))
      (loop $read
        (if (i64.ne (i64.load offset=3 (local.get $at))
                    (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))
          (then (call $proc_exit (i32.const 2))))
        (local.set $at (i32.add (local.get $at) (i32.const 0x100ffd)))
        (br_if $read (i32.lt_u (i32.shr_u (local.get $at) (i32.const 16)) (i32.sub (local.get $units) (i32.const 17)))))
      (call $proc_exit (select (i32.const 0) (i32.const 3) (i32.gt_u (local.get $units) (i32.const 64000))))))`;

  it('works in 16 frames, with checkpoints', async () => {
    const folder = scratch();
    const path = program(folder, 'grows', GROWS);
    const { paging, pages } = await run(
      'software',
      path,
      [],
      16,
      '--job',
      join(folder, 'job'),
      '--every',
      '3000',
      '--interval',
      'none',
    );
    expect(pages).toBeGreaterThan(1_000_000);
    expect(paging.hardFaults).toBeGreaterThan(3000);
  }, 240_000);
});

describe('storage that fails while the program runs', () => {
  it('damaged pages end the run with what is wrong, when they are needed', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const args = [
      '--job',
      job,
      '--memory',
      '16p',
      '--every',
      '3000',
      '--interval',
      'none',
      workload('floyd-warshall'),
      '160',
      '3',
    ];
    const killed = spawnSync(process.execPath, [command, 'run', ...args], { timeout: 1500, killSignal: 'SIGKILL' });
    // A machine so fast that the program ends has nothing to resume: then the end is what is damaged.
    const finished = killed.signal === null;
    const file = join(job, 'paging');
    const bytes = readFileSync(file);
    for (let slot = FIRST_FREE_SLOT; slot * SLOT_BYTES < bytes.length; slot++) bytes[slot * SLOT_BYTES + 9] ^= 1;
    writeFileSync(file, bytes);
    const { exitCode, stderr } = await continuo(['run', ...args]);
    expect({ exitCode, stderr, finished }).toMatchObject({
      exitCode: 65,
      stderr: expect.stringMatching(/paging is damaged at byte/),
    });
  });

  it('a full disk ends the run, whatever handlers the program has', async () => {
    const folder = scratch();
    // Writes to 4000 pages, each in a try whose handler takes all and goes on.
    const path = program(
      folder,
      'stubborn',
      `(module (memory (export "memory") 256)
        (func (export "_start") (local $at i32)
          (loop $again
            (try (do (i32.store (local.get $at) (i32.const 1))) (catch_all))
            (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4096)) (i32.const 0xffffff)))
            (br $again))))`,
    );
    const args = [command, 'run', '--job', join(folder, 'job'), '--memory', '16p', '--interval', 'none', path];
    const limited = `ulimit -f 2000; exec "$0" "$@"`;
    const { status, stderr } = spawnSync('sh', ['-c', limited, process.execPath, ...args], {
      encoding: 'utf8',
      timeout: 240_000,
    });
    expect({ status, stderr }).toMatchObject({ status: 74, stderr: expect.stringMatching(/cannot .*paging: EFBIG/) });
    expect((await continuo(['inspect', join(folder, 'job')])).stdout).toContain('checkpoint   1,');
  });
});
