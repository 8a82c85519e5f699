/**
 * Both ways to page see the same touches of pages, so they bring and evict the same ones, and checkpoints hold the same: to the last
 * page where each page is asked for when it is used. Where a strip asks for all its pages at once and keeps them until its end, and the
 * kernel's pager opens pages before they are asked for, which is faster, the order of a few touches is another.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CheckpointStats, Machine, type MachineOptions } from 'continuo';
import { scratch, workload } from '../cli/continuo.ts';
import { HANG_MS, kernelPages } from './kernel-paging.ts';

type Run = Pick<MachineOptions, 'replacement' | 'frameCount' | 'everySafepoints' | 'everySteps' | 'pageByPage'>;

async function countsOf(tracker: 'kernel' | 'software', name: string, words: readonly string[], run: Run) {
  const machine = Machine.start({
    ...run,
    tracker,
    program: readFileSync(workload(name)),
    arguments: words,
    job: join(scratch(), 'job'),
    intervalMs: 0,
    stdout: { kind: 'sink', write: () => {} },
  });
  const checkpoints: CheckpointStats[] = [];
  machine.on('checkpoint', (stats) => checkpoints.push(stats));
  const { paging } = await machine.ended;
  const { softFaults, hardFaults, zeroFaults, pageIns, pageOuts, pageOutsAhead, evictions } = paging!;
  return {
    paging: { softFaults, hardFaults, zeroFaults, pageIns, pageOuts, pageOutsAhead, evictions },
    checkpoints: checkpoints.map(({ dirtyPages, pagesWritten, residentPages }) => [
      dirtyPages,
      pagesWritten,
      residentPages,
    ]),
  };
}

const REPLACEMENTS = ['lirs', 'second-chance'] as const;

const PROGRAMS = [
  { name: 'apsp', size: '300', frameCount: 150 },
  { name: 'matmul', size: '260', frameCount: 150 },
  { name: 'sort', size: '60000', frameCount: 100 },
  { name: 'floyd-warshall', size: '220', frameCount: 60 },
];

describe.runIf(kernelPages)('page counts with both trackers', { timeout: HANG_MS }, () => {
  for (const { name, size, frameCount } of PROGRAMS) {
    it.each(REPLACEMENTS)(
      `are the same for ${name}, page by page, with %s, and so are those of its checkpoints`,
      async (replacement) => {
        const run = { replacement, frameCount, everySafepoints: 8_000, pageByPage: true };
        const software = await countsOf('software', name, [size, '3'], run);
        expect(await countsOf('kernel', name, [size, '3'], run)).toEqual(software);
        expect(software.paging.softFaults).toBeGreaterThan(500);
        expect(software.paging.pageIns).toBeGreaterThan(100);
        expect(software.checkpoints.length).toBeGreaterThan(6);
      },
    );

    it(`differ by no more than 5 % for ${name}, where its loops ask ahead`, async () => {
      const run = { frameCount, replacement: 'second-chance' } as const;
      const software = (await countsOf('software', name, [size, '3'], run)).paging;
      const kernel = (await countsOf('kernel', name, [size, '3'], run)).paging;
      // The kernel's pager brings pages of zeros ahead while it has frames for them.
      expect(kernel.zeroFaults).toBeLessThanOrEqual(software.zeroFaults);
      for (const figure of ['pageIns', 'evictions'] as const) {
        const difference = Math.abs(kernel[figure] - software[figure]);
        expect(difference, `${figure}: ${kernel[figure]} for ${software[figure]}`).toBeLessThanOrEqual(
          Math.max(8, 0.05 * software[figure]),
        );
      }
    });
  }

  // The experiments of `bench/paper.mjs` with smaller matrices, and frames for the same share of their pages.
  it.each([
    { figure: 'Figure 5', name: 'apsp', words: ['360', '1'], frameCount: 206, everySteps: 20 },
    { figure: 'Figure 6', name: 'matmul', words: ['400', '1'], frameCount: 295, everySteps: 30 },
    { figure: 'Figure 7', name: 'matmul', words: ['560', '1', '--int32'], frameCount: 290, everySteps: 40 },
  ])('are the same for $figure of the paper, checkpoint by checkpoint', async ({ name, words, ...run }) => {
    const software = await countsOf('software', `${name}.directed`, words, { ...run, pageByPage: true });
    expect(await countsOf('kernel', `${name}.directed`, words, { ...run, pageByPage: true })).toEqual(software);
    expect(software.paging.evictions).toBeGreaterThan(500);
    expect(software.checkpoints.length).toBeGreaterThan(8);
  });
});
