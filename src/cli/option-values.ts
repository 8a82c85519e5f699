/**
 * Values of options, each by one checked parser: what was typed goes in, a value in the machine's terms comes out, or
 * an error of commander's, which names the option and what was typed.
 */
import { InvalidArgumentError, Option } from 'commander';
import { FRAMES_MIN, PAGE_BYTES } from '../memory/layout.ts';
import { INTERVAL_MS_MAX, type DirectoryGrant } from '../machine/machine.ts';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds of `500ms`, `1s`, `1.5m`, `2h`, `1d`; 0, which stands for no timer, of `0` and `none`; `auto`. */
export function parseInterval(text: string): number | 'auto' {
  if (text === 'auto') return text;
  if (text === '0' || text === 'none') return 0;
  const durationMs = parseDuration(text);
  if (durationMs !== 0 && durationMs < 1) throw new InvalidArgumentError('The shortest interval is 1ms.');
  if (durationMs > INTERVAL_MS_MAX) throw new InvalidArgumentError('The longest interval is 24d.');
  return durationMs;
}

/** Milliseconds of a number with its unit. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text);
  if (match === null) {
    throw new InvalidArgumentError('Write a number and its unit, such as 500ms, 1s, 5m or 2h; none for no timer.');
  }
  const [, number, unit] = match;
  if (unit === undefined)
    throw new InvalidArgumentError(`A duration has a unit: write ${number}ms, ${number}s or ${number}m.`);
  return Number(number) * UNIT_MS[unit];
}

/** Milliseconds, more than none, of a number with or without its unit. */
export function parseMilliseconds(text: string): number {
  const durationMs = parseDuration(/^[\d.]+$/.test(text) ? `${text}ms` : text);
  if (durationMs > 0) return durationMs;
  throw new InvalidArgumentError('Write a time of more than 0.');
}

const UNIT_BYTES: Readonly<Record<string, number>> = { '': 1, B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };

/** Frames of `12.32MB`, `67108864` (bytes) or `3154p` (pages of 4096 bytes); units are powers of 1024. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(p|B|KB|MB|GB|KiB|MiB|GiB)?$/.exec(text);
  if (match === null) throw new InvalidArgumentError('Write a size such as 64MB, 1.5GB, 67108864 or 3154p (pages).');
  const [, number, unit = ''] = match;
  const pages = unit === 'p' ? Number(number) : (Number(number) * UNIT_BYTES[unit.replace('i', '')]) / PAGE_BYTES;
  const frameCount = Math.round(pages);
  if (frameCount < FRAMES_MIN) {
    throw new InvalidArgumentError(`The smallest memory is ${FRAMES_MIN}p, which is ${FRAMES_MIN * 4}KB.`);
  }
  return frameCount;
}

/** A whole number of decimal digits within bounds. */
export function parseNumber(text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new InvalidArgumentError(`Write a whole number from ${least} to ${most}.`);
}

const GENERATION_MAX = 0xffff_ffff;

/** `--at`: a checkpoint by its number. */
export function generationOption(description: string): Option {
  return new Option('--at <generation>', description).argParser((text) => parseNumber(text, 1, GENERATION_MAX));
}

/** `HOST` or `HOST::GUEST`, added to those given before. */
export function parseDirectory(text: string, before: readonly DirectoryGrant[]): readonly DirectoryGrant[] {
  const separator = text.indexOf('::');
  const host = separator < 0 ? text : text.slice(0, separator);
  const guest = separator < 0 ? text : text.slice(separator + 2);
  if (host === '' || guest === '') {
    throw new InvalidArgumentError('Write HOST, or HOST::GUEST for another name of it in the program.');
  }
  return [...before, { host, guest }];
}

/** `NAME=VALUE`, or `NAME` for the value it has here, added to those given before. */
export function parseVariable(
  text: string,
  before: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const equals = text.indexOf('=');
  const name = equals < 0 ? text : text.slice(0, equals);
  if (name === '') throw new InvalidArgumentError('Write NAME=VALUE, or NAME to pass on the value it has here.');
  const value = equals < 0 ? process.env[name] : text.slice(equals + 1);
  if (value === undefined) {
    throw new InvalidArgumentError(`${name} is not set here: write ${name}=VALUE to give it a value.`);
  }
  return { ...before, [name]: value };
}

/** After how many safepoints, or steps that the program reports, a checkpoint is taken. */
export interface Every {
  readonly count: number;
  readonly unit: 'safepoints' | 'steps';
}

/** The countdown of safepoints is a signed 32-bit number. */
export const EVERY_MAX = 0x7fff_ffff;

/** `1000` safepoints, `40steps`. */
export function parseEvery(text: string): Every {
  const [, digits, steps] = /^(\d+)(steps)?$/.exec(text) ?? [];
  const count = Number(digits);
  if (!(count >= 1 && count <= EVERY_MAX)) {
    throw new InvalidArgumentError(`Write a number of safepoints from 1 to ${EVERY_MAX}, or of steps, as in 40steps.`);
  }
  return { count, unit: steps === undefined ? 'safepoints' : 'steps' };
}
