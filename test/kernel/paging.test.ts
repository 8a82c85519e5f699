/**
 * What is the kernel's own about paging by it: buffers of host functions, sealed jobs, growth to all that there is, and storage that
 * fails. The programs that run under each tracker alike are in `test/machine`.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FIRST_FREE_SLOT, SLOT_BYTES } from '../../src/format/paging-format.ts';
import { command, continuo, program, RunningCommand, scratch, workload } from '../cli/continuo.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { HANG_MS, kernelPages } from './kernel-paging.ts';

const expected = (name: string, size: number): string =>
  `${name} size=${size} seed=3 digest=${referenceDigests[name](size, 3).toString(16).padStart(16, '0')}\n`;

interface PagingCounts {
  readonly frames: number;
  readonly residentPages: number;
  readonly hardFaults: number;
}

/** Runs a program in so many frames, and gives what it printed and what paging did. */
async function run(path: string, args: readonly string[], frames: number, ...options: string[]) {
  const stats = join(scratch(), 'stats');
  const words = ['--tracker', 'kernel', '--memory', `${frames}p`, '--stats', stats, ...options, path, ...args];
  const { exitCode, stdout, stderr } = await continuo(['run', ...words]);
  expect({ exitCode, stderr }, words.join(' ')).toMatchObject({ exitCode: 0 });
  const { paging, pages }: { paging: PagingCounts; pages: number } = JSON.parse(readFileSync(stats, 'utf8'));
  expect(paging.frames).toBe(frames);
  expect(paging.residentPages).toBeLessThanOrEqual(frames);
  return { stdout, paging, pages };
}

/** Runs a job until it says this, and kills it. */
async function killAt(text: string, args: readonly string[]): Promise<void> {
  const running = new RunningCommand(['run', '--verbose', ...args]);
  await running.waitFor(text);
  running.kill('SIGKILL');
  expect((await running.ended).signal).toBe('SIGKILL');
}

describe.runIf(kernelPages)('paging by the kernel', { timeout: HANG_MS }, () => {
  it('reads and writes buffers that are larger than its memory', async () => {
    const folder = scratch();
    // Reads standard input to its end, wherever a read stops, adds 1 to each byte, and writes all at once.
    const path = program(
      folder,
      'passes',
      `(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 64)
        (func (export "_start") (local $at i32) (local $end i32)
          (local.set $end (i32.const 5000))
          (block $done (loop $more
            (i32.store (i32.const 0) (local.get $end))
            (i32.store (i32.const 4) (i32.const 1000000))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 1))))
            (br_if $done (i32.eqz (i32.load (i32.const 8))))
            (local.set $end (i32.add (local.get $end) (i32.load (i32.const 8))))
            (br $more)))
          (local.set $at (i32.const 5000))
          (loop $add
            (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $add (i32.lt_u (local.get $at) (local.get $end))))
          (local.set $at (i32.const 5000))
          (loop $out
            (i32.store (i32.const 0) (local.get $at))
            (i32.store (i32.const 4) (i32.sub (local.get $end) (local.get $at)))
            (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then (call $exit (i32.const 2))))
            (local.set $at (i32.add (local.get $at) (i32.load (i32.const 8))))
            (br_if $out (i32.lt_u (local.get $at) (local.get $end))))))`,
    );
    const bytes = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >>> 9)) & 255);
    writeFileSync(join(folder, 'input'), bytes);
    const files = ['--stdin', join(folder, 'input'), '--stdout', join(folder, 'output')];
    await run(path, [], 20, '--job', join(folder, 'job'), '--interval', '20ms', ...files);
    const sum = Buffer.from(bytes.map((byte) => byte + 1));
    expect(Buffer.compare(readFileSync(join(folder, 'output')), sum)).toBe(0);
  });

  it('goes on with a sealed job', async () => {
    const folder = scratch();
    const key = join(folder, 'key');
    writeFileSync(key, 'ab'.repeat(32));
    const sealed = ['--job', join(folder, 'job'), '--key-file', key, '--interval', '20ms'];
    const args = ['--tracker', 'kernel', '--memory', '60p', ...sealed, workload('sort'), '200000', '3'];
    await killAt('checkpoint 3 ', args);
    const { stdout } = await run(workload('sort'), ['200000', '3'], 60, ...sealed);
    expect(stdout).toBe(expected('sort', 200_000));
  });

  it('grows to 4 GB in 16 frames, with checkpoints', async () => {
    const folder = scratch();
    // Writes a word across two pages of each MB as the memory grows, and reads all back.
    const path = program(
      folder,
      'grows',
      `(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func $word (param $at i32) (result i64)
          (i64.mul (i64.extend_i32_u (local.get $at)) (i64.const 0x9e3779b97f4a7c15)))
        (func (export "_start") (local $at i32)
          (block $full (loop $grow
            (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
            (local.set $at (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4099)))
            (i64.store (local.get $at) (call $word (local.get $at)))
            (br $grow)))
          (loop $check
            (if (i64.ne (i64.load (local.get $at)) (call $word (local.get $at))) (then (call $exit (i32.const 2))))
            (local.set $at (i32.sub (local.get $at) (i32.const 0x100000)))
            (br_if $check (i32.gt_u (local.get $at) (i32.const 0x100000))))))`,
    );
    const job = ['--job', join(folder, 'job'), '--every', '3000', '--interval', 'none'];
    const { paging, pages } = await run(path, [], 16, ...job);
    expect(pages).toBeGreaterThan(1_000_000);
    expect(paging.hardFaults).toBeGreaterThan(3000);
  });

  it('leaves what needs every write told to the checks in the code, and says so', async () => {
    const folder = scratch();
    const base = ['run', '--tracker', 'kernel', '--memory', '100p', '--interval', '50ms'];
    for (const options of [['--policy', 'incremental'], ['--policy', 'sequential'], ['--fork']]) {
      const job = join(folder, options.join('').replaceAll('-', ''));
      const { exitCode, stdout, stderr } = await continuo([
        ...base,
        '--job',
        job,
        ...options,
        workload('apsp'),
        '120',
        '3',
      ]);
      expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: expected('apsp', 120) });
      expect(stderr).toContain("paged by checks in the program's code, since".replace("the program's", 'its own'));
    }
  });
});

describe.runIf(kernelPages)('storage that fails while the kernel pages', { timeout: HANG_MS }, () => {
  it('damaged pages end the run with what is wrong, when they are needed', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const options = ['--job', job, '--tracker', 'kernel', '--memory', '16p', '--every', '3000', '--interval', 'none'];
    const args = [...options, workload('floyd-warshall'), '160', '3'];
    await killAt('checkpoint 9 ', args);
    const file = join(job, 'paging');
    const bytes = readFileSync(file);
    for (let slot = FIRST_FREE_SLOT; slot * SLOT_BYTES < bytes.length; slot++) bytes[slot * SLOT_BYTES + 9] ^= 1;
    writeFileSync(file, bytes);
    const { exitCode, stderr, stdout } = await continuo(['run', ...args]);
    expect({ exitCode, stderr, stdout }).toMatchObject({
      exitCode: 65,
      stderr: expect.stringMatching(/paging is damaged at byte/),
      stdout: '',
    });
  });

  it('a full disk ends the run, whatever the program does with pages that did not come', () => {
    const folder = scratch();
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
    const options = ['--job', join(folder, 'job'), '--tracker', 'kernel', '--memory', '16p', '--interval', 'none'];
    const limited = `ulimit -f 2000; exec "$0" "$@"`;
    const { status, stderr } = spawnSync('sh', ['-c', limited, process.execPath, command, 'run', ...options, path], {
      encoding: 'utf8',
      timeout: HANG_MS,
    });
    expect({ status, stderr }).toMatchObject({ status: 74, stderr: expect.stringMatching(/cannot .*paging: EFBIG/) });
  });
});
