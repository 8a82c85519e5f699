/**
 * The result of `continuo compare`: one program under several policies and memory sizes, each measured once a round.
 * `runs[k]` of every cell belongs to round k, so that ratios are taken between runs that lay side by side.
 */
import { CheckedValue } from './checked-value.ts';
import { type MachineDescription, readMachine } from './machine-description.ts';
import { cellLabel, POLICIES, type Policy, type Tracker, TRACKERS } from './policy.ts';

export interface Comparison {
  format: 'continuo-comparison';
  version: 1;
  createdMs: number;
  program: string;
  arguments: string[];
  machine: MachineDescription;
  trigger: { kind: 'interval'; ms: number } | { kind: 'steps' | 'safepoints'; every: number };
  rounds: number;
  cells: ComparisonCell[];
}

export interface ComparisonCell {
  policy: Policy;
  fork: boolean;
  /** Null: all pages resident. */
  frames: number | null;
  /** Where the cells differ in it: how the program's writes became known. */
  tracker?: Tracker;
  /** One a round, in the order of the rounds. */
  runs: ComparisonRun[];
}

/** Of one run. Pages and bytes are means over the checkpoints that the trigger took, start and end left out. */
export interface ComparisonRun {
  runMs: number;
  guestMs: number;
  pages: number;
  outputDigest: string;
  checkpointCount: number;
  dirtyPages: number;
  /** Pages written plus pages read at the checkpoint. */
  diskAccesses: number;
  pagesRead: number;
  pagesWritten: number;
  pagesWrittenBefore: number;
  bytesWritten: number;
  /** Median. */
  pauseMs: number;
  pauseMsMax: number;
  /** Median, until durable. */
  commitMs: number;
  /** Of the whole run. */
  faults: { soft: number; hard: number; protection: number; copy: number };
  /** Mean of one fault. */
  protectionFaultUs: number;
  copyFaultUs: number;
  /** Of the whole run. */
  pageIns: number;
  pageOuts: number;
}

/** Reads a result file; whatever is wrong in it is a `UsageError` that names the place. */
export function parseComparison(text: string, file: string): Comparison {
  const value = CheckedValue.parse(text, file);
  const format = value.field('format').oneOf(['continuo-comparison']);
  const version = value.field('version').oneOf([1]);
  const rounds = value.field('rounds').count(1);
  const cells = value.field('cells').list((cell) => readCell(cell, rounds), 1);
  refuseTwins(cells, value.field('cells'));
  return {
    format,
    version,
    createdMs: value.field('createdMs').amount(),
    program: value.field('program').text(),
    arguments: value.field('arguments').list((argument) => argument.text()),
    machine: readMachine(value.field('machine')),
    trigger: readTrigger(value.field('trigger')),
    rounds,
    cells,
  };
}

function readTrigger(value: CheckedValue): Comparison['trigger'] {
  const kind = value.field('kind').oneOf(['interval', 'steps', 'safepoints']);
  return kind === 'interval'
    ? { kind, ms: value.field('ms').amount() }
    : { kind, every: value.field('every').count(1) };
}

function readCell(value: CheckedValue, rounds: number): ComparisonCell {
  const policy = value.field('policy').oneOf(POLICIES);
  const fork = value.field('fork').flag();
  if (policy === 'none' && fork) value.field('fork').refuse('false where no checkpoint is taken');
  const runs = value.field('runs').list(readRun);
  if (runs.length !== rounds) value.field('runs').refuse(`a list of ${rounds}, a run for each round`);
  const tracker = value.field('tracker').isMissing ? undefined : value.field('tracker').oneOf(TRACKERS);
  const frames = value.field('frames').orNull((count) => count.count(1));
  return { policy, fork, frames, ...(tracker === undefined ? {} : { tracker }), runs };
}

function readRun(value: CheckedValue): ComparisonRun {
  const amount = (name: string): number => value.field(name).amount();
  const faults = value.field('faults');
  return {
    runMs: aboveZero(value.field('runMs')),
    guestMs: amount('guestMs'),
    pages: amount('pages'),
    outputDigest: value.field('outputDigest').text(),
    checkpointCount: value.field('checkpointCount').count(),
    dirtyPages: amount('dirtyPages'),
    diskAccesses: amount('diskAccesses'),
    pagesRead: amount('pagesRead'),
    pagesWritten: amount('pagesWritten'),
    pagesWrittenBefore: amount('pagesWrittenBefore'),
    bytesWritten: amount('bytesWritten'),
    pauseMs: amount('pauseMs'),
    pauseMsMax: amount('pauseMsMax'),
    commitMs: amount('commitMs'),
    faults: {
      soft: faults.field('soft').amount(),
      hard: faults.field('hard').amount(),
      protection: faults.field('protection').amount(),
      copy: faults.field('copy').amount(),
    },
    protectionFaultUs: amount('protectionFaultUs'),
    copyFaultUs: amount('copyFaultUs'),
    pageIns: amount('pageIns'),
    pageOuts: amount('pageOuts'),
  };
}

/** Run times are divided by. */
function aboveZero(value: CheckedValue): number {
  return value.amount() > 0 ? value.amount() : value.refuse('a time above 0');
}

/** Two cells of the same policy and memory would stand in each other's place. */
function refuseTwins(cells: readonly ComparisonCell[], value: CheckedValue): void {
  const seen = new Set<string>();
  for (const cell of cells) {
    const { frames } = cell;
    const name = `${cellLabel(cell)} with ${frames === null ? 'all pages resident' : `${frames} frames`}`;
    if (seen.has(name)) value.refuse(`without two cells of ${name}`);
    seen.add(name);
  }
}
