import { CorruptionError } from '../error/errors.ts';

export function damagedFile(
  path: string,
  byteOffset: number,
  what: string,
  expected: string,
  found: string,
): CorruptionError {
  return new CorruptionError(
    `${path} is damaged at byte ${byteOffset}: ${what} should be ${expected} and is ${found}; ` +
      'restore the job directory from a copy, or start the job anew with --fresh',
    { path, byteOffset, field: what, expected, found },
  );
}

/** A checksum as people compare it, from its two words. */
export function checksumOfWords(low: number, high: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}
