import {
  ContinuoError,
  CorruptionError,
  type ErrorCode,
  type ErrorDetails,
  GuestTrapError,
  StorageError,
  UnsupportedModuleError,
  UsageError,
} from '../error/errors.ts';

/** An error as it crosses from the guest's thread to the control thread. */
export interface EncodedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string;
  /** Undefined for an error that is not ours: a bug. */
  readonly code: ErrorCode | undefined;
  readonly details: ErrorDetails;
}

export function encodeError(error: unknown): EncodedError {
  const known = error instanceof ContinuoError ? error : undefined;
  const plain = error instanceof Error ? error : new Error(String(error));
  return {
    name: plain.name,
    message: plain.message,
    stack: plain.stack ?? plain.message,
    code: known?.code,
    details: known?.details ?? {},
  };
}

export function decodeError(encoded: EncodedError): Error {
  const { name, message, code, details } = encoded;
  const text = (key: string): string => String(details[key] ?? '');
  switch (code) {
    case undefined: {
      const error = new Error(message);
      error.name = name;
      error.stack = encoded.stack;
      return error;
    }
    case 'unsupported-feature':
      return new UnsupportedModuleError(text('feature'), text('section'), Number(details['byteOffset'] ?? 0), message);
    case 'guest-trapped': {
      const stack = details['guestStack'];
      return new GuestTrapError(text('reason'), Array.isArray(stack) ? stack : []);
    }
    case 'storage-failed':
      return new StorageError(message, details);
    case 'job-damaged':
    case 'trace-damaged':
    case 'file-damaged':
      return new CorruptionError(message, details, undefined, code);
    default:
      return new UsageError(code, message, details);
  }
}
