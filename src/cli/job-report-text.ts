/** A job report as people read it: a label and its value a line, then the stack and the open files. */
import type { SlotCounts } from '../checkpoint/checkpoint.ts';
import type { JsonValue } from '../format/job-format.ts';
import type { PagingFigures } from '../machine/machine-state.ts';
import type { JobReport, ReportedCheckpoint, ReportedFrame } from './job-report.ts';

const LABEL_WIDTH = 13;
/** Frames shown from either end of a deep stack. */
const STACK_END_COUNT = 10;

export function printJobReport(report: JobReport): string {
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
  lines.push(line('policy', report.policy));
  if (slots !== undefined) lines.push(slotLine(slots));
  if (checkpoint !== undefined) lines.push(...stackLines(checkpoint.stack), ...fileLines(checkpoint));
  return `${lines.join('\n')}\n`;
}

function slotLine({ total, working, shadow, map, delta, state, reserved, free }: SlotCounts): string {
  return line(
    'slots',
    `${total} of 4096 bytes: ${working} working, ${shadow} shadow, ${map + delta} map, ${state} state, ` +
      `${reserved} reserved, ${free} free`,
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
  const { generation, time, trigger, pages, memoryBytes, dirtyPages, pagesWritten, stateBytes, guestMs, globals } =
    checkpoint;
  const { paging } = checkpoint;
  return [
    line(
      'checkpoint',
      `${generation}, ${time}, trigger ${trigger}, ${dirtyPages} dirty pages, ${pagesWritten} written`,
    ),
    line('guest time', `${(guestMs / 1000).toFixed(3)} s`),
    line('memory', `${memoryBytes} bytes in ${pages} pages`),
    ...(paging === undefined ? [] : [line('paging', describePaging(paging))]),
    line('machine', `${stateBytes} bytes, ${globals} mutable globals`),
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

function stackLines(stack: readonly ReportedFrame[]): string[] {
  if (stack.length === 0) return [];
  const shown = stack.map(({ function: name, byteOffset }) => {
    return `    ${name}${byteOffset === 0 ? '' : ` at byte 0x${byteOffset.toString(16)}`}`;
  });
  const hidden = shown.length - 2 * STACK_END_COUNT;
  const lines =
    hidden <= 1
      ? shown
      : [...shown.slice(0, STACK_END_COUNT), `    … ${hidden} more …`, ...shown.slice(shown.length - STACK_END_COUNT)];
  return [line('stack', `${stack.length} functions, the innermost first`), ...lines];
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
