import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { assert } from '../error/errors.ts';
import { instantiateKernels } from '../format/page-kernels.ts';
import { SystemRefusal } from '../kernel/c-library.ts';
import { BIAS_WASM_PAGES, PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import type { DirtyTracker } from '../pager/dirty-tracker.ts';
import { KernelTracker } from '../pager/kernel-tracker.ts';
import { memoryLimits } from '../rewrite/module-encoder.ts';
import type { GuestInstance } from './guest-instance.ts';
import { PagerLink } from './pager-link.ts';
import { ProtectedPages } from './protected-pages.ts';
import type { GuestThreadData } from './protocol.ts';
import { SignalProtection } from './signal-protection.ts';
import { ThreadProtection } from './thread-protection.ts';
import { isProtectedByKernel, type TrackerChoice, trackingOf } from './tracking-choice.ts';

/** A run whose guest's writes are to be known. */
export interface WritingRun {
  readonly data: GuestThreadData;
  readonly policy: PolicyName | undefined;
  readonly choice: TrackerChoice;
  /** Whether pages of a checkpoint are going to be loaded. */
  readonly loadsPages: boolean;
  readonly notice: (text: string) => void;
}

/**
 * What knows the writes of a guest whose pages are all resident: marks in its code (true), the kernel, a handler of signals, or nothing
 * (false). The code is made by now; where the kernel takes back that it lists written pages, all count as written, which is slow and right.
 * @throws UsageError: the kernel takes back that it tells of first writes, which nothing else could do now.
 */
export function writesKnownBy(
  { data, policy, choice, loadsPages, notice }: WritingRun,
  instance: GuestInstance,
): boolean | DirtyTracker {
  const { guestMemory, rewritten } = instance;
  if (choice.name === 'none' || choice.name === 'software') return trackingOf(data, policy, choice) === 'software';
  const pagesMax = (memoryLimits(rewritten.module).maximum - BIAS_WASM_PAGES) * PAGES_PER_WASM_PAGE;
  if (choice.name === 'mprotect' || isProtectedByKernel(data, policy)) {
    const guest = { memory: guestMemory, kernels: instantiateKernels(guestMemory.memory), pagesMax };
    const options = { knowsAll: policy !== 'sequential', loadsPages };
    if (choice.name === 'mprotect') {
      const pages = new ProtectedPages(new SignalProtection(guest, notice), guest, options);
      instance.attachGrowth(() => pages.memoryGrown());
      return pages;
    }
    assert(data.pagerLink !== undefined, 'no thread serves the faults of the guest');
    return new ProtectedPages(new ThreadProtection(new PagerLink(data.pagerLink), guest), guest, options);
  }
  if (pagesMax === 0) return false;
  try {
    return new KernelTracker(guestMemory, pagesMax);
  } catch (error) {
    if (!(error instanceof SystemRefusal)) throw error;
    notice(`every page counts as written, since ${error.message}; --tracker software does better here`);
    return false;
  }
}
