/** What differs between two checkpoints, as people read it. */
import type { CheckpointDiff, DifferingFrame, DifferingPage, Pair } from '../inspect/checkpoint-diff.ts';
import type { ReportedFile } from '../inspect/open-files.ts';
import type { NamedValue, TypedValue } from '../inspect/program-values.ts';
import { hexText } from '../inspect/value-text.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { byteText, countText } from './byte-text.ts';
import { nameOf, placeText, valueText } from './value-lines.ts';

/** Lines shown of each kind of difference; `--json` has all. */
const SHOWN_MAX = 24;
const LACKS = 'none';

/** `a` and `b`: what the two sides are, in a few words. */
export function printDiff(diff: CheckpointDiff, a: string, b: string): string {
  const lines = [`A  ${a}`, `B  ${b}`];
  if (diff.equal) return `${[...lines, 'They hold the same.'].join('\n')}\n`;
  for (const { part, ...pair } of diff.identity) lines.push(`${part}: ${both(pair, (text) => text)}`);
  const { pageCounts, differingPages } = diff;
  if (pageCounts.a !== pageCounts.b) {
    const [x, y] = [pageCounts.a, pageCounts.b].map((pages) => `${byteText(pages * PAGE_BYTES)}`);
    lines.push(`memory: ${x} → ${y}`);
  }
  lines.push(...section('pages', differingPages, pageLines(diff.pages, differingPages)));
  lines.push(...section('globals', diff.globals.length, diff.globals.map(globalLine)));
  lines.push(...section('frames', diff.frames.length, diff.frames.flatMap(linesOfFrame)));
  const entries = diff.tables.map(({ table, entry, ...pair }) => `    table ${table}, entry ${entry}: ${both(pair)}`);
  lines.push(...section('table entries', entries.length, entries));
  lines.push(...section('open files', diff.openFiles.length, diff.openFiles.map(fileLine)));
  return `${lines.join('\n')}\n`;
}

function section(what: string, count: number, lines: readonly string[]): string[] {
  if (count === 0) return [];
  const hidden = lines.length - SHOWN_MAX;
  const shown =
    hidden <= 1 || what === 'pages' ? lines : [...lines.slice(0, SHOWN_MAX), `    … ${hidden} more lines …`];
  return [
    `${count} ${count === 1 ? what.replace(/ies$/, 'y').replace(/s$/, '') : what} differ${count === 1 ? 's' : ''}`,
    ...shown,
  ];
}

function pageLines(pages: readonly DifferingPage[], count: number): string[] {
  const lines = pages.flatMap(({ page, address, differingBytes, rangeCount, ranges }) => {
    const head = `    page ${page} at ${hexText(address, 8)}: ${countText(differingBytes, 'byte')} in ${countText(rangeCount, 'range')}`;
    const shown = ranges.flatMap((range) => {
      const more = range.lengthBytes * 2 > range.a.length ? ` … of ${range.lengthBytes}` : '';
      return [
        `        ${hexText(range.address, 8)}  A ${spaced(range.a)}${more}`,
        `                    B ${spaced(range.b)}${more}`,
      ];
    });
    const hidden = rangeCount - ranges.length;
    return [head, ...shown, ...(hidden === 0 ? [] : [`        … ${countText(hidden, 'more range')} …`])];
  });
  const hidden = count - pages.length;
  return hidden === 0 ? lines : [...lines, `    … ${countText(hidden, 'more page')}; --pages shows more …`];
}

function spaced(hex: string): string {
  return hex.replace(/..(?=.)/g, '$& ');
}

function globalLine({ a, b }: CheckpointDiff['globals'][number]): string {
  return `    ${nameOf((a ?? b)!, 'global')}  ${both({ a, b }, valueText)}`;
}

function linesOfFrame({ depth, a, b, samePlace, values }: DifferingFrame): string[] {
  if (!samePlace) return [`    ${depth}  ${both({ a, b }, placeText)}`];
  return [
    `    ${depth}  ${placeText(a!)}`,
    ...values.map(({ what, ...pair }) => `        ${labelOf(what, pair)}  ${both(pair, valueText)}`),
  ];
}

function labelOf(what: string, { a, b }: Pair<NamedValue | TypedValue>): string {
  const value = (a ?? b)!;
  return what === 'local' ? nameOf(value as NamedValue, what) : what;
}

function fileLine({ a, b }: Pair<ReportedFile>): string {
  const { descriptor } = (a ?? b)!;
  return `    ${descriptor}  ${both({ a, b }, ({ path, offsetBytes }) => {
    return offsetBytes === undefined ? `${path}/` : `${path} at byte ${offsetBytes}`;
  })}`;
}

function both<T>({ a, b }: Pair<T>, print: (value: T) => string = String): string {
  return [a, b].map((value) => (value === undefined ? LACKS : print(value))).join(' → ');
}
