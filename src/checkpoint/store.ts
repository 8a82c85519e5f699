/**
 * The durable store of a job: its identity, its program, and its checkpoints in the paging file.
 *
 * Life of a store, each arrow a method:
 *
 *   create ─┐
 *           ├─► open ──attach──► attached ──loadPages──► loaded ◄──commit──┐
 *   open ───┘                       └───────────commit────►│ ──────────────┘
 *                                                          └─ a write or sync fails ─► failed: every commit refuses
 *
 * A commit: the dirty pages go to slots that no durable checkpoint needs, then what changed of the map, then the
 * record, all unordered and unsynced; then one barrier. When it has returned the checkpoint is durable, the working
 * set is frozen and the shadow set is released. The invariants (1) to (5) stand at the head of `pager/page-map.ts`;
 * the store's part of them is that nothing is released before the barrier.
 *
 * Correctness by cases, for a failure at any moment:
 *
 * - Before any of this commit's writes: the previous checkpoint stands, untouched.
 * - Some but not all writes of the commit reached the medium, in any order, torn anywhere: they touched only slots
 *   that the previous checkpoint does not name, and the record area that does not hold its record. The new record
 *   is torn, or a slot of its generation disagrees with its checksum, or all are there and the checkpoint is complete.
 * - The barrier has returned: all are there.
 * - Where memory is paged, pages go to slots while the guest runs, before a commit has begun: of the generation that this
 *   commit will have. `PageMap.place` gives them slots that no durable checkpoint names, and no record names them yet, so for
 *   recovery they are free slots with old bytes in them, like what an unfinished commit leaves. A slot of that
 *   generation that a later pageout has replaced is free at once. The commit's barrier covers all of them.
 * - The process dies and the system lives: the next opening may find a complete checkpoint that is not yet durable. It
 *   syncs before it lets anything be overwritten.
 * - Where checkpoints before the newest are retained, "the previous checkpoint" in these cases means it with all that it
 *   retains: the commit's writes, the copy of the previous record among them, touch none of their slots, and what is given up
 *   is released behind the barrier (`retained.ts`). Going back to one of them is a commit of its own (`going-back.ts`).
 * - A rejected record could be completed by later writes of the same contents to the same slots: so it is erased, with
 *   the same sync, before anything else is written.
 */
import type { Device, DeviceFile } from '../device/device.ts';
import { assert, type CorruptionError } from '../error/errors.ts';
import { encodeRecord } from '../format/commit-record.ts';
import { programDigest, type JobFile, type JobIdentity } from '../format/job-format.ts';
import { instantiateKernels } from '../format/page-kernels.ts';
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
import { Workbench } from '../format/workbench.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { NoRelease } from '../memory/memory-release.ts';
import { SoftwareTracker, WholeImage, allPages, type DirtyTracker } from '../pager/dirty-tracker.ts';
import type { SlotHeir } from '../pager/page-map.ts';
import { type PageOutCounts, PageTransfer } from '../pager/page-transfer.ts';
import { Pager } from '../pager/pager.ts';
import { DEFAULT_REPLACEMENT } from '../pager/replacement.ts';
import { type CopyRoom, PendingPages } from '../save/pending-pages.ts';
import { preciseNowMs } from '../save/save-work.ts';
import type { Checkpoint, CheckpointRequest, CheckpointStats, SlotCounts } from './checkpoint.ts';
import { afterFailure, type CheckpointStore, type StartedSave } from './checkpoint-store.ts';
import { SlotPages } from './copied-pages.ts';
import {
  checkPagingHeader,
  createJob,
  discardJob,
  kindOfDirectory,
  notAJob,
  PAGING_NAME,
  readJob,
  readProgram,
} from './job-directory.ts';
import type { JobImage } from './job-image.ts';
import type { FrozenCheckpoint } from './frozen-checkpoint.ts';
import { loadPages } from './page-loading.ts';
import type { PagingOptions } from './paging-options.ts';
import { checkpointOf, eraseRecord, recover, recoverLive } from './recovery.ts';
import type { RetainedCheckpoints } from './retained.ts';

/** Generations are u32 in the file: 136 years of a checkpoint each second, 49 days of a thousand. */
const GENERATION_MAX = 0xffffffff;

/** What `attach` makes, for one guest memory; the pager is the tracker, where memory is paged. */
interface Attachment {
  readonly memory: GuestMemory;
  readonly tracker: DirtyTracker;
  readonly transfer: PageTransfer;
  readonly pager: Pager | undefined;
}

/** The store of the policies `continuous` and `none`. */
export class Store implements CheckpointStore {
  readonly identity: JobIdentity;
  /** Why an unfinished checkpoint was left aside when the job was opened; undefined when there was none. */
  readonly rejectedCheckpoint: string | undefined;
  readonly #device: Device;
  readonly #job: JobFile;
  readonly #file: DeviceFile;
  readonly #bench: Workbench;
  readonly #image: JobImage;
  readonly #readOnly: boolean;
  readonly #retained: RetainedCheckpoints;
  #latest: Checkpoint | undefined;
  #latestFields: RecordFields | undefined;
  #attachment: Attachment | undefined;
  #failure: unknown;

  private constructor(device: Device, bench: Workbench, readOnly: boolean) {
    this.#device = device;
    this.#bench = bench;
    this.#readOnly = readOnly;
    this.#job = readJob(device, bench);
    this.identity = this.#job.identity;
    let file = device.openFile(PAGING_NAME, 'read');
    try {
      checkPagingHeader(file, this.#job, bench);
      const { image, record, state, retained, rejected } = readOnly ? recoverLive(file, bench) : recover(file, bench);
      this.#image = image;
      this.#retained = retained;
      this.#latestFields = record?.fields;
      this.#latest = record === undefined ? undefined : checkpointOf(record.fields, state);
      this.rejectedCheckpoint = rejected?.reason;
      if (!readOnly) {
        file.close();
        file = device.openFile(PAGING_NAME, 'write');
        image.slots.growFile = (slotCount) => file.truncate(slotCount * SLOT_BYTES);
        if (rejected !== undefined) eraseRecord(file, rejected.areaOffsetBytes);
        file.sync();
      }
      this.#file = file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /** Makes a job in a directory that is empty or holds the remains of an unfinished creation, and opens it. */
  static create(device: Device, identity: JobIdentity, program: Uint8Array): Store {
    assert(identity.digest === programDigest(program), 'the identity is that of another program');
    const kind = kindOfDirectory(device.list());
    if (kind === 'other') throw notAJob(device.path);
    assert(kind === 'none', `${device.path} holds a job already`);
    const bench = Workbench.ofThread();
    createJob(device, identity, program, bench);
    return new Store(device, bench, false);
  }

  /**
   * Opens a job and finds its newest checkpoint. Without `readOnly` the caller holds the job's lock.
   * @throws UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`; CorruptionError; StorageError.
   */
  static open(device: Device, options: { readonly readOnly?: boolean } = {}): Store {
    return new Store(device, Workbench.ofThread(), options.readOnly ?? false);
  }

  /** Whether the directory holds a job; false for an empty one and for the remains of an unfinished creation. */
  static exists(device: Device): boolean {
    return kindOfDirectory(device.list()) === 'job';
  }

  /** Gives a job up, durably; `create` may then make another one in its place. The caller holds the lock. */
  static discard(device: Device): void {
    discardJob(device);
  }

  /** The newest committed checkpoint; undefined before the first. */
  get latest(): Checkpoint | undefined {
    return this.#latest;
  }

  get keep(): number {
    return this.#retained.keep;
  }

  /** From the next checkpoint on so many are kept, the newest included. */
  retain(keep: number): void {
    this.#retained.start(keep, this.#file, this.#latestFields);
  }

  olderStates(): Uint8Array[] {
    return this.#retained.states(this.#file, this.#latestFields?.generation ?? 0);
  }

  /** Why kept checkpoints before the newest were given up when the job was opened; undefined when none was. */
  get keptDamage(): CorruptionError | undefined {
    return this.#retained.damage;
  }

  /** The original program, its digest checked. */
  readProgram(): Uint8Array {
    return readProgram(this.#device, this.#job);
  }

  /**
   * Connects the store with the guest's memory, which the machine has given its size and which holds zeros. With `paging`
   * pages go to the file and come from it while the guest runs; the pager that is returned serves its faults. Where the guest
   * does not mark what it writes, `tracked` is what knows it otherwise, or false: then all pages count as written.
   */
  attach(memory: GuestMemory, paging: PagingOptions): Pager;
  attach(memory: GuestMemory, paging?: undefined, tracked?: boolean | DirtyTracker): undefined;
  attach(memory: GuestMemory, paging?: PagingOptions, tracked?: boolean | DirtyTracker): Pager | undefined;
  attach(memory: GuestMemory, paging?: PagingOptions, tracked: boolean | DirtyTracker = true): Pager | undefined {
    assert(this.#attachment === undefined, 'the store is attached already');
    const kernels = paging?.kernels ?? instantiateKernels(memory.memory);
    const { map, slots, tree } = this.#image;
    if (paging === undefined) {
      const transfer = new PageTransfer(memory, kernels, this.#file, map, slots);
      const tracker = tracked === true ? new SoftwareTracker(memory, kernels) : tracked || new WholeImage();
      this.#attachment = { memory, tracker, transfer, pager: undefined };
      return undefined;
    }
    assert(!this.#readOnly, 'the store was opened for reading');
    const pager = new Pager({
      memory,
      kernels,
      file: this.#file,
      map,
      slots,
      frameCount: paging.frameCount,
      replacement: paging.replacement ?? DEFAULT_REPLACEMENT,
      release: paging.release ?? new NoRelease('nobody asked for it'),
      generation: () => this.#nextGeneration(),
      softSlotLimit: () => this.#softSlotLimit(map.pageCount),
      afterPageOut: () => {
        tree.noteChanges();
        const { working, shadow } = this.slotCounts();
        assert(working + shadow <= 2 * map.pageCount, '(4) more than twice the image is in use');
      },
      protects: paging.protects ?? false,
      protection: paging.protection,
      opensAhead: paging.opensAhead ?? false,
    });
    memory.attachPager(pager, paging.frameCount);
    this.#attachment = { memory, tracker: pager, transfer: pager.transfer, pager };
    return pager;
  }

  /**
   * Reads all pages of the newest checkpoint into the guest's memory, which holds zeros and is as large as the
   * checkpoint says, and starts dirty tracking from there. Where memory is paged there is nothing to read yet.
   */
  loadPages(): void {
    const { memory, tracker, transfer, pager } = this.#attached();
    const { map } = this.#image;
    assert(memory.pageCount === map.pageCount, `memory of ${memory.pageCount} pages for ${map.pageCount}`);
    if (pager !== undefined) return;
    const loaded = loadPages(this.#image, transfer, this.#file.path);
    tracker.rearm(map.pageCount, loaded, loaded.length);
  }

  /**
   * Takes a checkpoint of the stopped guest: writes its dirty pages and the machine state, and returns when they
   * are durable. The first checkpoint of a job writes all pages; where memory is paged, all that were ever written.
   * @throws StorageError: nothing was committed, the last checkpoint stands, and so will every later call.
   */
  commit(request: CheckpointRequest): CheckpointStats {
    return this.#attempt((generation) => {
      const startMs = performance.now();
      const frozen = this.#freeze(request, generation, undefined);
      const syncStartMs = performance.now();
      this.#file.sync();
      const syncMs = performance.now() - syncStartMs;
      this.#committed(frozen);
      const commitMs = performance.now() - startMs;
      return { ...frozen.stats, pauseMs: commitMs, commitMs, syncMs };
    });
  }

  /**
   * Takes a checkpoint of the stopped guest, and leaves the writing of its pages to the returned save, while the guest runs and
   * the pager tells of what it is about to change. Nothing is durable, and no slot may change hands, until its `finish`.
   * @throws StorageError, as `commit`.
   */
  begin(request: CheckpointRequest, room: CopyRoom): StartedSave {
    return this.#attempt((generation) => {
      const { memory, tracker, pager } = this.#attached();
      assert(
        tracker.knowsAll === true,
        'pages are saved beside a guest only where its writes are told before they are made',
      );
      const startMs = preciseNowMs();
      const targets = new SharedArrayBuffer(4 * Math.max(1, pager?.residentCount ?? memory.pageCount));
      const frozen = this.#freeze(request, generation, new Uint32Array(targets));
      const pending = PendingPages.ofCount(frozen.stats.pagesWritten, room);
      pending.pages.set(tracker.pages.subarray(0, pending.count));
      const pauseMs = preciseNowMs() - startMs;
      return {
        source: { memory: memory.memory, pending, paging: undefined },
        work: { kind: 'slots', targets },
        target: this.#file,
        finish: ({ endMs, syncMs }) => {
          this.#committed(frozen);
          return { ...frozen.stats, forked: true, pauseMs, commitMs: endMs - startMs, syncMs };
        },
        fail: (error) => this.#fail(error, generation),
      };
    });
  }

  #attempt<T>(work: (generation: number) => T): T {
    assert(!this.#readOnly, 'the store was opened for reading');
    this.#failure ??= this.#attachment?.pager?.failure;
    if (this.#failure !== undefined) throw afterFailure(this.#file.path, this.#failure);
    const generation = this.#nextGeneration();
    try {
      return work(generation);
    } catch (error) {
      this.#fail(error, generation);
      throw error;
    }
  }

  #fail(error: unknown, generation: number): void {
    this.#failure = error;
    if (this.#attachment?.pager?.pagesOut === true) this.#attachment.pager.fail(error);
    this.#withdraw(generation);
  }

  pageReader(): SlotPages {
    return new SlotPages(this.#file, this.#image.map, this.#bench);
  }

  get pagingFile(): DeviceFile {
    return this.#file;
  }

  slotCounts(): SlotCounts {
    const { slots, map, tree, stateRun } = this.#image;
    return {
      total: slots.slotCount,
      reserved: FIRST_FREE_SLOT,
      working: map.workingCount,
      shadow: map.shadowCount,
      map: tree.mapSlotCount,
      delta: tree.deltaPageCount,
      state: stateRun?.slotCount ?? 0,
      retained: this.#retained.slotCount,
      free: slots.slotCount - slots.usedCount,
    };
  }

  /** Asserts the invariants of the page map, the tree and the slots between two commits; costs a walk over all pages. */
  assertInvariants(): void {
    const { map, tree } = this.#image;
    map.assertInvariants();
    tree.assertInvariants();
    this.#retained.assertInvariants();
    const { total, reserved, working, shadow, map: mapSlots, delta, state, retained, free } = this.slotCounts();
    const known = reserved + working + shadow + mapSlots + delta + state + retained + free;
    assert(known === total, `(2) ${total - known} slots are in use and nobody names them`);
    assert(map.committedGeneration === (this.#latest?.generation ?? 0), '(3) the frozen generation is not the latest');
  }

  close(): void {
    this.#attachment?.tracker.close?.();
    this.#file.close();
  }

  #nextGeneration(): number {
    const generation = (this.#latestFields?.generation ?? 0) + 1;
    assert(generation <= GENERATION_MAX, 'a job has no more than 4294967295 checkpoints');
    return generation;
  }

  #attached(): Attachment {
    assert(this.#attachment !== undefined, 'the store is not attached to a memory');
    return this.#attachment;
  }

  /**
   * Everything of a commit up to its barrier. With `targets` the pages are not written: they are at the front of the tracker's
   * list then, and their slots there.
   */
  #freeze(request: CheckpointRequest, generation: number, targets: Uint32Array | undefined): FrozenCheckpoint {
    const { memory, tracker, transfer, pager } = this.#attached();
    const { map, tree, slots } = this.#image;
    const { pageCount } = memory;
    map.grow(pageCount);
    slots.startSearch();
    const softLimit = this.#softSlotLimit(pageCount);
    // The first checkpoint must look at all pages where what filled them before was not tracked.
    const takesAll = tracker.knowsAll !== true && this.#latest === undefined;
    const dirtyCount = takesAll ? pageCount : tracker.collect(pageCount);
    const dirty = takesAll ? allPages(pageCount) : tracker.pages;
    const dirtyPages = pager?.changedCount ?? dirtyCount;

    // Before the list is changed. Until the barrier nothing runs that could write, or the pager tells of it.
    const savedCount = request.exclusions?.partition(dirty, dirtyCount) ?? dirtyCount;
    tracker.rearm(pageCount, dirty, savedCount, dirtyCount);
    const pagesWrittenContinuous = pager?.takeContinuousCount() ?? 0;
    const { pagesWritten, zeroPages } =
      targets === undefined
        ? transfer.pageOut(dirty, savedCount, generation, softLimit)
        : placed(transfer.placeForLater(dirty, savedCount, targets, generation, softLimit), savedCount);
    const mapBytes = tree.write(this.#file, generation, softLimit);
    const stateRun = this.#writeState(request.state);
    const retained = this.#retained.write(this.#file, this.#latestFields, generation);
    const fields = encodeRecord(
      {
        fields: {
          generation,
          timeMs: Date.now(),
          previousGeneration: this.#latestFields?.generation ?? 0,
          previousChecksum: this.#latestFields?.checksum ?? 0n,
          guestPageCount: pageCount,
          trigger: request.trigger,
          dirtyPages,
          // With those that were written before, while the guest ran.
          pagesWritten: map.freshCount,
          stateBytes: request.state.length,
          stateSlot: stateRun?.slot ?? 0,
          stateChecksum: this.#bench.checksumOf(request.state),
        },
        root: tree.root.subarray(0, rootEntryCount(pageCount) * ENTRY_WORDS),
        deltaPages: tree.deltaPages,
        deltas: tree.deltas(),
        inlineState: stateRun === undefined ? request.state : undefined,
        retained,
      },
      this.#bench,
    );
    const recordBytes = Math.ceil(fields.recordBytes / RECORD_UNIT_BYTES) * RECORD_UNIT_BYTES;
    this.#bench.record.fill(0, fields.recordBytes, recordBytes);
    this.#file.write(this.#bench.record.subarray(0, recordBytes), recordAreaOffset(generation));
    const stateSlotBytes = stateRun === undefined ? 0 : request.state.length;
    const stats = {
      generation,
      trigger: request.trigger,
      dirtyPages,
      residentDirtyPages: dirtyCount,
      residentPages: pager?.residentCount ?? pageCount,
      pagesWritten,
      pagesWrittenContinuous,
      pagesRead: 0,
      zeroPages,
      bytesWritten: pagesWritten * SLOT_BYTES + mapBytes + stateSlotBytes + recordBytes,
      forked: false,
      copyFaults: 0,
    };
    const record = this.#retained.takeRecord(fields.recordBytes);
    return { fields, state: request.state, stateRun, retained, record, stats };
  }

  /** The barrier has returned. */
  #committed({ fields, state, stateRun, retained, record }: FrozenCheckpoint): void {
    const { map, tree } = this.#image;
    const heir = this.#retained.committed(retained, record);
    map.commit(fields.generation, heir);
    tree.committed(heir);
    this.#replaceState(stateRun, heir);
    this.#retained.dropUnlisted(retained);
    this.#latestFields = fields;
    this.#latest = checkpointOf(fields, state);
  }

  /** A file that stays below so many slots may grow for the sake of long runs: twice the image, its map, and some slack. */
  #softSlotLimit(pageCount: number): number {
    return FIRST_FREE_SLOT + 2 * pageCount + (pageCount >>> 3) + 1024 + this.#retained.slotCount;
  }

  /** Writes a state that is too long for the record to a run of slots; undefined: it goes into the record. */
  #writeState(state: Uint8Array): JobImage['stateRun'] {
    if (state.length <= INLINE_STATE_BYTES_MAX) return undefined;
    const slotCount = Math.ceil(state.length / SLOT_BYTES);
    const slot = this.#image.slots.takeContiguous(slotCount);
    this.#file.write(state, slot * SLOT_BYTES);
    return { slot, slotCount };
  }

  /** Behind the barrier: the state of the checkpoint before goes to `heir`. */
  #replaceState(stateRun: JobImage['stateRun'], heir: SlotHeir): void {
    const old = this.#image.stateRun;
    for (let i = 0; old !== undefined && i < old.slotCount; i++) heir.release(old.slot + i);
    this.#image.stateRun = stateRun;
  }

  /**
   * After a failed barrier the system may show contents that never reached the medium, and call them clean. So that no
   * later opening takes such a checkpoint for a complete one, its record is erased as far as the system still lets us.
   */
  #withdraw(generation: number): void {
    try {
      eraseRecord(this.#file, recordAreaOffset(generation));
    } catch {
      // The error that made us withdraw is the one to report; recovery judges the record as after a power failure.
    }
  }
}

function placed(pagesWritten: number, count: number): PageOutCounts {
  return { pagesWritten, zeroPages: count - pagesWritten };
}
