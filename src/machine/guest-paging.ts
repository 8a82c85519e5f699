import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { PagingOptions } from '../checkpoint/paging-options.ts';
import { SystemRefusal } from '../kernel/c-library.ts';
import { MAPPED_PAGES_MAX } from '../format/paging-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_WASM_PAGES, PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import { createRelease } from '../memory/memory-release.ts';
import type { DirtyTracker } from '../pager/dirty-tracker.ts';
import { KernelTracker } from '../pager/kernel-tracker.ts';
import { type AccessTracking, checksAccesses } from '../rewrite/access-emitter.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import { memoryLimits } from '../rewrite/module-encoder.ts';
import type { GuestInstance } from './guest-instance.ts';
import type { GuestThreadData, PagingRequest } from './protocol.ts';
import type { RunPager } from './remote-store.ts';
import { kernelPagingRefusal, type TrackerChoice } from './tracking-choice.ts';

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

/**
 * What knows the writes of a guest whose pages are all resident: marks in its code (true), the kernel, or nothing (false). The code
 * is made by now; where the kernel takes back what it showed to be able to, all pages count as written, which is slow and right.
 */
export function writesKnownBy(
  { name }: TrackerChoice,
  tracking: AccessTracking,
  { guestMemory, rewritten }: GuestInstance,
  notice: (text: string) => void,
): boolean | DirtyTracker {
  if (name !== 'kernel') return tracking === 'software';
  const wasmPagesMax = memoryLimits(rewritten.module).maximum - BIAS_WASM_PAGES;
  if (wasmPagesMax === 0) return false;
  try {
    return new KernelTracker(guestMemory, wasmPagesMax * PAGES_PER_WASM_PAGE);
  } catch (error) {
    if (!(error instanceof SystemRefusal)) throw error;
    notice(`every page counts as written, since ${error.message}; --tracker software does better here`);
    return false;
  }
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
