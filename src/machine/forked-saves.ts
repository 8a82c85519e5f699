import type { CheckpointStore, StartedSave } from '../checkpoint/checkpoint-store.ts';
import type { CheckpointRequest, CheckpointStats } from '../checkpoint/checkpoint.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import type { Pager } from '../pager/pager.ts';
import { CopyOnWrite } from '../save/copy-on-write.ts';
import { SaveWriter } from './save-writer.ts';

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
  readonly #pager: Pager;
  readonly #guard: CopyOnWrite;
  readonly #memory: WebAssembly.Memory;
  readonly #writer: SaveWriter;
  readonly #events: ForkedSaveEvents;
  #started: StartedSave | undefined;
  #pauseMs = 0;
  #copyFaultsBefore = 0;

  constructor(store: CheckpointStore, pager: Pager, memory: GuestMemory, writer: SaveWriter, events: ForkedSaveEvents) {
    this.#store = store;
    this.#pager = pager;
    this.#guard = new CopyOnWrite(memory, () => this.finish());
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
    const started = this.#store.begin(request, this.#guard.copies);
    this.#guard.start(started.source.pending, started.work.kind === 'slots');
    this.#pager.guardSave(this.#guard);
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
      this.#pager.guardSave(undefined);
      this.#guard.stop();
    }
  }
}
