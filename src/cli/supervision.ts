/** What `run` and `resume` share: options of a run, and seeing a machine through from its start to an exit code. */
import { type Command, Option } from 'commander';
import type { CheckpointStats } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { ContinuoError, GuestTrapError } from '../error/errors.ts';
import { KEEP_MAX } from '../format/paging-format.ts';
import type { Machine, MachineEnd, ResumeOptions, RunFigures } from '../machine/machine.ts';
import { exitCodeOfError, say } from './messages.ts';
import { type Every, parseEvery, parseInterval, parseMemory, parseMilliseconds, parseNumber } from './option-values.ts';
import { RunProgress } from './run-progress.ts';
import { SIGNAL_EXIT_CODES, SignalWatch } from './signals.ts';
import { type RunRecord, runStats, writeStatsFile } from './stats-file.ts';

/** Options of every command that runs a program. */
export interface RunFlags {
  readonly interval: number | 'auto';
  readonly mtbf?: number;
  readonly every?: Every;
  /** Frames. */
  readonly memory?: number;
  readonly replacement?: NonNullable<ResumeOptions['replacement']>;
  readonly pageByPage?: boolean;
  readonly policy?: PolicyName;
  readonly fork?: boolean;
  readonly keep?: number;
  readonly onStorageError?: NonNullable<ResumeOptions['onStorageError']>;
  readonly tracker?: NonNullable<ResumeOptions['tracker']>;
  readonly stats?: string;
  readonly checkpointExitCode: number;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
}

/** HTCondor's code for a job that made a checkpoint and wants to be run again. */
const CHECKPOINT_EXIT_CODE = 85;
/** The program ended well, and its job could not keep that (EX_TEMPFAIL of sysexits.h). */
const UNKEPT_EXIT_CODE = 75;

export function addRunOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--interval <duration>',
        'time between checkpoints: 500ms, 1s, 5m; none for no timer; auto for what costs least',
      )
        .argParser(parseInterval)
        .default(1000, '1s'),
    )
    .addOption(
      new Option('--mtbf <time>', 'mean time between failures, for --interval auto: 12h, 30d').argParser(
        parseMilliseconds,
      ),
    )
    .addOption(
      new Option(
        '--every <count>',
        'a checkpoint after every so many safepoints (loop heads and calls), or steps that the program reports: 40steps',
      ).argParser(parseEvery),
    )
    .addOption(
      new Option(
        '--memory <size>',
        "memory for the program's pages; others live in the paging file: 64MB, 3154p",
      ).argParser(parseMemory),
    )
    .addOption(
      new Option('--replacement <way>', 'how the pages that leave memory are chosen').choices([
        'lirs',
        'second-chance',
      ]),
    )
    .option('--page-by-page', 'check each use of a page by itself, so that page counts are those of --tracker kernel')
    .addOption(
      new Option(
        '--policy <name>',
        'how pages are saved: into the paging file, written pages or all pages into a file, or only at start and end',
      ).choices(['continuous', 'incremental', 'sequential', 'none']),
    )
    .option('--fork', 'let the program run on while a checkpoint is saved')
    .addOption(
      new Option('--keep <count>', 'checkpoints to keep, to go back to: the newest and those before it').argParser(
        (text) => parseNumber(text, 1, KEEP_MAX),
      ),
    )
    .addOption(
      new Option(
        '--on-storage-error <way>',
        'when storage of the job fails: stop with its error, or go on without checkpoints',
      ).choices(['stop', 'continue']),
    )
    .addOption(
      new Option(
        '--tracker <way>',
        "how the program's use of memory becomes known: by its code, by the kernel, by a handler of signals, or as works best here",
      ).choices(['auto', 'software', 'kernel', 'mprotect']),
    )
    .option('--stats <file>', 'write what the run did and cost to a file, as JSON')
    .addOption(
      new Option('--checkpoint-exit-code <code>', 'exit code after a checkpoint for SIGTERM or SIGINT')
        .argParser((text) => parseNumber(text, 0, 255))
        .default(CHECKPOINT_EXIT_CODE),
    )
    .addOption(new Option('--verbose', 'tell about each checkpoint').conflicts('quiet'))
    .option('--quiet', 'tell about errors only');
}

/** The options of a run that `Machine.start` and `Machine.resume` share. */
export function resumeOptionsOf(flags: RunFlags): ResumeOptions {
  const { every, memory, replacement, pageByPage, policy, fork, keep, onStorageError, tracker, mtbf } = flags;
  return {
    // `SignalWatch` does; Windows has no such signal.
    ...(process.platform === 'win32' ? {} : { checkpointSignal: 'SIGUSR1' as const }),
    ...(mtbf === undefined ? {} : { mtbfMs: mtbf }),
    ...(every?.unit === 'safepoints' ? { everySafepoints: every.count } : {}),
    ...(every?.unit === 'steps' ? { everySteps: every.count } : {}),
    ...(memory === undefined ? {} : { frameCount: memory }),
    ...(replacement === undefined ? {} : { replacement }),
    ...(pageByPage === undefined ? {} : { pageByPage }),
    ...(policy === undefined ? {} : { policy }),
    ...(fork === undefined ? {} : { fork }),
    ...(keep === undefined ? {} : { keep }),
    ...(onStorageError === undefined ? {} : { onStorageError }),
    ...(tracker === undefined ? {} : { tracker }),
  };
}

/** One run as the command line describes it. */
export interface SupervisedRun {
  readonly flags: RunFlags;
  /** The job directory as it was typed; undefined when nothing is kept. */
  readonly job: string | undefined;
  /** The program and its arguments, for the statistics. */
  readonly describe: () => Promise<Pick<RunRecord, 'program' | 'arguments'>>;
}

/** Waits for the end of a machine, tells about what happens on the way, and returns the exit code of the command. */
export async function supervise(machine: Machine, run: SupervisedRun): Promise<number> {
  const { flags, job } = run;
  const signals = new SignalWatch(machine);
  const checkpoints: CheckpointStats[] = [];
  let figuresOfFailure: RunFigures | undefined;
  let ran = false;
  machine.on('running', ({ resumedFrom, tracker }) => {
    ran = true;
    if (resumedFrom > 0 && !flags.quiet) say(`${job} goes on from checkpoint ${resumedFrom}`);
    const isRefused = flags.tracker === 'kernel' && tracker.name === 'software';
    if (flags.verbose || (isRefused && !flags.quiet)) say(`tracker ${tracker.name}: ${tracker.reason}`);
    if (!flags.verbose) return;
    if (flags.memory !== undefined) say(`memory for ${flags.memory} pages; others live in the paging file`);
    if (job === undefined) say('no job directory was named (--job): no checkpoints are kept');
  });
  machine.on('notice', (text) => {
    if (!flags.quiet) say(text);
  });
  machine.on('checkpoint', (stats) => {
    if (flags.stats !== undefined) checkpoints.push(stats);
    if (flags.verbose) say(describeCheckpoint(stats));
  });
  const progress = new RunProgress(flags.quiet !== true);
  machine.on('progress', ({ done, total }) => progress.show(done, total));
  machine.on('failed', (figures) => (figuresOfFailure = figures));
  const writeStats = async (end: RunRecord['end'], figures: RunFigures, exitCode: number): Promise<void> => {
    if (flags.stats === undefined) return;
    writeStatsFile(
      flags.stats,
      runStats({ ...(await run.describe()), end, figures, fork: flags.fork ?? false, exitCode, checkpoints }),
    );
  };
  let end: MachineEnd;
  try {
    end = await machine.ended;
    progress.close();
  } catch (error) {
    progress.close();
    const trapped = error instanceof GuestTrapError;
    // A run that was refused did nothing that could be told.
    if (figuresOfFailure !== undefined && (ran || trapped)) {
      try {
        await writeStats(trapped ? 'trapped' : 'failed', figuresOfFailure, exitCodeOfError(error));
      } catch (failure) {
        // How the program ended is what must reach the caller.
        if (!(failure instanceof ContinuoError)) throw failure;
        say(failure.message);
      }
    }
    throw error;
  }
  const exitCode = exitCodeOf(end, run, signals);
  if (!flags.quiet) announceEnd(end, job);
  await writeStats(end.kind, end, exitCode);
  return exitCode;
}

function exitCodeOf(end: MachineEnd, { flags, job }: SupervisedRun, signals: SignalWatch): number {
  if (end.kind === 'exited') return end.checkpointsGivenUp && end.exitCode === 0 ? UNKEPT_EXIT_CODE : end.exitCode;
  if (job !== undefined) return flags.checkpointExitCode;
  return SIGNAL_EXIT_CODES[signals.stoppedBy ?? 'SIGTERM'];
}

function announceEnd(end: MachineEnd, job: string | undefined): void {
  if (end.kind === 'exited') {
    if (end.checkpointsGivenUp) {
      say(
        `the program ended with exit code ${end.exitCode}, and ${job} could not keep that: run again, it goes on from its last checkpoint`,
      );
    } else if (end.earlier) {
      say(`${job} had ended before, with exit code ${end.exitCode}; "continuo run --fresh" starts it anew`);
    }
  } else if (job !== undefined) {
    say(`stopped at checkpoint ${end.generation}; the same command, or "continuo resume ${job}", goes on from there`);
  }
}

function describeCheckpoint(stats: CheckpointStats): string {
  const { generation, trigger, dirtyPages, pagesWritten, pagesWrittenContinuous, bytesWritten, pauseMs } = stats;
  const before = pagesWrittenContinuous === 0 ? '' : `${pagesWrittenContinuous} before, `;
  return (
    `checkpoint ${generation} (${trigger}): ${dirtyPages} dirty pages, ${before}${pagesWritten} written, ` +
    `${bytesWritten} bytes, pause ${pauseMs.toFixed(2)} ms`
  );
}
