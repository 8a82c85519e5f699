import { CorruptionError, UsageError } from '../error/errors.ts';
import { hex } from '../format/commit-record.ts';
import {
  CHUNK_BYTES_MAX,
  checksumWithBody,
  ChunkKind,
  PART_BYTES_MAX,
  RESTART_FORMAT_VERSION,
  RESTART_MAGIC,
  restartChunkTable,
  restartEndTable,
  restartHeaderTable,
} from '../format/restart-format.ts';
import { sealTable } from '../format/seal-format.ts';
import { Workbench } from '../format/workbench.ts';
import { SealedReader } from '../seal/sealed-stream.ts';
import { type FileKey, fileKeyOf, type Secret } from '../seal/sealing-key.ts';
import { decompressed } from './compression.ts';

/** Where the bytes of a restart file come from. */
export interface RestartInput {
  readonly path: string;
  /** Undefined where it is not known before the end. */
  readonly sizeBytes: number | undefined;
  readonly readBytes: number;
  /** Fills the view; returns fewer bytes than that only at the end. */
  read(view: Uint8Array): number;
}

/** A chunk whose checksum, and seal, hold. */
export interface Chunk {
  readonly kind: number;
  readonly contents: Uint8Array;
  readonly entryCount: number;
}

/** Reads the chunks of a restart file in their order, and no byte more; holds one of them. */
export class ChunkReader {
  readonly #input: RestartInput;
  readonly #bench = Workbench.ofThread();
  readonly #sealed: SealedReader | undefined;
  #peeked: Chunk | undefined;
  #sequence = 0;
  #pageEntries = 0;
  #plainBytes = 0;
  #ended = false;

  /** @throws UsageError `not-a-restart-file`, `restart-file-newer`, `wrong-key`; CorruptionError; StorageError. */
  constructor(input: RestartInput, secret: Secret | undefined) {
    this.#input = input;
    const { path } = input;
    const head = new Uint8Array(restartHeaderTable.lengthBytes);
    const readBytes = input.read(head);
    const fields = restartHeaderTable.decode(head);
    if (fields.magic !== RESTART_MAGIC) {
      throw new UsageError('not-a-restart-file', `${path} is no restart file; "continuo export" makes one`, { path });
    }
    if (readBytes < head.length) throw this.#cut();
    if (fields.formatVersion > RESTART_FORMAT_VERSION) {
      throw new UsageError(
        'restart-file-newer',
        `${path} was made by a newer version of Continuo (format ${fields.formatVersion}, this one reads up to ` +
          `${RESTART_FORMAT_VERSION}); use that version`,
        { path, formatVersion: fields.formatVersion },
      );
    }
    const seal = new Uint8Array(fields.sealed === 0 ? 0 : sealTable.lengthBytes);
    this.#readRaw(seal);
    const checksum = checksumWithBody(this.#bench, head, seal);
    if (checksum !== fields.checksum || fields.sealed > 1) {
      throw this.damaged('the checksum of its header', hex(fields.checksum), hex(checksum));
    }
    if (fields.sealed === 0) {
      if (secret === undefined) return;
      throw new UsageError('wrong-key', `${path} is not sealed, so nothing vouches for it; restart it without a key`, {
        path,
      });
    }
    const fileKey: FileKey = fileKeyOf(secret, sealTable.decode(seal), path);
    this.#sealed = new SealedReader(fileKey, Buffer.concat([head, seal]), path, (view) => this.#readRaw(view));
  }

  /** The next chunk, which stays the next one. */
  peek(): Chunk {
    return (this.#peeked ??= this.#readChunk());
  }

  next(): Chunk {
    const chunk = this.peek();
    this.#peeked = undefined;
    return chunk;
  }

  /** The contents of all chunks of a kind that come now: at least one must. */
  parts(kind: number, what: string): Uint8Array {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    while (this.peek().kind === kind) {
      const { contents } = this.next();
      bytes += contents.length;
      if (bytes > PART_BYTES_MAX) throw this.damaged(`the length of its ${what}`, `at most ${PART_BYTES_MAX}`, bytes);
      parts.push(contents);
    }
    if (parts.length === 0) throw this.damaged('the kind of a chunk', `that of its ${what}`, this.peek().kind);
    return parts.length === 1 ? parts[0] : Buffer.concat(parts);
  }

  /** Reads the end chunk and holds it against what came before; nothing may follow it in a file. */
  end(): void {
    const expected = { chunks: this.#sequence, pageEntries: this.#pageEntries, plainBytes: this.#plainBytes };
    if (this.#peeked !== undefined) {
      expected.chunks -= 1;
      expected.plainBytes -= this.#peeked.contents.length;
      expected.pageEntries -= this.#peeked.entryCount;
    }
    const { kind, contents } = this.next();
    if (kind !== ChunkKind.end || contents.length !== restartEndTable.lengthBytes) {
      throw this.damaged('the kind of a chunk', 'that of the end', kind);
    }
    const found = restartEndTable.decode(contents);
    for (const name of ['chunks', 'pageEntries', 'plainBytes'] as const) {
      if (found[name] !== expected[name]) throw this.damaged(`its ${name}`, String(expected[name]), found[name]);
    }
    this.#ended = true;
    this.#sealed?.expectEnd();
    const { sizeBytes, readBytes } = this.#input;
    if (sizeBytes !== undefined && sizeBytes > readBytes && this.#input.path !== 'standard input') {
      throw this.damaged('its length', String(readBytes), sizeBytes);
    }
  }

  damaged(what: string, expected: string, found: string | number): CorruptionError {
    const { path, readBytes } = this.#input;
    return new CorruptionError(
      `${path} is damaged before byte ${readBytes}: ${what} should be ${expected} and is ${found}; ` +
        'get the file again from where it was made',
      { path, byteOffset: readBytes, expected, found: String(found) },
      undefined,
      'file-damaged',
    );
  }

  #readChunk(): Chunk {
    if (this.#ended) throw this.#cut();
    const head = new Uint8Array(restartChunkTable.lengthBytes);
    this.#read(head);
    const { kind, sequence, method, plainBytes, storedBytes, entryCount, checksum } = restartChunkTable.decode(head);
    if (plainBytes > CHUNK_BYTES_MAX || storedBytes > plainBytes) {
      throw this.damaged('the length of a chunk', `at most ${CHUNK_BYTES_MAX}`, Math.max(plainBytes, storedBytes));
    }
    const stored = new Uint8Array(storedBytes);
    this.#read(stored);
    const found = checksumWithBody(this.#bench, head, stored);
    if (found !== checksum) throw this.damaged(`the checksum of chunk ${this.#sequence}`, hex(checksum), hex(found));
    if (sequence !== this.#sequence) throw this.damaged('the number of a chunk', String(this.#sequence), sequence);
    const contents = decompressed(method, stored, plainBytes, this.#input.path);
    this.#sequence += 1;
    this.#pageEntries += entryCount;
    this.#plainBytes += plainBytes;
    return { kind, contents, entryCount };
  }

  #read(view: Uint8Array): void {
    if (this.#sealed === undefined) this.#readRaw(view);
    else this.#sealed.readExactly(view);
  }

  #readRaw(view: Uint8Array): void {
    if (this.#input.read(view) < view.length) throw this.#cut();
  }

  #cut(): CorruptionError {
    const { path, readBytes } = this.#input;
    return new CorruptionError(
      `${path} was cut: it ends after ${readBytes} bytes; get the file again from where it was made`,
      { path, byteOffset: readBytes },
      undefined,
      'file-damaged',
    );
  }
}
