/**
 * Making a job directory of a checkpoint that comes from elsewhere, page by page.
 *
 * The directory becomes a job, durably, by the last step of `publish`: whatever ends the process before, what is there is the
 * remains of an unfinished creation, which may be made again. Pages come in any order, and again: the last contents hold.
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import { CHECKPOINT_HEADER_BYTES, encodeCheckpointHeader, FILE_ENTRY_WORDS } from '../format/checkpoint-file-format.ts';
import { encodeRecord } from '../format/commit-record.ts';
import type { JobFile, JobIdentity } from '../format/job-format.ts';
import {
  ENTRY_WORDS,
  INLINE_STATE_BYTES_MAX,
  MAPPED_PAGES_MAX,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  rootEntryCount,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, Workbench } from '../format/workbench.ts';
import type { Checkpoint } from './checkpoint.ts';
import type { PolicyName } from './checkpoint-store.ts';
import { checkpointFileName, PAGING_NAME, prepareJob, publishJob } from './job-directory.ts';
import { JobImage } from './job-image.ts';

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
    const { map, slots, tree } = this.#image;
    const { staging } = this.bench;
    let next = 0;
    while (next < pages.length) {
      const page = pages[next];
      if (page >= map.pageCount) map.grow(page + 1);
      if (results[4 * next + 2] !== 0) {
        if (map.slotOf(page) !== 0) map.place(page, 0, 1, 0, 0);
        next += 1;
        continue;
      }
      let end = next + 1;
      while (end < pages.length && results[4 * end + 2] === 0) end += 1;
      const slot = slots.takeRun(end - next, Infinity);
      end = next + slots.runLength;
      this.#file.write(staging.subarray(next * SLOT_BYTES, end * SLOT_BYTES), slot * SLOT_BYTES);
      for (let i = next; i < end; i++) {
        if (pages[i] >= map.pageCount) map.grow(pages[i] + 1);
        map.place(pages[i], slot + i - next, 1, results[4 * i], results[4 * i + 1]);
      }
      next = end;
    }
    tree.noteChanges();
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

/** Pages until the number of their checkpoint is known: a file's name may be part of what seals it, so it is not renamed. */
const UNNUMBERED = checkpointFileName(0);
const HEADER_PAGES = CHECKPOINT_HEADER_BYTES / SLOT_BYTES;

/**
 * Into a checkpoint file. There pages lie in ascending order without gaps, and which of them hold zeros is only known at
 * the end: so each is put at a place of its own in another file first, and copied at last.
 */
class FileImport extends ImageImport {
  readonly #file: DeviceFile;
  readonly #policy: PolicyName;
  /** For each page two words of its checksum, and whether it holds anything. */
  #checksums = new Uint32Array(0);
  #present = new Uint8Array(0);

  constructor(device: Device, identity: JobIdentity, program: Uint8Array, policy: PolicyName) {
    super(device, identity, program);
    this.#policy = policy;
    this.#file = device.openFile(UNNUMBERED, 'create');
  }

  protected putStaged(pages: Uint32Array, results: Uint32Array): void {
    const { staging } = this.bench;
    let start = 0;
    for (let i = 0; i < pages.length; i++) {
      const page = pages[i];
      this.#reach(page);
      this.#present[page] = results[4 * i + 2] === 0 ? 1 : 0;
      this.#checksums[2 * page] = results[4 * i];
      this.#checksums[2 * page + 1] = results[4 * i + 1];
      if (i + 1 < pages.length && pages[i + 1] === page + 1) continue;
      const at = pages[start] * SLOT_BYTES;
      this.#file.write(staging.subarray(start * SLOT_BYTES, (i + 1) * SLOT_BYTES), at);
      start = i + 1;
    }
  }

  #reach(page: number): void {
    if (page < this.#present.length) return;
    const capacity = Math.min(MAPPED_PAGES_MAX, Math.max(page + 1, 2 * this.#present.length, 256));
    const present = new Uint8Array(capacity);
    present.set(this.#present);
    this.#present = present;
    const checksums = new Uint32Array(2 * capacity);
    checksums.set(this.#checksums);
    this.#checksums = checksums;
  }

  complete(checkpoint: ImportedCheckpoint, state: Uint8Array): void {
    const name = checkpointFileName(checkpoint.generation);
    const file = this.device.openFile(name, 'create');
    try {
      this.#writeTo(file, checkpoint, state);
      file.sync();
    } finally {
      file.close();
    }
    this.device.remove(UNNUMBERED);
  }

  #writeTo(file: DeviceFile, checkpoint: ImportedCheckpoint, state: Uint8Array): void {
    const list = this.#copyPages(file);
    const listBytes = new Uint8Array(list.buffer);
    const pagesWritten = list.length / FILE_ENTRY_WORDS;
    const listAt = (HEADER_PAGES + pagesWritten) * SLOT_BYTES;
    file.write(listBytes, listAt);
    file.write(state, listAt + listBytes.length);
    const { generation, timeMs, trigger, guestPageCount, dirtyPages } = checkpoint;
    const header = encodeCheckpointHeader(
      {
        generation,
        jobId: this.job.jobId,
        policy: this.#policy,
        trigger,
        timeMs,
        baseGeneration: 0,
        guestPageCount,
        dirtyPages,
        pagesWritten,
        entryCount: pagesWritten,
        stateBytes: state.length,
        listChecksum: this.bench.checksumOf(listBytes),
        stateChecksum: this.bench.checksumOf(state),
        keep: 1,
        oldestKept: 0,
      },
      this.bench,
    );
    file.write(header, 0);
  }

  /** Returns the list of the file. */
  #copyPages(file: DeviceFile): Uint32Array<ArrayBuffer> {
    const present = this.#present;
    let count = 0;
    for (const isPresent of present) count += isPresent;
    const list = new Uint32Array(count * FILE_ENTRY_WORDS);
    let entry = 0;
    let next = 0;
    while (next < present.length) {
      if (present[next] === 0) {
        next += 1;
        continue;
      }
      let end = next;
      while (end < present.length && end - next < STAGED_PAGES_MAX && present[end] !== 0) end += 1;
      const view = this.bench.staging.subarray(0, (end - next) * SLOT_BYTES);
      const readBytes = this.#file.readInto(view, next * SLOT_BYTES);
      assert(readBytes === view.length, 'a page that was written is not there');
      file.write(view, (HEADER_PAGES + entry) * SLOT_BYTES);
      for (let page = next; page < end; page++, entry++) {
        const at = entry * FILE_ENTRY_WORDS;
        list[at] = page;
        list[at + 1] = HEADER_PAGES + entry;
        list[at + 2] = this.#checksums[2 * page];
        list[at + 3] = this.#checksums[2 * page + 1];
      }
      next = end;
    }
    return list;
  }

  close(): void {
    this.#file.close();
  }
}
