/** Frames and values of a program as lines that fit a terminal. */
import { hexText } from '../inspect/value-text.ts';
import type { GlobalValue, NamedValue, ReportedFrame, TypedValue } from '../inspect/program-values.ts';

/** Frames shown from either end of a deep stack. */
const STACK_END_COUNT = 10;
/** Where hexadecimal says no more than the decimal. */
const DECIMAL_MAX = 9;

export function frameLines(stack: readonly ReportedFrame[]): string[] {
  const hidden = stack.length - 2 * STACK_END_COUNT;
  if (hidden <= 1) return stack.flatMap(linesOfFrame);
  return [
    ...stack.slice(0, STACK_END_COUNT).flatMap(linesOfFrame),
    `    … ${hidden} more …`,
    ...stack.slice(stack.length - STACK_END_COUNT).flatMap(linesOfFrame),
  ];
}

function linesOfFrame(frame: ReportedFrame): string[] {
  const { locals, localCount, operands } = frame;
  const kept = locals.filter(({ index }) => index < localCount);
  const rows = [
    ...kept.map((local): [string, TypedValue] => [nameOf(local, 'local'), local]),
    ...locals
      .filter(({ index }) => index >= localCount)
      .map((note): [string, TypedValue] => ['a caught exception', note]),
    ...operands.map((operand, k): [string, TypedValue] => [`operand ${k}`, operand]),
  ];
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  const lines = rows.map(([name, value]) => `        ${name.padEnd(width)}  ${valueText(value)}`);
  const dropped = localCount - kept.length;
  if (dropped > 0) lines.push(`        ${dropped} of ${localCount} locals not needed any more`);
  return [`    ${placeText(frame)}`, ...lines];
}

/** Where a function stands. */
export function placeText({ function: name, byteOffset, stands }: ReportedFrame): string {
  if (byteOffset === 0) return name;
  const call = stands === 'before' ? '' : stands === 'inside' ? ' in the call' : ' after the call';
  return `${name}${call} at byte ${hexText(byteOffset)}`;
}

export function nameOf({ name, index }: NamedValue, kind: string): string {
  return name === undefined || name === '' ? `${kind} ${index}` : `$${name}`;
}

/** `i32 = 65536 (0x10000)`. */
export function valueText({ type, value }: TypedValue): string {
  return `${type} = ${value}${inHexadecimal(type, value)}`;
}

function inHexadecimal(type: string, value: string): string {
  if ((type !== 'i32' && type !== 'i64') || !/^-?\d+$/.test(value)) return '';
  const bits = BigInt.asUintN(type === 'i32' ? 32 : 64, BigInt(value));
  return bits <= DECIMAL_MAX ? '' : ` (0x${bits.toString(16)})`;
}

export function globalLines(globals: readonly GlobalValue[]): string[] {
  const names = globals.map((global) => nameOf(global, 'global'));
  const width = Math.max(0, ...names.map((name) => name.length));
  return globals.map((global, k) => {
    return `    ${names[k].padEnd(width)}  ${global.mutable ? 'mutable ' : ''}${valueText(global)}`;
  });
}
