/**
 * Programs whose writes the kernel tells leave what they leave with marks in their code: checkpoints of the same pages, and the
 * same results when they are killed while the tracker changes from run to run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { continuo, program, scratch, workload } from '../cli/continuo.ts';
import { counts } from '../cli/guests.ts';
import { compileKernelCommand, hasClang } from '../../bench/kernels/common/command.mjs';
import { killUntilDone, seed } from '../machine/kill-schedule.ts';
import { Random } from '../support/random.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { kernelTracks } from './kernel-tracking.ts';

const TEST_MS = 240_000;

interface Stats {
  readonly tracker: string;
  readonly trackerReason: string;
  readonly checkpoints: readonly {
    readonly trigger: string;
    readonly dirtyPages: number;
    readonly pagesWritten: number;
  }[];
}

const digestOf = (name: string, size: number): string => referenceDigests[name](size, 3).toString(16).padStart(16, '0');

async function run(words: readonly string[], folder = scratch()) {
  const statsFile = join(folder, 'stats');
  const { exitCode, stdout, stderr } = await continuo(['run', '--stats', statsFile, ...words]);
  const stats: Stats = JSON.parse(readFileSync(statsFile, 'utf8'));
  return { exitCode, stdout, stderr, stats };
}

describe.runIf(kernelTracks)('writes told by the kernel', { timeout: TEST_MS }, () => {
  it.each([
    { name: 'apsp', size: 200, steps: 20 },
    { name: 'floyd-warshall', size: 160, steps: 10 },
    { name: 'matmul', size: 130, steps: 10 },
  ])('checkpoints of $name hold the same pages with either tracker', async ({ name, size, steps }) => {
    const folder = scratch();
    const [software, kernel] = await Promise.all(
      ['software', 'kernel'].map(async (tracker) => {
        const options = ['--job', join(folder, tracker), '--interval', 'none', '--every', `${steps}steps`];
        const words = [...options, '--tracker', tracker, workload(`${name}.directed`), String(size), '3'];
        const { exitCode, stdout, stats } = await run(words);
        expect({ exitCode, tracker: stats.tracker }).toEqual({ exitCode: 0, tracker });
        expect(stdout).toContain(digestOf(name, size));
        return stats.checkpoints;
      }),
    );
    expect(kernel.length).toBeGreaterThan(4);
    expect(kernel.map(({ dirtyPages }) => dirtyPages)).toEqual(software.map(({ dirtyPages }) => dirtyPages));
    expect(kernel.map(({ pagesWritten }) => pagesWritten)).toEqual(software.map(({ pagesWritten }) => pagesWritten));
  });

  it.each([
    { name: 'apsp', size: 360, runMsMax: 700 },
    { name: 'sort', size: 700_000, runMsMax: 500 },
  ])('$name, killed under one tracker and gone on with under the other', async ({ name, size, runMsMax }) => {
    const folder = scratch();
    const output = join(folder, 'output');
    const random = new Random(seed);
    const options = ['--job', join(folder, 'job'), '--interval', '15ms', '--verbose', '--stdout', output];
    const ways = [['--tracker', 'kernel'], ['--tracker', 'software'], ['--memory', '100p'], ['--fork']];
    let turn = 0;
    // The kernel's each second time, so that each of the others follows and is followed by it.
    const next = (): string[] => (turn++ % 2 === 0 ? ways[0] : random.pick(ways.slice(1)));
    const args = (): string[] => ['run', ...options, ...next(), workload(name), String(size), '3'];
    const { exitCode } = await killUntilDone(args, random, runMsMax);
    expect(exitCode, `seed ${seed}`).toBe(0);
    expect(readFileSync(output, 'utf8'), `seed ${seed}`).toContain(digestOf(name, size));
  });

  const kernels = hasClang ? ['mutual', 'icall', 'simd', 'lz', 'sha', 'tree', 'bulk', 'list', 'conversions'] : [];
  it.each(kernels)('%s in C, with checkpoints on its way', async (name) => {
    const folder = scratch();
    const path = join(folder, `${name}.wasm`);
    const printed = compileKernelCommand(name, 1, path);
    const options = ['--tracker', 'kernel', '--job', join(folder, 'job'), '--interval', '20ms'];
    expect((await run([...options, path], folder)).stdout).toBe(printed);
  });

  it('is chosen where it works, and gives way where it does not do', async () => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(2, 1));
    const chosen = async (...options: string[]): Promise<string> =>
      (await run([...options, '--job', join(folder, 'job'), '--fresh', path])).stats.tracker;
    expect(await chosen('--tracker', 'kernel')).toBe('kernel');
    expect(await chosen()).toBe('kernel');
    expect(await chosen('--tracker', 'auto')).toBe('kernel');
    expect(await chosen('--tracker', 'software')).toBe('software');
    expect(await chosen('--tracker', 'kernel', '--memory', '64p', '--fork')).toBe('software');
    expect(await chosen('--tracker', 'kernel', '--memory', '64p', '--policy', 'incremental')).toBe('software');
    expect(await chosen('--policy', 'sequential')).toBe('none');
    expect(await chosen('--policy', 'none')).toBe('none');
    expect(await chosen('--memory', '64p')).toBe('software');
    expect(await chosen('--policy', 'incremental')).toBe('software');
    expect(await chosen('--fork')).toBe('software');
  });

  it('says why it is not what auto takes', async () => {
    const path = program(scratch(), 'counts', counts(2, 1));
    for (const options of [['--policy', 'incremental'], ['--fork']]) {
      const { stderr } = await run(['--verbose', ...options, '--job', join(scratch(), 'job'), path]);
      expect(stderr).toContain(
        'tracker software: a check in the code tells of a first write in less time than the fault',
      );
    }
  });

  it('says why it was not taken when it was asked for', async () => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(2, 1));
    const words = ['--tracker', 'kernel', '--memory', '64p', '--fork', '--job', join(folder, 'job'), path];
    const { stderr } = await run(words);
    expect(stderr).toContain('tracker software: --fork saves pages out of memory');
  });
});
