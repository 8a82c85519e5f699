/** Two checkpoints, of one program or of two, side by side: what of them differs. */
import { decodeMachineState } from '../machine/machine-state.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { decodeModule } from '../wasm/module.ts';
import type { CheckpointView } from './checkpoint-view.ts';
import { openFilesOf, type ReportedFile } from './open-files.ts';
import {
  type GlobalValue,
  type NamedValue,
  ProgramValues,
  type ReportedFrame,
  type TypedValue,
} from './program-values.ts';

/** One thing in A and in B; undefined where that one lacks it. */
export interface Pair<T> {
  readonly a: T | undefined;
  readonly b: T | undefined;
}

export interface DifferingRange {
  readonly address: number;
  readonly lengthBytes: number;
  /** The first bytes, in hexadecimal. */
  readonly a: string;
  readonly b: string;
}

export interface DifferingPage {
  readonly page: number;
  readonly address: number;
  readonly differingBytes: number;
  /** Ranges of bytes in the page that begin and end with one that differs, those left out included. */
  readonly rangeCount: number;
  readonly ranges: readonly DifferingRange[];
}

export interface DifferingFrame {
  /** From the outermost, 0. */
  readonly depth: number;
  readonly a: ReportedFrame | undefined;
  readonly b: ReportedFrame | undefined;
  /** Whether both stand at the same place of the same function, so that only values differ. */
  readonly samePlace: boolean;
  readonly values: readonly (Pair<NamedValue | TypedValue> & { readonly what: string })[];
}

export interface DifferingEntry extends Pair<string> {
  readonly table: number;
  readonly entry: number;
}

export interface CheckpointDiff {
  readonly equal: boolean;
  /** Parts of what the jobs are, and of their checkpoints, that differ; times and numbers of checkpoints are no difference. */
  readonly identity: readonly (Pair<string> & { readonly part: string })[];
  readonly pageCounts: { readonly a: number; readonly b: number };
  readonly differingPages: number;
  /** The first ones. */
  readonly pages: readonly DifferingPage[];
  readonly globals: readonly Pair<GlobalValue>[];
  readonly frames: readonly DifferingFrame[];
  readonly tables: readonly DifferingEntry[];
  readonly openFiles: readonly Pair<ReportedFile>[];
}

export interface DiffLimits {
  /** Pages whose bytes are shown. */
  readonly pages: number;
  /** Ranges shown of each. */
  readonly ranges: number;
}

/** Ranges with fewer equal bytes than this between them are one: a number whose low byte differs is seen whole. */
const JOINED_BYTES = 8;
/** Bytes shown of a range. */
const SHOWN_BYTES = 16;

export function diffCheckpoints(a: CheckpointView, b: CheckpointView, limits: DiffLimits): CheckpointDiff {
  const sides = [sideOf(a), sideOf(b)] as const;
  const identity = differingIdentity(a, b);
  const globals = pairs(sides[0].globals, sides[1].globals).filter(({ a: x, b: y }) => !sameValue(x, y));
  const frames = differingFrames(sides[0].stack, sides[1].stack);
  const tables = differingEntries(sides[0], sides[1]);
  const openFiles = differingFiles(sides[0].openFiles, sides[1].openFiles);
  const { differingPages, pages } = comparePages(a, b, limits);
  const counts = [globals, frames, tables, openFiles, identity].map(({ length }) => length);
  return {
    equal: differingPages === 0 && counts.every((count) => count === 0) && a.pages.pageCount === b.pages.pageCount,
    identity,
    pageCounts: { a: a.pages.pageCount, b: b.pages.pageCount },
    differingPages,
    pages,
    globals,
    frames,
    tables,
    openFiles,
  };
}

interface Side {
  readonly globals: readonly GlobalValue[];
  /** Outermost first. */
  readonly stack: readonly ReportedFrame[];
  readonly tableLengths: readonly number[];
  readonly entry: (table: number, entry: number) => string;
  readonly openFiles: readonly ReportedFile[];
}

function sideOf(view: CheckpointView): Side {
  const state = decodeMachineState(view.checkpoint.state);
  const values = new ProgramValues(decodeModule(view.readProgram()));
  return {
    globals: values.globals(state),
    stack: values.stack(state).reverse(),
    tableLengths: state.tables?.map(({ length }) => length) ?? [],
    entry: (table, entry) => values.tableEntry(state, table, entry),
    openFiles: openFilesOf(state, view.identity),
  };
}

function differingIdentity(a: CheckpointView, b: CheckpointView): CheckpointDiff['identity'] {
  const parts = new Set([...Object.keys(a.identity), ...Object.keys(b.identity)]);
  return [...parts].flatMap((part) => {
    const [x, y] = [a, b].map(({ identity }) => (part in identity ? JSON.stringify(identity[part]) : undefined));
    return x === y ? [] : [{ part, a: x, b: y }];
  });
}

function pairs<T>(a: readonly T[], b: readonly T[]): Pair<T>[] {
  return Array.from({ length: Math.max(a.length, b.length) }, (_, k) => ({ a: a[k], b: b[k] }));
}

function sameValue(a: TypedValue | undefined, b: TypedValue | undefined): boolean {
  return a !== undefined && b !== undefined && a.type === b.type && a.value === b.value;
}

function differingFrames(a: readonly ReportedFrame[], b: readonly ReportedFrame[]): DifferingFrame[] {
  return pairs(a, b).flatMap((pair, depth): DifferingFrame[] => {
    const { a: x, b: y } = pair;
    const samePlace =
      x !== undefined &&
      y !== undefined &&
      x.functionIndex === y.functionIndex &&
      x.byteOffset === y.byteOffset &&
      x.stands === y.stands;
    if (!samePlace) return [{ depth, ...pair, samePlace, values: [] }];
    const values = [
      ...pairs(x.locals, y.locals).map((local) => ({ what: 'local', ...local })),
      ...pairs(x.operands, y.operands).map((operand, k) => ({ what: `operand ${k}`, ...operand })),
    ].filter((value) => !sameValue(value.a, value.b));
    return values.length === 0 ? [] : [{ depth, ...pair, samePlace, values }];
  });
}

function differingEntries(a: Side, b: Side): DifferingEntry[] {
  const found: DifferingEntry[] = [];
  for (const [table, lengths] of pairs(a.tableLengths, b.tableLengths).entries()) {
    const [lengthA, lengthB] = [lengths.a ?? 0, lengths.b ?? 0];
    for (let entry = 0; entry < Math.max(lengthA, lengthB); entry++) {
      const x = entry < lengthA ? a.entry(table, entry) : undefined;
      const y = entry < lengthB ? b.entry(table, entry) : undefined;
      if (x !== y) found.push({ table, entry, a: x, b: y });
    }
  }
  return found;
}

function differingFiles(a: readonly ReportedFile[], b: readonly ReportedFile[]): Pair<ReportedFile>[] {
  const numbers = [...new Set([...a, ...b].map(({ descriptor }) => descriptor))].sort((x, y) => x - y);
  return numbers
    .map((number) => ({
      a: a.find(({ descriptor }) => descriptor === number),
      b: b.find(({ descriptor }) => descriptor === number),
    }))
    .filter(({ a: x, b: y }) => x?.path !== y?.path || x?.offsetBytes !== y?.offsetBytes);
}

/**
 * Pages with the same checksum are the same. The others are read; a page that only one of the memories has is held against
 * zeros, which is what memory holds when it is grown.
 */
function comparePages(
  a: CheckpointView,
  b: CheckpointView,
  limits: DiffLimits,
): Pick<CheckpointDiff, 'differingPages' | 'pages'> {
  const [roomA, roomB] = [new Uint8Array(PAGE_BYTES), new Uint8Array(PAGE_BYTES)];
  const pages: DifferingPage[] = [];
  let differingPages = 0;
  const read = ({ pages: contents }: CheckpointView, page: number, room: Uint8Array): void => {
    if (page < contents.pageCount) contents.read(page, room);
    else room.fill(0);
  };
  const pageCount = Math.max(a.pages.pageCount, b.pages.pageCount);
  for (let page = 0; page < pageCount; page++) {
    if (isSame(a, b, page)) continue;
    read(a, page, roomA);
    read(b, page, roomB);
    const found = comparePage(page, roomA, roomB, limits.ranges);
    if (found === undefined) continue;
    differingPages += 1;
    if (pages.length < limits.pages) pages.push(found);
  }
  return { differingPages, pages };
}

function isSame({ pages: a }: CheckpointView, { pages: b }: CheckpointView, page: number): boolean {
  const zeroA = page >= a.pageCount || a.isZero(page);
  const zeroB = page >= b.pageCount || b.isZero(page);
  if (zeroA || zeroB) return zeroA && zeroB;
  return a.checksumLow(page) === b.checksumLow(page) && a.checksumHigh(page) === b.checksumHigh(page);
}

function comparePage(page: number, a: Uint8Array, b: Uint8Array, rangesMax: number): DifferingPage | undefined {
  const address = page * PAGE_BYTES;
  const ranges: DifferingRange[] = [];
  let differingBytes = 0;
  let rangeCount = 0;
  for (let at = 0; at < PAGE_BYTES; at++) {
    if (a[at] === b[at]) continue;
    const start = at;
    let end = at;
    for (; at < PAGE_BYTES && at - end < JOINED_BYTES; at++) {
      if (a[at] === b[at]) continue;
      differingBytes += 1;
      end = at + 1;
    }
    at = end;
    rangeCount += 1;
    if (ranges.length === rangesMax) continue;
    const shownEnd = Math.min(end, start + SHOWN_BYTES);
    const [x, y] = [a, b].map((bytes) => Buffer.from(bytes.subarray(start, shownEnd)).toString('hex'));
    ranges.push({ address: address + start, lengthBytes: end - start, a: x, b: y });
  }
  return differingBytes === 0 ? undefined : { page, address, differingBytes, rangeCount, ranges };
}
