import type { Checkpoint, CheckpointRequest, CheckpointStats, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore } from '../checkpoint/checkpoint-store.ts';
import { assert } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_WASM_PAGES, WASM_PAGE_BYTES } from '../memory/layout.ts';
import type { Pager } from '../pager/pager.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import { memoryLimits } from '../rewrite/module-encoder.ts';
import type { GuestInstance } from './guest-instance.ts';
import { type AttachOrder, type PagerFigures, PagerLink } from './pager-link.ts';
import type { GuestThreadData } from './protocol.ts';

/** What a run needs of its store while the guest runs. */
export type RunStore = Pick<CheckpointStore, 'latest' | 'loadPages' | 'commit' | 'slotCounts' | 'close'>;

/** What a run needs of its pager, whatever thread that is in. */
export type RunPager = Pick<Pager, 'failure' | 'writeAhead' | 'collect' | 'continuousCount'> & {
  stats(): PagingStats | undefined;
};

/**
 * The store and the pager of a guest that another thread pages, as the guest's thread sees them: every call is an order to
 * that thread, which owns the paging file.
 */
export class RemoteStore implements RunStore, RunPager {
  /** The newest committed checkpoint; undefined before the first. */
  latest: Checkpoint | undefined;
  readonly #link: PagerLink;
  readonly #memory: GuestMemory;
  #figures: PagerFigures | undefined;
  #failure: Error | undefined;
  #isClosed = false;

  /**
   * From here on absent pages of the memory, which has its size and holds zeros, are brought when they are touched.
   * @throws Error: the system refuses; StorageError, CorruptionError: the job cannot be opened.
   */
  constructor(
    link: PagerLink,
    memory: GuestMemory,
    order: Omit<AttachOrder, 'kind' | 'memory'>,
    latest: Checkpoint | undefined,
  ) {
    this.#link = link;
    this.#memory = memory;
    this.latest = latest;
    link.give({ kind: 'attach', memory: memory.memory, ...order, pageCount: this.#pageCount });
    memory.attachRemotePager(order.frameCount);
  }

  /** Why the pages of the guest are not what they should be; its run is over then. */
  get failure(): Error | undefined {
    if (this.#failure !== undefined || !this.#link.hasFailed) return this.#failure;
    try {
      this.#link.give({ kind: 'failure', pageCount: this.#pageCount });
      this.#failure = new Error('the thread that pages the program does not say why it failed');
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
    return this.#failure;
  }

  /** What a guest made of pages that could not be brought is nothing: it must not leave, nor go on. */
  refuseMissingPages(): void {
    const { failure } = this;
    if (failure !== undefined) throw failure;
  }

  loadPages(): void {
    this.#link.give({ kind: 'load', pageCount: this.#pageCount });
  }

  /** As `CheckpointStore.commit`. */
  commit({ state, trigger, exclusions }: CheckpointRequest): CheckpointStats {
    const excludedRanges = exclusions?.ranges;
    const pageCount = this.#pageCount;
    const { stats, latest } = this.#link.give({ kind: 'commit', state, trigger, excludedRanges, pageCount });
    this.latest = { ...latest!, state };
    return stats!;
  }

  /** As `Pager.writeAhead`. */
  writeAhead(countMax: number): number {
    return this.#link.give({ kind: 'writeAhead', countMax, pageCount: this.#pageCount }).written!;
  }

  /** Takes new figures; returns how many resident pages are dirty. */
  collect(): number {
    this.#figures = this.#link.give({ kind: 'figures', pageCount: this.#pageCount }).figures;
    return this.#figures!.residentDirtyPages;
  }

  /** Of the last `collect`. */
  get continuousCount(): number {
    return this.#figures!.continuousCount;
  }

  /** Undefined where the thread that pages has ended before its time. */
  stats(): PagingStats | undefined {
    this.#renewFigures();
    return this.#figures?.stats;
  }

  slotCounts(): SlotCounts | undefined {
    this.#renewFigures();
    return this.#figures?.slots;
  }

  /** The last figures stay. The guest must not run any more. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      if (this.#link.isDead) return;
      this.#figures = this.#link.give({ kind: 'close', pageCount: this.#pageCount }).figures;
    } finally {
      this.#link.close();
    }
  }

  #renewFigures(): void {
    if (!this.#isClosed && !this.#link.isDead) this.collect();
  }

  get #pageCount(): number {
    return this.#memory.pageCount;
  }
}

/** Opens the job of a directory, or a paging file that no restart needs, in the thread that pages, and gives it the guest's memory. */
export function openRemoteStore(
  { pagerLink, paging, seal }: Pick<GuestThreadData, 'pagerLink' | 'paging' | 'seal'>,
  { rewritten, guestMemory }: GuestInstance,
  source: string | { readonly identity: JobIdentity; readonly program: Uint8Array },
  { latest, keep }: { readonly latest: Checkpoint | undefined; readonly keep: number | undefined },
): RemoteStore {
  assert(pagerLink !== undefined && paging !== undefined, 'no thread pages the guest');
  const guestBytesMax = (memoryLimits(rewritten.module).maximum - BIAS_WASM_PAGES) * WASM_PAGE_BYTES;
  const order = {
    ...paging,
    keep,
    guestBytesMax,
    source: typeof source === 'string' ? { jobDirectory: source, seal } : source,
  };
  return new RemoteStore(new PagerLink(pagerLink), guestMemory, order, latest);
}
