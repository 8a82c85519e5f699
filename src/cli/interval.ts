import { readFileSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { dalyInterval, DEFAULT_MTBF_MS, expectedOverhead, median, youngInterval } from '../checkpoint/interval.ts';
import { UsageError } from '../error/errors.ts';
import { reportError } from './messages.ts';
import { parseMilliseconds, parseNumber } from './option-values.ts';

interface Flags {
  readonly cost?: number;
  readonly pages?: number;
  readonly pageCost?: number;
  readonly stats?: string;
  readonly mtbf: number;
  readonly restart: number;
  readonly json?: boolean;
}

/** `continuo interval`: how long to wait between checkpoints. */
export function intervalCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('interval')
    .description('tell how long to wait between checkpoints, by what one costs and how often the machine fails')
    .addOption(
      new Option('--cost <time>', 'time that a checkpoint takes: 12 (milliseconds), 1.5s')
        .argParser(parseMilliseconds)
        .conflicts(['pages', 'stats']),
    )
    .addOption(
      new Option('--pages <count>', 'pages that a checkpoint writes')
        .argParser((text) => parseNumber(text, 1, Number.MAX_SAFE_INTEGER))
        .conflicts('stats'),
    )
    .addOption(new Option('--page-cost <time>', 'time that each takes').argParser(parseMilliseconds))
    .option('--stats <file>', 'the statistics of a run, whose checkpoints tell what one costs')
    .addOption(
      new Option('--mtbf <time>', 'mean time between failures of the machine: 12h, 30d')
        .argParser(parseMilliseconds)
        .default(DEFAULT_MTBF_MS, '1d'),
    )
    .addOption(new Option('--restart <time>', 'time that a restart takes').argParser(parseMilliseconds).default(0, '0'))
    .option('--json', 'as JSON');
  return command.action(() => settle(interval(command.opts<Flags>())));
}

function interval(flags: Flags): number {
  try {
    const { mtbf: mtbfMs, restart: restartMs } = flags;
    const costMs = costOf(flags);
    const youngMs = youngInterval(costMs, mtbfMs);
    const dalyMs = dalyInterval(costMs, mtbfMs);
    const overheadOf = (intervalMs: number): number => expectedOverhead(intervalMs, costMs, mtbfMs, restartMs);
    const [youngOverhead, dalyOverhead] = [overheadOf(youngMs), overheadOf(dalyMs)];
    const result = { costMs, mtbfMs, restartMs, youngMs, youngOverhead, dalyMs, dalyOverhead };
    process.stdout.write(flags.json ? `${JSON.stringify(result, undefined, 2)}\n` : printed(result));
    return 0;
  } catch (error) {
    return reportError(error);
  }
}

function costOf({ cost, pages, pageCost, stats }: Flags): number {
  if (cost !== undefined) return cost;
  if (stats !== undefined) return measuredCost(stats);
  if (pages !== undefined && pageCost !== undefined) return pages * pageCost;
  throw new UsageError('bad-argument', 'say what a checkpoint costs: --cost, --pages with --page-cost, or --stats');
}

/** The median pause of a run's checkpoints; those at its start and end are of another kind. */
function measuredCost(path: string): number {
  const pauses: number[] = [];
  try {
    const { checkpoints } = JSON.parse(readFileSync(path, 'utf8')) as { readonly checkpoints?: unknown };
    if (!Array.isArray(checkpoints)) throw new InvalidArgumentError('it has no checkpoints');
    for (const { trigger, pauseMs } of checkpoints as readonly { trigger: unknown; pauseMs: unknown }[]) {
      if (trigger !== 'start' && trigger !== 'end' && typeof pauseMs === 'number') pauses.push(pauseMs);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `--stats: ${path} cannot be read as the statistics of a run: ${reason}`;
    throw new UsageError('bad-argument', message, { path }, error);
  }
  if (pauses.length > 0) return median(pauses);
  throw new UsageError('bad-argument', `--stats: in ${path} there is no checkpoint between start and end`, { path });
}

function printed(
  result: Readonly<Record<'costMs' | 'mtbfMs' | 'youngMs' | 'dalyMs' | 'youngOverhead' | 'dalyOverhead', number>>,
): string {
  const { costMs, mtbfMs, youngMs, dalyMs, youngOverhead, dalyOverhead } = result;
  const percent = (part: number): string => `${(100 * part).toPrecision(3)} %`;
  return (
    `a checkpoint takes ${seconds(costMs)}, a failure comes each ${seconds(mtbfMs)}\n` +
    `Young  every ${seconds(youngMs)}, expected overhead ${percent(youngOverhead)}\n` +
    `Daly   every ${seconds(dalyMs)}, expected overhead ${percent(dalyOverhead)}\n`
  );
}

function seconds(ms: number): string {
  return ms < 1e6 ? `${Number((ms / 1000).toPrecision(4))} s` : `${Math.round(ms / 1000)} s`;
}
