/**
 * The durable store of a job whose checkpoints are files of their own: the policies `sequential` and `incremental`.
 *
 * `sequential` writes all pages at each checkpoint and then removes the file before (Condor, libckpt without increments).
 * `incremental` writes the pages that were written since the last checkpoint, each known by the write-protection fault at its
 * first write, and keeps the chain back to a full file (libckpt). Pages that are not resident then are read back from a temporary
 * paging file first, which no restart needs.
 *
 * Durability by cases: a checkpoint file is new, and complete when `saveToFile` has returned (see there). Files that it makes
 * unnecessary are removed after that, so whatever is lost of the removal, the newest complete file and its chain are there. A
 * newest file that is not complete never was a checkpoint: it is removed when the job is opened for writing.
 * Where checkpoints before the newest are kept (`--keep`), their files and what they build on are needed as well, and so are those
 * of the newest; a file says how far back. Going back (`going-back.ts`) removes the files of those given up before it returns,
 * or the next opening does.
 * The file of the next checkpoint is not begun before the one before is durable, so an incomplete one never has a successor.
 */
import type { Device } from '../device/device.ts';
import { assert, ContinuoError } from '../error/errors.ts';
import type { JobFile, JobIdentity } from '../format/job-format.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { allPages, type DirtyTracker } from '../pager/dirty-tracker.ts';
import type { Pager } from '../pager/pager.ts';
import { type CopyRoom, NO_COPIES, PendingPages, PendingState } from '../save/pending-pages.ts';
import { preciseNowMs, saveToFile } from '../save/save-work.ts';
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import { Workbench } from '../format/workbench.ts';
import type { Checkpoint, CheckpointRequest, CheckpointStats } from './checkpoint.ts';
import { BACK_TRIGGER, CheckpointChain, removeBetween } from './checkpoint-chain.ts';
import { afterFailure, type CheckpointStore, type PolicyName, type StartedSave } from './checkpoint-store.ts';
import type { PageReader } from './copied-pages.ts';
import { checkpointFileName, createJob, readJob, readProgram } from './job-directory.ts';
import { ScratchStore } from './scratch-store.ts';
import type { PagingOptions } from './paging-options.ts';

/** A chain that holds so many times the image in changes is ended by a full file, so that it does not grow for ever. */
export const CHAIN_IMAGES_MAX = 16;

const NO_PAGES = new Uint32Array(0);

export interface CheckpointFilesOptions {
  readonly incremental: boolean;
  readonly readOnly?: boolean;
}

export class CheckpointFiles implements CheckpointStore {
  readonly identity: JobIdentity;
  readonly rejectedCheckpoint: string | undefined;
  /** What is damaged is found when it is gone back to. */
  readonly keptDamage = undefined;
  readonly #device: Device;
  readonly #job: JobFile;
  readonly #bench = Workbench.ofThread();
  readonly #incremental: boolean;
  readonly #readOnly: boolean;
  readonly #chain: CheckpointChain;
  keep: number;
  /** Generations that may be gone back to, newest first. */
  #kept: readonly number[];
  #latest: Checkpoint | undefined;
  #memory: GuestMemory | undefined;
  #pager: Pager | undefined;
  /** In the pager's place, where all pages are resident and something else knows the guest's writes. */
  #tracker: DirtyTracker | undefined;
  #scratch: ScratchStore | undefined;
  #failure: unknown;

  constructor(device: Device, { incremental, readOnly = false }: CheckpointFilesOptions) {
    this.#device = device;
    this.#incremental = incremental;
    this.#readOnly = readOnly;
    this.#job = readJob(device, this.#bench);
    this.identity = this.#job.identity;
    this.#chain = readOnly
      ? CheckpointChain.readLive(device, this.#job.jobId, this.#bench)
      : new CheckpointChain(device, this.#job.jobId, this.#bench);
    this.#latest = this.#chain.latest;
    this.rejectedCheckpoint = this.#chain.rejected?.reason;
    const { fields, rejected, kept } = this.#chain;
    this.keep = Math.max(1, fields?.keep ?? 1);
    this.#kept = kept;
    if (readOnly) return;
    if (rejected !== undefined) {
      device.remove(rejected.name);
      device.syncDirectory();
    }
    if (fields?.trigger === BACK_TRIGGER) removeBetween(device, fields.baseGeneration, fields.generation);
  }

  /** Makes a job in a directory that is empty or holds the remains of an unfinished creation, and opens it. */
  static create(
    device: Device,
    identity: JobIdentity,
    program: Uint8Array,
    options: CheckpointFilesOptions,
  ): CheckpointFiles {
    createJob(device, identity, program, Workbench.ofThread());
    return new CheckpointFiles(device, options);
  }

  get latest(): Checkpoint | undefined {
    return this.#latest;
  }

  olderStates(): Uint8Array[] {
    const older = this.#kept.filter((generation) => generation !== this.#latest?.generation).toReversed();
    return older.map((at) => new CheckpointChain(this.#device, this.#job.jobId, this.#bench, at).latest!.state);
  }

  retain(keep: number): void {
    this.keep = keep;
  }

  /** The policy that took the newest checkpoint, when the job was opened. */
  get latestPolicy(): PolicyName {
    return this.#chain.latestPolicy === 'sequential' ? 'sequential' : 'incremental';
  }

  readProgram(): Uint8Array {
    return readProgram(this.#device, this.#job);
  }

  attach(
    memory: GuestMemory,
    paging: PagingOptions | undefined,
    tracked: boolean | DirtyTracker = false,
  ): Pager | undefined {
    assert(this.#memory === undefined, 'the store is attached already');
    this.#memory = memory;
    if (typeof tracked !== 'boolean') {
      this.#tracker = tracked;
      return undefined;
    }
    // Write protection is the pager's, so an incremental job has one even where all pages are resident.
    const options = paging ?? (this.#incremental ? { frameCount: MAPPED_PAGES_MAX, protects: true } : undefined);
    if (options === undefined) return undefined;
    this.#scratch = new ScratchStore(this.identity, this.readProgram());
    this.#pager = this.#scratch.store.attach(memory, options);
    return this.#pager;
  }

  loadPages(): void {
    const memory = this.#attached();
    const { pieceBytes } = memory;
    const runPages = Math.max(1, Math.min(this.#chain.runPagesMax, Math.floor(pieceBytes / PAGE_BYTES)));
    this.#chain.readPages(memory.pageCount, runPages, (page, count) => {
      memory.releaseHolds();
      return memory.viewForWriting(page * PAGE_BYTES, count * PAGE_BYTES);
    });
    memory.releaseHolds();
    this.#pager?.startInterval(memory.pageCount);
    this.#tracker?.rearm(memory.pageCount, NO_PAGES, 0);
  }

  commit(request: CheckpointRequest): CheckpointStats {
    const startMs = performance.now();
    const started = this.begin(request, NO_COPIES);
    assert(started.work.kind === 'file', 'a checkpoint file is a file');
    try {
      const result = saveToFile(started.source, this.#device, started.work, this.#bench);
      const stats = started.finish(result);
      const commitMs = performance.now() - startMs;
      return { ...stats, pauseMs: commitMs, commitMs, forked: false };
    } catch (error) {
      started.fail(error);
      throw error;
    }
  }

  begin(request: CheckpointRequest, room: CopyRoom): StartedSave {
    assert(!this.#readOnly, 'the store was opened for reading');
    this.#failure ??= this.#pager?.failure;
    if (this.#failure !== undefined) throw afterFailure(this.#device.path, this.#failure);
    const startMs = preciseNowMs();
    const memory = this.#attached();
    const { pageCount } = memory;
    const pager = this.#pager;
    const generation = (this.#latest?.generation ?? 0) + 1;
    const changedCount = pager?.collectChanged(pageCount) ?? this.#tracker?.collect(pageCount) ?? pageCount;
    // What the list holds of changed pages; without one all count as changed.
    const changed = pager?.pages ?? this.#tracker?.pages;
    const isFull =
      !this.#incremental || this.#latest === undefined || this.#chain.changedPages > CHAIN_IMAGES_MAX * pageCount;
    const { trigger, state, exclusions } = request;
    const residentDirtyPages = this.#residentCount(pager, changedCount);
    const savedCount = changed === undefined ? 0 : (exclusions?.partition(changed, changedCount) ?? changedCount);
    // The first file needs only what was ever written, where that is known.
    const savesAll = isFull && !(this.#latest === undefined && this.#incremental && this.#tracker?.knowsAll === true);
    const pages = savesAll ? allPages(pageCount) : changed!;
    const count = savesAll ? (exclusions?.partition(pages, pageCount) ?? pageCount) : savedCount;
    const pending = this.#pendingOf(pages, count, isFull, room);
    const pagesWrittenContinuous = pager?.takeContinuousCount() ?? 0;
    pager?.startInterval(pageCount, pager.pages.subarray(savedCount, changedCount));
    this.#tracker?.rearm(pageCount, this.#tracker.pages, savedCount, changedCount);
    const name = checkpointFileName(generation);
    const timeMs = Date.now();
    const kept = [generation, ...this.#kept].slice(0, this.keep);
    const start = {
      generation,
      jobId: this.#job.jobId,
      policy: this.#incremental ? 'incremental' : 'sequential',
      trigger,
      timeMs,
      baseGeneration: isFull ? 0 : generation - 1,
      guestPageCount: pageCount,
      dirtyPages: changedCount,
      keep: this.keep,
      oldestKept: kept[kept.length - 1],
    };
    const pauseMs = preciseNowMs() - startMs;
    return {
      source: { memory: memory.memory, pending, paging: this.#scratch?.pagingFile },
      work: { kind: 'file', name, start, state },
      target: this.#device,
      finish: ({ pagesWritten, zeroPages, pagesRead, bytesWritten, syncMs, endMs }) => {
        this.#chain.extend(name, isFull, pagesWritten, kept);
        this.#kept = kept;
        this.#latest = {
          generation,
          timeMs,
          trigger,
          guestPageCount: pageCount,
          dirtyPages: changedCount,
          pagesWritten,
          state,
        };
        return {
          generation,
          trigger,
          dirtyPages: changedCount,
          residentDirtyPages,
          residentPages: pager?.residentCount ?? pageCount,
          pagesWritten,
          pagesWrittenContinuous,
          pagesRead,
          zeroPages,
          bytesWritten,
          pauseMs,
          commitMs: endMs - startMs,
          syncMs,
          forked: true,
          copyFaults: 0,
        };
      },
      fail: (error) => this.#fail(error, name),
    };
  }

  pageReader(): PageReader {
    return this.#chain.openPages();
  }

  slotCounts(): undefined {
    return undefined;
  }

  close(): void {
    this.#tracker?.close?.();
    this.#scratch?.close();
  }

  #attached(): GuestMemory {
    assert(this.#memory !== undefined, 'the store is not attached to a memory');
    return this.#memory;
  }

  /** The list of pages to save. A full file says nothing of pages that hold zeros and have neither frame nor slot. */
  #pendingOf(pages: Uint32Array, count: number, isFull: boolean, room: CopyRoom): PendingPages {
    const pager = this.#pager;
    if (pager === undefined) {
      const pending = PendingPages.ofCount(count, room);
      pending.pages.set(pages.subarray(0, count));
      return pending;
    }
    const { map } = pager;
    let kept = count;
    if (isFull) {
      kept = 0;
      for (let i = 0; i < count; i++) {
        if (pager.isResident(pages[i]) || map.slotOf(pages[i]) !== 0) pages[kept++] = pages[i];
      }
    }
    const pending = PendingPages.ofCount(kept, room);
    for (let i = 0; i < kept; i++) {
      const page = pages[i];
      pending.pages[i] = page;
      if (pager.isResident(page)) continue;
      pending.states[i] = PendingState.inSlot;
      pending.slots[i] = map.slotOf(page);
      pending.checksums[2 * i] = map.checksumLowOf(page);
      pending.checksums[2 * i + 1] = map.checksumHighOf(page);
    }
    return pending;
  }

  #residentCount(pager: Pager | undefined, changedCount: number): number {
    if (pager === undefined) return changedCount;
    let count = 0;
    for (let i = 0; i < changedCount; i++) if (pager.isResident(pager.pages[i])) count += 1;
    return count;
  }

  /** What a failed sync leaves may look complete and not be: the file is removed as far as the system still lets us. */
  #fail(error: unknown, name: string): void {
    this.#failure = error;
    try {
      this.#device.remove(name);
    } catch (failure) {
      // The error that made the checkpoint fail is the one to report; recovery judges the file by its checksums.
      if (!(failure instanceof ContinuoError)) throw failure;
    }
  }
}
