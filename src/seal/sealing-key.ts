import { hkdfSync, randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { KEY_CHECK_BYTES, SEAL_NONCE_PREFIX_BYTES, SEAL_SALT_BYTES, type SealFields } from '../format/seal-format.ts';

/** What a user gives to seal and open files with. */
export type Secret =
  { readonly kind: 'key'; readonly key: Uint8Array } | { readonly kind: 'passphrase'; readonly passphrase: Uint8Array };

export const KEY_BYTES = 32;

/** 128 MB and a third of a second on a machine of today. */
const SCRYPT = { logN: 17, r: 8, p: 1 };
/** What a reader agrees to spend on the parameters of a file: 1 GB at most. */
const SCRYPT_MAX = { logN: 20, r: 8, p: 4 };
const KEY_KINDS = { key: 1, passphrase: 2 } as const;

/** The key of one file, and what its seal says. */
export interface FileKey {
  readonly fields: SealFields;
  readonly key: Uint8Array;
}

/** A new seal. */
export function newFileKey(secret: Secret): FileKey {
  const isPhrase = secret.kind === 'passphrase';
  const fields = {
    keyKind: KEY_KINDS[secret.kind],
    scryptLogN: isPhrase ? SCRYPT.logN : 0,
    scryptR: isPhrase ? SCRYPT.r : 0,
    scryptP: isPhrase ? SCRYPT.p : 0,
    salt: Uint8Array.from(randomBytes(SEAL_SALT_BYTES)),
    noncePrefix: Uint8Array.from(randomBytes(SEAL_NONCE_PREFIX_BYTES)),
    keyCheck: new Uint8Array(KEY_CHECK_BYTES),
  };
  const { key, keyCheck } = derive(secret, fields);
  return { fields: { ...fields, keyCheck }, key };
}

/**
 * The key of a file that has this seal.
 * @throws UsageError `wrong-key`; CorruptionError for a seal that cannot be.
 */
export function fileKeyOf(secret: Secret | undefined, fields: SealFields, path: string): FileKey {
  const { keyKind, scryptLogN, scryptR, scryptP } = fields;
  const isPhrase = keyKind === KEY_KINDS.passphrase;
  const { logN, r, p } = SCRYPT_MAX;
  const isPossible = isPhrase
    ? scryptLogN >= 1 && scryptLogN <= logN && scryptR >= 1 && scryptR <= r && scryptP >= 1 && scryptP <= p
    : keyKind === KEY_KINDS.key;
  if (!isPossible) {
    throw new CorruptionError(
      `${path} has a seal that no version of Continuo makes`,
      { path },
      undefined,
      'file-damaged',
    );
  }
  const wanted = isPhrase ? 'its pass phrase (--passphrase-file)' : 'its key (--key-file)';
  if (secret === undefined) throw new UsageError('wrong-key', `${path} is sealed: give ${wanted}`, { path });
  if (KEY_KINDS[secret.kind] !== keyKind) {
    throw new UsageError('wrong-key', `${path} is sealed in another way: give ${wanted}`, { path });
  }
  const { key, keyCheck } = derive(secret, fields);
  if (timingSafeEqual(keyCheck, fields.keyCheck)) return { fields, key };
  throw new UsageError(
    'wrong-key',
    `${path} was sealed with another ${isPhrase ? 'pass phrase' : 'key'}; give ${wanted}`,
    {
      path,
    },
  );
}

function derive(secret: Secret, fields: SealFields): { key: Uint8Array; keyCheck: Uint8Array } {
  const { salt } = fields;
  const master = secret.kind === 'key' ? secret.key : stretched(secret.passphrase, fields);
  const draw = (info: string, lengthBytes: number): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', master, salt, info, lengthBytes));
  return { key: draw('continuo file key', KEY_BYTES), keyCheck: draw('continuo key check', KEY_CHECK_BYTES) };
}

function stretched(passphrase: Uint8Array, { salt, scryptLogN, scryptR, scryptP }: SealFields): Uint8Array {
  const N = 2 ** scryptLogN;
  const maxmem = 128 * scryptR * (N + scryptP + 2) + 2 ** 20;
  return scryptSync(passphrase, salt, KEY_BYTES, { N, r: scryptR, p: scryptP, maxmem });
}

/**
 * The key in a file: 32 bytes, or 64 hexadecimal digits and white space.
 * @throws UsageError `bad-argument`.
 */
export function parseKey(contents: Uint8Array, path: string): Secret {
  if (contents.length === KEY_BYTES) return { kind: 'key', key: contents };
  const digits = Buffer.from(contents.subarray(0, 256)).toString('latin1').trim();
  if (/^[0-9a-f]{64}$/i.test(digits)) return { kind: 'key', key: Uint8Array.from(Buffer.from(digits, 'hex')) };
  throw new UsageError('bad-argument', `${path} holds no key: write ${KEY_BYTES} bytes, or 64 hexadecimal digits`, {
    path,
  });
}

/** The pass phrase in a file: its first line. */
export function parsePassphrase(contents: Uint8Array, path: string): Secret {
  const end = contents.indexOf(10);
  let phrase = end < 0 ? contents : contents.subarray(0, end);
  if (phrase.at(-1) === 13) phrase = phrase.subarray(0, -1);
  if (phrase.length > 0) return { kind: 'passphrase', passphrase: phrase };
  throw new UsageError('bad-argument', `${path} holds no pass phrase: write it on the first line`, { path });
}
