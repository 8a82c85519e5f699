/** What the command tells people: on standard error, a line each, so that standard output is the program's alone. */
import { writeSync } from 'node:fs';
import { systemErrorCode } from '../device/file-device.ts';
import { ContinuoError, GuestTrapError } from '../error/errors.ts';

/** The exit code of an error that is not the user's, the program's or the disk's (EX_SOFTWARE of sysexits.h). */
const BUG_EXIT_CODE = 70;

/** Codes of errors that are about the program's file, whose messages do not name it. */
const PROGRAM_CODES: readonly string[] = [
  'not-wasm',
  'truncated-module',
  'invalid-module',
  'missing-import',
  'no-start-function',
  'unsupported-feature',
];

export function say(text: string): void {
  print(`continuo: ${text}\n`);
}

/**
 * Writes to the descriptor itself: `process.stderr` would make a pipe non-blocking, and with it the standard output of
 * the program where both are one pipe.
 */
function print(text: string): void {
  try {
    writeSync(2, text);
  } catch (error) {
    // Somebody else made the pipe non-blocking, and it is full. Any other failure leaves nobody to tell.
    if (systemErrorCode(error) === 'EAGAIN') process.stderr.write(text);
  }
}

export function exitCodeOfError(error: unknown): number {
  return error instanceof ContinuoError ? error.exitCode : BUG_EXIT_CODE;
}

/** Prints an error and returns the exit code that goes with it. */
export function reportError(error: unknown, programPath?: string): number {
  if (!(error instanceof ContinuoError)) {
    const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say(`this is a bug in Continuo, please report it with these lines:\n${stack}`);
    return BUG_EXIT_CODE;
  }
  // A message that names the file already says so with its path.
  const about = programPath !== undefined && PROGRAM_CODES.includes(error.code) ? `${programPath}: ` : '';
  say(error.message.startsWith(`${programPath} `) ? error.message : about + error.message);
  if (error instanceof GuestTrapError) {
    for (const name of guestStackOf(error)) print(`    at ${name}\n`);
  }
  return error.exitCode;
}

/** Functions shown of a guest's stack, from either end of it: a runaway recursion has thousands. */
const STACK_END_COUNT = 20;

function guestStackOf({ details }: GuestTrapError): readonly string[] {
  const stack = details['guestStack'];
  if (!Array.isArray(stack)) return [];
  const names = stack.map(String);
  const hidden = names.length - 2 * STACK_END_COUNT;
  if (hidden <= 1) return names;
  return [...names.slice(0, STACK_END_COUNT), `… ${hidden} more …`, ...names.slice(names.length - STACK_END_COUNT)];
}
