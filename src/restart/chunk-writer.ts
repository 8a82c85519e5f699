import { assert } from '../error/errors.ts';
import {
  CHUNK_BYTES_MAX,
  checksumWithBody,
  ChunkKind,
  RESTART_FORMAT_VERSION,
  RESTART_MAGIC,
  restartChunkTable,
  restartEndTable,
  restartHeaderTable,
} from '../format/restart-format.ts';
import { sealTable } from '../format/seal-format.ts';
import { Workbench } from '../format/workbench.ts';
import { SealedWriter } from '../seal/sealed-stream.ts';
import type { FileKey } from '../seal/sealing-key.ts';
import { compressed, type Compressed } from './compression.ts';

/** Chunks that are being compressed beside each other. */
const LOOKAHEAD = 4;

interface PendingChunk {
  readonly kind: number;
  readonly plainBytes: number;
  readonly entryCount: number;
  readonly result: Promise<Compressed>;
}

/** Writes the chunks of a restart file in their order; holds a few of them. */
export class ChunkWriter {
  /** Bytes of the file so far. */
  fileBytes = 0;
  readonly #bench = Workbench.ofThread();
  readonly #write: (bytes: Uint8Array) => void;
  readonly #sealed: SealedWriter | undefined;
  #pending: PendingChunk[] = [];
  #sequence = 0;
  #pageEntries = 0;
  #plainBytes = 0;

  /** With a key the file is sealed. */
  constructor(write: (bytes: Uint8Array) => void, fileKey: FileKey | undefined) {
    this.#write = (bytes) => {
      write(bytes);
      this.fileBytes += bytes.length;
    };
    const head = new Uint8Array(restartHeaderTable.lengthBytes);
    const seal = new Uint8Array(fileKey === undefined ? 0 : sealTable.lengthBytes);
    if (fileKey !== undefined) sealTable.encode(fileKey.fields, seal);
    const fields = {
      magic: RESTART_MAGIC,
      formatVersion: RESTART_FORMAT_VERSION,
      sealed: fileKey === undefined ? 0 : 1,
    };
    restartHeaderTable.encode({ ...fields, checksum: 0n }, head);
    restartHeaderTable.encode({ ...fields, checksum: checksumWithBody(this.#bench, head, seal) }, head);
    const before = Buffer.concat([head, seal]);
    this.#write(before);
    if (fileKey !== undefined) this.#sealed = new SealedWriter(fileKey, before, this.#write);
  }

  /** Adds a chunk; `plain` is the writer's from now on. */
  async add(kind: number, plain: Uint8Array, entryCount = 0): Promise<void> {
    assert(plain.length <= CHUNK_BYTES_MAX, `a chunk of ${plain.length} bytes is too long`);
    this.#pageEntries += entryCount;
    this.#plainBytes += plain.length;
    this.#pending.push({ kind, plainBytes: plain.length, entryCount, result: compressed(plain) });
    while (this.#pending.length > LOOKAHEAD) await this.#writeOldest();
  }

  /** Adds contents of any length, in as many chunks as it needs; at least one. */
  async addParts(kind: number, contents: Uint8Array): Promise<void> {
    for (let from = 0; from === 0 || from < contents.length; from += CHUNK_BYTES_MAX) {
      await this.add(kind, contents.slice(from, from + CHUNK_BYTES_MAX));
    }
  }

  async addJson(kind: number, value: object): Promise<void> {
    await this.addParts(kind, new TextEncoder().encode(JSON.stringify(value)));
  }

  async end(): Promise<void> {
    const end = new Uint8Array(restartEndTable.lengthBytes);
    const chunks = this.#sequence + this.#pending.length;
    restartEndTable.encode({ chunks, pageEntries: this.#pageEntries, plainBytes: this.#plainBytes }, end);
    await this.add(ChunkKind.end, end);
    while (this.#pending.length > 0) await this.#writeOldest();
    this.#sealed?.end();
  }

  async #writeOldest(): Promise<void> {
    const [{ kind, plainBytes, entryCount, result }] = this.#pending;
    const { method, stored } = await result;
    this.#pending = this.#pending.slice(1);
    const head = new Uint8Array(restartChunkTable.lengthBytes);
    const fields = { kind, sequence: this.#sequence++, method, plainBytes, storedBytes: stored.length, entryCount };
    restartChunkTable.encode({ ...fields, checksum: 0n }, head);
    restartChunkTable.encode({ ...fields, checksum: checksumWithBody(this.#bench, head, stored) }, head);
    const write = this.#sealed === undefined ? this.#write : (bytes: Uint8Array) => this.#sealed!.write(bytes);
    write(head);
    write(stored);
  }
}
