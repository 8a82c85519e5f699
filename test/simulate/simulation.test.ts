import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { POLICY_NAMES } from '../../src/cli/simulate.ts';
import { BackgroundSave, PAPER_COSTS } from '../../src/simulate/cost-model.ts';
import { POLICIES, simulate, type SimulationResult } from '../../src/simulate/simulation.ts';
import { sweep } from '../../src/simulate/sweep.ts';
import { continuo, scratch } from '../cli/continuo.ts';
import { openTrace, pageCounts, realCounts, recordTrace } from './recorded-trace.ts';

const APSP = { name: 'apsp', arguments: ['200', '1'], every: 10_000 };
const FRAMES = 60;

describe('a save beside the program', () => {
  it('saves pages in their order at the rate of the disk, and lets the program have the disk first', () => {
    const save = new BackgroundSave();
    save.begin(100, 10);
    for (const page of [2, 4, 6, 8]) save.add(page, 10);
    save.advance(115, 0);
    expect([2, 3].map((page) => save.mustCopy(page))).toEqual([false, false]);
    expect([4, 4, 8].map((page) => save.mustCopy(page))).toEqual([true, false, true]);
    expect(save.leftMs).toBe(25);
    save.advance(135, 15);
    expect(save.leftMs).toBe(20);
    save.advance(160, 0);
    expect([save.leftMs, save.mustCopy(6)]).toEqual([0, false]);
    save.begin(200, 10);
    save.add(6, 10);
    expect([2, 6].map((page) => save.mustCopy(page))).toEqual([false, true]);
  });
});

describe('the policies on one trace', () => {
  it('write, read, fault and copy what they must', async () => {
    const path = await recordTrace(APSP);
    const results: Record<string, SimulationResult> = {};
    for (const policy of POLICIES) {
      for (const fork of [false, true]) {
        const settings = {
          frameCount: FRAMES,
          replacement: 'lirs',
          policy,
          fork,
          costs: PAPER_COSTS,
          referenceMs: 1,
        } as const;
        results[fork ? `${policy}+fork` : policy] = simulate(openTrace(path), settings);
      }
    }
    const { none, sequential, incremental, continuous, virtual, keykos } = results;
    expect(POLICY_NAMES).toEqual(POLICIES);
    // The paging file of the first three holds no checkpoints, so they page alike.
    expect(sequential.paging).toEqual(none.paging);
    expect(incremental.paging).toEqual(none.paging);
    expect(virtual.paging).toEqual(none.paging);
    expect(keykos.paging).toEqual(continuous.paging);
    const between = none.checkpoints.flatMap(({ trigger }, i) => (trigger === 'safepoints' ? [i] : []));
    expect(between.length).toBeGreaterThan(3);
    for (const i of between) {
      const { dirtyPages } = none.checkpoints[i];
      expect(sequential.checkpoints[i].pagesWritten).toBeGreaterThan(continuous.checkpoints[i].pagesWritten);
      expect(sequential.checkpoints[i].pagesRead).toBeGreaterThanOrEqual(
        sequential.checkpoints[i].pagesWritten - FRAMES,
      );
      expect(incremental.checkpoints[i]).toMatchObject({
        dirtyPages,
        pagesWritten: dirtyPages,
        protectionFaults: dirtyPages,
      });
      expect(continuous.checkpoints[i]).toMatchObject({ dirtyPages, pagesRead: 0 });
      expect(continuous.checkpoints[i].pagesWritten).toBe(continuous.commits[i].pagesWritten);
      expect(continuous.checkpoints[i].dirtyPages).toBe(continuous.commits[i].dirtyPages);
      expect(keykos.checkpoints[i]).toMatchObject({
        pagesMigrated: dirtyPages,
        pagesWritten: continuous.checkpoints[i].pagesWritten,
      });
      expect(virtual.checkpoints[i]).toMatchObject({ pagesWritten: 0, pagesRead: 0, pauseMs: 0 });
      // Every page is switched at its first reference, of which writes are a part.
      expect(virtual.checkpoints[i].copies).toBeGreaterThanOrEqual(dirtyPages);
      const { pagesWritten, pagesRead } = sequential.checkpoints[i];
      expect(sequential.checkpoints[i].pauseMs).toBeCloseTo(22.9 * pagesWritten + 9 * pagesRead, 5);
      expect(results['continuous+fork'].checkpoints[i].copies).toBeLessThanOrEqual(dirtyPages);
    }
    const zeros = simulate(openTrace(path), {
      frameCount: FRAMES,
      replacement: 'lirs',
      policy: 'sequential',
      fork: false,
      savesZeros: true,
      costs: PAPER_COSTS,
      referenceMs: 1,
    });
    expect(zeros.checkpoints.slice(1).every(({ pagesWritten }) => pagesWritten === zeros.pages)).toBe(true);
    expect(zeros.checkpoints.map(({ pagesRead }) => pagesRead)).toEqual(
      sequential.checkpoints.map(({ pagesRead }) => pagesRead),
    );
    expect(sequential.elapsedMs).toBeGreaterThan(incremental.elapsedMs);
    expect(incremental.elapsedMs).toBeGreaterThan(continuous.elapsedMs);
    expect(results['sequential+fork'].elapsedMs).toBeLessThan(sequential.elapsedMs);
    expect(keykos.threeCopiesMax).toBeGreaterThan(0);
    expect(none.elapsedMs).toBeCloseTo(none.references + none.pagingMs, 3);
  });

  it('have in the sweep, for memory that holds everything, the flushes of a run without evictions', async () => {
    const path = await recordTrace(APSP);
    const { flushed, misses, pages, checkpoints } = sweep(openTrace(path));
    const real = await realCounts(APSP, 400, 'second-chance');
    const between = real.checkpoints.filter(({ trigger }) => trigger === 'safepoints');
    expect(checkpoints).toBe(between.length);
    expect(flushed[pages]).toBe(between.reduce((sum, { pagesWritten }) => sum + pagesWritten, 0));
    expect(misses[pages]).toBe(0);
    expect(misses.slice(1).every((count, i) => i === 0 || count <= misses[i])).toBe(true);
  });
});

describe('continuo simulate', () => {
  it('prints a row for each policy and writes the figures, which are those of the real run', async () => {
    const trace = await recordTrace(APSP);
    const json = join(scratch(), 'figures.json');
    const words = [
      'simulate',
      trace,
      '--memory',
      `${FRAMES}p`,
      '--fork',
      '--base-time',
      '0:10',
      '--sweep',
      '--json',
      json,
    ];
    const { stdout, exitCode, stderr } = await continuo(words);
    expect([exitCode, stderr]).toEqual([0, '']);
    const rows = stdout.split('\n').filter((row) => row.startsWith(String(FRAMES).padStart(8)));
    expect(rows.map((row) => row.trim().split(/ +/)[1])).toEqual([
      'none', 'sequential', 'sequential+fork', 'incremental', 'incremental+fork', 'continuous', 'continuous+fork',
      'virtual', 'keykos',
    ]); // prettier-ignore
    const { simulations, sweep: curves } = JSON.parse(readFileSync(json, 'utf8')) as {
      simulations: SimulationResult[];
      sweep: { pages: number; misses: number[] };
    };
    expect(curves.misses.length).toBe(curves.pages + 1);
    const real = await realCounts(APSP, FRAMES, 'lirs');
    const continuous = simulations.find(({ policy, fork }) => policy === 'continuous' && !fork)!;
    expect(continuous.paging).toEqual(real.paging);
    expect(continuous.commits.map(pageCounts)).toEqual(real.checkpoints.map(pageCounts));
    const none = simulations[0];
    expect(none.elapsedMs).toBeCloseTo(Math.max(10_000, none.pagingMs), 3);
  });

  it('refuses what it cannot do', async () => {
    const trace = await recordTrace(APSP);
    for (const [words, message] of [
      [[trace], /in how much memory/],
      [[trace, '--memory', '64p', '--fork'], /--base-time with --fork/],
      [[trace, '--memory', '64p', '--policy', 'other'], /The policies are none, /],
      [[`${trace}.no`, '--sweep'], /there is no trace/],
      [['package.json', '--sweep'], /cannot be read as a trace/],
      [[trace, '--sweep', '--json', `${trace}/x/y`], /no directory/],
    ] as const) {
      const { exitCode, stderr } = await continuo(['simulate', ...words]);
      expect([exitCode, stderr]).toEqual([2, expect.stringMatching(message)]);
    }
  });
});
