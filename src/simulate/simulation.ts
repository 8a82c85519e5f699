/**
 * One run of a trace under a policy: what is paged and saved by the real pager's counts, and what that takes by a model of
 * costs.
 *
 * | policy | at a checkpoint | between two |
 * | --- | --- | --- |
 * | none | nothing | |
 * | sequential | writes every page; reads those that are out first | |
 * | incremental | writes dirty pages; reads those that are out first | a protection fault for each first write |
 * | continuous | writes resident dirty pages: the real store commits | |
 * | virtual | raises a counter (Bowen and Pradhan) | switches a page to its other slot and copies it at its first reference |
 * | keykos | writes resident dirty pages to the working area and swaps the areas | copies dirty pages home |
 *
 * With fork the program goes on at once and the save runs beside it; a page written before it is saved is copied first.
 * A checkpoint waits for the save before it.
 *
 * The policies that save elsewhere leave the paging file as it is without checkpoints. Reading for a checkpoint brings nothing
 * into memory. Zero pages are neither written nor read, unless the settings say so. The checkpoints at the start and the end are taken and cost
 * nothing, as the paper counts.
 *
 * Time passes evenly with the references of the trace, a page read or written takes its time besides; so the time of a
 * loop over few pages, of which a trace has one round, counts for other ones.
 */
import type { CheckpointStats } from '../checkpoint/checkpoint.ts';

import type { TraceTrigger } from '../format/trace-format.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { ReplacementName } from '../pager/replacement.ts';
import { BackgroundSave, type CostModel } from './cost-model.ts';
import { replay, type ReplayObserver } from './replay.ts';
import { SimulatedGuest } from './simulated-guest.ts';
import type { TraceReader } from './trace-reader.ts';

export const POLICIES = ['none', 'sequential', 'incremental', 'continuous', 'virtual', 'keykos'] as const;
export type SimulatedPolicy = (typeof POLICIES)[number];
/** Policies whose save can run beside the program. */
export const FORKING_POLICIES: readonly SimulatedPolicy[] = ['sequential', 'incremental', 'continuous'];

export interface SimulationSettings {
  readonly frameCount: number;
  readonly replacement: ReplacementName;
  readonly policy: SimulatedPolicy;
  readonly fork: boolean;
  /** Whether `sequential` and `incremental` write pages of zeros too, as their originals do. */
  readonly savesZeros?: boolean;
  readonly costs: CostModel;
  /** Time that the program computes for each reference. */
  readonly referenceMs: number;
}

/** What one checkpoint of the simulation was. */
export interface SimulatedCheckpoint {
  readonly trigger: TraceTrigger;
  /** Pages written since the checkpoint before. */
  readonly dirtyPages: number;
  readonly residentDirtyPages: number;
  readonly pagesWritten: number;
  readonly pagesRead: number;
  /** Those written and read beside the program afterwards, by KeyKOS's migration. */
  readonly pagesMigrated: number;
  /** Pages that were copied since the checkpoint before: written before they were saved, or switched. */
  readonly copies: number;
  readonly protectionFaults: number;
  /** Time that the program stood still. */
  readonly pauseMs: number;
}

export interface SimulationResult extends Omit<SimulationSettings, 'costs' | 'referenceMs'> {
  readonly references: number;
  readonly pages: number;
  readonly paging: PagingStats;
  readonly checkpoints: readonly SimulatedCheckpoint[];
  /** What the real store says of its checkpoints; only of the policies whose store commits. */
  readonly commits: readonly CheckpointStats[];
  /** Pages that had three copies in the paging file at most: KeyKOS only. */
  readonly threeCopiesMax: number;
  /** Time of the program by the model, checkpoints included. */
  readonly elapsedMs: number;
  /** The part of it in which it waited for its own pages. */
  readonly pagingMs: number;
  readonly repeatedFaults: number;
}

export function simulate(reader: TraceReader, settings: SimulationSettings): SimulationResult {
  const simulation = new Simulation(settings);
  replay(reader, simulation.guest, simulation);
  return simulation.result();
}

class Simulation implements ReplayObserver {
  readonly guest: SimulatedGuest;
  readonly #settings: SimulationSettings;
  readonly #checkpoints: SimulatedCheckpoint[] = [];
  readonly #commits: CheckpointStats[] = [];
  #references = 0;
  /** Checkpoint interval in which a page was referenced and written last, plus one. */
  #referenced = new Int32Array(0);
  #written = new Int32Array(0);
  #interval = 1;
  /** Pages written since the last checkpoint, each once. */
  #dirty = new Uint32Array(1024);
  #dirtyCount = 0;
  #copies = 0;
  #protectionFaults = 0;
  #nowMs = 0;
  readonly #save = new BackgroundSave();
  #saves = false;
  /** Time of the program's own disk accesses, and how much of it the save knows. */
  #pagingMs = 0;
  #pagingSeenMs = 0;
  #threeCopiesMax = 0;
  /** Checkpoint interval in which a page was sent home last. */
  #migrated = new Int32Array(0);

  constructor(settings: SimulationSettings) {
    this.#settings = settings;
    this.guest = new SimulatedGuest(settings.frameCount, settings.replacement);
  }

  onReference(page: number, writes: boolean): void {
    this.#references += 1;
    this.#nowMs += this.#settings.referenceMs;
    if (page >= this.#written.length) this.#grow(page);
    if (this.#referenced[page] !== this.#interval) {
      this.#referenced[page] = this.#interval;
      if (this.#settings.policy === 'virtual' && this.#checkpoints.length > 0) this.#copy();
    }
    if (writes) this.onWrite(page);
  }

  onWrite(page: number): void {
    if (this.#saves) this.#copyBeforeSave(page);
    if (this.#written[page] === this.#interval) return;
    this.#written[page] = this.#interval;
    if (this.#dirtyCount === this.#dirty.length) {
      const dirty = new Uint32Array(2 * this.#dirtyCount);
      dirty.set(this.#dirty);
      this.#dirty = dirty;
    }
    this.#dirty[this.#dirtyCount++] = page;
    if (this.#settings.policy !== 'incremental') return;
    this.#protectionFaults += 1;
    this.#nowMs += this.#settings.costs.protectionFaultMs;
  }

  onFault(): void {
    this.#notePaging();
  }

  onCheckpoint(trigger: TraceTrigger, stateBytes: number): void {
    this.#notePaging();
    const { policy, fork } = this.#settings;
    const startMs = this.#nowMs;
    const counts = trigger !== 'start' && trigger !== 'end';
    if (counts) this.#awaitSave();
    let residentDirtyPages = 0;
    for (let i = 0; i < this.#dirtyCount; i++) {
      if (this.guest.pager.isDirty(this.#dirty[i])) residentDirtyPages += 1;
    }
    const pages = this.#pagesToSave();
    // The paging file holds no zeros, whoever wants them.
    const savesZeros = this.#settings.savesZeros === true && (policy === 'sequential' || policy === 'incremental');
    const saved = { pagesWritten: 0, pagesRead: 0 };
    const isBeside = fork && FORKING_POLICIES.includes(policy);
    if (isBeside && counts) this.#beginSave();
    for (const page of pages) {
      const solid = this.guest.isSolid(page);
      if (!solid && !savesZeros) continue;
      const reads = solid && !this.guest.pager.isResident(page);
      saved.pagesWritten += 1;
      if (reads) saved.pagesRead += 1;
      if (!counts) continue;
      const diskMs = this.#diskMs(1, reads ? 1 : 0);
      if (isBeside) this.#save.add(page, diskMs);
      else this.#nowMs += diskMs;
    }
    const pagesMigrated = policy === 'keykos' ? this.#migrate(counts) : 0;
    if (policy === 'continuous' || policy === 'keykos') {
      this.#commits.push(this.guest.store.commit({ state: new Uint8Array(stateBytes), trigger }));
    }
    this.#checkpoints.push({
      trigger,
      dirtyPages: this.#dirtyCount,
      residentDirtyPages,
      ...saved,
      pagesMigrated,
      copies: this.#copies,
      protectionFaults: this.#protectionFaults,
      pauseMs: this.#nowMs - startMs,
    });
    this.#copies = 0;
    this.#protectionFaults = 0;
    this.#dirtyCount = 0;
    this.#interval += 1;
  }

  result(): SimulationResult {
    this.#notePaging();
    const { frameCount, replacement, policy, fork } = this.#settings;
    return {
      frameCount,
      replacement,
      policy,
      fork,
      references: this.#references,
      pages: this.guest.pageCount,
      paging: this.guest.pager.stats(),
      checkpoints: this.#checkpoints,
      commits: this.#commits,
      threeCopiesMax: this.#threeCopiesMax,
      elapsedMs: this.#nowMs,
      pagingMs: this.#pagingMs,
      repeatedFaults: this.guest.repeatedFaults,
    };
  }

  #pagesToSave(): Iterable<number> {
    const { guest } = this;
    const dirty = this.#dirty.subarray(0, this.#dirtyCount).sort();
    switch (this.#settings.policy) {
      case 'none':
      case 'virtual':
        return [];
      case 'sequential':
        return new Uint32Array(guest.pageCount).map((_, page) => page);
      case 'incremental':
        return dirty;
      case 'continuous':
      case 'keykos':
        return dirty.filter((page) => guest.pager.isDirty(page));
    }
  }

  /** Dirty pages go from the checkpoint area to their homes, beside the program; returns their number. */
  #migrate(counts: boolean): number {
    let threeCopies = 0;
    let count = 0;
    if (counts) this.#beginSave();
    for (let i = 0; i < this.#dirtyCount; i++) {
      const page = this.#dirty[i];
      if (!this.guest.isSolid(page)) continue;
      count += 1;
      // Out again before its last copy has gone home: home, checkpoint area, working area.
      if (this.#migrated[page] === this.#interval - 1) threeCopies += 1;
      this.#migrated[page] = this.#interval;
      if (counts) this.#save.add(page, this.#diskMs(1, this.guest.pager.isResident(page) ? 0 : 1));
    }
    this.#saves = false;
    this.#threeCopiesMax = Math.max(this.#threeCopiesMax, threeCopies);
    return count;
  }

  #beginSave(): void {
    this.#save.begin(this.#nowMs, this.guest.pageCount);
    this.#pagingSeenMs = this.#pagingMs;
    this.#saves = true;
  }

  #awaitSave(): void {
    this.#advanceSave();
    const { leftMs } = this.#save;
    if (leftMs <= 0) return;
    this.#nowMs += leftMs;
    this.#save.advance(this.#nowMs, 0);
  }

  #advanceSave(): void {
    this.#save.advance(this.#nowMs, this.#pagingMs - this.#pagingSeenMs);
    this.#pagingSeenMs = this.#pagingMs;
  }

  #copyBeforeSave(page: number): void {
    this.#advanceSave();
    if (this.#save.mustCopy(page)) this.#copy();
    if (this.#save.leftMs <= 0) this.#saves = false;
  }

  #copy(): void {
    this.#copies += 1;
    this.#nowMs += this.#settings.costs.copyFaultMs;
  }

  #diskMs(written: number, read: number): number {
    const { pageWriteMs, pageReadMs } = this.#settings.costs;
    return written * pageWriteMs + read * pageReadMs;
  }

  /** The program has waited for what the pager did since the last call. */
  #notePaging(): void {
    const { pager } = this.guest;
    const pagingMs = this.#diskMs(pager.pageOutCount, pager.pageInCount);
    this.#nowMs += pagingMs - this.#pagingMs;
    this.#pagingMs = pagingMs;
  }

  #grow(page: number): void {
    const capacity = Math.max(page + 1, this.guest.pageCount, 2 * this.#written.length);
    this.#referenced = longer(this.#referenced, capacity);
    this.#written = longer(this.#written, capacity);
    this.#migrated = longer(this.#migrated, capacity);
  }
}

function longer(list: Int32Array, capacity: number): Int32Array<ArrayBuffer> {
  const result = new Int32Array(capacity);
  result.set(list);
  return result;
}
