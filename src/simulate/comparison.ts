/** Several policies and memories on one trace, beside each other. */
import { DEFAULT_REPLACEMENT, type ReplacementName } from '../pager/replacement.ts';
import type { CostModel } from './cost-model.ts';
import {
  FORKING_POLICIES,
  simulate,
  type SimulatedCheckpoint,
  type SimulatedPolicy,
  type SimulationResult,
  type SimulationSettings,
} from './simulation.ts';
import { type Sweep, sweep } from './sweep.ts';
import { openTrace, type TraceReader } from './trace-reader.ts';

export interface ComparisonSettings {
  readonly frameCounts: readonly number[];
  /** Undefined: the best known one. */
  readonly replacement: ReplacementName | undefined;
  readonly policies: readonly SimulatedPolicy[];
  /** The policies that can, with fork as well. */
  readonly fork: boolean;
  readonly savesZeros?: boolean;
  readonly costs: CostModel;
  /**
   * Time of the program without checkpoints in the first of the memories, paging included; undefined: only the time of
   * disk and faults counts.
   */
  readonly baseMs: number | undefined;
}

/** A simulation, with what it comes to for one checkpoint: those at start and end are left out. */
export interface ComparedSimulation extends SimulationResult {
  readonly average: CheckpointAverage;
  /** How much longer the program takes than without checkpoints, as a part of that. */
  readonly overhead: number;
}

export interface CheckpointAverage {
  readonly checkpoints: number;
  readonly dirtyPages: number;
  readonly residentDirtyPages: number;
  readonly pagesWritten: number;
  readonly pagesRead: number;
  /** Pages written and read while the program stands still or by the save beside it. */
  readonly diskAccesses: number;
  readonly pagesMigrated: number;
  readonly copies: number;
  readonly protectionFaults: number;
  readonly pauseMs: number;
}

/** Simulates the trace of a file once for each. Those without checkpoints come first, for each memory. */
export function* compare(path: string, settings: ComparisonSettings): Generator<ComparedSimulation> {
  const {
    frameCounts,
    replacement = DEFAULT_REPLACEMENT,
    policies,
    fork,
    savesZeros = false,
    costs,
    baseMs,
  } = settings;
  let referenceMs = 0;
  for (const [index, frameCount] of frameCounts.entries()) {
    const run = (policy: SimulatedPolicy, forks: boolean): SimulationResult =>
      simulateTrace(path, { frameCount, replacement, policy, fork: forks, savesZeros, costs, referenceMs });
    let none = run('none', false);
    if (index === 0 && baseMs !== undefined) {
      // What is left of the time when the disk has had its part is the program's own.
      referenceMs = Math.max(0, baseMs - none.pagingMs) / none.references;
      none = { ...none, elapsedMs: none.pagingMs + referenceMs * none.references };
    }
    if (policies.includes('none')) yield compared(none, none);
    for (const policy of policies) {
      if (policy === 'none') continue;
      yield compared(run(policy, false), none);
      if (fork && FORKING_POLICIES.includes(policy)) yield compared(run(policy, true), none);
    }
  }
}

/** @throws what `TraceReader` does. */
export function simulateTrace(path: string, settings: SimulationSettings): SimulationResult {
  return readTrace(path, (reader) => simulate(reader, settings));
}

/** Misses and flushes under LRU for all sizes of memory. */
export function sweepTrace(path: string): Sweep {
  return readTrace(path, sweep);
}

function readTrace<T>(path: string, use: (reader: TraceReader) => T): T {
  const reader = openTrace(path);
  try {
    return use(reader);
  } finally {
    reader.close();
  }
}

function compared(result: SimulationResult, none: SimulationResult): ComparedSimulation {
  const overhead = none.elapsedMs === 0 ? 0 : result.elapsedMs / none.elapsedMs - 1;
  return { ...result, average: averageOf(result.checkpoints), overhead };
}

function averageOf(all: readonly SimulatedCheckpoint[]): CheckpointAverage {
  const between = all.filter(({ trigger }) => trigger !== 'start' && trigger !== 'end');
  const mean = (field: Exclude<keyof SimulatedCheckpoint, 'trigger'>): number =>
    between.reduce((sum, checkpoint) => sum + checkpoint[field], 0) / Math.max(1, between.length);
  const [pagesWritten, pagesRead] = [mean('pagesWritten'), mean('pagesRead')];
  return {
    checkpoints: between.length,
    dirtyPages: mean('dirtyPages'),
    residentDirtyPages: mean('residentDirtyPages'),
    pagesWritten,
    pagesRead,
    diskAccesses: pagesWritten + pagesRead,
    pagesMigrated: mean('pagesMigrated'),
    copies: mean('copies'),
    protectionFaults: mean('protectionFaults'),
    pauseMs: mean('pauseMs'),
  };
}
