import { closeSync, openSync, readSync } from 'node:fs';
import type { Command } from 'commander';
import { UsageError } from '../error/errors.ts';
import { parseKey, parsePassphrase, type Secret } from '../seal/sealing-key.ts';

export interface SecretFlags {
  readonly keyFile?: string;
  readonly passphraseFile?: string;
}

/** More than any key or pass phrase has. */
const SECRET_BYTES_MAX = 4096;

export function addSecretOptions(command: Command): Command {
  return command
    .option('--key-file <file>', 'seal and open with the key in this file: 32 bytes, or 64 hexadecimal digits')
    .option('--passphrase-file <file>', 'seal and open with the pass phrase on the first line of this file');
}

/**
 * The key or pass phrase that was named; undefined for none.
 * @throws UsageError `bad-argument`.
 */
export function readSecret({ keyFile, passphraseFile }: SecretFlags): Secret | undefined {
  if (keyFile !== undefined && passphraseFile !== undefined) {
    throw new UsageError('bad-argument', 'give --key-file or --passphrase-file, not both');
  }
  if (keyFile !== undefined) return parseKey(contentsOf('--key-file', keyFile), keyFile);
  if (passphraseFile !== undefined) {
    return parsePassphrase(contentsOf('--passphrase-file', passphraseFile), passphraseFile);
  }
  return undefined;
}

/** The same, as an option of the machine. */
export function secretOptionOf(flags: SecretFlags): { readonly secret?: Secret } {
  const secret = readSecret(flags);
  return secret === undefined ? {} : { secret };
}

function contentsOf(option: string, path: string): Uint8Array {
  const room = new Uint8Array(SECRET_BYTES_MAX + 1);
  let bytes = 0;
  try {
    const descriptor = openSync(path, 'r');
    try {
      for (let count = -1; count !== 0 && bytes < room.length; bytes += count) {
        count = readSync(descriptor, room, bytes, room.length - bytes, null);
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError('bad-argument', `${option}: cannot read ${path}: ${reason}`, { path }, error);
  }
  if (bytes <= SECRET_BYTES_MAX) return room.subarray(0, bytes);
  throw new UsageError('bad-argument', `${option}: ${path} is too long for a key or a pass phrase`, { path });
}
