/** Continuo as a library, imported by the package's own name, as its users import it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CheckpointStats,
  ContinuoError,
  GuestTrapError,
  Machine,
  type MachineOptions,
  StorageError,
  UnsupportedModuleError,
  UsageError,
} from 'continuo';
import { describe, expect, it } from 'vitest';
import { scratch, sleep, workload } from '../cli/continuo.ts';
import { COPIES, LOOPS, TRAPS, counted, counts, exits, prints } from '../cli/guests.ts';
import { assemble } from '../support/wat.ts';

/** Collects what a program writes. */
class Output {
  text = '';
  readonly target = {
    kind: 'sink',
    write: (bytes: Uint8Array): void => {
      this.text += Buffer.from(bytes).toString('utf8');
    },
  } as const;
}

/** What a machine failed with. */
async function failureOf(options: MachineOptions): Promise<ContinuoError> {
  try {
    await Machine.start(options).ended;
  } catch (error) {
    if (error instanceof ContinuoError) return error;
    throw error;
  }
  throw new Error('the machine did not fail');
}

describe('Machine.start', () => {
  it('runs a program, tells about its checkpoints and its end', async () => {
    const folder = scratch();
    const output = join(folder, 'output');
    const machine = Machine.start({
      program: readFileSync(workload('apsp')),
      name: 'apsp.wasm',
      arguments: ['50', '7'],
      job: join(folder, 'job'),
      stdout: { kind: 'file', path: output },
      intervalMs: 10,
    });
    const checkpoints: CheckpointStats[] = [];
    const generations: number[] = [];
    machine.on('checkpoint', (stats) => checkpoints.push(stats));
    machine.on('running', ({ resumedFrom, description }) => {
      generations.push(resumedFrom);
      expect(description).toMatchObject({ program: 'apsp.wasm', arguments: ['apsp.wasm', '50', '7'] });
    });
    const end = await machine.ended;
    expect(end).toMatchObject({ kind: 'exited', exitCode: 0, earlier: false, resumedFrom: 0 });
    expect(end.runMs).toBeGreaterThan(end.guestMs);
    expect(end.pages % 16).toBe(0);
    expect(readFileSync(output, 'utf8')).toBe('apsp size=50 seed=7 digest=514fbed67caa948d\n');
    expect(generations).toEqual([0]);
    expect(checkpoints[0]).toMatchObject({ generation: 1, trigger: 'start', dirtyPages: expect.any(Number) });
    expect(checkpoints.at(-1)).toMatchObject({ generation: checkpoints.length, trigger: 'end' });
  });

  it('gives bytes as input, takes output by a function, and passes on the environment', async () => {
    const output = new Output();
    const text = 'a line of input\n'.repeat(5000);
    const copies = Machine.start({
      program: assemble(COPIES),
      stdin: { kind: 'bytes', bytes: Buffer.from(text) },
      stdout: output.target,
    });
    expect(await copies.ended).toMatchObject({ kind: 'exited', exitCode: 0 });
    expect(output.text).toBe(`ready\n${text}end\n`);

    const variables = new Output();
    const environment = { NAME: 'value', EMPTY: '' };
    await Machine.start({ program: assemble(prints('environ')), environment, stdout: variables.target }).ended;
    expect(variables.text).toBe('NAME=value\nEMPTY=\n');
  });

  it('ends with the exit code of the program, and a second time without running it', async () => {
    const job = join(scratch(), 'job');
    const options = { program: assemble(exits(7, 'line')), job };
    const first = new Output();
    expect(await Machine.start({ ...options, stdout: first.target }).ended).toMatchObject({
      exitCode: 7,
      earlier: false,
    });
    const again = new Output();
    expect(await Machine.start({ ...options, stdout: again.target }).ended).toMatchObject({
      exitCode: 7,
      earlier: true,
    });
    const fresh = new Output();
    expect(await Machine.start({ ...options, stdout: fresh.target, fresh: true }).ended).toMatchObject({
      earlier: false,
    });
    expect([first.text, again.text, fresh.text]).toEqual(['line\n', '', 'line\n']);
  });

  it('goes on after each stop where it was, and gives every line once', async () => {
    const output = new Output();
    const options: MachineOptions = {
      program: assemble(counts(60, 12_000_000)),
      job: join(scratch(), 'job'),
      stdout: output.target,
    };
    const resumedFrom: number[] = [];
    for (;;) {
      const machine = Machine.start(options);
      const isRunning = new Promise<void>((settle) => {
        machine.on('running', (event) => {
          resumedFrom.push(event.resumedFrom);
          settle();
        });
      });
      await Promise.race([isRunning, machine.ended]);
      await Promise.race([sleep(50), machine.ended]);
      machine.stop();
      const end = await machine.ended;
      if (end.kind === 'stopped') expect(end.generation).toBeGreaterThan(1);
      else {
        expect(end.exitCode).toBe(7);
        break;
      }
    }
    expect(output.text).toBe(counted(60));
    expect(resumedFrom.length).toBeGreaterThan(1);
    expect(resumedFrom).toEqual(resumedFrom.toSorted((a, b) => a - b));
  });

  it('runs several machines side by side', async () => {
    const outputs = [5, 6, 7].map(async (size) => {
      const output = new Output();
      const program = readFileSync(workload('matmul'));
      await Machine.start({ program, name: 'matmul', arguments: [String(size), '1'], stdout: output.target }).ended;
      return output.text;
    });
    expect(await Promise.all(outputs)).toEqual([5, 6, 7].map((size) => expect.stringContaining(`size=${size} seed=1`)));
  });
});

describe('Machine.resume', () => {
  it('goes on with a job by its directory alone', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const output = join(folder, 'output');
    const machine = Machine.start({
      program: assemble(counts(50, 3_000_000)),
      job,
      stdout: { kind: 'file', path: output },
    });
    await new Promise((settle) => machine.once('running', settle));
    machine.checkpoint();
    const asked = new Promise<CheckpointStats>((settle) => {
      machine.on('checkpoint', (stats) => stats.trigger === 'request' && settle(stats));
    });
    expect(await asked).toMatchObject({ generation: 2 });
    machine.stop();
    expect(await machine.ended).toMatchObject({ kind: 'stopped', generation: 3 });
    expect(await Machine.resume(job, { intervalMs: 50 }).ended).toMatchObject({ exitCode: 7, resumedFrom: 3 });
    expect(readFileSync(output, 'utf8')).toBe(counted(50));
  });

  it('refuses a job whose output only its embedder can take', async () => {
    const job = join(scratch(), 'job');
    await Machine.start({ program: assemble(exits(0)), job, stdout: new Output().target }).ended;
    await expect(Machine.resume(job).ended).rejects.toThrow(/only that program can go on with it/);
  });
});

describe('errors', () => {
  const program = assemble(exits(0));

  it('of the call: a UsageError, at once or from the end, that says which', async () => {
    const folder = scratch();
    expect(() => Machine.resume(join(folder, 'nowhere'))).toThrow(UsageError);
    expect(() => Machine.start({ program, intervalMs: -1 })).toThrow(
      /the interval between checkpoints cannot be -1 ms/,
    );
    const missing = await failureOf({ program: assemble('(module (func (export "run")))') });
    expect(missing).toBeInstanceOf(UsageError);
    expect(missing).toMatchObject({ code: 'no-start-function', exitCode: 2, details: { exports: ['run'] } });
    const nowhere = await failureOf({ program, directories: [{ host: join(folder, 'nowhere') }] });
    expect(nowhere).toMatchObject({ code: 'bad-argument' });

    const job = join(folder, 'job');
    const first = Machine.start({ program: assemble(LOOPS), job });
    await new Promise((settle) => first.once('running', settle));
    expect(() => Machine.start({ program, job })).toThrow(expect.objectContaining({ code: 'job-locked' }));
    first.stop();
    await first.ended;
    expect(await failureOf({ program, job })).toMatchObject({
      code: 'job-foreign',
      details: { differing: ['digest'] },
    });
  });

  it('of the module: an UnsupportedModuleError with feature, section and byte offset', async () => {
    const error = await failureOf({ program: assemble('(module (memory i64 1) (func (export "_start")))') });
    expect(error).toBeInstanceOf(UnsupportedModuleError);
    expect(error).toMatchObject({
      code: 'unsupported-feature',
      details: { feature: 'a 64-bit memory (memory64)', section: 'memory', byteOffset: expect.any(Number) },
    });
  });

  it('of the program: a GuestTrapError with its stack, innermost first', async () => {
    const error = await failureOf({ program: assemble(TRAPS) });
    expect(error).toBeInstanceOf(GuestTrapError);
    expect(error.details).toEqual({ reason: 'divide by zero', guestStack: ['divide', 'average', '_start'] });
  });

  it('of the storage: a StorageError, and the last checkpoint stands', async () => {
    const error = await failureOf({ program, job: '/proc/no-job-here' });
    expect(error).toBeInstanceOf(StorageError);
  });
});
