import type { Device, DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import {
  CHECKPOINT_HEADER_BYTES,
  type CheckpointFileFields,
  encodeCheckpointHeader,
  FILE_ENTRY_WORDS,
} from '../format/checkpoint-file-format.ts';
import { MAPPED_PAGES_MAX, SLOT_BYTES } from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import { checkpointFileName } from './job-directory.ts';

/** Pages until the number of their checkpoint is known: a file's name may be part of what seals it, so it is not renamed. */
const UNNUMBERED = checkpointFileName(0);
const HEADER_PAGES = CHECKPOINT_HEADER_BYTES / SLOT_BYTES;

const Held = { nothing: 0, contents: 1, zeros: 2 } as const;

/** What a checkpoint file says beside what follows from its pages and its state. */
export type FileStart = Pick<
  CheckpointFileFields,
  | 'generation'
  | 'jobId'
  | 'policy'
  | 'trigger'
  | 'timeMs'
  | 'baseGeneration'
  | 'guestPageCount'
  | 'dirtyPages'
  | 'keep'
  | 'oldestKept'
>;

/**
 * Pages on their way into a checkpoint file. There pages lie in ascending order without gaps, and which of them hold zeros is
 * only known at the end: so each is put at a place of its own in another file first, and copied at last.
 */
export class StagedFile {
  readonly #device: Device;
  readonly #bench: Workbench;
  readonly #file: DeviceFile;
  /** For each page two words of its checksum, and what came for it. */
  #checksums = new Uint32Array(0);
  #held = new Uint8Array(0);

  constructor(device: Device, bench: Workbench) {
    this.#device = device;
    this.#bench = bench;
    this.#file = device.openFile(UNNUMBERED, 'create');
  }

  /** Takes pages that are in the bench's staging room, examined; see `placeStaged`. */
  put(pages: Uint32Array, results: Uint32Array): void {
    const { staging } = this.#bench;
    let start = 0;
    for (let i = 0; i < pages.length; i++) {
      const page = pages[i];
      this.#reach(page);
      this.#held[page] = results[4 * i + 2] === 0 ? Held.contents : Held.zeros;
      this.#checksums[2 * page] = results[4 * i];
      this.#checksums[2 * page + 1] = results[4 * i + 1];
      if (i + 1 < pages.length && pages[i + 1] === page + 1) continue;
      const at = pages[start] * SLOT_BYTES;
      this.#file.write(staging.subarray(start * SLOT_BYTES, (i + 1) * SLOT_BYTES), at);
      start = i + 1;
    }
  }

  /** Whether anything came for a page. */
  has(page: number): boolean {
    return page < this.#held.length && this.#held[page] !== Held.nothing;
  }

  #reach(page: number): void {
    if (page < this.#held.length) return;
    const capacity = Math.min(MAPPED_PAGES_MAX, Math.max(page + 1, 2 * this.#held.length, 256));
    const held = new Uint8Array(capacity);
    held.set(this.#held);
    this.#held = held;
    const checksums = new Uint32Array(2 * capacity);
    checksums.set(this.#checksums);
    this.#checksums = checksums;
  }

  /** Writes the checkpoint file, and makes its contents durable. Returns the pages in it. */
  writeCheckpoint(start: FileStart, state: Uint8Array): number {
    const file = this.#device.openFile(checkpointFileName(start.generation), 'create');
    try {
      const pagesWritten = this.#writeTo(file, start, state);
      file.sync();
      return pagesWritten;
    } finally {
      file.close();
    }
  }

  #writeTo(file: DeviceFile, start: FileStart, state: Uint8Array): number {
    // A full file says nothing of pages that hold zeros; one that builds on another must.
    const list = this.#listOf(start.baseGeneration !== 0);
    const pagesWritten = this.#copyPages(file, list);
    const listBytes = new Uint8Array(list.buffer);
    const listAt = (HEADER_PAGES + pagesWritten) * SLOT_BYTES;
    file.write(listBytes, listAt);
    file.write(state, listAt + listBytes.length);
    const header = encodeCheckpointHeader(
      {
        ...start,
        pagesWritten,
        entryCount: list.length / FILE_ENTRY_WORDS,
        stateBytes: state.length,
        listChecksum: this.#bench.checksumOf(listBytes),
        stateChecksum: this.#bench.checksumOf(state),
      },
      this.#bench,
    );
    file.write(header, 0);
    return pagesWritten;
  }

  #listOf(withZeros: boolean): Uint32Array<ArrayBuffer> {
    const isListed = (held: number): boolean => held === Held.contents || (withZeros && held === Held.zeros);
    let count = 0;
    for (const held of this.#held) if (isListed(held)) count += 1;
    const list = new Uint32Array(count * FILE_ENTRY_WORDS);
    let at = 0;
    let position = HEADER_PAGES;
    for (let page = 0; page < this.#held.length; page++) {
      if (!isListed(this.#held[page])) continue;
      list[at] = page;
      if (this.#held[page] === Held.contents) {
        list[at + 1] = position++;
        list[at + 2] = this.#checksums[2 * page];
        list[at + 3] = this.#checksums[2 * page + 1];
      }
      at += FILE_ENTRY_WORDS;
    }
    return list;
  }

  /** Copies the pages that have a position, and returns their number. */
  #copyPages(file: DeviceFile, list: Uint32Array): number {
    let copied = 0;
    let at = 0;
    while (at < list.length) {
      if (list[at + 1] === 0) {
        at += FILE_ENTRY_WORDS;
        continue;
      }
      let count = 1;
      while (count < STAGED_PAGES_MAX) {
        const next = at + count * FILE_ENTRY_WORDS;
        if (next >= list.length || list[next] !== list[at] + count || list[next + 1] === 0) break;
        count += 1;
      }
      const view = this.#bench.staging.subarray(0, count * SLOT_BYTES);
      const readBytes = this.#file.readInto(view, list[at] * SLOT_BYTES);
      assert(readBytes === view.length, 'a page that was written is not there');
      file.write(view, list[at + 1] * SLOT_BYTES);
      copied += count;
      at += count * FILE_ENTRY_WORDS;
    }
    return copied;
  }

  /** The pages are where they belong. */
  remove(): void {
    this.#device.remove(UNNUMBERED);
  }

  close(): void {
    this.#file.close();
  }
}
