/**
 * Results made up from a seed, for tests of the pages: nothing here was measured. The proportions are those of the paper, so
 * that what the pages must show well (a factor of a hundred between two policies) is there.
 */
import type { Comparison, ComparisonCell, ComparisonRun } from '../../src/report/comparison.ts';
import type { PaperResults } from '../../src/report/paper.ts';
import type { TrackedProgram } from '../../src/report/paper-trackers.ts';
import { Random } from '../support/random.ts';

const machine = { cpu: 'Sample CPU', cpus: 2, platform: 'linux x64', node: 'v20.19.0', memoryBytes: 8e9 };
/** 2026-03-04 05:06 UTC */
const createdMs = Date.UTC(2026, 2, 4, 5, 6);

/** A factor between 1 − extent and 1 + extent. */
function about(random: Random, value: number, extent: number): number {
  return value * (1 + (random.below(2001) / 1000 - 1) * extent);
}

interface SampleCosts {
  readonly ratio: number;
  readonly dirty: number;
  readonly read: number;
  readonly written: number;
  readonly pauseMs: number;
  readonly commitMs: number;
  readonly protection: number;
  readonly copy: number;
}

function sampleRun(random: Random, costs: SampleCosts, resident: number, noneMs: number): ComparisonRun {
  const isSaving = costs.pauseMs > 0;
  const pagesWritten = isSaving ? about(random, costs.written, 0.02) : 0;
  const pagesRead = isSaving ? about(random, costs.read, 0.02) : 0;
  const pauseMs = about(random, costs.pauseMs, 0.1);
  return {
    runMs: about(random, noneMs * costs.ratio, 0.004),
    guestMs: about(random, noneMs, 0.004),
    pages: 9008,
    outputDigest: '3c6e0b8a9c15224a',
    checkpointCount: isSaving ? 83 : 0,
    dirtyPages: isSaving ? about(random, costs.dirty, 0.02) : 0,
    diskAccesses: pagesWritten + pagesRead,
    pagesRead,
    pagesWritten,
    pagesWrittenBefore: isSaving ? Math.max(0, costs.dirty - costs.written) : 0,
    bytesWritten: pagesWritten * 4096 + (isSaving ? 1200 : 0),
    pauseMs,
    pauseMsMax: about(random, pauseMs * 2.2, 0.2),
    commitMs: about(random, costs.commitMs, 0.1),
    faults: {
      soft: random.below(4000),
      hard: resident < 9008 ? 125_000 + random.below(1000) : 0,
      protection: Math.round(costs.protection),
      copy: Math.round(costs.copy),
    },
    protectionFaultUs: costs.protection > 0 ? about(random, 4.2, 0.1) : 0,
    copyFaultUs: costs.copy > 0 ? about(random, 6.5, 0.1) : 0,
    pageIns: resident < 9008 ? 3_600_000 + random.below(9999) : 0,
    pageOuts: resident < 9008 ? 7600 + random.below(99) : 0,
  };
}

export function sampleComparison(seed: number, sizes: readonly (number | null)[] = [3154, null]): Comparison {
  const random = new Random(seed);
  const rounds = 5;
  const cells: ComparisonCell[] = [];
  for (const frames of sizes) {
    const resident = frames ?? 9008;
    const isTight = resident < 9008;
    const out = isTight ? 301 : 0;
    const none = { ratio: 1, dirty: 0, read: 0, written: 0, pauseMs: 0, commitMs: 0, protection: 0, copy: 0 };
    const saving: Record<string, SampleCosts> = {
      sequential: {
        ...none,
        ratio: 2.1,
        dirty: 376,
        read: Math.max(0, 9008 - resident),
        written: 9008,
        pauseMs: 320,
        commitMs: 320,
      },
      incremental: {
        ...none,
        ratio: 1.17,
        dirty: 376,
        read: out,
        written: 376,
        pauseMs: 16,
        commitMs: 17,
        protection: 31_208,
      },
      continuous: { ...none, ratio: 1.02, dirty: 376, written: 376 - out, pauseMs: 2.4, commitMs: 3.1 },
    };
    const roundMs = Array.from({ length: rounds }, () => about(random, isTight ? 41_000 : 21_000, 0.05));
    const runs = (costs: SampleCosts): ComparisonRun[] =>
      roundMs.map((noneMs) => sampleRun(random, costs, resident, noneMs));
    cells.push({ policy: 'none', fork: false, frames, runs: runs(none) });
    for (const policy of ['sequential', 'incremental', 'continuous'] as const) {
      const costs = saving[policy];
      cells.push({ policy, fork: false, frames, runs: runs(costs) });
      const forked = {
        ...costs,
        ratio: 1 + (costs.ratio - 1) / 4,
        pauseMs: 0.6,
        commitMs: costs.commitMs * 1.4,
        copy: 912,
      };
      cells.push({ policy, fork: true, frames, runs: runs({ ...forked, ratio: Math.max(1.001, forked.ratio) }) });
    }
  }
  return {
    format: 'continuo-comparison',
    version: 1,
    createdMs,
    program: 'dist/workloads/apsp.wasm',
    arguments: ['1408', '1'],
    machine,
    trigger: { kind: 'steps', every: 17 },
    rounds,
    cells,
  };
}

/** Checkpoints whose dirty pages have partly left memory: incremental reads those back. */
function sampleCheckpoints(
  random: Random,
  count: number,
  dirty: number,
  leastOut: number,
  mostOut: number,
): PaperResults['figure5']['checkpoints'] {
  return Array.from({ length: count }, (_, index) => {
    const dirtyPages = Math.round(about(random, dirty, 0.04));
    const out = Math.round(dirtyPages * (leastOut + ((mostOut - leastOut) * random.below(1001)) / 1000));
    return { index: index + 1, dirtyPages, incremental: dirtyPages + out, continuous: dirtyPages - out };
  });
}

export function samplePaper(seed: number): PaperResults {
  const random = new Random(seed);
  const frames = 3154;
  const sizes = [512, 768, 1024, 1280, 1408, 1536, 1664, 1792, 1920, 2048].map((size) => {
    const pages = 2 * Math.ceil((size * size * 8) / 4096) + 2;
    const dirtyPages = Math.round((pages / 2) * (40 / size)) + 3;
    const out = pages / 2 < frames ? 0 : dirtyPages - 2;
    return { size, pages, dirtyPages, incremental: dirtyPages + out, continuous: dirtyPages - out };
  });
  const overheads = {
    1024: { sequential: [1.31, 1.12], incremental: [1.05, 1.031], continuous: [1.024, 1.008] },
    1664: { sequential: [1.55, 1.42], incremental: [1.11, 1.16], continuous: [1.021, 1.034] },
  };
  const noneSeconds = { 1024: 1384, 1664: 8203 };
  return {
    format: 'continuo-paper',
    version: 1,
    createdMs,
    machine,
    frames,
    figure5: { program: 'apsp', size: 1408, pages: 7760, checkpoints: sampleCheckpoints(random, 83, 94, 0.88, 0.98) },
    figure6: {
      program: 'matmul',
      size: 1600,
      pages: 10_016,
      checkpoints: sampleCheckpoints(random, 13, 706, 0.9, 0.99),
    },
    figure7: { sizes },
    table1: {
      sizes: ([1024, 1664] as const).map((size) => ({
        size,
        cells: [
          { policy: 'none', fork: false, runs: [], predictedSeconds: noneSeconds[size] },
          ...(['sequential', 'incremental', 'continuous'] as const).flatMap((policy) =>
            [false, true].map((fork) => ({
              policy,
              fork,
              runs: Array.from({ length: 5 }, () => {
                const noneMs = about(random, size * 4, 0.05);
                return { ms: about(random, noneMs * overheads[size][policy][fork ? 1 : 0], 0.006), noneMs };
              }),
              predictedSeconds: noneSeconds[size] * (1 + (overheads[size][policy][fork ? 1 : 0] - 1) * 2.4),
            })),
          ),
        ],
      })),
    },
    trackers: { programs: [sampleTracked(random, 'apsp', 1408, 83), sampleTracked(random, 'matmul', 1600, 13)] },
  };
}

/** Page by page the counts are those of the kernel; asking ahead they are a little different. */
function sampleTracked(random: Random, program: string, size: number, checkpointCount: number): TrackedProgram {
  const checkpoints = Array.from({ length: checkpointCount }, () => ({
    dirtyPages: 90 + random.below(20),
    pagesWritten: 5 + random.below(9),
  }));
  const counts = {
    softFaults: 2_000_000 + random.below(100_000),
    hardFaults: 3_000_000 + random.below(100_000),
    zeroFaults: 7000 + random.below(100),
    pageIns: 3_600_000 + random.below(1000),
    pageOuts: 7000 + random.below(500),
    evictions: 3_600_000 + random.below(9000),
    checkpoints,
  };
  const runMs = about(random, 80_000, 0.1);
  return {
    program,
    size,
    runs: [
      { way: 'ahead', ...counts, softFaults: counts.softFaults - 2000, runMs },
      { way: 'singly', ...counts, runMs: 1.2 * runMs },
      { way: 'kernel', ...counts, runMs: 1.3 * runMs },
    ],
  };
}
