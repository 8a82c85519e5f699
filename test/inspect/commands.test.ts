/** What `inspect`, `memory` and `diff` show of jobs that were killed at a known safepoint, of every policy. */
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { JobReport } from '../../src/cli/job-report.ts';
import type { CheckpointDiff } from '../../src/inspect/checkpoint-diff.ts';
import { contentsOf, continuo, program, RunningCommand, scratch } from '../cli/continuo.ts';
import { LOOPS } from '../cli/guests.ts';
import { assemble } from '../support/wat.ts';
import { FILLS, NAMED } from './programs.ts';

const EVERY = 5000;

/** A job of the program with names, killed behind its third checkpoint. */
async function killedAtSafepoint(folder: string, policy: string): Promise<string> {
  const job = join(folder, 'job');
  const path = program(folder, 'named', NAMED);
  const options = ['--interval', 'none', '--every', String(EVERY), '--policy', policy, '--verbose'];
  const running = new RunningCommand(['run', '--job', job, ...options, path, 'a word']);
  await running.waitFor('checkpoint 3 ');
  running.kill('SIGKILL');
  await running.ended;
  return job;
}

async function inspected(job: string): Promise<JobReport> {
  const { stdout, stderr } = await continuo(['inspect', '--json', job]);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as JobReport;
}

/** Raw bytes of a job's memory. */
async function memoryOf(job: string, ...range: string[]): Promise<Buffer> {
  const file = join(scratch(), 'bytes');
  const { exitCode, stderr } = await continuo(['memory', job, ...range, '-o', file]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return readFileSync(file);
}

/** What the program holds after so many turns of its loop. */
function sumAfter(steps: number): number {
  return 7 * steps;
}

describe.each(['continuous', 'incremental', 'sequential'])('of a job killed at a known safepoint, %s', (policy) => {
  it('inspect shows frames, globals, tables, memory and files as the program left them', async () => {
    const job = await killedAtSafepoint(scratch(), policy);
    const before = contentsOf(job);
    const report = await inspected(job);
    expect(contentsOf(job)).toEqual(before);
    const { generation, stack, globals, tables, memory } = report.checkpoint!;
    // The first checkpoint is taken before the program starts; each one behind it after so many safepoints, the heads of turns.
    const steps = EVERY * (generation - 1);
    const sum = String(sumAfter(steps));
    expect(stack).toEqual([
      {
        function: 'work',
        functionIndex: 2,
        byteOffset: expect.any(Number),
        stands: 'before',
        locals: [
          { index: 0, name: 'first', type: 'i32', value: '7' },
          { index: 1, name: 'weight', type: 'f64', value: '0.25' },
          { index: 2, name: 'sum', type: 'i64', value: sum },
        ],
        localCount: 4,
        operands: [],
      },
      {
        function: '_start',
        functionIndex: 3,
        byteOffset: expect.any(Number),
        stands: 'inside',
        locals: [{ index: 0, name: 'kept', type: 'i32', value: '77' }],
        localCount: 1,
        operands: [
          { type: 'i32', value: '36864' },
          { type: 'i32', value: '12' },
        ],
      },
    ]);
    expect(globals).toEqual([
      { index: 0, name: 'steps', type: 'i64', mutable: true, value: String(steps) },
      { index: 1, name: 'scale', type: 'f64', mutable: true, value: `${sum}.25` },
      { index: 2, name: 'limit', type: 'i32', mutable: false, value: '1000' },
      { index: 3, name: 'chosen', type: 'funcref', mutable: true, value: 'function 1 (half)' },
    ]);
    expect(tables).toEqual([{ index: 0, name: 'ops', type: 'funcref', length: 3, used: 3 }]);
    expect(memory).toMatchObject({ pages: 16, frozen: 5, zero: 11, rangePages: 1 });
    expect(memory.ranges.map(({ frozen }) => frozen)).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    if (policy === 'continuous') {
      expect(report.checkpointFiles).toBeUndefined();
      expect(report.slots).toMatchObject({ working: 5 });
    } else {
      const chain = report.checkpointFiles!;
      expect(chain.map(({ full }) => full)).toEqual(chain.map((_, k) => k === 0));
      expect(chain.at(-1)).toMatchObject({ generation, pages: policy === 'sequential' ? 5 : 4 });
      const sizes = new Map(report.files.map(({ name, bytes }) => [name, bytes]));
      for (const { name, bytes } of chain) expect(sizes.get(name)).toBe(bytes);
    }
    for (const { name, bytes } of report.files) expect(bytes).toBe(readFileSync(join(job, name)).length);

    const { stdout } = await continuo(['inspect', job]);
    for (const line of [
      /^pages +16 pages: 5 frozen, 11 of zeros; \d+ dirty, .+ resident when it was taken$/m,
      /^ {4}0x00000000 {2}████····█······· +5 frozen$/m,
      /^ {4}work at byte 0x[0-9a-f]+\n {8}\$first {3}i32 = 7\n {8}\$weight {2}f64 = 0\.25\n {8}\$sum {5}i64 = \d+ \(0x/m,
      /^ {8}1 of 4 locals not needed any more\n {4}_start in the call at byte 0x[0-9a-f]+$/m,
      /^ {4}\$chosen {2}mutable funcref = function 1 \(half\)$/m,
      /^ {4}\$ops {2}3 × funcref, 3 of them not null$/m,
    ]) {
      expect(stdout).toMatch(line);
    }
    for (const text of stdout.split('\n').filter((line) => line.startsWith('    ')))
      expect(text.length).toBeLessThanOrEqual(80);
  });

  it('memory shows the bytes that the globals say are there', async () => {
    const job = await killedAtSafepoint(scratch(), policy);
    const { checkpoint } = await inspected(job);
    const sum = Number(checkpoint!.stack[0].locals[2].value);
    const bytes = await memoryOf(job, '--address', '0', '--length', '65536');
    const expected = Buffer.alloc(65536);
    expected.write('hello, inspector', 0x8200);
    for (let at = 7; at <= sum; at += 7) expected.writeBigInt64LE(BigInt(at), at & 0x3ff8);
    expect(bytes.equals(expected)).toBe(true);

    const { stdout } = await continuo(['memory', job, '--address', '0x81f0', '--length', '0x40']);
    expect(stdout).toBe(
      [
        '0x000081f0  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|',
        '0x00008200  68 65 6c 6c 6f 2c 20 69  6e 73 70 65 63 74 6f 72  |hello, inspector|',
        '0x00008210  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|',
        '*',
        '0x00008230',
        '',
      ].join('\n'),
    );
    expect((await memoryOf(job, '--page', '8')).equals(expected.subarray(0x8000, 0x9000))).toBe(true);
    // Across pages, and no whole row at the end.
    expect((await memoryOf(job, '--address', '4090', '--length', '13')).equals(expected.subarray(4090, 4103))).toBe(
      true,
    );
  });

  it('diff finds what has changed until a later checkpoint, and nothing else', async () => {
    const folder = scratch();
    const job = await killedAtSafepoint(folder, policy);
    const earlier = join(folder, 'earlier');
    cpSync(job, earlier, { recursive: true });
    const same = await continuo(['diff', earlier, job]);
    expect(same).toMatchObject({ exitCode: 0, stdout: expect.stringContaining('They hold the same.\n'), stderr: '' });

    const running = new RunningCommand(['resume', '--interval', 'none', '--every', String(EVERY), '--verbose', job]);
    const { generation } = (await inspected(earlier)).checkpoint!;
    await running.waitFor(`checkpoint ${generation + 2} `);
    running.kill('SIGTERM');
    await running.ended;
    const [a, b] = [
      await memoryOf(earlier, '--address', '0', '--length', '65536'),
      await memoryOf(job, '--address', '0', '--length', '65536'),
    ];
    const { exitCode, stdout, stderr } = await continuo([
      'diff',
      '--json',
      '--pages',
      '99',
      '--ranges',
      '9999',
      earlier,
      job,
    ]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: '' });
    const diff = JSON.parse(stdout) as CheckpointDiff;
    expect(diff).toMatchObject({ equal: false, identity: [], differingPages: 4, openFiles: [], tables: [] });
    for (const { page, differingBytes, ranges } of diff.pages) {
      const at = page * 4096;
      let count = 0;
      for (let k = at; k < at + 4096; k++) if (a[k] !== b[k]) count += 1;
      expect([page, differingBytes]).toEqual([page, count]);
      let covered = 0;
      for (const range of ranges) {
        for (let k = range.address; k < range.address + range.lengthBytes; k++) if (a[k] !== b[k]) covered += 1;
        const shown = range.a.length / 2;
        expect(range.a).toBe(a.toString('hex', range.address, range.address + shown));
        expect(range.b).toBe(b.toString('hex', range.address, range.address + shown));
        expect(shown).toBe(Math.min(16, range.lengthBytes));
      }
      expect(covered).toBe(count);
    }
    expect(diff.globals.map(({ a: global }) => global!.name)).toEqual(['steps', 'scale']);
    expect(diff.frames).toMatchObject([
      { depth: 1, samePlace: true, values: [{ what: 'local', a: { name: 'sum' }, b: { name: 'sum' } }] },
    ]);

    const text = await continuo(['diff', '--pages', '1', '--ranges', '1', earlier, job]);
    expect(text.exitCode).toBe(1);
    expect(text.stdout).toMatch(
      /^4 pages differ\n {4}page 0 at 0x00000000: \d+ bytes in \d+ ranges?\n {8}0x0000000\d {2}A ([0-9a-f]{2} )*/m,
    );
    expect(text.stdout).toMatch(/^ {4}… 3 more pages; --pages shows more …$/m);
    expect(text.stdout).toMatch(
      /^1 frame differs\n {4}1 {2}work at byte 0x[0-9a-f]+\n {8}\$sum {2}i64 = \d+ \(0x[0-9a-f]+\) → i64 = /m,
    );
  });
});

it('memory of a job that has ended is that of a plain run', async () => {
  const folder = scratch();
  const job = join(folder, 'job');
  expect((await continuo(['run', '--job', job, program(folder, 'fills', FILLS)])).exitCode).toBe(0);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble(FILLS)));
  (exports['_start'] as () => void)();
  const plain = Buffer.from((exports['memory'] as WebAssembly.Memory).buffer);
  const bytes = await memoryOf(job, '--address', '0', '--length', String(plain.length));
  expect(bytes.equals(plain)).toBe(true);
  const { stdout } = await continuo(['memory', job, '--address', '0x1fff0']);
  expect(stdout).toBe('0x0001fff0  00 00 00 00 00 00 00 00  00 00 00 00 61 62 63 64  |............abcd|\n0x00020000\n');
});

describe('refused with a reason', () => {
  it.each([
    {
      args: ['memory', '--address', '0xfff0', '--length', '17'],
      message:
        /^continuo: 17 bytes from 0xfff0 on are not all in the program's memory: it ends at 0x10000 \(65536 bytes, 16 pages\)\n$/,
    },
    {
      args: ['memory', '--page', '16'],
      message: /1 byte from 0x10000 on is not in the program's memory: it ends at 0x10000/,
    },
    { args: ['memory'], message: /name the bytes by --address and --length, or a page by --page/ },
    { args: ['memory', '--page', '1', '--address', '1'], message: /name the bytes by --address and --length/ },
    { args: ['memory', '--address', 'x'], message: /Write a whole number such as 4096 or 0x1000/ },
    {
      args: ['memory', '--page', '1', '-o', 'job/bytes'],
      message: /job\/bytes lies in the job directory; name a file elsewhere/,
    },
    { args: ['memory', '--page', '1', '-o', 'no/where'], message: /cannot write no\/where: /, code: 74 },
    { args: ['diff', '--pages', 'many', 'job'], message: /Write a whole number/ },
    { args: ['diff', 'nowhere'], message: /there is no job directory .+nowhere/ },
  ])('$args', async ({ args, message, code = 2 }) => {
    const folder = scratch();
    const running = new RunningCommand([
      'run',
      '--job',
      join(folder, 'job'),
      '--verbose',
      program(folder, 'loops', LOOPS),
    ]);
    await running.waitFor('checkpoint 1 ');
    running.kill('SIGTERM');
    await running.ended;
    const [name, ...rest] = args;
    const { exitCode, stdout, stderr } = await continuo([name, ...rest, 'job'], { cwd: folder });
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: code,
      stdout: '',
      stderr: expect.stringMatching(message),
    });
  });
});
