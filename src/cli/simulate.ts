import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { kindOfPath } from '../device/file-device.ts';
import { StorageError, UsageError } from '../error/errors.ts';
import type { ComparedSimulation, ComparisonSettings } from '../simulate/comparison.ts';
import type { CostModel } from '../simulate/cost-model.ts';
import type { SimulatedPolicy } from '../simulate/simulation.ts';
import type { Sweep } from '../simulate/sweep.ts';
import { reportError } from './messages.ts';
import { parseMemory, parseMilliseconds } from './option-values.ts';

/** As the command line names them; a test holds this list against the simulator's. */
export const POLICY_NAMES: readonly SimulatedPolicy[] = [
  'none',
  'sequential',
  'incremental',
  'continuous',
  'virtual',
  'keykos',
];
/** The machine of the paper. */
const PAGE_WRITE_MS = 22.9;
const PAGE_READ_MS = 9;
const FAULT_MS = 1.65;

interface Flags {
  readonly memory: readonly number[];
  readonly replacement?: NonNullable<ComparisonSettings['replacement']>;
  readonly policy: readonly SimulatedPolicy[];
  readonly fork?: boolean;
  readonly saveZeros?: boolean;
  readonly sweep?: boolean;
  readonly baseTime?: number;
  readonly pageWrite: number;
  readonly pageRead: number;
  readonly copyFault: number;
  readonly protectionFault: number;
  readonly json?: string;
}

/** `continuo simulate`: replays a trace in other memories and under other policies. */
export function simulateCommand(settle: (exitCode: number) => void): Command {
  const cost = (flags: string, description: string, defaultMs: number): Option =>
    new Option(flags, description).argParser(parseMilliseconds).default(defaultMs, `${defaultMs}ms`);
  const command = new Command('simulate')
    .description('replay a trace in memories of other sizes and under other policies: page counts and times')
    .argument('<trace>', 'what "continuo trace" has recorded')
    .addOption(
      new Option('--memory <size>', "memory for the program's pages: 64MB, 3154p; repeatable")
        .argParser((text, before: readonly number[]) => [...before, parseMemory(text)])
        .default([], 'none'),
    )
    .addOption(
      new Option('--replacement <way>', 'how the pages that leave memory are chosen').choices([
        'lirs',
        'second-chance',
      ]),
    )
    .addOption(
      new Option('--policy <name>', `how checkpoints are taken: ${POLICY_NAMES.join(', ')}; repeatable`)
        .argParser(parsePolicy)
        .default([], 'all'),
    )
    .option('--fork', 'the policies that can, with a save beside the program as well')
    .option('--save-zeros', 'sequential and incremental write pages of zeros too')
    .option('--sweep', 'misses and flushes under LRU for all sizes of memory in one pass')
    .addOption(
      new Option(
        '--base-time <time>',
        'time of the program without checkpoints in the first memory: 1384s, 23:04',
      ).argParser(parseClock),
    )
    .addOption(cost('--page-write <time>', 'disk time of a page written', PAGE_WRITE_MS))
    .addOption(cost('--page-read <time>', 'disk time of a page read', PAGE_READ_MS))
    .addOption(cost('--copy-fault <time>', 'time of a page copied before it is saved', FAULT_MS))
    .addOption(cost('--protection-fault <time>', 'time of a first write to a protected page', FAULT_MS))
    .option('--json <file>', 'write all figures to a file, as JSON');
  return command.action(async (trace: string) => settle(await simulate(trace, command.opts<Flags>())));
}

function parsePolicy(text: string, before: readonly SimulatedPolicy[]): readonly SimulatedPolicy[] {
  const policy = POLICY_NAMES.find((name) => name === text);
  if (policy === undefined) throw new InvalidArgumentError(`The policies are ${POLICY_NAMES.join(', ')}.`);
  return before.includes(policy) ? before : [...before, policy];
}

/** Milliseconds of `23:04`, minutes and seconds, or of a duration with its unit. */
function parseClock(text: string): number {
  const [, minutes, seconds] = /^(\d+):([0-5]\d)$/.exec(text) ?? [];
  return minutes === undefined ? parseMilliseconds(text) : 60_000 * Number(minutes) + 1000 * Number(seconds);
}

async function simulate(path: string, flags: Flags): Promise<number> {
  try {
    checkFlags(path, flags);
    // No other command needs them, and loading them takes time.
    const { compare, sweepTrace } = await import('../simulate/comparison.ts');
    const { openTrace } = await import('../simulate/trace-reader.ts');
    process.stdout.on('error', () => {});
    const reader = openTrace(path);
    const { description } = reader;
    reader.close();
    const { memory, replacement, policy, fork, baseTime } = flags;
    const costs: CostModel = {
      pageWriteMs: flags.pageWrite,
      pageReadMs: flags.pageRead,
      copyFaultMs: flags.copyFault,
      protectionFaultMs: flags.protectionFault,
    };
    const simulations: ComparedSimulation[] = [];
    const policies = policy.length === 0 ? POLICY_NAMES : policy;
    const settings: ComparisonSettings = {
      frameCounts: memory,
      replacement,
      policies,
      fork: fork === true,
      savesZeros: flags.saveZeros === true,
      costs,
      baseMs: baseTime,
    };
    if (memory.length > 0) process.stdout.write(line(COLUMNS.map(({ title }) => title)));
    for (const simulation of compare(path, settings)) {
      simulations.push(simulation);
      process.stdout.write(line(COLUMNS.map(({ cell }) => cell(simulation))));
    }
    const curves = flags.sweep === true ? sweepTrace(path) : undefined;
    if (curves !== undefined) process.stdout.write(printSweep(curves));
    if (flags.json !== undefined) {
      writeJson(flags.json, {
        trace: path,
        description,
        costs,
        simulations,
        ...(curves && { sweep: plainSweep(curves) }),
      });
    }
    return 0;
  } catch (error) {
    return reportError(error);
  }
}

/** @throws UsageError `bad-argument`. */
function checkFlags(path: string, { memory, sweep, fork, baseTime, json }: Flags): void {
  if (kindOfPath(path) === 'absent') throw new UsageError('bad-argument', `there is no trace ${path}`, { path });
  if (kindOfPath(path) === 'directory')
    throw new UsageError('bad-argument', `${path} is a directory; name a trace`, { path });
  if (memory.length === 0 && sweep !== true) {
    throw new UsageError('bad-argument', 'say in how much memory: --memory, or --sweep for all sizes');
  }
  if (fork === true && memory.length > 0 && baseTime === undefined) {
    throw new UsageError(
      'bad-argument',
      'how many pages are written before they are saved depends on time: give --base-time with --fork',
    );
  }
  if (json !== undefined && kindOfPath(dirname(json)) !== 'directory') {
    throw new UsageError('bad-argument', `--json: there is no directory ${dirname(json)}`, { path: json });
  }
}

/** Columns of the table; counts of checkpoints are for one of them on average. */
const COLUMNS: readonly { readonly title: string; readonly cell: (simulation: ComparedSimulation) => string }[] = [
  { title: 'frames', cell: ({ frameCount }) => String(frameCount) },
  { title: 'policy', cell: ({ policy, fork }) => (fork ? `${policy}+fork` : policy) },
  { title: 'dirty', cell: ({ average }) => rounded(average.dirtyPages) },
  { title: 'written', cell: ({ average }) => rounded(average.pagesWritten) },
  { title: 'read', cell: ({ average }) => rounded(average.pagesRead) },
  { title: 'accesses', cell: ({ average }) => rounded(average.diskAccesses) },
  { title: 'copies', cell: ({ average }) => rounded(average.copies) },
  { title: 'protection', cell: ({ average }) => rounded(average.protectionFaults) },
  { title: 'hard', cell: ({ paging }) => String(paging.hardFaults) },
  { title: 'soft', cell: ({ paging }) => String(paging.softFaults) },
  { title: 'zero', cell: ({ paging }) => String(paging.zeroFaults) },
  { title: 'in', cell: ({ paging }) => String(paging.pageIns) },
  { title: 'out', cell: ({ paging }) => String(paging.pageOuts) },
  { title: 'elapsed', cell: ({ elapsedMs }) => clock(elapsedMs) },
  { title: 'overhead', cell: ({ overhead }) => `${(100 * overhead).toFixed(1)} %` },
];

function line(cells: readonly string[]): string {
  const [frames, policy, ...rest] = cells;
  return `${frames.padStart(8)} ${policy.padEnd(16)}${rest.map((cell) => cell.padStart(11)).join('')}\n`;
}

function rounded(count: number): string {
  return Number.isInteger(count) ? String(count) : count.toFixed(1);
}

/** Minutes and seconds, as the paper has them. */
function clock(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** So many rows of the curves are shown, in equal ratios of memory. */
const SHOWN_SIZES = 24;

function printSweep(curves: Sweep): string {
  const { references, firstReferences, checkpoints, pages } = curves;
  const sizes = new Set<number>();
  for (let i = 0; i < SHOWN_SIZES; i++)
    sizes.add(Math.round(16 * (Math.max(16, pages) / 16) ** (i / (SHOWN_SIZES - 1))));
  const rows = [...sizes].map((frames) => {
    const { misses, evictedDirty, evictedDirtyContinuous, flushed } = sweepAt(curves, frames);
    const average = flushed / Math.max(1, checkpoints);
    return [frames, misses, evictedDirty, evictedDirtyContinuous, average.toFixed(1)].map((cell) =>
      String(cell).padStart(13),
    );
  });
  const titles = ['frames', 'misses', 'dirty out', 'continuous', 'flushed'].map((title) => title.padStart(13));
  return (
    `${references} references of ${pages} pages under LRU, ${firstReferences} for the first time; ${checkpoints} checkpoints\n` +
    [titles, ...rows].map((row) => `${row.join('')}\n`).join('')
  );
}

function sweepAt(
  curves: Sweep,
  frames: number,
): Record<'misses' | 'evictedDirty' | 'evictedDirtyContinuous' | 'flushed', number> {
  const at = Math.min(frames, curves.pages);
  const { misses, evictedDirty, evictedDirtyContinuous, flushed } = curves;
  return {
    misses: misses[at],
    evictedDirty: evictedDirty[at],
    evictedDirtyContinuous: evictedDirtyContinuous[at],
    flushed: flushed[at],
  };
}

function plainSweep(curves: Sweep): object {
  return Object.fromEntries(
    Object.entries(curves).map(([name, value]) => [
      name,
      typeof value === 'number' ? value : Array.from(value as Float64Array),
    ]),
  );
}

function writeJson(path: string, value: object): void {
  try {
    writeFileSync(path, `${JSON.stringify(value, undefined, 1)}\n`);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StorageError(`cannot write the figures to ${path}: ${reason}`, { path }, error);
  }
}
