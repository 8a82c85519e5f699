import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { PagingOptions } from '../checkpoint/store.ts';
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { createRelease } from '../memory/memory-release.ts';
import { type AccessTracking, checksAccesses } from '../rewrite/access-emitter.ts';
import type { Pager } from '../pager/pager.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { PagingRequest } from './protocol.ts';

/**
 * How the guest is paged; undefined: not at all. Where all its pages are resident a pager may still be needed, to be told of first
 * writes.
 */
export function pagingOptionsFor(
  request: PagingRequest | undefined,
  policy: PolicyName | undefined,
  tracking: AccessTracking,
  memory: GuestMemory,
  notice: (text: string) => void,
): PagingOptions | undefined {
  const protects = policy === 'incremental';
  if (request === undefined) {
    return checksAccesses(tracking) ? { frameCount: MAPPED_PAGES_MAX, protects } : undefined;
  }
  const { frameCount, replacement } = request;
  const release = createRelease(memory);
  if (release.reason !== '') {
    notice(
      `pages that leave memory keep their place in it, since ${release.reason}: the budget bounds only what is paged`,
    );
  }
  return { frameCount, release, protects, ...(replacement === undefined ? {} : { replacement }) };
}

/** Figures of what paging did; a pager that only knows of writes has a frame for every page there could be. */
export function pagingStatsOf(
  pager: Pager | undefined,
  memory: GuestMemory | undefined,
  request: PagingRequest | undefined,
): PagingStats | undefined {
  if (pager === undefined || memory === undefined) return undefined;
  const stats = pager.stats();
  if (request !== undefined) return stats;
  return { ...stats, frames: Math.min(stats.frames, Math.max(stats.residentPages, memory.pageCount)) };
}
