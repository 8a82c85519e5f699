/** A job killed at any instant, again and again, leaves what a run leaves that nobody disturbed. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, program, root, scratch, sleep, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { Random } from '../support/random.ts';
import { type Tracker, trackers } from '../support/trackers.ts';
import { compileKernelCommand, hasClang } from '../../bench/kernels/common/command.mjs';
import { killUntilDone, seed } from './kill-schedule.ts';

console.log(`Instants of the kills: CONTINUO_TEST_SEED=${seed}`);

/** What a program prints under `node:wasi`. */
function plainOutput(path: string, args: readonly string[]): string {
  const plain = join(root, 'test', 'workloads', 'plain-node.mjs');
  const { status, stdout } = spawnSync(process.execPath, ['--no-turbo-fast-api-calls', plain, path, ...args], {
    encoding: 'utf8',
  });
  expect(status).toBe(0);
  return stdout;
}

async function expectSameOutput(
  tracker: Tracker,
  path: string,
  args: readonly string[],
  expected: string,
  runMsMax: number,
): Promise<void> {
  const folder = scratch();
  const output = join(folder, 'output');
  const job = ['--job', join(folder, 'job'), '--tracker', tracker];
  const options = [...job, '--interval', '20ms', '--verbose', '--stdout', output];
  const random = new Random(seed);
  const { kills, killsWhileRunning, exitCode } = await killUntilDone(
    ['run', ...options, path, ...args],
    random,
    runMsMax,
  );
  expect(exitCode, `seed ${seed}`).toBe(0);
  expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(expected);
  expect(killsWhileRunning, `seed ${seed}, ${kills} kills: the program is too short`).toBeGreaterThan(1);
}

describe.each(trackers)('workloads, killed until they are done, %s', (tracker) => {
  it.each([
    { name: 'apsp', args: ['500', '1', '--print-rows'] },
    { name: 'floyd-warshall', args: ['700', '1'] },
    { name: 'matmul', args: ['900', '1'] },
    { name: 'fib', args: ['39', '1'] },
    { name: 'sort', args: ['1000000', '1'] },
  ])('$name', async ({ name, args }) => {
    await expectSameOutput(tracker, workload(name), args, plainOutput(workload(name), args), 350);
  });
});

const kernels = hasClang ? ['mutual', 'icall', 'simd', 'multi-value'] : [];
if (!hasClang) console.log('Programs in C are left out: clang or wasm-ld is not there.');
describe.each(trackers)('programs in C, killed until they are done, %s', (tracker) => {
  it.each(kernels)('%s', async (name) => {
    const path = join(scratch(), `${name}.wasm`);
    await expectSameOutput(tracker, path, [], compileKernelCommand(name, 16, path), 250);
  });
});

describe('a pipe', () => {
  it.each(['immediate', 'commit'])(
    'gets each line once from a job that is stopped again and again, %s',
    async (mode) => {
      const folder = scratch();
      const path = program(folder, 'counts', counts(90, 5_000_000));
      const args = ['run', '--job', join(folder, 'job'), '--interval', '10ms', '--verbose', '--output', mode, path];
      let output = '';
      let stops = 0;
      for (let exitCode: number | null = 85; exitCode === 85; stops++) {
        const running = new RunningCommand(args);
        await running.waitFor('goes on from', 'checkpoint 1 ');
        await Promise.race([sleep(50), running.ended]);
        running.kill('SIGTERM');
        const ended = await running.ended;
        output += ended.stdout;
        ({ exitCode } = ended);
      }
      expect(output).toBe(counted(90));
      // Once stopped and once gone on with at least: how often more is a matter of speed.
      expect(stops).toBeGreaterThan(1);
    },
  );
});

describe.each(trackers)('an inherited file, %s', (tracker) => {
  it.each(['immediate', 'commit'])('holds each line once after any number of kills, %s', async (mode) => {
    const folder = scratch();
    const output = join(folder, 'output');
    const path = program(folder, 'counts', counts(90, 5_000_000));
    const job = ['--job', join(folder, 'job'), '--tracker', tracker];
    const args = ['run', ...job, '--interval', '10ms', '--verbose', '--output', mode, path];
    writeFileSync(output, 'a line of somebody else\n');
    const descriptor = openSync(output, 'a');
    try {
      const { exitCode } = await killUntilDone(args, new Random(seed), 150, { stdout: descriptor });
      expect(exitCode, `seed ${seed}`).toBe(7);
      expect(readFileSync(output, 'utf8'), `seed ${seed}`).toBe(`a line of somebody else\n${counted(90)}`);
    } finally {
      closeSync(descriptor);
    }
  });
});
