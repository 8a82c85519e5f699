import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { BLOCK_BYTES, SEAL_TAG_BYTES, SEALED_BLOCK_BYTES } from '../format/seal-format.ts';

const ALGORITHM = 'aes-256-gcm';
const NONCE_BYTES = 12;
const META_BYTES = 8;
const BODY_AT = NONCE_BYTES + SEAL_TAG_BYTES;
const BODY_BYTES = META_BYTES + BLOCK_BYTES;
const PREFIX_BYTES = 8;
const COUNT_MAX = 0xffffffff;

/** What became of a block that was read. */
export const Opened = { hole: 0, contents: 1, torn: 2 } as const;

/**
 * Seals blocks of one file: AES-256-GCM, authenticated with the file's role and the block's number, so that a block that was
 * changed, or comes from another place, does not open.
 *
 * A nonce is 8 bytes drawn at random for this object and a count: no two blocks of a key share one. The contents' length is sealed with
 * them, since a file need not end with a whole block, and so is a version number. A block that was never written is a
 * hole of zeros.
 */
export class BlockCipher {
  /** Of the block opened last. */
  lengthBytes = 0;
  version = 0;
  readonly #key: Uint8Array;
  readonly #authenticated: Buffer;
  readonly #numberAt: number;
  readonly #nonce = Buffer.alloc(NONCE_BYTES);
  #count = 0;

  constructor(key: Uint8Array, role: string) {
    this.#key = key;
    this.#numberAt = Buffer.byteLength(role);
    this.#authenticated = Buffer.alloc(this.#numberAt + 8);
    this.#authenticated.write(role);
    this.#drawPrefix();
  }

  /** Seals the body (`contentsOf`) of a block in its place. */
  seal(sealed: Uint8Array, block: number, lengthBytes: number, version: number): void {
    if (this.#count === COUNT_MAX) this.#drawPrefix();
    this.#nonce.writeUInt32LE(this.#count++, PREFIX_BYTES);
    const view = new DataView(sealed.buffer, sealed.byteOffset, SEALED_BLOCK_BYTES);
    view.setUint32(BODY_AT, lengthBytes, true);
    view.setUint32(BODY_AT + 4, version, true);
    const cipher = createCipheriv(ALGORITHM, this.#key, this.#nonce).setAAD(this.#authenticate(block));
    sealed.set(cipher.update(sealed.subarray(BODY_AT, BODY_AT + BODY_BYTES)), BODY_AT);
    cipher.final();
    sealed.set(this.#nonce, 0);
    sealed.set(cipher.getAuthTag(), NONCE_BYTES);
    sealed.fill(0, BODY_AT + BODY_BYTES);
  }

  /** Opens a block in its place: the body has its contents, zeros for a hole, and of a torn block what is there. */
  open(sealed: Uint8Array, block: number): number {
    this.lengthBytes = BLOCK_BYTES;
    this.version = 0;
    if (isZero(sealed)) return Opened.hole;
    const decipher = createDecipheriv(ALGORITHM, this.#key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAAD(this.#authenticate(block)).setAuthTag(sealed.subarray(NONCE_BYTES, BODY_AT));
    const body = decipher.update(sealed.subarray(BODY_AT, BODY_AT + BODY_BYTES));
    try {
      decipher.final();
    } catch {
      // Torn, changed, or of another key: whoever reads finds that out by checksums, as in a file that is not sealed.
      return Opened.torn;
    }
    sealed.set(body, BODY_AT);
    this.lengthBytes = body.readUInt32LE(0);
    this.version = body.readUInt32LE(4);
    return Opened.contents;
  }

  #authenticate(block: number): Buffer {
    this.#authenticated.writeUInt32LE(block % 2 ** 32, this.#numberAt);
    this.#authenticated.writeUInt32LE(Math.floor(block / 2 ** 32), this.#numberAt + 4);
    return this.#authenticated;
  }

  #drawPrefix(): void {
    randomBytes(PREFIX_BYTES).copy(this.#nonce);
    this.#count = 0;
  }
}

/** Where the contents lie in a block that is to be sealed, or was opened. */
export function contentsOf(sealed: Uint8Array): Uint8Array {
  return sealed.subarray(BODY_AT + META_BYTES, BODY_AT + BODY_BYTES);
}

function isZero(bytes: Uint8Array): boolean {
  // A nonce of zeros is never drawn with a tag of zeros.
  for (let i = 0; i < BODY_AT; i++) if (bytes[i] !== 0) return false;
  return bytes.every((byte) => byte === 0);
}
