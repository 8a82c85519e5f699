import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { POLICY_NAMES, type PolicyName } from '../checkpoint/checkpoint-store.ts';
import { kindOfPath } from '../device/file-device.ts';
import { StorageError, UsageError } from '../error/errors.ts';
import type { Comparison } from '../report/comparison.ts';
import { isToldFirstWrites } from '../machine/tracking-choice.ts';
import { type Tracker, TRACKERS } from '../report/policy.ts';
import { type ComparedCell, type ComparedProgram, comparedRun } from './compared-run.ts';
import { reportError, say } from './messages.ts';
import { type Every, parseEvery, parseInterval, parseMemory, parseNumber } from './option-values.ts';
import { readProgramFile } from './program-file.ts';
import { RunProgress } from './run-progress.ts';

interface Flags {
  readonly policy: readonly PolicyName[];
  readonly fork?: boolean;
  readonly memory: readonly (number | null)[];
  readonly interval: number;
  readonly every?: Every;
  readonly rounds: number;
  readonly dir: readonly string[];
  readonly env: readonly string[];
  readonly stdin?: string;
  readonly tracker: readonly Tracker[];
  readonly json?: string;
  readonly html?: string;
}

const repeated = (text: string, before: readonly string[]): readonly string[] => [...before, text];

/** `continuo compare`: one program under several policies and in several sizes of memory, measured side by side. */
export function compareCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('compare')
    .description('run a program under each policy, interleaved and repeated, and compare what checkpoints cost')
    .argument('<program>', 'a WASI preview 1 command in WebAssembly binary format')
    .argument('[arguments...]', 'everything after the program belongs to it')
    .passThroughOptions()
    .addOption(
      new Option('--policy <name>', 'a policy to run it under, besides none; repeatable')
        .argParser(parsePolicy)
        .default([], 'all of them'),
    )
    .option('--no-fork', 'leave out the runs in which checkpoints are saved beside the program')
    .addOption(
      new Option('--memory <size>', "memory for the program's pages: 64MB, 3154p, or all; repeatable")
        .argParser((text, before: readonly (number | null)[]) => [...before, text === 'all' ? null : parseMemory(text)])
        .default([], 'all'),
    )
    .addOption(
      new Option('--interval <duration>', 'time between checkpoints: 500ms, 1s, 5m')
        .argParser(parseInterval)
        .default(1000, '1s'),
    )
    .addOption(
      new Option(
        '--every <count>',
        'instead of a time: a checkpoint after every so many safepoints, or steps that the program reports: 40steps',
      ).argParser(parseEvery),
    )
    .addOption(
      new Option('--rounds <count>', 'how often each is run')
        .argParser((text) => parseNumber(text, 1, 1000))
        .default(3),
    )
    .addOption(new Option('--dir <host[::guest]>', 'as of run; repeatable').argParser(repeated).default([], 'none'))
    .addOption(new Option('--env <name[=value]>', 'as of run; repeatable').argParser(repeated).default([], 'none'))
    .option('--stdin <file>', 'as of run')
    .addOption(
      new Option(
        '--tracker <way>',
        'software, kernel or mprotect, as of run; repeatable: each policy under each of them that it can have',
      )
        .argParser(parseTracker)
        .default([], 'auto'),
    )
    .option('--json <file>', 'write the result to a file, as JSON')
    .option('--html <file>', 'write the result as a page with plots, which needs nothing else to be looked at');
  return command.action(async (program: string, args: string[]) => {
    settle(await compare(program, args, command.opts<Flags>()));
  });
}

function parsePolicy(text: string, before: readonly PolicyName[]): readonly PolicyName[] {
  const policy = POLICY_NAMES.find((name) => name === text);
  if (policy === undefined) throw new InvalidArgumentError(`Write one of ${POLICY_NAMES.join(', ')}.`);
  return [...before, policy];
}

function parseTracker(text: string, before: readonly Tracker[]): readonly Tracker[] {
  if (text === 'auto') return before;
  const tracker = TRACKERS.find((name) => name === text);
  if (tracker === undefined) throw new InvalidArgumentError(`Write one of auto, ${TRACKERS.join(', ')}.`);
  return before.includes(tracker) ? before : [...before, tracker];
}

async function compare(path: string, args: readonly string[], flags: Flags): Promise<number> {
  try {
    readProgramFile(path);
    for (const file of [flags.json, flags.html]) if (file !== undefined) checkPlace(file);
    const comparison = await measure(path, args, flags);
    // What draws takes time to load, and the measuring must not wait for it.
    const { comparisonText } = await import('../report/comparison-text.ts');
    process.stdout.write(comparisonText(comparison));
    if (flags.json !== undefined) write(flags.json, `${JSON.stringify(comparison, undefined, 2)}\n`);
    if (flags.html !== undefined) {
      const { renderComparisonPage } = await import('../report/comparison-page.ts');
      write(flags.html, await renderComparisonPage(comparison));
    }
    return 0;
  } catch (error) {
    return reportError(error, path);
  }
}

async function measure(path: string, args: readonly string[], flags: Flags): Promise<Comparison> {
  const cells = cellsOf(flags).map((cell) => ({ ...cell, runs: [] as Comparison['cells'][number]['runs'] }));
  refuseNothingToCompare(cells, flags);
  const folder = mkdtempSync(join(tmpdir(), 'continuo-compare-'));
  const program: ComparedProgram = { program: path, arguments: args, options: runOptions(flags), folder };
  const progress = new RunProgress(true);
  let done = 0;
  try {
    for (let round = 0; round < flags.rounds; round++) {
      // Each round begins with another cell, so that a machine that grows warm or busy favours none of them.
      for (let k = 0; k < cells.length; k++) {
        progress.show(done++, cells.length * flags.rounds);
        const cell = cells[(round + k) % cells.length];
        cell.runs.push(await comparedRun(program, cell));
      }
    }
  } finally {
    progress.close();
    rmSync(folder, { recursive: true, force: true });
  }
  const digests = new Set(cells.flatMap(({ runs }) => runs.map(({ outputDigest }) => outputDigest)));
  if (digests.size > 1) say('the program did not print the same in all runs: its runs may not be comparable');
  return {
    format: 'continuo-comparison',
    version: 1,
    createdMs: Date.now(),
    program: path,
    arguments: [...args],
    machine: machineDescription(),
    trigger: flags.every === undefined ? { kind: 'interval', ms: flags.interval } : triggerOf(flags.every),
    rounds: flags.rounds,
    cells,
  };
}

/** The machine that everything is measured on. */
function machineDescription(): Comparison['machine'] {
  const [first] = cpus();
  return {
    cpu: first?.model.trim() || process.arch,
    cpus: availableParallelism(),
    platform: `${process.platform} ${process.arch}`,
    node: process.version,
    memoryBytes: totalmem(),
  };
}

/** Those without checkpoints are what the others are held against: under the only tracker there is, or as it comes. */
function cellsOf(flags: Flags): ComparedCell[] {
  const { policy, fork, memory, tracker } = flags;
  const policies = POLICY_NAMES.filter((name) => name !== 'none' && (policy.length === 0 || policy.includes(name)));
  const sizes = [...new Set(memory.length === 0 ? [null] : memory)];
  const isCommon = tracker.length === 0 || commonTracker(flags) !== undefined;
  const trackers = isCommon ? [{}] : tracker.map((name) => ({ tracker: name }));
  const saving = (frames: number | null, forks: boolean): ComparedCell[] =>
    policies.flatMap((name) => trackers.map((by) => ({ policy: name, fork: forks, frames, ...by }))).filter(isPossible);
  return sizes.flatMap((frames) => [
    { policy: 'none', fork: false, frames },
    ...saving(frames, false),
    ...(fork === false ? [] : saving(frames, true)),
  ]);
}

/** The tracker of all runs, those without checkpoints included, where it is one that all can have. */
function commonTracker({ tracker }: Flags): Tracker | undefined {
  return tracker.length === 1 && tracker[0] !== 'mprotect' ? tracker[0] : undefined;
}

/** Not every run can have each tracker: where it cannot, the policy is compared under the others. */
function isPossible({ policy, fork, frames, tracker }: ComparedCell): boolean {
  return tracker !== 'mprotect' || (frames === null && isToldFirstWrites(policy, fork));
}

function refuseNothingToCompare(cells: readonly ComparedCell[], { tracker }: Flags): void {
  if (cells.some(({ policy }) => policy !== 'none')) return;
  throw new UsageError(
    'bad-argument',
    'nothing is left to compare: --tracker mprotect is for --policy incremental and for saves beside the program, with all pages in memory',
    { tracker: tracker.join() },
  );
}

function runOptions(flags: Flags): string[] {
  const { interval, every, dir, env, stdin } = flags;
  const tracker = commonTracker(flags);
  const trigger =
    every === undefined
      ? ['--interval', `${interval}ms`]
      : ['--interval', 'none', '--every', `${every.count}${every.unit === 'steps' ? 'steps' : ''}`];
  return [
    ...trigger,
    ...dir.flatMap((value) => ['--dir', value]),
    ...env.flatMap((value) => ['--env', value]),
    ...(stdin === undefined ? [] : ['--stdin', stdin]),
    ...(tracker === undefined ? [] : ['--tracker', tracker]),
  ];
}

function triggerOf({ unit, count }: Every): Comparison['trigger'] {
  return { kind: unit, every: count };
}

function checkPlace(file: string): void {
  if (kindOfPath(dirname(file)) === 'directory' && kindOfPath(file) !== 'directory') return;
  throw new UsageError('bad-argument', `${file} cannot be written: name a file in a directory that is there`, {
    path: file,
  });
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StorageError(`cannot write ${file}: ${reason}`, { path: file }, error);
  }
}
