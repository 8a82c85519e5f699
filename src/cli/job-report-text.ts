/** A job report as people read it: a label and its value a line, then the stack and the open files. */
import type { SlotCounts } from '../checkpoint/checkpoint.ts';
import type { JsonValue } from '../format/job-format.ts';
import type { PagingFigures } from '../machine/machine-state.ts';
import { byteText, countText } from './byte-text.ts';
import type { JobReport, ReportedCheckpoint, ReportedCheckpointFile, ReportedSize } from './job-report.ts';
import { memoryCounts, memoryMapLines } from './memory-map-text.ts';
import { frameLines, globalLines } from './value-lines.ts';

const LABEL_WIDTH = 13;
/** Globals and checkpoint files shown; `--json` has all. */
const LISTED_MAX = 24;

/** `columns`: the width of the terminal. */
export function printJobReport(report: JobReport, columns: number): string {
  const { job, program, programBytes, digest, checkpoint, slots } = report;
  const lines = [
    line('job', job),
    line('program', `${program} (${programBytes} bytes, SHA-256 ${digest.slice(0, 16)}…)`),
    line('arguments', report.arguments.slice(1).map(quoted).join(' ') || 'none'),
    line(
      'output',
      `${printStream(report.stdout)}, errors ${printStream(report.stderr)}, ${printValue(report.outputMode)}`,
    ),
    ...(report.canonicalNan ? [line('NaNs', 'canonical (--canonical-nan)')] : []),
    line('state', describeState(report)),
  ];
  if (report.rejectedCheckpoint !== undefined) lines.push(line('left aside', report.rejectedCheckpoint));
  lines.push(...(checkpoint === undefined ? [line('checkpoint', 'none yet')] : checkpointLines(checkpoint)));
  if (report.keep > 1) lines.push(...generationLines(report));
  lines.push(line('policy', report.policy));
  if (slots !== undefined) lines.push(slotLine(slots));
  if (report.checkpointFiles !== undefined) lines.push(...chainLines(report.checkpointFiles));
  lines.push(line('sizes', sizesText(report.files)));
  if (checkpoint !== undefined) lines.push(...contentLines(checkpoint, columns));
  return `${lines.join('\n')}\n`;
}

function generationLines({ keep, generations }: JobReport): string[] {
  const rows = generations.map(({ generation, time, trigger, dirtyPages, ownBytes, sharedBytes }) => {
    const sizes = `${byteText(ownBytes)} own, ${byteText(sharedBytes)} shared`;
    return `    ${generation}  ${time}, trigger ${trigger}, ${dirtyPages} dirty pages, ${sizes}`;
  });
  return [line('kept', `${generations.length} of ${keep} checkpoints; "continuo resume --at" goes back`), ...rows];
}

function slotLine({ total, working, shadow, map, delta, state, retained, reserved, free }: SlotCounts): string {
  return line(
    'slots',
    `${total} of 4096 bytes: ${working} working, ${shadow} shadow, ${map + delta} map, ${state} state, ` +
      `${retained} of kept checkpoints, ${reserved} reserved, ${free} free`,
  );
}

function line(label: string, value: string): string {
  return `${label.padEnd(LABEL_WIDTH)}${value}`;
}

function describeState({ owner, checkpoint }: JobReport): string {
  if (owner !== undefined) return `held by process ${owner.pid} on ${owner.host} since ${owner.since}`;
  if (checkpoint?.exitCode !== undefined) return `ended with exit code ${checkpoint.exitCode}`;
  return 'stopped; the same command, or "continuo resume", goes on with it';
}

function checkpointLines(checkpoint: ReportedCheckpoint): string[] {
  const { generation, time, trigger, pages, memoryBytes, dirtyPages, pagesWritten, stateBytes, guestMs } = checkpoint;
  const { paging } = checkpoint;
  return [
    line(
      'checkpoint',
      `${generation}, ${time}, trigger ${trigger}, ${dirtyPages} dirty pages, ${pagesWritten} written`,
    ),
    line('guest time', `${(guestMs / 1000).toFixed(3)} s`),
    line('memory', `${memoryBytes} bytes in ${pages} pages`),
    ...(paging === undefined ? [] : [line('paging', describePaging(paging))]),
    line('machine', `${stateBytes} bytes of machine state`),
  ];
}

function describePaging(paging: PagingFigures): string {
  const { frames, residentPages, residentDirtyPages, softFaults, hardFaults, zeroFaults } = paging;
  const { pageOuts, clusters, pageIns, pagesWrittenContinuous } = paging;
  return (
    `${frames} frames, ${residentPages} pages resident; faults ${softFaults} soft, ${hardFaults} hard, ` +
    `${zeroFaults} of zeros; ${pageOuts} pages out in ${clusters} clusters, ${pageIns} in; for this checkpoint ` +
    `${pagesWrittenContinuous} written while the program ran, ${residentDirtyPages} dirty ones left to the pause`
  );
}

function chainLines(files: readonly ReportedCheckpointFile[]): string[] {
  const lines = files.map(({ name, full, trigger, pages, zeroPages, bytes }) => {
    const what = full ? 'all pages' : 'what changed';
    return `    ${name}  ${what}, ${trigger}: ${countText(pages, 'page')}, ${zeroPages} of zeros, ${byteText(bytes)}`;
  });
  return [line('chain', countText(files.length, 'file')), ...listed(lines)];
}

function sizesText(files: readonly ReportedSize[]): string {
  const all = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const shown = files.filter(({ name }) => !name.startsWith('checkpoint-'));
  const chain = files.length - shown.length;
  const parts = shown.map(({ name, bytes }) => `${name} ${byteText(bytes)}`);
  if (chain > 0) parts.push(countText(chain, 'checkpoint file'));
  return `${byteText(all)}: ${parts.join(', ')}`;
}

/** What the program holds: memory, call stack, globals, tables, open files. */
function contentLines(checkpoint: ReportedCheckpoint, columns: number): string[] {
  const { memory, stack, globals, tables } = checkpoint;
  const lines = [line('pages', memoryCounts(memory)), ...memoryMapLines(memory, columns)];
  if (stack.length > 0)
    lines.push(line('stack', `${stack.length} functions, the innermost first`), ...frameLines(stack));
  if (globals.length > 0) lines.push(line('globals', String(globals.length)), ...listed(globalLines(globals)));
  if (tables.length > 0) {
    lines.push(line('tables', String(tables.length)));
    for (const { index, name, type, length, used } of tables) {
      const filled = used === undefined ? 'which the program cannot change' : `${used} of them not null`;
      lines.push(`    ${name === undefined ? `table ${index}` : `$${name}`}  ${length} × ${type}, ${filled}`);
    }
  }
  return [...lines, ...fileLines(checkpoint)];
}

function listed(lines: readonly string[]): readonly string[] {
  const hidden = lines.length - LISTED_MAX;
  return hidden <= 1 ? lines : [...lines.slice(0, LISTED_MAX), `    … ${hidden} more; --json has all …`];
}

function fileLines({ openFiles }: ReportedCheckpoint): string[] {
  if (openFiles.length === 0) return [];
  return [
    line('open files', String(openFiles.length)),
    ...openFiles.map(({ descriptor, path, offsetBytes }) => {
      return `    ${descriptor}  ${path}${offsetBytes === undefined ? '/' : ` at byte ${offsetBytes}`}`;
    }),
  ];
}

function printStream(stream: JsonValue): string {
  if (typeof stream !== 'object' || stream === null || Array.isArray(stream)) return 'unknown';
  const { kind, path } = stream as { readonly [name: string]: JsonValue };
  return printValue(path ?? kind);
}

function printValue(value: JsonValue): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** As a shell would take it, so that an argument with a space is seen to be one. */
function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}
