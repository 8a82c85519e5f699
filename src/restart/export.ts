/** Making a restart file of a job, which may be running: the target of a copy (`job-copy.ts`) that is a stream of chunks. */
import type { Device } from '../device/device.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import { ChunkKind, ZERO_PAGE_FLAG } from '../format/restart-format.ts';
import { newFileKey, type Secret } from '../seal/sealing-key.ts';
import { ChunkWriter } from './chunk-writer.ts';
import { copyJob, type CopyResult, type CopySettings, type CopyTarget } from './job-copy.ts';
import type { RestartCheckpoint, RestartDescription } from './restart-content.ts';

const HELD_PIECE_BYTES = 1 << 20;

export interface ExportSettings extends CopySettings {
  /** Seals the file. */
  readonly secret?: Secret | undefined;
  readonly notice?: (text: string) => void;
}

export interface ExportResult extends CopyResult {
  readonly fileBytes: number;
}

/**
 * Writes a checkpoint of a job, the newest unless another is asked for, as a restart file.
 * @throws as `copyJob`.
 */
export async function exportJob(
  device: Device,
  write: (bytes: Uint8Array) => void,
  settings: ExportSettings = {},
): Promise<ExportResult> {
  const target = new ChunkTarget(write, settings.secret);
  const result = await copyJob(device, target, settings);
  for (const path of result.changedSince) {
    settings.notice?.(
      `the program has changed ${path} since checkpoint ${result.generation}: a copy of it as it is now will not do for a ` +
        'restart; stop the job and export its newest checkpoint to move it with its files',
    );
  }
  return { ...result, fileBytes: target.fileBytes };
}

class ChunkTarget implements CopyTarget {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #secret: Secret | undefined;
  #chunks: ChunkWriter | undefined;

  constructor(write: (bytes: Uint8Array) => void, secret: Secret | undefined) {
    this.#write = write;
    this.#secret = secret;
  }

  get fileBytes(): number {
    return this.#chunks?.fileBytes ?? 0;
  }

  async begin(description: RestartDescription, program: Uint8Array | undefined): Promise<void> {
    this.#chunks = new ChunkWriter(this.#write, this.#secret === undefined ? undefined : newFileKey(this.#secret));
    await this.#chunks.addJson(ChunkKind.description, description);
    if (program !== undefined) await this.#chunks.addParts(ChunkKind.program, program);
  }

  async addPages(pages: Uint32Array, contents: Uint8Array): Promise<void> {
    const entries = new Uint32Array(pages.length);
    const solid: Uint8Array[] = [];
    for (let i = 0; i < pages.length; i++) {
      const page = contents.subarray(i * SLOT_BYTES, (i + 1) * SLOT_BYTES);
      const isZero = holdsZeros(page);
      entries[i] = isZero ? pages[i] | ZERO_PAGE_FLAG : pages[i];
      if (!isZero) solid.push(page);
    }
    const list = new Uint8Array(entries.buffer);
    await this.#chunks!.add(ChunkKind.pages, Buffer.concat([list, ...solid]), pages.length);
  }

  async finish(checkpoint: RestartCheckpoint, state: Uint8Array, held: readonly Uint8Array[]): Promise<void> {
    const chunks = this.#chunks!;
    await chunks.addJson(ChunkKind.checkpoint, checkpoint);
    await chunks.addParts(ChunkKind.state, state);
    const heldBytes = Buffer.concat(held);
    for (let from = 0; from < heldBytes.length; from += HELD_PIECE_BYTES) {
      await chunks.add(ChunkKind.heldOutput, heldBytes.subarray(from, from + HELD_PIECE_BYTES));
    }
    await chunks.end();
  }
}

function holdsZeros(page: Uint8Array): boolean {
  const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) return false;
  return true;
}
