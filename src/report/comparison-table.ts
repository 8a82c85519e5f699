/** The columns of a comparison, shared by the page and the terminal. */
import type { ComparisonRun } from './comparison.ts';
import type { CellSummary } from './comparison-summary.ts';
import { bytesText, countText, durationText, overheadText } from './number-text.ts';

export interface ComparisonColumn {
  readonly group: 'time' | 'per checkpoint' | 'faults of the run';
  /** Two lines, so that columns stay narrow. */
  readonly head: readonly [string, string];
  readonly text: (cell: CellSummary) => string;
}

/** Where a policy has nothing to say. */
const NOTHING = '—';

/** A column of what only a run with checkpoints has. */
function ofCheckpoints(
  group: ComparisonColumn['group'],
  head: ComparisonColumn['head'],
  text: (value: number) => string,
  figure: (run: ComparisonRun) => number,
): ComparisonColumn {
  const hasAny = (cell: CellSummary): boolean => cell.of((run) => run.checkpointCount) > 0;
  return { group, head, text: (cell) => (hasAny(cell) ? text(cell.of(figure)) : NOTHING) };
}

/** A kind of fault that has a price: how many, and what one costs. */
function ofPricedFaults(
  head: ComparisonColumn['head'],
  count: (run: ComparisonRun) => number,
  costUs: (run: ComparisonRun) => number,
): ComparisonColumn {
  return {
    group: 'faults of the run',
    head,
    text: (cell) => {
      const faults = cell.of(count);
      return faults === 0 ? '0' : `${countText(faults)} × ${durationText(cell.of(costUs) / 1000)}`;
    },
  };
}

export const comparisonColumns: readonly ComparisonColumn[] = [
  { group: 'time', head: ['run', 'time'], text: (cell) => durationText(cell.of((run) => run.runMs)) },
  {
    group: 'time',
    head: ['against', 'none'],
    text: ({ policy, ratio }) => (policy === 'none' || ratio === undefined ? NOTHING : overheadText(ratio.median)),
  },
  {
    group: 'time',
    head: ['least to', 'most'],
    text: ({ policy, ratio }) =>
      policy === 'none' || ratio === undefined
        ? NOTHING
        : `${overheadText(ratio.least)} to ${overheadText(ratio.most)}`,
  },
  { group: 'time', head: ['check-', 'points'], text: (cell) => countText(cell.of((run) => run.checkpointCount)) },
  ofCheckpoints('time', ['', 'pause'], durationText, (run) => run.pauseMs),
  ofCheckpoints('time', ['longest', 'pause'], durationText, (run) => run.pauseMsMax),
  ofCheckpoints('time', ['durable', 'after'], durationText, (run) => run.commitMs),
  ofCheckpoints('per checkpoint', ['dirty', 'pages'], countText, (run) => run.dirtyPages),
  ofCheckpoints('per checkpoint', ['written', 'before'], countText, (run) => run.pagesWrittenBefore),
  ofCheckpoints('per checkpoint', ['pages', 'written'], countText, (run) => run.pagesWritten),
  ofCheckpoints('per checkpoint', ['pages', 'read'], countText, (run) => run.pagesRead),
  ofCheckpoints('per checkpoint', ['disk', 'accesses'], countText, (run) => run.diskAccesses),
  ofCheckpoints('per checkpoint', ['bytes', 'written'], bytesText, (run) => run.bytesWritten),
  { group: 'faults of the run', head: ['', 'soft'], text: (cell) => countText(cell.of((run) => run.faults.soft)) },
  { group: 'faults of the run', head: ['', 'hard'], text: (cell) => countText(cell.of((run) => run.faults.hard)) },
  ofPricedFaults(
    ['', 'protection'],
    (run) => run.faults.protection,
    (run) => run.protectionFaultUs,
  ),
  ofPricedFaults(
    ['', 'copy'],
    (run) => run.faults.copy,
    (run) => run.copyFaultUs,
  ),
];
