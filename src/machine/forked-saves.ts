import type { CheckpointStore, StartedSave } from '../checkpoint/checkpoint-store.ts';
import type { CheckpointRequest, CheckpointStats } from '../checkpoint/checkpoint.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { SaveGuard } from '../pager/save-guard.ts';
import { CopyOnWrite } from '../save/copy-on-write.ts';
import { type PendingPages, roomForCopies } from '../save/pending-pages.ts';
import { SaveWriter } from './save-writer.ts';

/** What tells of pages that are about to change, while some are being saved. */
export interface SaveWatch {
  /** From now on these pages are being saved; undefined: no more. */
  guardSave(guard: SaveGuard | undefined, pending?: PendingPages): void;
  /** A word that is not 0 when it tells no more; undefined: that does not happen. */
  readonly lostWord?: { readonly words: SharedArrayBuffer; readonly index: number } | undefined;
}

export interface ForkedSaveEvents {
  /** With what a checkpoint cost, as soon as it is durable. */
  readonly durable: (stats: CheckpointStats) => void;
  /** A checkpoint failed: whether the run goes on without it. */
  readonly goesOnAfter: (error: unknown) => boolean;
}

/**
 * Checkpoints that are saved beside the guest, one at a time: `begin` takes one, the guest runs on, `finish` makes it the last
 * checkpoint when the saving thread is done. Whoever needs it done sooner calls `finish` and waits.
 */
export class ForkedSaves {
  readonly #store: CheckpointStore;
  readonly #watch: SaveWatch;
  readonly #guard: CopyOnWrite;
  readonly #memory: WebAssembly.Memory;
  readonly #writer: SaveWriter;
  readonly #events: ForkedSaveEvents;
  #started: StartedSave | undefined;
  #pauseMs = 0;
  #copyFaultsBefore = 0;

  constructor(
    store: CheckpointStore,
    watch: SaveWatch,
    memory: GuestMemory,
    writer: SaveWriter,
    events: ForkedSaveEvents,
  ) {
    this.#store = store;
    this.#watch = watch;
    this.#guard = new CopyOnWrite(memory, roomForCopies(watch.lostWord), () => this.finish());
    this.#memory = memory.memory;
    this.#writer = writer;
    this.#events = events;
  }

  /** Whether a checkpoint is being saved. */
  get isSaving(): boolean {
    return this.#started !== undefined;
  }

  get copyFaults(): number {
    return this.#guard.copyFaults;
  }

  get copyMs(): number {
    return this.#guard.copyMs;
  }

  /**
   * Takes a checkpoint of the stopped guest; `startMs` is when it stopped (`performance.now`). With `announced` the guest is
   * interrupted when it is durable; without, nobody waits for that, and it is noticed when the guest stops next.
   */
  begin(request: CheckpointRequest, startMs: number, announced: boolean): void {
    this.finish();
    const started = this.#store.begin(request, this.#guard.room);
    const { pending } = started.source;
    this.#guard.start(pending, started.work.kind === 'slots');
    this.#watch.guardSave(this.#guard, pending);
    this.#started = started;
    this.#copyFaultsBefore = this.#guard.copyFaults;
    this.#writer.give(started, this.#memory, announced);
    this.#pauseMs = performance.now() - startMs;
  }

  /** Finishes what the saving thread is done with. */
  finishIfDone(): void {
    if (this.#started !== undefined && this.#writer.isDone) this.finish();
  }

  /**
   * Waits until what is being saved is durable.
   * @throws StorageError, CorruptionError: it failed, and the last checkpoint stands; not where the run goes on after it.
   */
  finish(): void {
    const started = this.#started;
    if (started === undefined) return;
    const startMs = performance.now();
    this.#started = undefined;
    try {
      const result = this.#writer.wait();
      const stats = started.finish(result);
      const pauseMs = this.#pauseMs + performance.now() - startMs;
      this.#events.durable({ ...stats, pauseMs, copyFaults: this.#guard.copyFaults - this.#copyFaultsBefore });
    } catch (error) {
      started.fail(error);
      if (!this.#events.goesOnAfter(error)) throw error;
    } finally {
      this.#watch.guardSave(undefined);
      this.#guard.stop();
    }
  }
}
