/** Writing and reading a sealed stream: see `format/seal-format.ts`. Either side holds one piece. */
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { assert, CorruptionError } from '../error/errors.ts';
import { SEAL_TAG_BYTES, SEALED_PIECE_BYTES, sealedPieceTable } from '../format/seal-format.ts';
import type { FileKey } from './sealing-key.ts';

const CIPHER = 'aes-256-gcm';
const NUMBER_BYTES = 4;
const PIECES_MAX = 0xffff_ffff;

/** What the nonces and what is authenticated beside each piece have in common. */
class PieceLabels {
  readonly nonce: Buffer;
  readonly #label: Buffer;

  constructor({ fields }: FileKey, before: Uint8Array) {
    this.nonce = Buffer.concat([fields.noncePrefix, Buffer.alloc(NUMBER_BYTES)]);
    const digest = createHash('sha256').update(before).digest();
    this.#label = Buffer.concat([digest, Buffer.alloc(NUMBER_BYTES + sealedPieceTable.lengthBytes)]);
  }

  /** Moves to the piece of this number; returns what is authenticated beside it. */
  of(number: number, head: Uint8Array): Uint8Array {
    this.nonce.writeUInt32LE(number, this.nonce.length - NUMBER_BYTES);
    this.#label.writeUInt32LE(number, 32);
    this.#label.set(head, 32 + NUMBER_BYTES);
    return this.#label;
  }
}

export class SealedWriter {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #key: Uint8Array;
  readonly #labels: PieceLabels;
  readonly #piece = new Uint8Array(SEALED_PIECE_BYTES);
  #filledBytes = 0;
  #number = 0;

  /** `before`: all bytes of the file before the stream. */
  constructor(fileKey: FileKey, before: Uint8Array, write: (bytes: Uint8Array) => void) {
    this.#key = fileKey.key;
    this.#labels = new PieceLabels(fileKey, before);
    this.#write = write;
  }

  write(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#filledBytes === SEALED_PIECE_BYTES) this.#seal(false);
      const part = rest.subarray(0, SEALED_PIECE_BYTES - this.#filledBytes);
      this.#piece.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      rest = rest.subarray(part.length);
    }
  }

  /** Ends the stream; nothing may be written after it. */
  end(): void {
    this.#seal(true);
  }

  #seal(isLast: boolean): void {
    assert(this.#number < PIECES_MAX, 'a sealed stream has no more than 2^32 pieces');
    const contents = this.#piece.subarray(0, this.#filledBytes);
    const head = new Uint8Array(sealedPieceTable.lengthBytes);
    sealedPieceTable.encode({ lengthBytes: contents.length, isLast: isLast ? 1 : 0 }, head);
    const label = this.#labels.of(this.#number++, head);
    const cipher = createCipheriv(CIPHER, this.#key, this.#labels.nonce);
    cipher.setAAD(label);
    const enciphered = cipher.update(contents);
    cipher.final();
    this.#write(Buffer.concat([head, enciphered, cipher.getAuthTag()]));
    this.#filledBytes = 0;
  }
}

/** Fills the view, or throws. */
export type ExactRead = (view: Uint8Array) => void;

export class SealedReader {
  readonly #read: ExactRead;
  readonly #key: Uint8Array;
  readonly #labels: PieceLabels;
  readonly #path: string;
  #piece: Uint8Array = new Uint8Array(0);
  #usedBytes = 0;
  #number = 0;
  #ended = false;

  constructor(fileKey: FileKey, before: Uint8Array, path: string, read: ExactRead) {
    this.#key = fileKey.key;
    this.#labels = new PieceLabels(fileKey, before);
    this.#path = path;
    this.#read = read;
  }

  /** @throws CorruptionError: a piece is not what was sealed, or there are no more. */
  readExactly(view: Uint8Array): void {
    let filledBytes = 0;
    while (filledBytes < view.length) {
      if (this.#usedBytes === this.#piece.length) this.#open();
      const part = this.#piece.subarray(this.#usedBytes, this.#usedBytes + view.length - filledBytes);
      view.set(part, filledBytes);
      filledBytes += part.length;
      this.#usedBytes += part.length;
    }
  }

  /** Makes sure that all was read and that the stream was sealed as ending here. */
  expectEnd(): void {
    if (this.#usedBytes === this.#piece.length && !this.#ended) this.#open();
    if (this.#usedBytes < this.#piece.length || !this.#ended) throw this.#damaged('it goes on behind its end');
  }

  #open(): void {
    if (this.#ended) throw this.#damaged('it ends too early');
    const head = new Uint8Array(sealedPieceTable.lengthBytes);
    this.#read(head);
    const { lengthBytes, isLast } = sealedPieceTable.decode(head);
    const isPossible =
      isLast === 1 ? lengthBytes <= SEALED_PIECE_BYTES : isLast === 0 && lengthBytes === SEALED_PIECE_BYTES;
    if (!isPossible) throw this.#damaged(`its piece ${this.#number} has an impossible length`);
    const body = new Uint8Array(lengthBytes + SEAL_TAG_BYTES);
    this.#read(body);
    const label = this.#labels.of(this.#number, head);
    const decipher = createDecipheriv(CIPHER, this.#key, this.#labels.nonce, { authTagLength: SEAL_TAG_BYTES });
    decipher.setAAD(label);
    decipher.setAuthTag(body.subarray(lengthBytes));
    const contents = decipher.update(body.subarray(0, lengthBytes));
    try {
      decipher.final();
    } catch (error) {
      throw this.#damaged(`its piece ${this.#number} is not what was sealed there`, error);
    }
    this.#number += 1;
    this.#ended = isLast === 1;
    this.#piece = contents;
    this.#usedBytes = 0;
  }

  #damaged(what: string, cause?: unknown): CorruptionError {
    const message = `${this.#path} is damaged or was tampered with: ${what}; get the file again from where it was made`;
    return new CorruptionError(message, { path: this.#path, piece: this.#number }, cause, 'file-damaged');
  }
}
