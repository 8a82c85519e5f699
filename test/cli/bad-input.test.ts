/** Whatever is wrong with what it is given, the command says so in one line, exits as documented and touches nothing. */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { jobTable } from '../../src/format/job-format.ts';
import { FIRST_FREE_SLOT, FORMAT_VERSION, SLOT_BYTES } from '../../src/format/paging-format.ts';
import { RunningCommand, contentsOf, continuo, program, scratch } from './continuo.ts';
import { LOOPS, exits } from './guests.ts';

/** `\0asm`, version 1, then sections as they are given. */
const moduleOf = (...bytes: number[]): Uint8Array => Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...bytes);

/** A command with one page of memory, whose `_start` has this code. */
const commandOf = (...code: number[]): Uint8Array =>
  moduleOf(
    ...[
      [1, 4, 1, 0x60, 0, 0],
      [3, 2, 1, 0],
      [5, 3, 1, 0, 1],
      [7, 10, 1, 6, ...new TextEncoder().encode('_start'), 0, 0],
      [10, code.length + 4, 1, code.length + 2, 0, ...code, 0x0b],
    ].flat(),
  );

/** A program's refusal must be this line, with exit code 2, and leave no job directory. */
async function expectRefusedProgram(path: string, message: RegExp): Promise<void> {
  const folder = scratch();
  const job = join(folder, 'job');
  const before = contentsOf(folder);
  const { exitCode, stdout, stderr } = await continuo(['run', '--job', job, path]);
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 2, stdout: '', stderr: expect.stringMatching(message) });
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  expect(stderr).toContain(path);
  expect(contentsOf(folder)).toEqual(before);
}

describe('programs', () => {
  const minimal = '(module (memory (export "memory") 1) (func (export "_start")))';

  it.each([
    {
      name: 'not a Wasm file',
      module: new TextEncoder().encode('#!/bin/sh\nexit 0\n'),
      message: /^continuo: \S+: the file is not a WebAssembly module: it does not begin with \\0asm\n$/,
    },
    {
      name: 'an empty file',
      module: new Uint8Array(0),
      message: /^continuo: \S+: the file is not a WebAssembly module: it does not begin with/,
    },
    {
      name: 'a module of another version',
      module: Uint8Array.of(0, 0x61, 0x73, 0x6d, 2, 0, 0, 0),
      message: /^continuo: \S+: the file is WebAssembly of version 2; only version 1 is known\n$/,
    },
    {
      name: 'a component',
      module: Uint8Array.of(0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0),
      message: /the program uses the component model \(\w+ section, byte 4\), which Continuo does not support\n$/,
    },
    {
      name: 'memory64',
      module: '(module (memory (export "memory") i64 1) (func (export "_start")))',
      message: /the program uses a 64-bit memory \(memory64\) \(memory section, byte \d+\), which Continuo does not/,
    },
    {
      // A type section with one type: a struct without fields.
      name: 'types of garbage collection',
      module: moduleOf(1, 3, 1, 0x5f, 0),
      message: /the program uses types of the garbage-collection proposal \(type section, byte \d+\), which Continuo/,
    },
    // A try_table without handlers; a function type with exnref. A newer engine takes both.
    ...(hasExceptionsByReference()
      ? []
      : [
          {
            name: 'exceptions by reference, in code',
            module: commandOf(0x1f, 0x40, 0, 0x0b),
            message:
              /the program uses exceptions by reference \(exnref\) \(code section, byte 40\), which this Node\.js \(v[\d.]+\) does not have; Node\.js 24 has it\n$/,
          },
          {
            name: 'exceptions by reference, in a type',
            module: moduleOf(1, 5, 1, 0x60, 1, 0x69, 0),
            message: /uses exceptions by reference \(exnref\) \(type section, byte 13\), which this Node\.js \(v/,
          },
        ]),
    {
      name: 'several memories',
      module: moduleOf(5, 5, 2, 0, 1, 0, 1),
      message: /the program uses several memories \(memory section, byte \d+\), which Continuo does not support\n$/,
    },
    {
      name: 'a missing import',
      module: `(module (import "env" "log" (func (param i32))) (import "wasi_snapshot_preview1" "fd_invent" (func))
        (memory (export "memory") 1) (func (export "_start")))`,
      message: /: the program imports what Continuo does not provide: env\.log, wasi_snapshot_preview1\.fd_invent\n$/,
    },
    {
      name: 'no _start',
      module: '(module (memory (export "memory") 1) (func (export "run")) (func (export "stop")))',
      message: /: the program exports no function _start, which a WASI command begins with; it exports run, stop\n$/,
    },
  ])('$name', async ({ module, message }) => {
    await expectRefusedProgram(program(scratch(), 'bad', module), message);
  });

  it('an invalid module', async () => {
    // A value that nobody takes from the stack.
    await expectRefusedProgram(
      program(scratch(), 'bad', commandOf(0x41, 1)),
      /^continuo: \S+: the program is not a valid WebAssembly module: .+\n$/,
    );
  });

  it('a file cut anywhere', async () => {
    const folder = scratch();
    const whole = readFileSync(program(folder, 'whole', minimal));
    for (const length of [5, 9, Math.floor(whole.length / 2), whole.length - 1]) {
      const path = program(folder, `cut-${length}`, whole.subarray(0, length));
      const { exitCode, stderr } = await continuo(['run', path]);
      expect({ exitCode, stderr }).toEqual({
        exitCode: 2,
        stderr: expect.stringMatching(/^continuo: \S+: (the program|the file) (ends too early: .+|is not .+)\n$/),
      });
    }
  });

  it('text format', async () => {
    const path = join(scratch(), 'program.wat');
    writeFileSync(path, `;; a comment\n${minimal}`);
    await expectRefusedProgram(path, /text format.*convert it with "wat2wasm \S+\.wat -o \S+\.wasm"/);
  });

  it.each([
    { path: 'nowhere.wasm', reason: 'there is no such file' },
    { path: '.', reason: 'it is a directory' },
  ])('a program $path that cannot be read', async ({ path, reason }) => {
    await expectRefusedProgram(path, new RegExp(`^continuo: cannot read the program .*: ${reason}\n$`));
  });
});

describe('job directories', () => {
  const stopped = async (): Promise<{ folder: string; job: string; path: string }> => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'loops', LOOPS);
    const running = new RunningCommand(['run', '--job', job, '--verbose', '--interval', '10ms', path]);
    await running.waitFor('checkpoint 3 ');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    return { folder, job, path };
  };

  /** Neither running the command again, nor resuming, nor looking at it, touches the job. */
  async function expectRefusedJob(
    job: string,
    args: readonly (readonly string[])[],
    exitCode: number,
    message: RegExp,
  ): Promise<void> {
    const before = contentsOf(job);
    for (const each of args) {
      const ended = await continuo(each);
      expect({ exitCode: ended.exitCode, stderr: ended.stderr }).toEqual({
        exitCode,
        stderr: expect.stringMatching(message),
      });
      expect(ended.stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(contentsOf(job)).toEqual(before);
    }
  }

  it('of another program or with other arguments', async () => {
    const { folder, job, path } = await stopped();
    const other = program(folder, 'other', exits(0));
    const elsewhere = scratch();
    const message = /belongs to another run: it has other .+\. Name another directory with --job, or give the job up/;
    await expectRefusedJob(
      job,
      [
        ['run', '--job', job, other],
        ['run', '--job', job, path, 'argument'],
        ['run', '--job', job, '--env', 'A=1', path],
        ['run', '--job', job, '--dir', elsewhere, path],
        ['run', '--job', job, '--stdout', join(folder, 'out'), path],
      ],
      2,
      message,
    );
  });

  it('that the program could reach, by links too', async () => {
    const folder = scratch();
    const path = program(folder, 'exits', exits(0));
    const outer = join(folder, 'outer');
    const job = join(outer, 'job');
    const link = join(folder, 'link');
    mkdirSync(outer);
    symlinkSync(outer, link);
    const before = contentsOf(folder);
    const refused = async (message: RegExp, ...options: string[]): Promise<void> => {
      const { exitCode, stdout, stderr } = await continuo(['run', ...options, path]);
      expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 2, stdout: '', stderr: expect.stringMatching(message) });
      expect(stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(stderr).toContain('name a job directory elsewhere');
    };
    const contains = /^continuo: the directory \S+ that the program is given \(--dir\) contains the job directory \S+,/;
    await refused(contains, '--job', job, '--dir', outer);
    await refused(contains, '--job', job, '--dir', `${link}::/data`);
    await refused(contains, '--job', join(link, 'job'), '--dir', outer);
    await refused(contains, '--job', join(outer, 'not', 'yet', 'there'), '--dir', outer);
    await refused(/\(--dir\) is the job directory/, '--job', link, '--dir', outer);
    await refused(/\(--dir\) lies in the job directory/, '--job', folder, '--dir', outer);
    await refused(/\(--stdout\) lies in the job directory/, '--job', outer, '--stdout', join(link, 'output'));
    await refused(/\(--stderr\) lies in the job directory/, '--job', link, '--stderr', join(outer, 'errors'));
    await refused(/\(--stdin\) lies in the job directory/, '--job', folder, '--stdin', path);
    expect(contentsOf(folder)).toEqual(before);

    // A neighbour whose name begins alike is none of its own.
    const near = join(folder, 'outer-job');
    expect(await continuo(['run', '--job', near, '--dir', outer, path])).toMatchObject({ exitCode: 0, stderr: '' });
  });

  it('that the program could reach since a link was set anew', async () => {
    const folder = scratch();
    const path = program(folder, 'loops', LOOPS);
    const [first, second] = ['first', 'second'].map((name) => join(folder, name));
    const link = join(folder, 'link');
    const job = join(second, 'job');
    mkdirSync(first);
    mkdirSync(second);
    symlinkSync(first, link);
    const running = new RunningCommand(['run', '--job', job, '--verbose', '--dir', link, path]);
    await running.waitFor('checkpoint 1 ');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    rmSync(link);
    symlinkSync(second, link);
    const commands = [
      ['resume', job],
      ['run', '--job', job, '--dir', link, path],
    ];
    await expectRefusedJob(job, commands, 2, /\(--dir\) contains the job directory/);
  });

  it('of a newer format', async () => {
    const { job, path } = await stopped();
    const file = join(job, 'job');
    const bytes = readFileSync(file);
    bytes.writeUInt32LE(FORMAT_VERSION + 1, jobTable.offsetOf('formatVersion'));
    writeFileSync(file, bytes);
    const message =
      /was made by a newer version of Continuo \(format \d+, this one reads up to \d+\); use that version/;
    await expectRefusedJob(
      job,
      [
        ['run', '--job', job, path],
        ['resume', job],
        ['inspect', job],
      ],
      2,
      message,
    );
  });

  it('that a live process holds', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'loops', LOOPS);
    const running = new RunningCommand(['run', '--job', job, '--interval', 'none', '--verbose', path]);
    await running.waitFor('checkpoint 1 ');
    const commands = [
      ['run', '--job', job, path],
      ['run', '--job', job, '--fresh', path],
      ['resume', job],
    ];
    const message = new RegExp(`is in use by process ${running.pid} since .+; wait for it, stop it, or name another`);
    await expectRefusedJob(job, commands, 2, message);
    expect((await continuo(['inspect', job])).stdout).toContain(`held by process ${running.pid} `);
    running.kill('SIGKILL');
    expect((await running.ended).signal).toBe('SIGKILL');
  });

  it.each([
    { name: 'job', at: 20, inspected: true },
    { name: 'paging', at: 8, inspected: true },
    { name: 'program.wasm', at: 30, inspected: true },
    // Pages of the guest, which nobody reads before they are needed.
    { name: 'paging', at: FIRST_FREE_SLOT * SLOT_BYTES + 8, inspected: false },
  ])('whose file $name is damaged from byte $at on', async ({ name, at, inspected }) => {
    const { job, path } = await stopped();
    const file = join(job, name);
    const bytes = readFileSync(file);
    for (let position = at; position < bytes.length; position += SLOT_BYTES) bytes[position] ^= 0x10;
    writeFileSync(file, bytes);
    const commands = [['resume', job], ['run', '--job', job, path], ...(inspected ? [['inspect', job]] : [])];
    const message = new RegExp(`${name} is damaged at byte \\d+: .+ should be .+ and is .+; restore the job directory`);
    await expectRefusedJob(job, commands, 65, message);
  });

  it('that is none: other files, a file, nothing at all', async () => {
    const folder = scratch();
    const path = program(folder, 'exits', exits(0));
    const other = join(folder, 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'letter.txt'), 'dear reader');
    const commands = [
      ['run', '--job', other, path],
      ['run', '--job', other, '--fresh', path],
      ['resume', other],
      ['inspect', other],
    ];
    await expectRefusedJob(other, commands, 2, /holds files that are not a job's; nothing was touched/);

    for (const args of [
      ['run', '--job', path, path],
      ['resume', path],
      ['inspect', path],
    ]) {
      const { exitCode, stderr } = await continuo(args);
      expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringMatching(/is not a directory/) });
    }

    const empty = join(folder, 'empty');
    mkdirSync(empty);
    for (const [directory, message] of [
      [empty, /no job/],
      [join(folder, 'nowhere'), /there is no job directory/],
    ] as const) {
      for (const name of ['resume', 'inspect']) {
        const { exitCode, stderr } = await continuo([name, directory]);
        expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringMatching(message) });
      }
    }
    expect(contentsOf(empty)).toEqual({});
  });
});

it.each([
  { args: ['--interval', '5'], message: /--interval <duration>' argument '5' is invalid\. A duration has a unit/ },
  { args: ['--interval', 'often'], message: /Write a number and its unit, such as 500ms/ },
  { args: ['--interval', '90d'], message: /The longest interval is 24d/ },
  { args: ['--every', '0'], message: /Write a number of safepoints from 1 to 2147483647, or of steps/ },
  { args: ['--checkpoint-exit-code', '256'], message: /Write a whole number from 0 to 255/ },
  { args: ['--env', 'CONTINUO_UNSET_VARIABLE'], message: /CONTINUO_UNSET_VARIABLE is not set here/ },
  { args: ['--env', '=1'], message: /Write NAME=VALUE/ },
  { args: ['--dir', '::guest'], message: /Write HOST, or HOST::GUEST/ },
  { args: ['--dir', 'nowhere'], message: /--dir: there is no directory nowhere/ },
  { args: ['--stdin', 'nowhere'], message: /--stdin: there is no file nowhere/ },
  { args: ['--stdout', 'nowhere/file'], message: /--stdout: there is no directory nowhere/ },
  { args: ['--stats', 'src'], message: /--stats: src is a directory; name a file/ },
  { args: ['--output', 'never'], message: /Allowed choices are immediate, commit/ },
  { args: ['--output', 'commit'], message: /output can be held until a commit only by a job/ },
  { args: ['--fresh'], message: /name it with --job/ },
  { args: ['--quiet', '--verbose'], message: /cannot be used with option/ },
  { args: ['--frobnicate'], message: /unknown option '--frobnicate'/ },
])('the options $args are refused', async ({ args, message }) => {
  const path = program(scratch(), 'exits', exits(0));
  const { exitCode, stdout, stderr } = await continuo(['run', ...args, path]);
  expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 2, stdout: '', stderr: expect.stringMatching(message) });
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
});
