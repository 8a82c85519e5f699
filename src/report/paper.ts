/** The result of `npm run paper`: the measurements behind Figures 5, 6 and 7 and Table I of Hsu & Chang 1997, made again. */
import { CheckedValue } from './checked-value.ts';
import { type MachineDescription, readMachine } from './machine-description.ts';
import { type PaperTrackers, readTrackers } from './paper-trackers.ts';

/** Disk accesses at one checkpoint, in pages, under the two policies. */
export interface PaperCheckpoint {
  index: number;
  dirtyPages: number;
  incremental: number;
  continuous: number;
}

/** Means per checkpoint of one run. */
export interface PaperSize {
  size: number;
  pages: number;
  dirtyPages: number;
  incremental: number;
  continuous: number;
}

export interface PaperCell {
  policy: string;
  fork: boolean;
  /** Each beside the run without checkpoints of the same round. */
  runs: { ms: number; noneMs: number }[];
  /** Elapsed time by the simulator, with the costs that the paper names. */
  predictedSeconds?: number;
}

export interface PaperResults {
  format: 'continuo-paper';
  version: 1;
  createdMs: number;
  machine: MachineDescription;
  frames: number;
  figure5: { program: 'apsp'; size: number; pages: number; checkpoints: PaperCheckpoint[] };
  figure6: { program: 'matmul'; size: number; pages: number; checkpoints: PaperCheckpoint[] };
  figure7: { sizes: PaperSize[] };
  table1: { sizes: { size: number; cells: PaperCell[] }[] };
  /** Missing in results of earlier versions. */
  trackers?: PaperTrackers;
}

/** Reads a result file; whatever is wrong in it is a `UsageError` that names the place. */
export function parsePaperResults(text: string, file: string): PaperResults {
  const value = CheckedValue.parse(text, file);
  const trackers = value.field('trackers');
  const run = (name: string) => {
    const field = value.field(name);
    return {
      size: field.field('size').count(1),
      pages: field.field('pages').count(1),
      checkpoints: field.field('checkpoints').list(readCheckpoint, 1),
    };
  };
  return {
    format: value.field('format').oneOf(['continuo-paper']),
    version: value.field('version').oneOf([1]),
    createdMs: value.field('createdMs').amount(),
    machine: readMachine(value.field('machine')),
    frames: value.field('frames').count(1),
    figure5: { program: value.field('figure5').field('program').oneOf(['apsp']), ...run('figure5') },
    figure6: { program: value.field('figure6').field('program').oneOf(['matmul']), ...run('figure6') },
    figure7: { sizes: value.field('figure7').field('sizes').list(readSize, 1) },
    table1: {
      sizes: value
        .field('table1')
        .field('sizes')
        .list((size) => ({ size: size.field('size').count(1), cells: size.field('cells').list(readCell) }), 1),
    },
    ...(trackers.isMissing ? {} : { trackers: readTrackers(trackers) }),
  };
}

function readCheckpoint(value: CheckedValue): PaperCheckpoint {
  return {
    index: value.field('index').count(),
    dirtyPages: value.field('dirtyPages').amount(),
    incremental: value.field('incremental').amount(),
    continuous: value.field('continuous').amount(),
  };
}

function readSize(value: CheckedValue): PaperSize {
  return {
    size: value.field('size').count(1),
    pages: value.field('pages').count(1),
    dirtyPages: value.field('dirtyPages').amount(),
    incremental: value.field('incremental').amount(),
    continuous: value.field('continuous').amount(),
  };
}

function readCell(value: CheckedValue): PaperCell {
  const predicted = value.field('predictedSeconds');
  return {
    policy: value.field('policy').text(),
    fork: value.field('fork').flag(),
    runs: value.field('runs').list((run) => {
      const noneMs = run.field('noneMs');
      if (noneMs.amount() === 0) noneMs.refuse('a time above 0, since others are divided by it');
      return { ms: run.field('ms').amount(), noneMs: noneMs.amount() };
    }),
    ...(predicted.isMissing ? {} : { predictedSeconds: predicted.amount() }),
  };
}
