/**
 * Making a job directory of a checkpoint that comes from elsewhere, page by page.
 *
 * The directory becomes a job, durably, by the last step of `publish`: whatever ends the process before, what is there is the
 * remains of an unfinished creation, which may be made again. Pages come in any order, and again: the last contents hold.
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import { encodeRecord } from '../format/commit-record.ts';
import type { JobFile, JobIdentity } from '../format/job-format.ts';
import {
  ENTRY_WORDS,
  INLINE_STATE_BYTES_MAX,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  rootEntryCount,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, Workbench } from '../format/workbench.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { PolicyName } from './checkpoint-store.ts';
import { PAGING_NAME, prepareJob, publishJob } from './job-directory.ts';
import { JobImage } from './job-image.ts';
import { StagedFile } from './staged-file.ts';
import { placeStaged } from './staged-slots.ts';

/** What a checkpoint is, beside its pages and its state. */
export type ImportedCheckpoint = Omit<Checkpoint, 'state' | 'pagesWritten'>;

export abstract class ImageImport {
  protected readonly device: Device;
  protected readonly job: JobFile;
  protected readonly bench = Workbench.ofThread();

  /** The directory must be empty, or hold the remains of an unfinished creation. */
  constructor(device: Device, identity: JobIdentity, program: Uint8Array) {
    this.device = device;
    this.job = prepareJob(device, identity, program, this.bench);
  }

  /** The way of a policy. */
  static begin(device: Device, identity: JobIdentity, program: Uint8Array, policy: PolicyName): ImageImport {
    if (policy === 'sequential' || policy === 'incremental') return new FileImport(device, identity, program, policy);
    return new PagingImport(device, identity, program);
  }

  /** Takes the contents of pages, one after another: at most 256, each below 2^20. */
  put(pages: Uint32Array, contents: Uint8Array): void {
    assert(pages.length <= STAGED_PAGES_MAX, `${pages.length} pages at once`);
    this.bench.staging.set(contents);
    const results = this.bench.examineStaged(pages.length);
    this.putStaged(pages, results);
  }

  /** `results`: four words for each page, of which the third tells that it holds zeros. */
  protected abstract putStaged(pages: Uint32Array, results: Uint32Array): void;
  /** Makes the checkpoint complete and durable; the directory is no job yet. */
  abstract complete(checkpoint: ImportedCheckpoint, state: Uint8Array): void;

  /** Makes the directory a job. */
  publish(): void {
    publishJob(this.device, this.job, this.bench);
  }

  abstract close(): void;
}

/** Into the paging file. */
class PagingImport extends ImageImport {
  readonly #file: DeviceFile;
  readonly #image: JobImage;

  constructor(device: Device, identity: JobIdentity, program: Uint8Array) {
    super(device, identity, program);
    this.#file = device.openFile(PAGING_NAME, 'write');
    this.#image = new JobImage(this.#file, this.bench);
    this.#image.slots.growFile = (slotCount) => this.#file.truncate(slotCount * SLOT_BYTES);
  }

  protected putStaged(pages: Uint32Array, results: Uint32Array): void {
    placeStaged(this.#file, this.#image, this.bench, pages, results, 1, Infinity);
  }

  complete(checkpoint: ImportedCheckpoint, state: Uint8Array): void {
    const { map, slots, tree } = this.#image;
    const { generation, timeMs, trigger, guestPageCount, dirtyPages } = checkpoint;
    map.grow(guestPageCount);
    // All is durable before the directory becomes a job, as what an earlier checkpoint wrote is: recovery need not read it all.
    const written = Math.max(1, generation - 1);
    for (let at = 0; at < guestPageCount * ENTRY_WORDS; at += ENTRY_WORDS) {
      if (map.entries[at + 1] !== 0) map.entries[at + 1] = written;
    }
    tree.write(this.#file, generation, Infinity);
    let stateSlot = 0;
    if (state.length > INLINE_STATE_BYTES_MAX) {
      stateSlot = slots.takeContiguous(Math.ceil(state.length / SLOT_BYTES));
      this.#file.write(state, stateSlot * SLOT_BYTES);
    }
    const fields = encodeRecord(
      {
        fields: {
          generation,
          timeMs,
          previousGeneration: 0,
          previousChecksum: 0n,
          guestPageCount,
          trigger,
          dirtyPages,
          pagesWritten: written === generation ? map.workingCount : 0,
          stateBytes: state.length,
          stateSlot,
          stateChecksum: this.bench.checksumOf(state),
        },
        root: tree.root.subarray(0, rootEntryCount(guestPageCount) * ENTRY_WORDS),
        deltaPages: tree.deltaPages,
        deltas: tree.deltas(),
        inlineState: stateSlot === 0 ? state : undefined,
      },
      this.bench,
    );
    const recordBytes = Math.ceil(fields.recordBytes / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES;
    this.bench.record.fill(0, fields.recordBytes, recordBytes);
    this.#file.write(this.bench.record.subarray(0, recordBytes), recordAreaOffset(generation));
    this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }
}

/** Into a checkpoint file. */
class FileImport extends ImageImport {
  readonly #staging: StagedFile;
  readonly #policy: PolicyName;

  constructor(device: Device, identity: JobIdentity, program: Uint8Array, policy: PolicyName) {
    super(device, identity, program);
    this.#policy = policy;
    this.#staging = new StagedFile(device, this.bench);
  }

  protected putStaged(pages: Uint32Array, results: Uint32Array): void {
    this.#staging.put(pages, results);
  }

  complete({ generation, timeMs, trigger, guestPageCount, dirtyPages }: ImportedCheckpoint, state: Uint8Array): void {
    const { jobId } = this.job;
    const fields = { generation, jobId, policy: this.#policy, trigger, timeMs, guestPageCount, dirtyPages };
    this.#staging.writeCheckpoint({ ...fields, baseGeneration: 0, keep: 1, oldestKept: 0 }, state);
    this.#staging.remove();
  }

  close(): void {
    this.#staging.close();
  }
}
