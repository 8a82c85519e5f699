import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';
import type { GuestThreadData } from './protocol.ts';

/** What of a run decides. */
type RunChoice = Pick<GuestThreadData, 'fork' | 'paging' | 'tracePath' | 'pagerLink'>;

/** How the guest's writes become known, by what the run needs to know of them; undefined as a policy: nothing is kept. */
export function trackingOf(run: RunChoice, policy: PolicyName | undefined): AccessTracking {
  if (isPagedByKernel(run, policy)) return 'none';
  // A first write must be told before it is made: it is counted as a fault, or its page is copied first.
  if (policy === 'incremental' || (run.fork && keepsCheckpoints(policy))) return 'protected';
  if (run.paging !== undefined || run.tracePath !== undefined) return 'paged';
  return policy === 'continuous' ? 'software' : 'none';
}

/** Whether checkpoints are taken between start and end. */
export function keepsCheckpoints(policy: PolicyName | undefined): boolean {
  return policy !== undefined && policy !== 'none';
}

/** Whether the kernel stops the guest at absent pages, instead of checks in its code. */
export function isPagedByKernel(run: RunChoice, policy: PolicyName | undefined): boolean {
  return run.pagerLink !== undefined && kernelPagingRefusal(policy, run.fork) === undefined;
}

/** Why a run with a budget of memory cannot be paged by the kernel, for people; undefined: it can. */
export function kernelPagingRefusal(policy: PolicyName | undefined, forks: boolean): string | undefined {
  if (forks && keepsCheckpoints(policy)) return 'the kernel tells of no write before it is made, which --fork needs';
  if (policy === 'incremental')
    return 'the kernel tells of no write before it is made, which the policy "incremental" needs';
  if (policy === 'sequential') return 'the policy "sequential" reads all pages back in the thread of the program';
  return undefined;
}
