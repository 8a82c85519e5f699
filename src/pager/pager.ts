/**
 * The pager: gives a guest with fewer frames than pages the pages that it asks for, one fault at a time.
 *
 *   guest ──fault──► soft: the page is resident and had lost its access ──► access
 *                └─► hard: frame ◄── PageoutDaemon, Replacement (pages that leave)
 *                          contents ◄── PageReader (slot, or zeros)
 *   host function ──hold──► the same, and the frames stay until `releaseHolds`
 *   checkpoint ──collect──► the resident dirty pages; `rearm` makes them clean
 *
 * What is resident, dirty and accessible, and the invariants of that, are in `frames.ts`; slots and what may be
 * overwritten in `page-map.ts`.
 *
 * An error (a page that is not what was written, a disk that is full) latches: the guest must not go on with a page that
 * is not there, and no checkpoint may be taken of a memory that is not whole. `fault` then returns 1 for ever.
 */
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { DeviceFile } from '../device/device.ts';
import { assert } from '../error/errors.ts';
import type { PageKernels } from '../format/page-kernels.ts';
import type { GuestMemory, HostAccess } from '../memory/guest-memory.ts';
import { controlRegion, FRAMES_MIN, PAGE_SHIFT, PageAccess } from '../memory/layout.ts';
import type { MemoryRelease } from '../memory/memory-release.ts';
import type { DirtyTracker } from './dirty-tracker.ts';
import { Frames, PageFlag } from './frames.ts';
import { Lirs } from './lirs.ts';
import type { PageMap } from './page-map.ts';
import type { PageProtection } from './page-protection.ts';
import { PageReader } from './page-reader.ts';
import { PageTransfer } from './page-transfer.ts';
import { PageoutDaemon } from './pageout-daemon.ts';
import type { PagingStats } from './paging-stats.ts';
import type { Replacement, ReplacementName } from './replacement.ts';
import type { SaveGuard } from './save-guard.ts';
import { SecondChance } from './second-chance.ts';
import type { SlotAllocator } from './slot-allocator.ts';

const REST_CHECKPOINTS_MAX = 64;

export interface PagerSeams {
  readonly memory: GuestMemory;
  readonly kernels: PageKernels;
  readonly file: DeviceFile;
  readonly map: PageMap;
  readonly slots: SlotAllocator;
  readonly frameCount: number;
  readonly replacement: ReplacementName;
  readonly release: MemoryRelease;
  /** The generation of the next checkpoint. */
  readonly generation: () => number;
  readonly softSlotLimit: () => number;
  /** Called when the daemon has entered pages in the map. */
  readonly afterPageOut: () => void;
  /** Whether the pager is told of every first write to a page, as by a protection fault, and counts them. */
  readonly protects: boolean;
  /** Undefined: the guest's own code looks at the access bytes. */
  readonly protection?: PageProtection | undefined;
  /** See `PagingOptions`. */
  readonly opensAhead: boolean;
}

export class Pager implements DirtyTracker, HostAccess {
  /** What `collect` found; has room for all resident pages. */
  pages = new Uint32Array(0);
  readonly knowsAll = true;
  /** Why no fault can be served any more. */
  failure: Error | undefined;
  /** Moves pages for a checkpoint too. */
  readonly transfer: PageTransfer;
  readonly #memory: GuestMemory;
  readonly #map: PageMap;
  readonly #frames: Frames;
  readonly #replacement: Replacement;
  readonly #reader: PageReader;
  readonly #daemon: PageoutDaemon;
  readonly #firstWrites: Int32Array;
  readonly #protectionWord: Int32Array;
  readonly #protects: boolean;
  readonly #opensAhead: boolean;
  #guard: SaveGuard | undefined;
  #protectionFaults = 0;
  #protectionMs = 0;
  #protectionTimed = 0;
  /** Fewer free frames than the low mark wake the daemon, which makes as many free as the high mark says. */
  readonly #lowMark: number;
  readonly #highMark: number;
  #guestBytes = 0;
  #held = new Uint32Array(64);
  #heldCount = 0;
  #heldOverflowMax = 0;
  /** Nothing can leave until holds are released: the daemon need not look again at each page of a long range. */
  #allHeld = false;
  #softFaults = 0;
  #hardFaults = 0;
  #zeroFaults = 0;
  #readAheadUsed = 0;
  /** Pages written ahead since the last checkpoint. */
  #earlyCount = 0;
  /** Checkpoints for which nothing is written ahead, and how many that will be the next time. */
  #restCheckpoints = 0;
  #nextRest = 1;

  constructor(seams: PagerSeams) {
    const {
      memory,
      kernels,
      file,
      map,
      slots,
      frameCount,
      release,
      generation,
      softSlotLimit,
      afterPageOut,
      protects,
      protection,
      opensAhead,
    } = seams;
    assert(frameCount >= FRAMES_MIN, `${frameCount} frames are fewer than ${FRAMES_MIN}`);
    this.#memory = memory;
    this.#map = map;
    const frames = new Frames(memory, kernels, frameCount, protection);
    const replacement = seams.replacement === 'lirs' ? new Lirs(frames) : new SecondChance(frames);
    const transfer = new PageTransfer(memory, kernels, file, map, slots, protection);
    this.#frames = frames;
    this.#replacement = replacement;
    this.transfer = transfer;
    this.#daemon = new PageoutDaemon({
      frames,
      replacement,
      transfer,
      map,
      slots,
      release,
      generation,
      softSlotLimit,
      afterPageOut,
      guard: () => this.#guard,
    });
    this.#reader = new PageReader(memory, file, map, transfer, frames, protection);
    this.#firstWrites = new Int32Array(memory.memory.buffer, controlRegion.firstWrites, 1);
    this.#protectionWord = new Int32Array(memory.memory.buffer, controlRegion.protectionWord, 1);
    this.#protects = protects;
    this.#opensAhead = opensAhead;
    this.#protectionWord[0] = protects ? 1 : 0;
    this.#lowMark = Math.max(1, Math.min(8, frameCount >>> 6));
    this.#highMark = Math.max(2, Math.min(64, frameCount >>> 5));
    this.#grow();
  }

  get frameCount(): number {
    return this.#frames.frameCount;
  }

  /** Whether there may be more pages than frames, so that pages leave for the file: the guest cannot go on without it. */
  get pagesOut(): boolean {
    return this.#frames.frameCount < MAPPED_PAGES_MAX;
  }

  get residentCount(): number {
    return this.#frames.residentCount;
  }

  /** Pages written because they leave or ahead of that, and pages read, as in `stats`. */
  get pageOutCount(): number {
    return this.#daemon.pageOuts;
  }

  get pageInCount(): number {
    return this.#reader.pageIns;
  }

  isResident(page: number): boolean {
    return this.#frames.isResident(page);
  }

  /** Whether the page has a frame that differs from its slot, or may. */
  isDirty(page: number): boolean {
    return this.#frames.isDirty(page);
  }

  /** Pages written since the last checkpoint, resident or not; exact after `collect`. */
  get changedCount(): number {
    return this.#frames.changedCount;
  }

  /** Pages that the daemon wrote since the last checkpoint, each time that one was. */
  get continuousCount(): number {
    return this.#daemon.continuousCount;
  }

  /** The same, which starts anew: the next checkpoint counts its own. */
  takeContinuousCount(): number {
    const count = this.#daemon.continuousCount;
    this.#daemon.continuousCount = 0;
    return count;
  }

  /**
   * Makes at most 4096 bytes of the guest accessible; called by the guest's own code. A range outside of its memory is
   * left to trap by itself. Returns 0, or 1 when the pager has failed.
   */
  fault(address: number, lengthBytes: number, write: number): number {
    if (this.failure !== undefined) return 1;
    if (this.#heldCount > 0) this.releaseHolds();
    const from = address >>> 0;
    const to = from + lengthBytes;
    if (to > this.#guestBytes && !this.#reaches(to)) return 0;
    if (lengthBytes <= 0) return 0;
    const first = from >>> PAGE_SHIFT;
    const last = (to - 1) >>> PAGE_SHIFT;
    const frames = this.#frames;
    const startMs = this.#protects ? performance.now() : 0;
    const protectionFaultsBefore = this.#protectionFaults;
    const readsBefore = this.#hardFaults + this.#zeroFaults;
    try {
      frames.servedFirst = first;
      frames.servedSecond = last;
      this.#open(first, write !== 0);
      if (last !== first) this.#open(last, write !== 0);
      // Where the page came only now, the time is that of paging.
      if (this.#protectionFaults !== protectionFaultsBefore && this.#hardFaults + this.#zeroFaults === readsBefore) {
        this.#protectionMs += performance.now() - startMs;
        this.#protectionTimed += this.#protectionFaults - protectionFaultsBefore;
      }
    } catch (error) {
      this.fail(error);
      return 1;
    } finally {
      frames.servedFirst = -1;
      frames.servedSecond = -1;
    }
    return 0;
  }

  /**
   * Makes bytes of the guest accessible to a host function and keeps their frames until `releaseHolds`, even beyond the
   * budget. The range lies inside of the guest's memory.
   * @throws what has made the pager fail.
   */
  hold(address: number, lengthBytes: number, write: boolean): void {
    if (lengthBytes === 0) return;
    if (this.failure !== undefined) throw this.failure;
    const to = address + lengthBytes;
    if (to > this.#guestBytes) this.#grow();
    const first = address >>> PAGE_SHIFT;
    const last = (to - 1) >>> PAGE_SHIFT;
    const frames = this.#frames;
    try {
      for (let page = first; page <= last; page++) {
        this.#open(page, write);
        if ((frames.flags[page] & PageFlag.held) !== 0) continue;
        frames.flags[page] |= PageFlag.held;
        if (this.#heldCount === this.#held.length) this.#held = longer(this.#held);
        this.#held[this.#heldCount++] = page;
      }
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** The host function has returned: no view of the guest's memory is used any more. */
  releaseHolds(): void {
    if (this.#heldCount === 0) return;
    const frames = this.#frames;
    for (let i = 0; i < this.#heldCount; i++) frames.flags[this.#held[i]] &= ~PageFlag.held;
    this.#heldCount = 0;
    this.#allHeld = false;
    if (frames.residentCount <= frames.frameCount || this.failure !== undefined) return;
    try {
      this.#daemon.run(this.#highMark);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Serves no fault from now on, for this reason or an earlier one. */
  fail(error: unknown): void {
    this.failure ??= error instanceof Error ? error : new Error(String(error));
  }

  /** Where each page lies in the paging file, and with which checksum. */
  get map(): PageMap {
    return this.#map;
  }

  /** From now on pages are being saved; `undefined`: no more. Until then every first write to a page is told. */
  guardSave(guard: SaveGuard | undefined): void {
    this.#guard = guard;
    this.#protectionWord[0] = this.#protects || guard !== undefined ? 1 : 0;
  }

  /** Lists the pages written since `startInterval`, resident or not, ascending, in `pages`; returns how many. */
  collectChanged(pageCount: number): number {
    this.#grow();
    const frames = this.#frames;
    frames.noteWrites(pageCount);
    if (this.pages.length < frames.changedCount) this.pages = new Uint32Array(frames.changedCount + 64);
    return frames.listChanged(this.pages);
  }

  /**
   * All that was written so far belongs to a checkpoint, wherever it is kept, but for the pages of the list, which stay changed.
   * What is dirty stays so.
   */
  startInterval(pageCount: number, kept?: Uint32Array): void {
    const frames = this.#frames;
    frames.noteWrites(pageCount);
    frames.protectAll(pageCount);
    frames.forgetChanges();
    if (kept !== undefined) frames.keepChanged(kept);
  }

  collect(pageCount: number): number {
    this.#grow();
    const frames = this.#frames;
    frames.noteWrites(pageCount);
    if (this.pages.length < frames.residentCount) this.pages = new Uint32Array(frames.residentCount + 64);
    return frames.listDirty(this.pages);
  }

  /**
   * Writes dirty pages that the guest has left alone since the last call, while it stands at a safepoint between two
   * checkpoints. Where more of them than not are changed again before the checkpoint, it pauses for some checkpoints,
   * for twice as many each time. Returns the pages written.
   */
  writeAhead(countMax: number): number {
    if (this.failure !== undefined || this.#restCheckpoints > 0) return 0;
    try {
      // `collect` may make a new list.
      const dirtyCount = this.collect(this.#memory.pageCount);
      const count = this.#frames.selectUntouched(this.pages, dirtyCount, countMax);
      if (count === 0) return 0;
      this.#daemon.writeAhead(this.pages, count);
      this.#earlyCount += count;
      return count;
    } catch (error) {
      this.fail(error);
      return 0;
    }
  }

  rearm(_pageCount: number, collected: Uint32Array, count: number): void {
    const frames = this.#frames;
    this.#judgeWriteAhead();
    frames.forgetChanges();
    for (let i = 0; i < count; i++) {
      // What a host function has a view of may be written behind our back until it returns: it stays dirty.
      if ((frames.flags[collected[i]] & PageFlag.held) === 0) frames.clean(collected[i]);
      else frames.noteWritten(collected[i]);
    }
  }

  #judgeWriteAhead(): void {
    if (this.#restCheckpoints > 0) this.#restCheckpoints -= 1;
    if (this.#earlyCount === 0) return;
    const paid = 2 * this.#frames.spoiledCount <= this.#earlyCount;
    this.#nextRest = paid ? 1 : Math.min(REST_CHECKPOINTS_MAX, 2 * this.#nextRest);
    if (!paid) this.#restCheckpoints = this.#nextRest;
    this.#earlyCount = 0;
  }

  stats(): PagingStats {
    const { pageOuts, pageOutsAhead, clusters, evictions, cleanEvictions } = this.#daemon;
    const { pageIns, readAheadPages } = this.#reader;
    return {
      frames: this.#frames.frameCount,
      residentPages: this.#frames.residentCount,
      inactivePages: this.#replacement.inactiveCount,
      softFaults: this.#softFaults,
      hardFaults: this.#hardFaults,
      zeroFaults: this.#zeroFaults,
      firstWrites: this.#firstWrites[0],
      pageOuts,
      pageOutsAhead,
      clusters,
      evictions,
      cleanEvictions,
      pageIns,
      readAheadPages,
      readAheadUsed: this.#readAheadUsed,
      protectionFaults: this.#protectionFaults,
      protectionUs: this.#protectionTimed === 0 ? 0 : (1000 * this.#protectionMs) / this.#protectionTimed,
      mappingOverflows: 0,
      heldOverflowMax: this.#heldOverflowMax,
    };
  }

  /** Asserts the invariants of frames and queues; costs a walk over all pages. */
  assertInvariants(): void {
    this.#frames.assertInvariants(this.#map.pageCount);
    this.#replacement.assertInvariants();
  }

  /** Makes a page resident and gives it access. */
  #open(page: number, write: boolean): void {
    const frames = this.#frames;
    if (!frames.isResident(page)) return this.#bringIn(page, write);
    if (write) this.#noteFirstWrite(page);
    if (frames.access[page] !== PageAccess.none) {
      if (write) frames.giveAccess(page, true);
      return;
    }
    this.#softFaults += 1;
    if ((frames.flags[page] & PageFlag.ahead) !== 0) {
      frames.flags[page] &= ~PageFlag.ahead;
      this.#readAheadUsed += 1;
    }
    frames.giveAccess(page, write);
    this.#replacement.touch(page);
  }

  /** Before the flags say that a page is written. */
  #noteFirstWrite(page: number): void {
    if ((this.#frames.flags[page] & PageFlag.changed) !== 0 || this.#frames.access[page] === PageAccess.writable)
      return;
    if (this.#protects) this.#protectionFaults += 1;
    if (this.#guard !== undefined) this.#guard.beforeWrite(page);
  }

  #bringIn(page: number, write: boolean): void {
    const frames = this.#frames;
    const opensAhead = this.#opensAhead && frames.residentCount * 2 < frames.frameCount;
    const planned = this.#reader.planAhead(page, opensAhead);
    if (frames.freeCount - 1 - planned < this.#lowMark && !this.#allHeld) {
      const leftCount = this.#daemon.run(1 + planned + this.#highMark);
      this.#allHeld = leftCount === 0 && this.#heldCount > 0;
    }
    const ahead = Math.max(0, Math.min(planned, frames.freeCount - 1));
    if (this.#map.slotOf(page) === 0) this.#zeroFaults += 1;
    else this.#hardFaults += 1;
    if (this.#guard !== undefined) {
      for (let next = page; next <= page + ahead; next++) this.#guard?.beforePageIn(next);
    }
    this.#reader.fill(page, ahead);
    frames.fill(page, false);
    if (frames.residentCount > frames.frameCount) {
      assert(this.#heldCount > 0, `${frames.frameCount} frames are not enough for the pages in use`);
      this.#heldOverflowMax = Math.max(this.#heldOverflowMax, frames.residentCount - frames.frameCount);
    }
    if (write) this.#noteFirstWrite(page);
    frames.giveAccess(page, write);
    this.#replacement.insert(page);
    for (let next = page + 1; next <= page + ahead; next++) {
      frames.fill(next, !opensAhead);
      if (opensAhead) {
        frames.giveAccess(next, false);
        this.#replacement.insert(next);
      } else this.#replacement.insertAhead(next);
    }
  }

  /** Whether the guest's memory has grown as far as this end of a range. */
  #reaches(to: number): boolean {
    this.#grow();
    return to <= this.#guestBytes;
  }

  #grow(): void {
    const { lengthBytes, pageCount } = this.#memory;
    if (lengthBytes === this.#guestBytes) return;
    this.#guestBytes = lengthBytes;
    if (pageCount > this.#frames.capacity) {
      const capacity = Math.max(pageCount, 2 * this.#frames.capacity);
      this.#frames.grow(Math.ceil(capacity / 4) * 4);
      this.#replacement.grow(capacity);
    }
    if (pageCount > this.#map.pageCount) this.#map.grow(pageCount);
  }
}

function longer(list: Uint32Array): Uint32Array<ArrayBuffer> {
  const result = new Uint32Array(2 * list.length);
  result.set(list);
  return result;
}
