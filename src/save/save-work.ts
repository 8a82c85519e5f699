/**
 * Saving the pages of a checkpoint, in the guest's thread while the guest stands still or in another one beside it: the code is the
 * same.
 *
 * Durability. `saveToFile`: pages, list and state, then the header, into a new file, unordered and unsynced; then the file is
 * synced, then its directory, whose entry names it. When it has returned the checkpoint is durable. Before, the header or
 * one of the checksums that it leads to disagrees, or the file is whole: recovery tells which, and the files of the checkpoint
 * before were not touched. `saveToSlots`: pages into slots that no durable checkpoint names, then one sync, which also covers
 * the record and the page map that the guest's thread wrote into the same file before (see `checkpoint/store.ts`).
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { CorruptionError } from '../error/errors.ts';
import {
  CHECKPOINT_HEADER_BYTES,
  type CheckpointFileStart,
  encodeCheckpointHeader,
  FILE_ENTRY_WORDS,
} from '../format/checkpoint-file-format.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import { checksumOfWords } from '../pager/page-damage.ts';
import { PageSource } from './page-source.ts';
import { type PendingPages, PendingState } from './pending-pages.ts';

/** A checkpoint file to be made. */
export interface FileSave {
  readonly kind: 'file';
  readonly name: string;
  readonly start: CheckpointFileStart;
  readonly state: Uint8Array;
}

/** Pages that go to slots which the page map names already: one per page, in the order of the list. */
export interface SlotSave {
  readonly kind: 'slots';
  readonly targets: SharedArrayBuffer;
}

/** What a save came to. */
export interface SaveResult {
  readonly pagesWritten: number;
  readonly zeroPages: number;
  readonly pagesRead: number;
  readonly bytesWritten: number;
  readonly syncMs: number;
  /** When it was durable, milliseconds since 1970 UTC with fractions, comparable between threads. */
  readonly endMs: number;
}

export function durationMs(run: () => void): number {
  const startMs = performance.now();
  run();
  return performance.now() - startMs;
}

export function preciseNowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Where a save takes pages from. */
export interface SaveSource {
  readonly memory: WebAssembly.Memory;
  readonly pending: PendingPages;
  /** The file that holds the pages which are not resident; undefined when all are. */
  readonly paging: DeviceFile | undefined;
}

/** Writes pages to their slots and makes the file durable. */
export function saveToSlots(source: SaveSource, target: DeviceFile, save: SlotSave, bench: Workbench): SaveResult {
  const { pending, memory, paging } = source;
  const targets = new Uint32Array(save.targets);
  const pages = new PageSource(memory, pending, paging);
  for (let from = 0; from < pending.count; from += STAGED_PAGES_MAX) {
    const count = Math.min(STAGED_PAGES_MAX, pending.count - from);
    pages.take(from, count, bench.staging);
    let start = 0;
    for (let end = 1; end <= count; end++) {
      if (end < count && targets[from + end] === targets[from + end - 1] + 1) continue;
      target.write(bench.staging.subarray(start * SLOT_BYTES, end * SLOT_BYTES), targets[from + start] * SLOT_BYTES);
      start = end;
    }
  }
  const syncStartMs = performance.now();
  target.sync();
  return {
    pagesWritten: pending.count,
    zeroPages: 0,
    pagesRead: pages.pagesRead,
    bytesWritten: pending.count * SLOT_BYTES,
    syncMs: performance.now() - syncStartMs,
    endMs: preciseNowMs(),
  };
}

/**
 * Makes a checkpoint file, durably.
 * @throws CorruptionError: a page that was read back is not what was written; StorageError.
 */
export function saveToFile(source: SaveSource, device: Device, save: FileSave, bench: Workbench): SaveResult {
  const { pending, memory, paging } = source;
  const pages = new PageSource(memory, pending, paging);
  const list = new Uint32Array(pending.count * FILE_ENTRY_WORDS);
  const file = device.openFile(save.name, 'create');
  try {
    let position = CHECKPOINT_HEADER_BYTES / SLOT_BYTES;
    for (let from = 0; from < pending.count; from += STAGED_PAGES_MAX) {
      const count = Math.min(STAGED_PAGES_MAX, pending.count - from);
      pages.take(from, count, bench.staging);
      const results = bench.examineStaged(count);
      let start = 0;
      for (let i = 0; i <= count; i++) {
        const isZero = i < count && results[4 * i + 2] !== 0;
        if (i === count || isZero) {
          if (start < i) {
            const at = (position - (i - start)) * SLOT_BYTES;
            file.write(bench.staging.subarray(start * SLOT_BYTES, i * SLOT_BYTES), at);
          }
          start = i + 1;
          if (i === count) break;
        }
        checkReadBack(pending, from + i, results, 4 * i, isZero, paging?.path);
        const at = (from + i) * FILE_ENTRY_WORDS;
        list[at] = pending.pages[from + i];
        if (isZero) continue;
        list[at + 1] = position++;
        list[at + 2] = results[4 * i];
        list[at + 3] = results[4 * i + 1];
      }
    }
    const pagesWritten = position - CHECKPOINT_HEADER_BYTES / SLOT_BYTES;
    const listBytes = new Uint8Array(list.buffer);
    file.write(listBytes, position * SLOT_BYTES);
    file.write(save.state, position * SLOT_BYTES + listBytes.length);
    const header = encodeCheckpointHeader(
      {
        ...save.start,
        pagesWritten,
        entryCount: pending.count,
        stateBytes: save.state.length,
        listChecksum: bench.checksumOf(listBytes),
        stateChecksum: bench.checksumOf(save.state),
      },
      bench,
    );
    file.write(header, 0);
    const syncStartMs = performance.now();
    file.sync();
    device.syncDirectory();
    return {
      pagesWritten,
      zeroPages: pending.count - pagesWritten,
      pagesRead: pages.pagesRead,
      bytesWritten: position * SLOT_BYTES + listBytes.length + save.state.length,
      syncMs: performance.now() - syncStartMs,
      endMs: preciseNowMs(),
    };
  } finally {
    file.close();
  }
}

/** A page that came out of the paging file must be what was written there. */
function checkReadBack(
  pending: PendingPages,
  index: number,
  results: Uint32Array,
  at: number,
  isZero: boolean,
  path: string | undefined,
): void {
  if (pending.states[index] !== PendingState.inSlot || pending.slots[index] === 0) return;
  const { checksums } = pending;
  if (!isZero && results[at] === checksums[2 * index] && results[at + 1] === checksums[2 * index + 1]) return;
  const expected = checksumOfWords(checksums[2 * index], checksums[2 * index + 1]);
  const found = isZero ? 'that of zeros' : checksumOfWords(results[at], results[at + 1]);
  const page = pending.pages[index];
  throw new CorruptionError(
    `${path} is damaged at byte ${pending.slots[index] * SLOT_BYTES}: the checksum of page ${page} should be ${expected} and is ${found}; the last checkpoint stands`,
    { path: path ?? '', page, expected, found },
  );
}
