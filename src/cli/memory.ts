import { closeSync, openSync, writeFileSync } from 'node:fs';
import { sep } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { pathWithoutLinks } from '../device/file-device.ts';
import { ContinuoError, StorageError, UsageError } from '../error/errors.ts';
import type { CheckpointView } from '../inspect/checkpoint-view.ts';
import type { WantedRange } from '../inspect/memory-range.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { reportError } from './messages.ts';
import { addSecretOptions, readSecret, type SecretFlags } from './secret-file.ts';
import { StandardOutputWriter } from './terminal.ts';

interface MemoryFlags extends SecretFlags {
  readonly address?: number;
  readonly length?: number;
  readonly page?: number;
  readonly output?: string;
}

/** Bytes shown where no length is given. */
const LENGTH_BYTES = 256;

/** `continuo memory`: the program's memory at the newest checkpoint of a job, in hexadecimal or raw. Reads only. */
export function memoryCommand(settle: (exitCode: number) => void): Command {
  const command = new Command('memory')
    .description("show the bytes of the program's memory at the newest checkpoint of a job")
    .argument('<job>', 'the job directory')
    .option('--address <address>', 'first byte, decimal or 0x…', parseAddress)
    .option('--length <bytes>', `bytes to show, decimal or 0x…; default ${LENGTH_BYTES}, of a page all`, parseAddress)
    .option('--page <number>', 'a page of 4096 bytes by its number, instead of --address', parseAddress)
    .option('-o, --output <file>', 'writes the bytes themselves to a file; - for standard output');
  addSecretOptions(command);
  return command.action(async (job: string) => settle(await showMemory(job, command.opts<MemoryFlags>())));
}

function parseAddress(text: string): number {
  const value = /^(\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : NaN;
  if (value <= 2 ** 32) return value;
  throw new InvalidArgumentError('Write a whole number such as 4096 or 0x1000, 4294967296 at most.');
}

async function showMemory(job: string, flags: MemoryFlags): Promise<number> {
  try {
    const wanted = rangeOf(flags);
    const { output } = flags;
    if (output !== undefined && output !== '-') refuseInside(job, output);
    const [{ withCheckpoint, overtaken }, { refuseOutside, readRange }, { HexDump }] = await Promise.all([
      import('../inspect/open-view.ts'),
      import('../inspect/memory-range.ts'),
      import('../inspect/hex-dump.ts'),
    ]);
    const out = new StandardOutputWriter();
    const show = ({ pages }: CheckpointView): void => {
      const range = refuseOutside(pages, wanted);
      // What was begun from one checkpoint is not ended from another.
      if (!out.restart()) throw overtaken(job);
      if (output !== undefined) {
        if (output === '-') readRange(pages, range, (bytes) => out.write(bytes));
        else writeFile(output, (take) => readRange(pages, range, take));
        return;
      }
      const dump = new HexDump(range.address);
      readRange(pages, range, (bytes) => {
        for (const line of dump.lines(bytes)) out.write(`${line}\n`);
      });
      out.write(`${dump.end()}\n`);
    };
    withCheckpoint(job, show, readSecret(flags));
    out.end();
    return 0;
  } catch (error) {
    return reportError(error);
  }
}

function rangeOf({ address, length, page }: MemoryFlags): WantedRange {
  if ((address === undefined) === (page === undefined)) {
    throw new UsageError('bad-argument', 'name the bytes by --address and --length, or a page by --page');
  }
  if (address !== undefined) return { address, lengthBytes: length, usualBytes: LENGTH_BYTES };
  return { address: page! * PAGE_BYTES, lengthBytes: length, usualBytes: PAGE_BYTES };
}

/** @throws UsageError `bad-argument` for a file that would become one of the job's. */
function refuseInside(job: string, output: string): void {
  const path = pathWithoutLinks(output);
  if (!path.startsWith(pathWithoutLinks(job) + sep)) return;
  throw new UsageError('bad-argument', `${output} lies in the job directory; name a file elsewhere`, { path });
}

function writeFile(path: string, fill: (take: (bytes: Uint8Array) => void) => void): void {
  try {
    const descriptor = openSync(path, 'w');
    try {
      fill((bytes) => writeFileSync(descriptor, bytes));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof ContinuoError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new StorageError(`cannot write ${path}: ${reason}`, { path }, error);
  }
}
