/**
 * A seal: how a stream of bytes is kept secret and told from any other. AES-256-GCM in pieces.
 *
 * The key of the file is drawn by HKDF-SHA256 from the given key, or from what scrypt makes of a pass phrase, with the seal's salt,
 * so that no two files share one. The nonce of a piece is the seal's prefix and the piece's number. What is authenticated beside
 * a piece: SHA-256 of all that lies before the stream, its number, its length, and whether it is the last. So a piece that
 * was changed, cut, repeated, left out or moved does not open, and neither does a stream whose last piece is missing.
 */
import { bytes, FieldTable, u32, type ValuesOf } from './field-table.ts';

/** Contents of a piece: full ones but the last. */
export const SEALED_PIECE_BYTES = 1 << 16;
export const SEAL_TAG_BYTES = 16;
export const SEAL_SALT_BYTES = 32;
export const SEAL_NONCE_PREFIX_BYTES = 8;
export const KEY_CHECK_BYTES = 16;

export const sealTable = new FieldTable({
  keyKind: u32('1: a key of 32 bytes was given; 2: a pass phrase'),
  scryptLogN: u32('of a pass phrase: log2 of the cost N of scrypt (RFC 7914), at most 20; else 0'),
  scryptR: u32('its block size r, at most 8; else 0'),
  scryptP: u32('its parallelisation p, at most 4; else 0'),
  salt: bytes(SEAL_SALT_BYTES, 'random, for scrypt and HKDF'),
  noncePrefix: bytes(SEAL_NONCE_PREFIX_BYTES, 'random, the first bytes of each nonce'),
  keyCheck: bytes(KEY_CHECK_BYTES, 'drawn from the key by HKDF: tells a wrong key from a damaged file'),
});

export const JOB_SEAL_MAGIC = Uint8Array.from(Buffer.from('CNTSEAL1', 'latin1'));
export const JOB_SEAL_VERSION = 1;

/** The file `seal` of a sealed job directory. */
export const jobSealTable = new FieldTable({
  magic: bytes(JOB_SEAL_MAGIC.length, '"CNTSEAL1"'),
  formatVersion: u32(`${JOB_SEAL_VERSION}`),
  reserved: u32('0'),
  seal: bytes(sealTable.lengthBytes, 'the fields of a seal'),
});

/** Contents of a sealed block of a job's file. */
export const BLOCK_BYTES = 4096;

/** What lies in the file for each of them, and zeros up to whole sectors. */
export const sealedBlockTable = new FieldTable({
  nonce: bytes(12, '8 bytes drawn at random by whoever wrote it, then a count'),
  tag: bytes(SEAL_TAG_BYTES, 'of AES-256-GCM, over the three fields that follow'),
  lengthBytes: u32('enciphered: bytes of contents; less than all only in the last block of the file'),
  version: u32('enciphered: 0; where a block has two places, the higher one holds'),
  contents: bytes(BLOCK_BYTES, 'enciphered'),
});
export const SEALED_BLOCK_BYTES = Math.ceil(sealedBlockTable.lengthBytes / 512) * 512;

export const sealedPieceTable = new FieldTable({
  lengthBytes: u32(
    `bytes of contents that follow, enciphered, at most ${SEALED_PIECE_BYTES}; a tag of 16 bytes follows them`,
  ),
  isLast: u32('1: the last piece of the stream'),
});

export type SealFields = ValuesOf<typeof sealTable>;
