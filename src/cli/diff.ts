import { Command } from 'commander';
import type { CheckpointDiff } from '../inspect/checkpoint-diff.ts';
import type { CheckpointView } from '../inspect/checkpoint-view.ts';
import { reportError } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { parseNumber } from './option-values.ts';

interface DiffFlags extends SecretFlags {
  readonly pages: number;
  readonly ranges: number;
  readonly json?: boolean;
}

const PAGES = 8;
const RANGES = 4;
/** As `diff` and `cmp` do. */
const DIFFERS_EXIT_CODE = 1;

/** `continuo diff`: what differs between two checkpoints. Reads only. */
export function diffCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('diff')
    .description('show what differs between the newest checkpoints of two jobs')
    .argument('<a>', 'a job directory')
    .argument('<b>', 'another one')
    .option('--pages <count>', 'pages whose bytes are shown', parseCount, PAGES)
    .option('--ranges <count>', 'ranges of bytes shown of each page', parseCount, RANGES)
    .option('--json', 'as JSON');
  addSecretOptions(command);
  return command.action(async (a: string, b: string) => settle(await diff(a, b, command.opts<DiffFlags>())));
}

function parseCount(text: string): number {
  return parseNumber(text, 0, 2 ** 32);
}

async function diff(a: string, b: string, flags: DiffFlags): Promise<number> {
  try {
    // No other command needs them, and loading them takes time.
    const [{ withCheckpoint }, { diffCheckpoints }, { printDiff }] = await Promise.all([
      import('../inspect/open-view.ts'),
      import('../inspect/checkpoint-diff.ts'),
      import('./diff-text.ts'),
    ]);
    const secret = readSecret(flags);
    const compare = (viewA: CheckpointView) => {
      const compareWith = (viewB: CheckpointView) => ({
        result: diffCheckpoints(viewA, viewB, flags),
        sides: [describe(viewA), describe(viewB)] as const,
      });
      return withCheckpoint(b, compareWith, secret);
    };
    const { result, sides } = withCheckpoint(a, compare, secret);
    process.stdout.on('error', () => {});
    process.stdout.write(flags.json ? printJson(result, sides) : printDiff(result, sides[0].text, sides[1].text));
    return result.equal ? 0 : DIFFERS_EXIT_CODE;
  } catch (error) {
    return reportError(error);
  }
}

interface Described {
  readonly origin: string;
  readonly generation: number;
  readonly time: string;
  readonly text: string;
}

function describe({ origin, identity, checkpoint }: CheckpointView): Described {
  const { generation, timeMs, trigger } = checkpoint;
  const time = new Date(timeMs).toISOString();
  return {
    origin,
    generation,
    time,
    text: `${origin}, checkpoint ${generation} (${trigger}) of ${time}, program ${identity.program}`,
  };
}

function printJson(result: CheckpointDiff, sides: readonly [Described, Described]): string {
  const [a, b] = sides.map(({ origin, generation, time }) => ({ origin, generation, time }));
  return `${JSON.stringify({ a, b, ...result }, undefined, 2)}\n`;
}
