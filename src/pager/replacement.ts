import type { Frames } from './frames.ts';
import type { PageQueues } from './page-queues.ts';

/**
 * Chooses the pages that leave memory. There is no reference bit: a policy sees a page when it gets a frame, and
 * when the guest touches it after the policy took its access (a *soft fault*, without I/O). It takes access by
 * `Frames.takeAccess`, and must leave pages alone that `Frames.isBusy` names.
 */
export interface Replacement {
  /** Resident pages without access that leave next. */
  readonly inactiveCount: number;
  grow(capacity: number): void;
  /** A page got a frame because the guest touched it. */
  insert(page: number): void;
  /** A page got a frame because one before it in memory was touched. It has no access. */
  insertAhead(page: number): void;
  /** The guest touched a resident page that had no access. */
  touch(page: number): void;
  /** Takes a page out of the queues, to leave; −1: every page is busy. */
  takeVictim(): number;
  /** Lists pages without access, those that leave next before others, each once; returns how many. */
  listNext(pages: Uint32Array, countMax: number): number;
  /** Asserts that exactly the resident pages are queued. */
  assertInvariants(): void;
}

export type ReplacementName = 'second-chance' | 'lirs';

/** The better one on the workloads' patterns; `bench/paging.mjs` compares them. */
export const DEFAULT_REPLACEMENT: ReplacementName = 'lirs';

/** Takes the oldest page of a queue that is not busy, with its access; busy ones go to the tail. */
export function takeOldest(queues: PageQueues, queue: number, frames: Frames): number | undefined {
  for (let tries = queues.count(queue); tries > 0; tries--) {
    const page = queues.head(queue);
    if (frames.isBusy(page) || !frames.takeAccess(page)) {
      queues.move(queue, page);
      continue;
    }
    queues.remove(page);
    return page;
  }
  return undefined;
}

/** Lists pages of a queue behind the first `count` of a list, the oldest first; returns how many are listed then. */
export function listQueue(
  queues: PageQueues,
  queue: number,
  pages: Uint32Array,
  count: number,
  countMax: number,
): number {
  for (let page = queues.head(queue); page >= 0 && count < countMax; page = queues.after(page)) pages[count++] = page;
  return count;
}
