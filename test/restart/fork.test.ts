/** Branches of jobs, as their users make them: from the newest and from kept checkpoints, beside a job that runs, with files. */
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { contentsOf, continuo, program, RunningCommand, scratch, sleep } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { instants } from './copies.ts';

const COUNT = 150;
const TURNS = 10_000_000;

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

interface Report {
  readonly generations: readonly { readonly generation: number }[];
}

async function keptBy(job: string, ...seal: string[]): Promise<number[]> {
  const { exitCode, stdout } = await continuo(['inspect', '--json', job, ...seal]);
  return exitCode === 0 ? (JSON.parse(stdout) as Report).generations.map(({ generation }) => generation) : [];
}

/** What a branch writes: the rest of what its original writes. */
function expectRest(stdout: string): void {
  expect(stdout.length).toBeGreaterThan(0);
  expect(counted(COUNT).endsWith(stdout)).toBe(true);
}

it.each([
  { name: 'continuous', options: [] },
  { name: 'continuous, saved beside the program', options: ['--fork'] },
  { name: 'continuous, paged', options: ['--memory', '16p'] },
  { name: 'incremental', options: ['--policy', 'incremental'] },
  { name: 'sequential', options: ['--policy', 'sequential'] },
  { name: 'sealed', options: ['--key-file', 'KEY'] },
])(
  '$name: branches off each kept checkpoint, of a job that runs and of a dead one',
  { timeout: 240_000 },
  async (row) => {
    const folder = scratch();
    const key = join(folder, 'key');
    writeFileSync(key, 'c0ffee00'.repeat(8));
    const options = row.options.map((option) => (option === 'KEY' ? key : option));
    const seal = options.includes(key) ? ['--key-file', key] : [];
    const job = join(folder, 'job');
    const path = program(folder, 'counts', counts(COUNT, TURNS));
    const run = ['--interval', '40ms', ...options];
    const running = new RunningCommand(['run', '--job', job, '--keep', '3', '--verbose', ...run, path], { pipe: true });
    await running.waitFor('checkpoint 4 ');
    // Beside the job: the newest, which it is asked for.
    // It stands still while the other process starts, which may take longer than it has to run.
    running.kill('SIGSTOP');
    const branching = continuo(['fork', job, '--job', join(folder, 'beside'), ...seal]);
    await sleep(500);
    running.kill('SIGCONT');
    const beside = await branching;
    expect([beside.exitCode, beside.stderr]).toEqual([0, expect.stringContaining('go on with it: continuo resume')]);
    running.kill('SIGKILL');
    await running.ended;
    const before = contentsOf(job);
    const kept = await keptBy(job, ...seal);
    expect(kept).toHaveLength(3);
    const lengths: number[] = [];
    let last = '';
    for (const at of kept) {
      const branch = join(folder, `at-${at}`);
      const made = await continuo(['fork', job, '--at', String(at), '--job', branch, ...seal]);
      expect([made.exitCode, made.stderr]).toEqual([0, expect.stringContaining(`branches off checkpoint ${at} of`)]);
      const sound = await continuo(['verify', branch, ...seal]);
      expect([sound.exitCode, sound.stdout + sound.stderr]).toEqual([0, expect.anything()]);
      const end = await continuo(['resume', branch, ...seal]);
      expect([end.exitCode, end.stderr]).toEqual([7, expect.stringContaining(`goes on from checkpoint ${at}`)]);
      expectRest(end.stdout);
      lengths.push(end.stdout.length);
      last = end.stdout;
    }
    const at = kept[2];
    // A restart file of the same checkpoint goes on in the same way.
    const file = join(folder, `at-${at}.restart`);
    expect((await continuo(['export', job, '--at', String(at), '-o', file, ...seal])).exitCode).toBe(0);
    const moved = await continuo(['restart', file, '--job', join(folder, `moved-${at}`), ...seal]);
    expect([moved.exitCode, moved.stdout.endsWith(last)]).toEqual([7, true]);
    // From an older checkpoint there is more to be written.
    expect(lengths.toSorted((a, b) => a - b)).toEqual(lengths);
    const end = await continuo(['resume', join(folder, 'beside'), ...seal]);
    expect([end.exitCode, end.stderr]).toEqual([7, end.stderr]);
    expectRest(end.stdout);
    const refused = await continuo(['fork', job, '--at', '99999', '--job', join(folder, 'none'), ...seal]);
    expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining('does not keep checkpoint 99999')]);
    expect(existsSync(join(folder, 'none'))).toBe(false);
    expect(contentsOf(job)).toEqual(before);
  },
);

it(
  'gives the branch nothing that its original writes, and no file that is not what it was',
  { timeout: 240_000 },
  async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const data = join(folder, 'data');
    mkdirSync(data);
    const [out, copy] = [join(folder, 'out'), join(folder, 'copy')];
    const path = program(folder, 'counts', counts(COUNT, TURNS));
    const args = [
      'run',
      '--verbose',
      '--job',
      job,
      '--keep',
      '3',
      '--interval',
      '40ms',
      '--stdout',
      out,
      '--dir',
      `${data}::/data`,
      path,
    ];
    const running = new RunningCommand(args);
    await running.waitFor('checkpoint 4 ');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    const before = { ...contentsOf(job), ...contentsOf(data), out: readFileSync(out, 'utf8') };
    const oldest = (await keptBy(job)).at(-1)!;
    const branch = join(folder, 'branch');
    const fork = (...options: string[]): ReturnType<typeof continuo> =>
      continuo(['fork', job, '--at', String(oldest), '--job', branch, ...options]);
    const dir = ['--dir', `${data}::/data`];
    const refusals: [string[], string][] = [
      [[], 'with copies of their own for the branch'],
      [['--same-paths'], `has not ended and may still write in ${data}, ${out}`],
      [[...dir, '--stdout', out], `the original of the branch writes ${out} too`],
      [[...dir, '--stdout', copy], 'there is no file'],
      [['--dir', `${folder}::/data`, '--stdout', path], 'that the program is given (--dir) contains the job directory'],
    ];
    for (const [options, text] of refusals) {
      const { exitCode, stderr } = await fork(...options);
      expect([options, exitCode, stderr]).toEqual([options, 2, expect.stringContaining(text)]);
    }
    // An output file that was cut short, and one with other contents.
    copyFileSync(out, copy);
    truncateSync(copy, 1);
    const short = await fork(...dir, '--stdout', copy);
    expect([short.exitCode, short.stderr]).toEqual([2, expect.stringContaining(`${copy} has 1 bytes and should have`)]);
    expect(existsSync(join(branch, 'job'))).toBe(false);
    writeFileSync(copy, readFileSync(out, 'utf8').replace('002', 'two'));
    expect((await fork(...dir, '--stdout', copy)).stderr).toContain(`${copy} does not hold what it should`);
    const accepted = await fork(...dir, '--stdout', copy, '--accept-changes');
    expect([accepted.exitCode, accepted.stderr]).toEqual([0, expect.stringContaining('going on with it all the same')]);
    expect(accepted.stderr).toContain(`both have ${data}`);
    expect((await continuo(['resume', branch])).exitCode).toBe(7);
    expect(readFileSync(copy, 'utf8')).toBe(counted(COUNT).replace('002', 'two'));
    expect((await fork(...dir, '--stdout', copy)).stderr).toContain('holds a job already');
    const inside = await continuo(['fork', job, '--job', join(job, 'branch'), ...dir]);
    expect([inside.exitCode, inside.stderr]).toEqual([2, expect.stringContaining('lies in the job directory')]);
    expect({ ...contentsOf(job), ...contentsOf(data), out: readFileSync(out, 'utf8') }).toEqual(before);
    // An original that has ended writes no more: its branch may have the same files.
    expect((await continuo(['resume', job])).exitCode).toBe(7);
    const same = await continuo([
      'fork',
      job,
      '--at',
      String((await keptBy(job)).at(-1)),
      '--job',
      join(folder, 'same'),
      '--same-paths',
    ]);
    expect([same.exitCode, same.stderr]).toEqual([0, same.stderr]);
    expect((await continuo(['resume', join(folder, 'same')])).exitCode).toBe(7);
    expect(readFileSync(out, 'utf8')).toBe(counted(COUNT));
  },
);

/** Opens a file `log` in its directory, writes a line to it and loops for ever. */
const LOGS = `(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "log") (data (i32.const 80) "line\\n")
  (func (export "_start")
    (drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 3) (i32.const 1)
      (i64.const 0x66) (i64.const 0) (i32.const 0) (i32.const 16)))
    (i32.store (i32.const 0) (i32.const 80))
    (i32.store (i32.const 4) (i32.const 5))
    (drop (call $write (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
    (loop $again (i32.store (i32.const 32) (i32.const 1)) (br $again))))`;

it('refuses a directory in which both have a file open to write', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const [job, data, own] = [join(folder, 'job'), join(folder, 'data'), join(folder, 'own')];
  mkdirSync(data);
  const args = ['run', '--job', job, '--interval', '50ms', '--verbose', '--dir', `${data}::/data`];
  const running = new RunningCommand([...args, program(folder, 'logs', LOGS)]);
  await running.waitFor('checkpoint 3 ');
  const fork = (directory: string): ReturnType<typeof continuo> =>
    continuo(['fork', job, '--job', join(folder, 'branch'), '--dir', `${directory}::/data`]);
  const shared = await fork(data);
  expect([shared.exitCode, shared.stderr]).toEqual([
    2,
    expect.stringContaining(`the program has ${join(data, 'log')} open to write, as the original of the branch has`),
  ]);
  expect(existsSync(join(folder, 'branch', 'job'))).toBe(false);
  cpSync(data, own, { recursive: true });
  const made = await fork(own);
  expect([made.exitCode, made.stderr]).toEqual([0, made.stderr]);
  running.kill('SIGTERM');
  expect((await running.ended).exitCode).toBe(85);
  const branch = new RunningCommand(['resume', join(folder, 'branch'), '--verbose', '--interval', '50ms']);
  await branch.waitFor('goes on from checkpoint');
  branch.kill('SIGTERM');
  expect((await branch.ended).exitCode).toBe(85);
  expect([readFileSync(join(own, 'log'), 'utf8'), readFileSync(join(data, 'log'), 'utf8')]).toEqual([
    'line\n',
    'line\n',
  ]);
});

it('a kill at any instant leaves a whole branch or none', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const job = join(folder, 'job');
  const path = program(folder, 'counts', counts(COUNT, TURNS));
  const args = ['run', '--job', job, '--keep', '3', '--verbose', '--interval', '40ms', path];
  const running = new RunningCommand(args, { pipe: true });
  await running.waitFor('checkpoint 4 ');
  running.kill('SIGKILL');
  await running.ended;
  const before = contentsOf(job);
  const at = (await keptBy(job))[1];
  let killed = 0;
  for (const delayMs of instants(new Random(seed), 4, 60, 340)) {
    const branch = join(folder, `branch-${delayMs}`);
    const forking = new RunningCommand(['fork', job, '--at', String(at), '--job', branch]);
    setTimeout(() => forking.kill('SIGKILL'), delayMs);
    const { signal } = await forking.ended;
    const isJob = existsSync(join(branch, 'job'));
    if (signal === null) expect(isJob).toBe(true);
    else killed += 1;
    if (!isJob) expect((await continuo(['resume', branch])).exitCode).toBe(2);
    const again = await continuo(['fork', job, '--at', String(at), '--job', branch]);
    expect([again.exitCode, again.stderr]).toEqual([isJob ? 2 : 0, again.stderr]);
    const end = await continuo(['resume', branch]);
    expect(end.exitCode, end.stderr).toBe(7);
    expectRest(end.stdout);
  }
  expect(killed).toBeGreaterThan(0);
  expect(contentsOf(job)).toEqual(before);
});
