/** What the three commands do when all is well, and how the end of a program shows. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type JobReport } from '../../src/cli/job-report.ts';
import { type Ended, RunningCommand, command, contentsOf, continuo, program, scratch, sleep } from './continuo.ts';
import { LOOPS, READS_ONCE, RECURSES, TRAPS, WRITES, counted, counts, exits, prints, trapsAfter } from './guests.ts';

describe('run', () => {
  it('gives everything after the program to it, whatever it looks like', async () => {
    const path = program(scratch(), 'prints', prints('args'));
    const given = ['--job', 'x', '--help', '-h', '--', 'a b', '', '--version'];
    const { exitCode, stdout, stderr } = await continuo(['run', '--quiet', path, ...given]);
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 0,
      stdout: ['prints.wasm', ...given].map((argument) => `${argument}\n`).join(''),
      stderr: '',
    });
  });

  it('passes on the variables that were named and no other', async () => {
    const path = program(scratch(), 'prints', prints('environ'));
    const options = ['--env', 'GIVEN=1=2', '--env', 'INHERITED', '--env', 'EMPTY='];
    const { stdout } = await continuo(['run', ...options, path], { env: { INHERITED: 'yes', OTHER: 'no' } });
    expect(stdout).toBe('GIVEN=1=2\nINHERITED=yes\nEMPTY=\n');
  });

  it.each([
    { code: 0, exitCode: 0 },
    { code: 3, exitCode: 3 },
    { code: 85, exitCode: 85 },
    { code: 255, exitCode: 255 },
    // As the system cuts them.
    { code: 256, exitCode: 0 },
    { code: -1, exitCode: 255 },
  ])('ends with $exitCode when the program exits with $code', async ({ code, exitCode }) => {
    const path = program(scratch(), 'exits', exits(code));
    expect(await continuo(['run', path])).toMatchObject({ exitCode, stdout: '', stderr: '' });
  });

  it('shows the reason of a trap and the stack of the program, innermost first', async () => {
    const folder = scratch();
    const path = program(folder, 'traps', TRAPS);
    const expected = {
      exitCode: 134,
      stdout: '',
      stderr: 'continuo: the program trapped: divide by zero\n    at divide\n    at average\n    at _start\n',
    };
    expect(await continuo(['run', path])).toMatchObject(expected);
    // With a job, which the next run finds at the same place.
    const job = join(folder, 'job');
    expect(await continuo(['run', '--quiet', '--job', job, path])).toMatchObject(expected);
    expect(await continuo(['run', '--quiet', '--job', job, path])).toMatchObject(expected);
  });

  it('names functions on the stack of a trap as the program does: by its name section, its exports, else by number', async () => {
    const path = program(
      scratch(),
      'named',
      `(module (memory (export "memory") 1) (type $f (func (param i32)))
        (table 1 funcref) (elem (i32.const 0) $std::vec::Vec<T>::grow)
        (func (param i32) unreachable)
        (func $std::vec::Vec<T>::grow (type $f) (call 0 (local.get 0)))
        (func (export "exported") (call_indirect (type $f) (i32.const 1) (i32.const 0)))
        (func (export "_start") (call 2)))`,
    );
    expect((await continuo(['run', path])).stderr).toBe(
      'continuo: the program trapped: unreachable\n' +
        ['function 0', 'std::vec::Vec<T>::grow', 'exported', '_start'].map((name) => `    at ${name}\n`).join(''),
    );
  });

  it('writes statistics of a run that traps or fails as well', async () => {
    const folder = scratch();
    const stats = join(folder, 'stats');
    const job = join(folder, 'job');
    const written = (): object => JSON.parse(readFileSync(stats, 'utf8')) as object;
    const traps = program(folder, 'traps', TRAPS);
    expect((await continuo(['run', '--stats', stats, '--job', job, traps, 'word'])).exitCode).toBe(134);
    expect(written()).toMatchObject({
      program: traps,
      arguments: ['word'],
      end: 'trapped',
      exitCode: 134,
      pages: 16,
      resumedFrom: 0,
      checkpoints: [{ generation: 1, trigger: 'start' }],
    });
    expect((await continuo(['resume', '--stats', stats, job])).exitCode).toBe(134);
    expect(written()).toMatchObject({ program: traps, end: 'trapped', resumedFrom: 1, checkpoints: [] });

    // A program may exit with the code of a trap, or of a stop: the statistics tell.
    for (const code of [134, 85]) {
      const path = program(folder, 'exits', exits(code));
      expect((await continuo(['run', '--stats', stats, path])).exitCode).toBe(code);
      expect(written()).toMatchObject({ end: 'exited', exitCode: code });
    }

    // A run that was refused did nothing.
    const before = readFileSync(stats, 'utf8');
    expect((await continuo(['run', '--stats', stats, '--job', job, program(folder, 'exits', exits(0))])).exitCode).toBe(
      2,
    );
    expect(readFileSync(stats, 'utf8')).toBe(before);

    // Storage that fails: no file may grow beyond what the program's own first pages take.
    const writes = program(folder, 'writes', WRITES);
    const limited = `ulimit -f 300; exec "$0" "$@"`;
    const args = [command, 'run', '--stats', stats, '--job', join(folder, 'small'), '--interval', '5ms', writes];
    const failed = spawnSync('sh', ['-c', limited, process.execPath, ...args], { encoding: 'utf8' });
    expect({ status: failed.status, stderr: failed.stderr }).toEqual({
      status: 74,
      stderr: expect.stringMatching(/^continuo: .+\n$/),
    });
    const checkpoints: unknown = expect.arrayContaining([expect.objectContaining({ trigger: 'start' })]);
    expect(written()).toMatchObject({ end: 'failed', exitCode: 74, checkpoints });
  });

  it('shows a trap in the same way after captures and a restart', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'reaches', trapsAfter(400_000_000));
    const args = ['run', '--job', job, '--verbose', '--interval', '20ms', path];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 3 ');
    running.kill('SIGKILL');
    expect((await running.ended).signal).toBe('SIGKILL');
    const { exitCode, stderr } = await continuo(args);
    expect(exitCode).toBe(134);
    expect(stderr).toMatch(/goes on from checkpoint \d+\n/);
    expect(stderr).toMatch(
      /\ncontinuo: the program trapped: memory access out of bounds\n {4}at reach\n {4}at _start\n$/,
    );
  });

  it('takes a recursion without end for a trap, and shows the two ends of its stack', async () => {
    const path = program(scratch(), 'recurses', RECURSES);
    const { exitCode, stderr } = await continuo(['run', path]);
    expect(exitCode).toBe(134);
    expect(stderr).toMatch(/^continuo: the program trapped: call stack exhausted\n( {4}at (deeper|_start|… .*)\n)+$/);
    expect(stderr.split('\n').length).toBeLessThan(50);
  });

  it('takes segments that do not fit for a trap', async () => {
    const path = program(
      scratch(),
      'data',
      '(module (memory 1) (data (i32.const 65536) "x") (func (export "_start")))',
    );
    const { exitCode, stderr } = await continuo(['run', path]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 134,
      stderr: 'continuo: the program trapped: memory access out of bounds\n',
    });
  });

  it('of a job that has ended runs nothing and ends as the job did', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'exits', exits(9, 'the only line'));
    expect(await continuo(['run', '--job', job, path])).toMatchObject({
      exitCode: 9,
      stdout: 'the only line\n',
      stderr: '',
    });
    const before = contentsOf(job);
    const expected = { exitCode: 9, stdout: '', stderr: expect.stringContaining('had ended before, with exit code 9') };
    expect(await continuo(['run', '--job', job, path])).toMatchObject(expected);
    expect(await continuo(['resume', job])).toMatchObject(expected);
    expect(await continuo(['run', '--job', job, '--quiet', path])).toMatchObject({ ...expected, stderr: '' });
    expect(contentsOf(job)).toEqual(before);
  });

  it('with --fresh gives up a job, of another program too, and starts anew', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const first = program(folder, 'first', exits(1, 'first'));
    const second = program(folder, 'second', exits(2, 'second'));
    expect(await continuo(['run', '--job', job, first])).toMatchObject({ exitCode: 1, stdout: 'first\n' });
    expect(await continuo(['run', '--job', job, '--fresh', first])).toMatchObject({ exitCode: 1, stdout: 'first\n' });
    expect(await continuo(['run', '--job', job, '--fresh', second])).toMatchObject({ exitCode: 2, stdout: 'second\n' });
    expect(await continuo(['run', '--job', job, '--quiet', second])).toMatchObject({ exitCode: 2, stdout: '' });
  });

  it('with --verbose tells about each checkpoint, and why the tracker is the one it is', async () => {
    const folder = scratch();
    const path = program(folder, 'exits', exits(0));
    const { stderr } = await continuo(['run', '--verbose', '--job', join(folder, 'job'), path]);
    expect(stderr).toMatch(
      /^continuo: tracker (software|kernel): .+\ncontinuo: checkpoint 1 \(start\): 16 dirty pages, .+\ncontinuo: checkpoint 2 \(end\): .+ pause \d+\.\d+ ms\n$/,
    );
    expect((await continuo(['run', '--verbose', path])).stderr).toMatch(/no checkpoints are kept\n$/);
  });

  it('reads and writes the files of the standard streams', async () => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(3, 1));
    const output = join(folder, 'output');
    writeFileSync(output, 'what was there before, and longer');
    expect(await continuo(['run', '--stdout', output, path])).toMatchObject({ exitCode: 7, stdout: '' });
    expect(readFileSync(output, 'utf8')).toBe(counted(3));
  });

  it('of three that want one job lets one have it', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'loops', LOOPS);
    const runs = [0, 1, 2].map(() => new RunningCommand(['run', '--job', job, path]));
    const refused: Ended[] = [];
    let holders = [...runs];
    for (const run of runs) {
      void run.ended.then((end) => {
        refused.push(end);
        holders = holders.filter((other) => other !== run);
      });
    }
    while (refused.length < 2) await sleep(5);
    for (const { exitCode, stdout, stderr } of refused) {
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
      expect(stderr).toContain('is in use by process');
    }
    expect(holders).toHaveLength(1);
    holders[0].kill('SIGTERM');
    expect((await holders[0].ended).exitCode).toBe(85);
  });

  it('ends with the program, although its standard input is still open', async () => {
    const running = new RunningCommand(['run', program(scratch(), 'reads', READS_ONCE)], { pipe: true });
    running.write('a line\n');
    expect(await running.ended).toMatchObject({ exitCode: 0, stdout: 'a line\n', stderr: '' });
  });
});

describe('resume', () => {
  // A program that a suddenly faster machine finished before the signal came begins again.
  it('needs nothing but the job directory', { retry: 2 }, async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const output = join(folder, 'output');
    const path = program(folder, 'counts', counts(100, 4_000_000));
    const args = [
      'run',
      '--job',
      job,
      '--stdout',
      'output',
      '--verbose',
      '--interval',
      '20ms',
      'counts.wasm',
      'an argument',
    ];
    const running = new RunningCommand(args, { cwd: folder });
    await running.waitFor('checkpoint 4 ');
    running.kill('SIGTERM');
    expect(await running.ended).toMatchObject({
      exitCode: 85,
      stderr: expect.stringMatching(/stopped at checkpoint \d+; /),
    });
    writeFileSync(path, 'the program is not needed any more');
    // Another working directory, too.
    const stats = join(folder, 'stats');
    const { exitCode, stderr } = await continuo(['resume', '--stats', stats, job]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 7,
      stderr: expect.stringMatching(/goes on from checkpoint \d+\n$/),
    });
    expect(readFileSync(output, 'utf8')).toBe(counted(100));
    const { program: name, arguments: words, resumedFrom } = JSON.parse(readFileSync(stats, 'utf8'));
    expect({ name, words }).toEqual({ name: 'counts.wasm', words: ['an argument'] });
    expect(resumedFrom).toBeGreaterThanOrEqual(4);
  });
});

describe('inspect', () => {
  it('shows a job while it runs, without a trace', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'loops', LOOPS);
    const output = join(folder, 'output');
    const args = ['run', '--job', job, '--stdout', output, '--interval', 'none', '--verbose', path, 'an argument'];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 1 ');
    running.kill('SIGUSR1');
    await running.waitFor('checkpoint 2 ');
    const before = contentsOf(job);
    const { exitCode, stdout, stderr } = await continuo(['inspect', job, '--json']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(contentsOf(job)).toEqual(before);
    const report: JobReport = JSON.parse(stdout);
    expect(report).toMatchObject({
      job,
      program: path,
      programBytes: readFileSync(path).length,
      arguments: ['loops.wasm', 'an argument'],
      stdout: { kind: 'file', path: output },
      owner: { pid: running.pid, host: hostname() },
      slots: { reserved: 33 },
      checkpoint: {
        generation: 2,
        trigger: 'request',
        pages: 16,
        memoryBytes: 65536,
        globals: [],
        stack: [{ function: 'spin', functionIndex: 0, byteOffset: expect.any(Number) }],
        openFiles: [{ descriptor: 1, path: output, offsetBytes: 0 }],
      },
    });
    expect(Date.now() - Date.parse(report.checkpoint!.time)).toBeLessThan(60_000);
    // The loop instruction: 0x03, and its type, which is empty.
    const { byteOffset } = report.checkpoint!.stack[0];
    expect([...readFileSync(path).subarray(byteOffset, byteOffset + 2)]).toEqual([0x03, 0x40]);

    const text = await continuo(['inspect', job]);
    expect(text.stdout).toContain(`held by process ${running.pid} on ${hostname()} since `);
    expect(text.stdout).toMatch(/^stack +1 functions, the innermost first\n {4}spin at byte 0x[0-9a-f]+$/m);
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    expect((await continuo(['inspect', job])).stdout).toMatch(/^state +stopped; /m);
  });

  it('works again and again beside a job that commits all the time', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'writes', WRITES);
    const args = ['run', '--job', job, '--interval', '1ms', '--verbose', path];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 2 ');
    const generations: number[] = [];
    for (let look = 0; look < 5; look++) {
      const { exitCode, stdout, stderr } = await continuo(['inspect', '--json', job]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
      const report: JobReport = JSON.parse(stdout);
      generations.push(report.checkpoint!.generation);
    }
    expect(generations).toEqual(generations.toSorted((a, b) => a - b));
    expect(generations[4]).toBeGreaterThan(generations[0]);
    running.kill('SIGKILL');
    await running.ended;
  });

  it('tells how a job ended', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    await continuo(['run', '--job', job, program(folder, 'exits', exits(4))]);
    const { stdout } = await continuo(['inspect', job]);
    expect(stdout).toMatch(/^state +ended with exit code 4$/m);
    expect(stdout).toMatch(/^checkpoint +2, \S+, trigger end, /m);
    expect(readdirSync(job).toSorted()).toEqual(['job', 'output-released', 'paging', 'program.wasm']);
  });
});

it('tells its version and its help', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  expect(await continuo(['--version'])).toMatchObject({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
  expect(await continuo([])).toMatchObject({
    exitCode: 2,
    stdout: '',
    stderr: expect.stringMatching(/^Usage: continuo /),
  });
  for (const name of ['run', 'resume', 'inspect']) {
    const { exitCode, stdout, stderr } = await continuo([name, '--help']);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: continuo ${name} `));
  }
  expect(existsSync('--help')).toBe(false);
});
