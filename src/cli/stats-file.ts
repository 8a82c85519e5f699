/** The file of `--stats`: what a run did and cost, as JSON. `docs/stats.md` says what each field means. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import type { CheckpointStats, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { StorageError } from '../error/errors.ts';
import type { RunFigures } from '../machine/machine.ts';
import type { TrackerChoice } from '../machine/tracking-choice.ts';

export interface RunStats {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly policy: PolicyName;
  readonly fork: boolean;
  readonly tracker: TrackerChoice['name'];
  readonly trackerReason: string;
  readonly end: 'exited' | 'stopped' | 'trapped' | 'failed';
  readonly exitCode: number;
  readonly runMs: number;
  readonly guestMs: number;
  readonly resumedFrom: number;
  readonly hops: number;
  readonly pages: number;
  readonly frames: number;
  readonly faults: {
    readonly soft: number;
    readonly hard: number;
    readonly protection: number;
    readonly copy: number;
    /** Mean microseconds. */
    readonly protectionUs: number;
    readonly copyUs: number;
  };
  readonly pageOuts: number;
  readonly pageIns: number;
  readonly paging?: NonNullable<RunFigures['paging']>;
  readonly slots?: SlotCounts;
  readonly checkpoints: readonly CheckpointStats[];
}

/** What the statistics of a run are made of. `exitCode` is that of the command. */
export interface RunRecord {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly end: RunStats['end'];
  readonly figures: RunFigures;
  /** Whether checkpoints were saved beside the program. */
  readonly fork: boolean;
  readonly exitCode: number;
  readonly checkpoints: readonly CheckpointStats[];
}

export function runStats(record: RunRecord): RunStats {
  const { program, arguments: args, end, figures, fork, exitCode, checkpoints } = record;
  const { runMs, guestMs, resumedFrom, hops, pages, paging, slots, copyFaults, copyMs, tracker } = figures;
  return {
    program,
    arguments: args,
    policy: figures.policy ?? 'none',
    fork,
    tracker: tracker?.name ?? 'none',
    trackerReason: tracker?.reason ?? 'the program did not run',
    end,
    exitCode,
    runMs,
    guestMs,
    resumedFrom,
    hops,
    pages,
    // Unless memory is paged, all pages are resident and the tracker marks them without a fault.
    frames: paging?.frames ?? pages,
    faults: {
      soft: paging?.softFaults ?? 0,
      hard: paging?.hardFaults ?? 0,
      protection: paging?.protectionFaults ?? 0,
      copy: copyFaults,
      protectionUs: paging?.protectionUs ?? 0,
      copyUs: copyFaults === 0 ? 0 : (1000 * copyMs) / copyFaults,
    },
    pageOuts: paging?.pageOuts ?? 0,
    pageIns: paging?.pageIns ?? 0,
    ...(paging === undefined ? {} : { paging }),
    ...(slots === undefined ? {} : { slots }),
    checkpoints,
  };
}

/** Puts the file in place in one step, so that whoever reads it never sees half of it. */
export function writeStatsFile(path: string, stats: RunStats): void {
  const unfinished = `${path}.${process.pid}.new`;
  try {
    writeFileSync(unfinished, `${JSON.stringify(stats, undefined, 2)}\n`);
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    const reason = error instanceof Error ? error.message : String(error);
    const message = `cannot write the statistics to ${path}: ${reason}; the run itself was not disturbed by it`;
    throw new StorageError(message, { path }, error);
  }
}
