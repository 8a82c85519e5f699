/**
 * A small job of any policy on a crash device, its pages written by hand: saved while the guest stands still or beside it, all pages
 * resident or few. What another thread does in a run is done here by the same code, at once, when the save is finished.
 */
import type { CheckpointStore, PolicyName, StartedSave } from '../../src/checkpoint/checkpoint-store.ts';
import { createStore, openStore } from '../../src/checkpoint/policies.ts';
import type { PagingOptions } from '../../src/checkpoint/paging-options.ts';
import type { Device } from '../../src/device/device.ts';
import { Workbench } from '../../src/format/workbench.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import type { Pager } from '../../src/pager/pager.ts';
import { CopyOnWrite } from '../../src/save/copy-on-write.ts';
import { roomForCopies } from '../../src/save/pending-pages.ts';
import { saveToFile, saveToSlots } from '../../src/save/save-work.ts';
import { FakeGuest } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';

export interface JobKind {
  readonly policy: PolicyName;
  readonly fork: boolean;
  /** Frames of a guest with more pages; undefined: all pages are resident. */
  readonly frameCount: number | undefined;
}

export const nameOf = ({ policy, fork, frameCount }: JobKind): string =>
  `${policy}${fork ? ' --fork' : ''}${frameCount === undefined ? '' : `, ${frameCount} frames`}`;

/** More than any guest here has pages: a pager that only tells of writes. */
const ALL_FRAMES = 4096;

function pagingOf({ policy, fork, frameCount }: JobKind): PagingOptions | undefined {
  const protects = policy === 'incremental' || fork;
  if (frameCount === undefined) return protects ? { frameCount: ALL_FRAMES, protects } : undefined;
  return { frameCount, protects, replacement: 'second-chance' };
}

export class SavedJob {
  readonly device: Device;
  readonly kind: JobKind;
  readonly store: CheckpointStore;
  readonly guest: FakeGuest;
  readonly pager: Pager | undefined;
  readonly #guard: CopyOnWrite;
  #started: StartedSave | undefined;

  private constructor(device: Device, kind: JobKind, store: CheckpointStore, wasmPages: number) {
    this.device = device;
    this.kind = kind;
    this.store = store;
    this.guest = new FakeGuest(wasmPages);
    this.pager = store.attach(this.guest.memory, pagingOf(kind), true);
    this.#guard = new CopyOnWrite(this.guest.memory, roomForCopies(), () => this.finish());
    if (store.latest !== undefined) store.loadPages();
  }

  static create(device: Device, kind: JobKind, wasmPages: number): SavedJob {
    return new SavedJob(device, kind, createStore(device, IDENTITY, PROGRAM, kind.policy), wasmPages);
  }

  /** Opens a job as a new process does. */
  static open(device: Device, kind: JobKind, wasmPages: number): SavedJob {
    return new SavedJob(device, kind, openStore(device, kind.policy).store, wasmPages);
  }

  /** Fills a page with bytes that follow from the seed; seed 0 makes it zeros. */
  write(page: number, seed: number): void {
    this.guest.memory.write(page * PAGE_BYTES, pageOf(seed));
    this.guest.memory.releaseHolds();
  }

  image(): Uint8Array {
    const { memory } = this.guest;
    const image = new Uint8Array(memory.lengthBytes);
    for (let at = 0; at < image.length; at += PAGE_BYTES) {
      image.set(memory.viewForReading(at, PAGE_BYTES), at);
      memory.releaseHolds();
    }
    return image;
  }

  /** A checkpoint that is durable when this returns. */
  commit(state: Uint8Array): void {
    this.finish();
    this.store.commit({ state, trigger: 'test' });
  }

  /** A checkpoint that is saved while the guest goes on; `finish` ends it. */
  begin(state: Uint8Array): void {
    this.finish();
    const started = this.store.begin({ state, trigger: 'test' }, this.#guard.room);
    this.#guard.start(started.source.pending, started.work.kind === 'slots');
    this.pager!.guardSave(this.#guard);
    this.#started = started;
  }

  finish(): void {
    const started = this.#started;
    if (started === undefined) return;
    this.#started = undefined;
    const bench = Workbench.ofThread();
    const result =
      started.work.kind === 'slots'
        ? saveToSlots(started.source, started.target as Parameters<typeof saveToSlots>[1], started.work, bench)
        : saveToFile(started.source, started.target as Device, started.work, bench);
    started.finish(result);
    this.pager!.guardSave(undefined);
    this.#guard.stop();
  }

  close(): void {
    this.store.close();
  }
}

/** The contents that `write` gives a page. */
export function pageOf(seed: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_BYTES);
  if (seed === 0) return bytes;
  let state = seed >>> 0;
  for (let i = 0; i < bytes.length; i += 64) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.fill(state >>> 24, i, i + 64);
  }
  bytes[0] = 1 + (seed & 127);
  return bytes;
}
