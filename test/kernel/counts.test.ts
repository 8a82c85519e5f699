/**
 * Both ways to page see the same touches of pages, so they bring and evict the same ones. To the last page where the program asks for
 * pages one by one; with checks in the code, a strip asks for all its pages at once and keeps them until its end, and the order
 * of a few touches is another.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CheckpointStats, Machine, type MachineOptions } from 'continuo';
import { scratch, workload } from '../cli/continuo.ts';
import { HANG_MS, kernelPages } from './kernel-paging.ts';

type Run = Pick<MachineOptions, 'replacement' | 'frameCount' | 'everySafepoints'>;

async function countsOf(tracker: 'kernel' | 'software', name: string, size: string, run: Run) {
  const machine = Machine.start({
    ...run,
    tracker,
    program: readFileSync(workload(name)),
    arguments: [size, '3'],
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

describe.runIf(kernelPages)('page counts with both trackers', { timeout: HANG_MS }, () => {
  it.each(REPLACEMENTS)(
    'are the same for floyd-warshall, with %s, and so are those of its checkpoints',
    async (replacement) => {
      const run = { replacement, frameCount: 60, everySafepoints: 40_000 };
      const software = await countsOf('software', 'floyd-warshall', '220', run);
      expect(await countsOf('kernel', 'floyd-warshall', '220', run)).toEqual(software);
      expect(software.paging.pageIns).toBeGreaterThan(1000);
      expect(software.checkpoints.length).toBeGreaterThan(100);
    },
  );

  const programs = [
    { name: 'apsp', size: '300', frameCount: 150 },
    { name: 'matmul', size: '260', frameCount: 150 },
    { name: 'sort', size: '60000', frameCount: 100 },
  ];
  for (const { name, size, frameCount } of programs) {
    it.each(REPLACEMENTS)(`differ by no more than 5 % for ${name}, with %s`, async (replacement) => {
      const software = (await countsOf('software', name, size, { replacement, frameCount })).paging;
      const kernel = (await countsOf('kernel', name, size, { replacement, frameCount })).paging;
      expect(kernel.zeroFaults).toBe(software.zeroFaults);
      for (const figure of ['pageIns', 'evictions'] as const) {
        const difference = Math.abs(kernel[figure] - software[figure]);
        expect(difference, `${figure}: ${kernel[figure]} for ${software[figure]}`).toBeLessThanOrEqual(
          Math.max(8, 0.05 * software[figure]),
        );
      }
    });
  }
});
