/**
 * Errors that people see. One class per recovery, not per place: the class tells what to do, the code tells what
 * happened. `docs/errors.md` lists every code; a test holds that table against this file.
 */

export type UsageErrorCode =
  | 'bad-argument'
  | 'program-not-found'
  | 'not-wasm'
  | 'truncated-module'
  | 'invalid-module'
  | 'missing-import'
  | 'no-start-function'
  | 'job-not-found'
  | 'job-locked'
  | 'job-foreign'
  | 'job-exposed'
  | 'job-newer-format'
  | 'job-not-a-job'
  | 'job-other-policy'
  | 'job-busy'
  | 'no-checkpoint'
  | 'guest-file-changed'
  | 'generation-not-kept'
  | 'instance-busy'
  | 'memory-at-offset'
  | 'not-a-trace'
  | 'not-a-restart-file'
  | 'restart-file-newer'
  | 'restart-needs-grant'
  | 'branch-shares-files'
  | 'job-exists'
  | 'job-without-checkpoint'
  | 'wrong-key'
  | 'wrong-base'
  | 'standby-failed'
  | 'tracker-unavailable';
export type UnsupportedErrorCode = 'unsupported-feature';
export type TrapErrorCode = 'guest-trapped';
export type StorageErrorCode = 'storage-failed';
export type CorruptionErrorCode = 'job-damaged' | 'trace-damaged' | 'file-damaged';

export type ErrorCode = UsageErrorCode | UnsupportedErrorCode | TrapErrorCode | StorageErrorCode | CorruptionErrorCode;

export type ErrorDetails = Readonly<Record<string, string | number | readonly string[]>>;

/** Base of every error that Continuo reports to its user. */
export abstract class ContinuoError extends Error {
  abstract readonly exitCode: number;
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

/** The call is wrong: fix the arguments, the program or the directory named, and call again. Nothing was changed. */
export class UsageError extends ContinuoError {
  readonly exitCode = 2;
  constructor(code: UsageErrorCode, message: string, details?: ErrorDetails, cause?: unknown) {
    super(code, message, details, cause);
  }
}

/** The module uses a feature that Continuo does not take; details name `feature`, `section` and `byteOffset`. */
export class UnsupportedModuleError extends ContinuoError {
  readonly exitCode = 2;
  constructor(feature: string, section: string, byteOffset: number, message?: string) {
    super(
      'unsupported-feature',
      message ??
        `the program uses ${feature} (${section} section, byte ${byteOffset}), which Continuo does not support`,
      { feature, section, byteOffset },
    );
  }
}

/** The guest trapped; `stack` of the guest is in `details.guestStack`, innermost first. */
export class GuestTrapError extends ContinuoError {
  readonly exitCode = 134;
  constructor(reason: string, guestStack: readonly string[], cause?: unknown) {
    super('guest-trapped', `the program trapped: ${reason}`, { reason, guestStack }, cause);
  }
}

/** Storage failed: the job stops, its last checkpoint stands. Latches until the job is opened again. */
export class StorageError extends ContinuoError {
  readonly exitCode = 74;
  constructor(message: string, details?: ErrorDetails, cause?: unknown) {
    super('storage-failed', message, details, cause);
  }
}

/** A file is not what was written: details name `path`, `byteOffset`, `expected` and `found` where they are known. */
export class CorruptionError extends ContinuoError {
  readonly exitCode = 65;
  constructor(message: string, details?: ErrorDetails, cause?: unknown, code: CorruptionErrorCode = 'job-damaged') {
    super(code, message, details, cause);
  }
}

/** A bug of Continuo's own: an assertion that stays on in production. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(`this is a bug in Continuo: ${message}`);
}
