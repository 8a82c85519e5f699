/** What a program tells of itself: checkpoints where it wants them, memory that need not be saved, steps. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Exclusions } from '../../src/checkpoint/exclusions.ts';
import { RunningCommand, continuo, program, scratch, workload } from '../cli/continuo.ts';

const IMPORTS = `
  (import "continuo" "checkpoint" (func $checkpoint (result i32)))
  (import "continuo" "exclude" (func $exclude (param i32 i32)))
  (import "continuo" "include" (func $include (param i32 i32)))
  (import "continuo" "progress" (func $progress (param f64 f64)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)`;

/**
 * Fills page 1 with sevens and page 2 with nines, does what is given, and takes a checkpoint. When that returns 0 it runs for ever;
 * when it returns 1, in a later run, the exit code is 100 + a byte of page 1 + a byte of page 2.
 */
const fills = (between: string): string => `(module ${IMPORTS}
  (func (export "_start")
    (memory.fill (i32.const 4096) (i32.const 7) (i32.const 4096))
    (memory.fill (i32.const 8192) (i32.const 9) (i32.const 4096))
    ${between}
    (if (i32.eqz (call $checkpoint)) (then (loop $for_ever (br $for_ever))))
    (call $exit (i32.add (i32.const 100) (i32.add (i32.load8_u (i32.const 5000)) (i32.load8_u (i32.const 9000)))))))`;

const POLICIES = ['continuous', 'incremental', 'sequential'].flatMap((policy) => [[policy], [policy, '--fork']]);

describe.each(POLICIES)('%s %s', (policy, fork = '') => {
  const options = ['--policy', policy, ...(fork === '' ? [] : [fork])];

  it.each([
    { what: 'all is saved', between: '', exitCode: 116 },
    { what: 'what is excluded is not', between: '(call $exclude (i32.const 4096) (i32.const 4096))', exitCode: 109 },
    {
      what: 'a page that is not excluded as a whole is',
      between: '(call $exclude (i32.const 4097) (i32.const 8000))',
      exitCode: 116,
    },
    {
      what: 'what is included again is, though it was written before',
      between: `(call $exclude (i32.const 4096) (i32.const 8192)) (drop (call $checkpoint))
        (call $include (i32.const 4096) (i32.const 1))`,
      exitCode: 107,
    },
  ])('goes on from its own checkpoint: $what', async ({ between, exitCode }) => {
    const folder = scratch();
    const path = program(folder, 'fills', fills(between));
    const args = ['run', '--job', join(folder, 'job'), '--interval', 'none', '--verbose', ...options, path];
    const count = between.includes('$checkpoint') ? 3 : 2;
    const running = new RunningCommand(args);
    await running.waitFor(`checkpoint ${count} (program)`);
    running.kill('SIGKILL');
    await running.ended;
    expect((await continuo(args)).exitCode).toBe(exitCode);
  });
});

it('a checkpoint asked for where none are kept returns 0', async () => {
  const path = program(
    scratch(),
    'asks',
    `(module ${IMPORTS} (func (export "_start") (call $exit (i32.add (i32.const 40) (call $checkpoint)))))`,
  );
  expect((await continuo(['run', path])).exitCode).toBe(40);
});

it('a checkpoint comes after every so many steps, at the same ones after a restart', async () => {
  const folder = scratch();
  const stats = join(folder, 'stats');
  const args = ['--job', join(folder, 'job'), '--interval', 'none', '--every', '7steps', '--stats', stats];
  const { exitCode } = await continuo(['run', ...args, workload('apsp.directed'), '40', '1']);
  expect(exitCode).toBe(0);
  const { checkpoints } = JSON.parse(readFileSync(stats, 'utf8')) as { checkpoints: { trigger: string }[] };
  expect(checkpoints.map(({ trigger }) => trigger)).toEqual(['start', ...Array(5).fill('steps'), 'end']);
});

it('an import of another type is named before the program starts', async () => {
  const path = program(
    scratch(),
    'wrong',
    '(module (import "continuo" "progress" (func (param i32 i32))) (memory (export "memory") 1) (func (export "_start")))',
  );
  const refused = await continuo(['run', path]);
  expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('continuo.progress') });
});

describe('exclusions', () => {
  it('join and part, by whole pages', () => {
    const exclusions = new Exclusions();
    exclusions.exclude(0, 3 * 4096);
    exclusions.exclude(5 * 4096 - 1, 2 * 4096);
    expect(exclusions.ranges).toEqual([
      [0, 3],
      [5, 6],
    ]);
    exclusions.exclude(3 * 4096, 2 * 4096);
    expect(exclusions.ranges).toEqual([[0, 6]]);
    exclusions.include(4096 + 1, 4096);
    expect(exclusions.ranges).toEqual([
      [0, 1],
      [3, 6],
    ]);
    const pages = Uint32Array.of(0, 1, 2, 3, 5, 6, 9);
    expect(exclusions.partition(pages, 7)).toBe(4);
    expect([...pages]).toEqual([1, 2, 6, 9, 0, 3, 5]);
  });
});
