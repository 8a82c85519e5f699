import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { PagingOptions } from '../checkpoint/paging-options.ts';
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { createRelease } from '../memory/memory-release.ts';
import { type AccessTracking, checksAccesses } from '../rewrite/access-emitter.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { GuestThreadData, PagingRequest } from './protocol.ts';
import type { RunPager } from './remote-store.ts';
import { kernelPagingRefusal } from './tracking-choice.ts';

/**
 * How the guest is paged; undefined: not at all. Where all its pages are resident a pager may still be needed, to be told of first
 * writes.
 */
export function pagingOptionsFor(
  { paging: request, pagerLink, fork }: Pick<GuestThreadData, 'paging' | 'pagerLink' | 'fork'>,
  policy: PolicyName | undefined,
  tracking: AccessTracking,
  memory: GuestMemory,
  notice: (text: string) => void,
): PagingOptions | undefined {
  const protects = policy === 'incremental';
  if (request === undefined) {
    return checksAccesses(tracking) ? { frameCount: MAPPED_PAGES_MAX, protects } : undefined;
  }
  const refusal = kernelPagingRefusal(policy, fork);
  if (pagerLink !== undefined && refusal !== undefined) {
    notice(`the program is paged by checks in its own code, since ${refusal}`);
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

/** A pager's figures as people see them: without a budget it has a frame for every page there could be. */
export function shownStats(
  pager: RunPager | undefined,
  request: PagingRequest | undefined,
  memory: GuestMemory | undefined,
): PagingStats | undefined {
  const stats = pager?.stats();
  if (stats === undefined || memory === undefined || request !== undefined) return stats;
  return { ...stats, frames: Math.min(stats.frames, Math.max(stats.residentPages, memory.pageCount)) };
}
