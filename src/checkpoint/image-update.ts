/**
 * Bringing a job directory to a later checkpoint that comes from elsewhere, page by page, without a guest.
 *
 * It is a commit like the store's: pages go to slots (or to a file) that no checkpoint names, while they come; the record (or
 * the file with its number) is written when all has come and was found right, and one barrier makes it the newest checkpoint. So
 * whatever ends the process before, the checkpoint that was there stands, and what was written is free room. The number of the new
 * one is the next of this directory, whatever it had elsewhere: the record area of any other may be the newest's own.
 *
 * Pages come in any order, and again: the last contents hold. Pages that do not come stay as they are, unless all of them
 * were to come: then they hold zeros.
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { assert, ContinuoError, CorruptionError, UsageError } from '../error/errors.ts';
import { encodeRecord } from '../format/commit-record.ts';
import type { JobFile } from '../format/job-format.ts';
import {
  ENTRY_WORDS,
  FIRST_FREE_SLOT,
  INLINE_STATE_BYTES_MAX,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  rootEntryCount,
  SLOT_BYTES,
  type RecordFields,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, Workbench } from '../format/workbench.ts';
import type { Checkpoint } from './checkpoint.ts';
import { CheckpointChain } from './checkpoint-chain.ts';
import { CHAIN_IMAGES_MAX } from './checkpoint-files.ts';
import type { ImportedCheckpoint } from './image-import.ts';
import { checkPagingHeader, checkpointFileName, isCheckpointFile, PAGING_NAME, readJob } from './job-directory.ts';
import type { JobImage } from './job-image.ts';
import { checkpointOf, eraseRecord, recover } from './recovery.ts';
import type { RetainedCheckpoints } from './retained.ts';
import { StagedFile } from './staged-file.ts';
import { placeStaged } from './staged-slots.ts';

/** What the later checkpoint is; its number is the directory's. */
export type UpdatedCheckpoint = Omit<ImportedCheckpoint, 'generation'>;

export abstract class ImageUpdate {
  readonly job: JobFile;
  /** The checkpoint that is there. */
  abstract readonly latest: Checkpoint;
  protected readonly device: Device;
  protected readonly bench = Workbench.ofThread();

  protected constructor(device: Device) {
    this.device = device;
    this.job = readJob(device, this.bench);
  }

  /**
   * Opens a job that has a checkpoint. The caller holds its lock.
   * @throws UsageError `no-checkpoint`; CorruptionError; StorageError.
   */
  static begin(device: Device): ImageUpdate {
    return device.list().some(isCheckpointFile) ? new FileUpdate(device) : new SlotUpdate(device);
  }

  /** Takes the contents of pages, one after another: at most 256, each below 2^20. */
  put(pages: Uint32Array, contents: Uint8Array): void {
    assert(pages.length <= STAGED_PAGES_MAX, `${pages.length} pages at once`);
    this.bench.staging.set(contents);
    this.putStaged(pages, this.bench.examineStaged(pages.length));
  }

  protected abstract putStaged(pages: Uint32Array, results: Uint32Array): void;
  /** Makes it the newest checkpoint, durably, and returns its number. `isWhole`: pages that did not come hold zeros. */
  abstract complete(checkpoint: UpdatedCheckpoint, state: Uint8Array, isWhole: boolean): number;
  abstract close(): void;
}

function withoutCheckpoint(path: string): UsageError {
  return new UsageError('no-checkpoint', `${path} has no checkpoint that could be brought up to date`, { path });
}

/** In the paging file. */
class SlotUpdate extends ImageUpdate {
  readonly latest: Checkpoint;
  readonly #file: DeviceFile;
  readonly #image: JobImage;
  readonly #retained: RetainedCheckpoints;
  readonly #fields: RecordFields;
  readonly #generation: number;
  /** By page: whether it came. */
  #came = new Uint8Array(0);

  constructor(device: Device) {
    super(device);
    this.#file = device.openFile(PAGING_NAME, 'write');
    try {
      checkPagingHeader(this.#file, this.job, this.bench);
      const { image, record, state, retained, rejected } = recover(this.#file, this.bench);
      if (record === undefined) throw withoutCheckpoint(device.path);
      if (rejected !== undefined) eraseRecord(this.#file, rejected.areaOffsetBytes);
      this.#file.sync();
      this.#image = image;
      this.#retained = retained;
      this.#fields = record.fields;
      this.#generation = record.fields.generation + 1;
      this.latest = checkpointOf(record.fields, state);
    } catch (error) {
      this.#file.close();
      throw error;
    }
    const { slots } = this.#image;
    slots.growFile = (slotCount) => this.#file.truncate(slotCount * SLOT_BYTES);
    slots.startSearch();
  }

  protected putStaged(pages: Uint32Array, results: Uint32Array): void {
    const reach = pages[pages.length - 1] + 1;
    if (reach > this.#came.length) {
      const longer = new Uint8Array(Math.max(reach, 2 * this.#came.length));
      longer.set(this.#came);
      this.#came = longer;
    }
    for (const page of pages) this.#came[page] = 1;
    placeStaged(this.#file, this.#image, this.bench, pages, results, this.#generation, this.#softLimit());
  }

  /** As the store's: the file may grow to twice the image for the sake of long runs. */
  #softLimit(): number {
    const { pageCount } = this.#image.map;
    return FIRST_FREE_SLOT + 2 * pageCount + (pageCount >>> 3) + 1024 + this.#retained.slotCount;
  }

  complete(checkpoint: UpdatedCheckpoint, state: Uint8Array, isWhole: boolean): number {
    const { map, slots, tree } = this.#image;
    const { timeMs, trigger, guestPageCount, dirtyPages } = checkpoint;
    const generation = this.#generation;
    map.grow(guestPageCount);
    for (let page = 0; isWhole && page < guestPageCount; page++) {
      if (map.slotOf(page) !== 0 && this.#came[page] !== 1) map.place(page, 0, generation, 0, 0);
    }
    tree.write(this.#file, generation, this.#softLimit());
    let stateSlot = 0;
    if (state.length > INLINE_STATE_BYTES_MAX) {
      stateSlot = slots.takeContiguous(Math.ceil(state.length / SLOT_BYTES));
      this.#file.write(state, stateSlot * SLOT_BYTES);
    }
    const retained = this.#retained.write(this.#file, this.#fields, generation);
    const { recordBytes } = encodeRecord(
      {
        fields: {
          generation,
          timeMs,
          previousGeneration: this.#fields.generation,
          previousChecksum: this.#fields.checksum,
          guestPageCount,
          trigger,
          dirtyPages,
          pagesWritten: map.freshCount,
          stateBytes: state.length,
          stateSlot,
          stateChecksum: this.bench.checksumOf(state),
        },
        root: tree.root.subarray(0, rootEntryCount(guestPageCount) * ENTRY_WORDS),
        deltaPages: tree.deltaPages,
        deltas: tree.deltas(),
        inlineState: stateSlot === 0 ? state : undefined,
        retained,
      },
      this.bench,
    );
    const roundedBytes = Math.ceil(recordBytes / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES;
    this.bench.record.fill(0, recordBytes, roundedBytes);
    const area = recordAreaOffset(generation);
    try {
      this.#file.write(this.bench.record.subarray(0, roundedBytes), area);
      this.#file.sync();
    } catch (error) {
      this.#withdraw(area);
      throw error;
    }
    return generation;
  }

  /** After a failed barrier the system may show what never reached the medium: see the store. */
  #withdraw(area: number): void {
    try {
      eraseRecord(this.#file, area);
    } catch {
      // The error that made us withdraw is the one to report; recovery judges the record as after a power failure.
    }
  }

  close(): void {
    this.#file.close();
  }
}

/** In checkpoint files: one more that says what changed, or a full one where the chain is long or there is none. */
class FileUpdate extends ImageUpdate {
  readonly latest: Checkpoint;
  readonly #chain: CheckpointChain;
  readonly #staging: StagedFile;

  constructor(device: Device) {
    super(device);
    this.#chain = new CheckpointChain(device, this.job.jobId, this.bench);
    const { latest, rejected } = this.#chain;
    if (latest === undefined) throw withoutCheckpoint(device.path);
    if (rejected !== undefined) {
      device.remove(rejected.name);
      device.syncDirectory();
    }
    this.latest = latest;
    this.#staging = new StagedFile(device, this.bench);
  }

  protected putStaged(pages: Uint32Array, results: Uint32Array): void {
    this.#staging.put(pages, results);
  }

  complete(checkpoint: UpdatedCheckpoint, state: Uint8Array, isWhole: boolean): number {
    const { timeMs, trigger, guestPageCount, dirtyPages } = checkpoint;
    const generation = this.latest.generation + 1;
    const policy = this.#chain.latestPolicy === 'sequential' ? 'sequential' : 'incremental';
    const isFull = isWhole || policy === 'sequential' || this.#chain.changedPages > CHAIN_IMAGES_MAX * guestPageCount;
    if (isFull && !isWhole) this.#takeOthers();
    const keep = Math.max(1, this.#chain.fields?.keep ?? 1);
    const kept = [generation, ...this.#chain.kept].slice(0, keep);
    const name = checkpointFileName(generation);
    const start = {
      generation,
      jobId: this.job.jobId,
      policy,
      trigger,
      timeMs,
      baseGeneration: isFull ? 0 : this.latest.generation,
      guestPageCount,
      dirtyPages,
      keep,
      oldestKept: kept[kept.length - 1],
    };
    let pagesWritten: number;
    try {
      pagesWritten = this.#staging.writeCheckpoint(start, state);
      this.device.syncDirectory();
    } catch (error) {
      this.#withdraw(name);
      throw error;
    }
    this.#chain.extend(name, isFull, pagesWritten, kept);
    return generation;
  }

  /** What a failed sync leaves may look complete and not be. */
  #withdraw(name: string): void {
    try {
      this.device.remove(name);
    } catch (failure) {
      // The error that made the update fail is the one to report; recovery judges the file by its checksums.
      if (!(failure instanceof ContinuoError)) throw failure;
    }
  }

  /** Pages that did not come, from the checkpoint that is there. */
  #takeOthers(): void {
    const reader = this.#chain.openPages();
    try {
      const pages = reader.list(0).filter((page) => !this.#staging.has(page));
      const room = new Uint8Array(STAGED_PAGES_MAX * SLOT_BYTES);
      const good = new Uint8Array(STAGED_PAGES_MAX);
      for (let from = 0; from < pages.length; from += STAGED_PAGES_MAX) {
        const batch = pages.subarray(from, from + STAGED_PAGES_MAX);
        reader.read(batch, room, good);
        const bad = batch.findIndex((_, i) => good[i] !== 1);
        if (bad >= 0) {
          const { path } = this.device;
          throw new CorruptionError(
            `page ${batch[bad]} of the checkpoint in ${path} is damaged; make the copy anew from a whole restart file`,
            { path },
          );
        }
        this.put(batch, room.subarray(0, batch.length * SLOT_BYTES));
      }
    } finally {
      reader.close();
    }
  }

  close(): void {
    this.#staging.close();
    this.#staging.remove();
  }
}
