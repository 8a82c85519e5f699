/** One run of a comparison: a process of its own, as a user would start it, and what its statistics come to. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CheckpointStats } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { UsageError } from '../error/errors.ts';
import type { ComparisonRun } from '../report/comparison.ts';
import type { Tracker } from '../report/policy.ts';
import type { RunStats } from './stats-file.ts';

export interface ComparedCell {
  readonly policy: PolicyName;
  readonly fork: boolean;
  /** Null: all pages are resident. */
  readonly frames: number | null;
  /** Undefined: as the options that all runs have in common say. */
  readonly tracker?: Tracker;
}

/** What all runs of a comparison have in common. */
export interface ComparedProgram {
  readonly program: string;
  readonly arguments: readonly string[];
  /** Options of `run` that are the same for all: when checkpoints come, directories, environment, standard input. */
  readonly options: readonly string[];
  /** A directory for the job and the statistics. */
  readonly folder: string;
}

const COMMAND = fileURLToPath(new URL('./main.js', import.meta.url));
/** Triggers of the checkpoints that a comparison is about: not those of start and end. */
const COUNTED_TRIGGERS = ['request', 'safepoints', 'steps', 'program'];

/** @throws UsageError `bad-argument` when the program did not end well: what it takes longer or shorter to do is nothing then. */
export async function comparedRun(compared: ComparedProgram, cell: ComparedCell): Promise<ComparisonRun> {
  const stats = join(compared.folder, 'stats.json');
  const words = ['run', '--quiet', '--stats', stats, '--output', 'immediate', ...compared.options];
  if (cell.frames !== null) words.push('--memory', `${cell.frames}p`);
  if (cell.policy !== 'none') {
    words.push('--job', join(compared.folder, 'job'), '--fresh', '--policy', cell.policy);
    if (cell.fork) words.push('--fork');
    if (cell.tracker !== undefined) words.push('--tracker', cell.tracker);
  }
  words.push(compared.program, ...compared.arguments);
  const { exitCode, outputDigest, errors } = await output(words);
  if (exitCode !== 0) {
    const reason = errors.trim().split('\n').slice(-3).join('; ');
    throw new UsageError(
      'bad-argument',
      `${compared.program} ended with exit code ${exitCode} under the policy "${cell.policy}": ${reason || 'it said nothing'}; a comparison needs a run that ends well`,
      { exitCode: exitCode ?? -1, policy: cell.policy },
    );
  }
  return summaryOf(JSON.parse(readFileSync(stats, 'utf8')) as RunStats, outputDigest);
}

function output(words: readonly string[]): Promise<{ exitCode: number | null; outputDigest: string; errors: string }> {
  const child = spawn(process.execPath, [...process.execArgv, COMMAND, ...words], {
    stdio: ['inherit', 'pipe', 'pipe'],
  });
  const digest = createHash('sha256');
  let errors = '';
  child.stdout.on('data', (bytes: Buffer) => digest.update(bytes));
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-4096)));
  return new Promise((settle, fail) => {
    child.on('error', fail);
    child.on('close', (exitCode) => settle({ exitCode, outputDigest: digest.digest('hex').slice(0, 16), errors }));
  });
}

function summaryOf(stats: RunStats, outputDigest: string): ComparisonRun {
  const taken = stats.checkpoints.filter(({ trigger }) => COUNTED_TRIGGERS.includes(trigger));
  const mean = (of: (one: CheckpointStats) => number): number =>
    taken.reduce((sum, one) => sum + of(one), 0) / Math.max(1, taken.length);
  const pauses = taken.map(({ pauseMs }) => pauseMs);
  return {
    runMs: stats.runMs,
    guestMs: stats.guestMs,
    pages: stats.pages,
    outputDigest,
    checkpointCount: taken.length,
    dirtyPages: mean(({ dirtyPages }) => dirtyPages),
    diskAccesses: mean(({ pagesWritten, pagesRead }) => pagesWritten + pagesRead),
    pagesRead: mean(({ pagesRead }) => pagesRead),
    pagesWritten: mean(({ pagesWritten }) => pagesWritten),
    pagesWrittenBefore: mean(({ pagesWrittenContinuous }) => pagesWrittenContinuous),
    bytesWritten: mean(({ bytesWritten }) => bytesWritten),
    pauseMs: median(pauses),
    pauseMsMax: Math.max(0, ...pauses),
    commitMs: median(taken.map(({ commitMs }) => commitMs)),
    faults: {
      soft: stats.faults.soft,
      hard: stats.faults.hard,
      protection: stats.faults.protection,
      copy: stats.faults.copy,
    },
    protectionFaultUs: stats.faults.protectionUs,
    copyFaultUs: stats.faults.copyUs,
    pageIns: stats.pageIns,
    pageOuts: stats.pageOuts,
  };
}

function median(values: readonly number[]): number {
  if (values.length === 0) return 0;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
