/** Traces of workloads, and the counts of real runs beside those of their simulation. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { CheckpointStats, SlotCounts } from '../../src/checkpoint/checkpoint.ts';
import type { PagingStats } from '../../src/pager/paging-stats.ts';
import type { ReplacementName } from '../../src/pager/replacement.ts';
import { continuo, scratch, workload } from '../cli/continuo.ts';

export interface Workload {
  /** Of a workload, or the path of a program. */
  readonly name: string;
  readonly arguments: readonly string[];
  /** Safepoints between two checkpoints. */
  readonly every: number;
}

const programOf = (name: string): string => (name.endsWith('.wasm') ? name : workload(name));

/** Records a run; returns the path of its trace. */
export async function recordTrace({ name, arguments: args, every }: Workload): Promise<string> {
  const path = join(scratch(), 'trace');
  const words = ['trace', '--quiet', '-o', path, '--every', String(every), programOf(name), ...args];
  expect(await continuo(words)).toMatchObject({ exitCode: 0, stderr: '' });
  return path;
}

export { openTrace } from '../../src/simulate/trace-reader.ts';

/** What a real run counted. */
export interface RealCounts {
  readonly paging: PagingStats;
  readonly slots: SlotCounts;
  readonly checkpoints: readonly CheckpointStats[];
}

export async function realCounts(
  { name, arguments: args, every }: Workload,
  frameCount: number,
  replacement: ReplacementName,
): Promise<RealCounts> {
  const folder = scratch();
  const stats = join(folder, 'stats.json');
  const words = ['run', '--quiet', '--job', join(folder, 'job'), '--stats', stats, '--interval', 'none'];
  words.push('--every', String(every), '--memory', `${frameCount}p`, '--replacement', replacement);
  expect(await continuo([...words, programOf(name), ...args])).toMatchObject({ exitCode: 0 });
  return JSON.parse(readFileSync(stats, 'utf8')) as RealCounts;
}

/** The page counts of a checkpoint, which depend on nothing but the references. */
export function pageCounts(stats: CheckpointStats): object {
  const measured = ['pauseMs', 'commitMs', 'syncMs', 'bytesWritten'];
  return Object.fromEntries(Object.entries(stats).filter(([name]) => !measured.includes(name)));
}
