import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';

/** How the guest's writes become known, by what the run needs to know of them. */
export function trackingFor(run: {
  /** Undefined: nothing is kept. */
  readonly policy: PolicyName | undefined;
  readonly forks: boolean;
  readonly paged: boolean;
}): AccessTracking {
  const { policy, forks, paged } = run;
  // A first write must be told before it is made: it is counted as a fault, or its page is copied first.
  if (policy === 'incremental' || (forks && keepsCheckpoints(policy))) return 'protected';
  if (paged) return 'paged';
  return policy === 'continuous' ? 'software' : 'none';
}

/** Whether checkpoints are taken between start and end. */
export function keepsCheckpoints(policy: PolicyName | undefined): boolean {
  return policy !== undefined && policy !== 'none';
}

/** Whether pages are saved to files of their own, and not into the paging file. */
export function isSavedToFiles(policy: PolicyName | undefined): boolean {
  return policy === 'sequential' || policy === 'incremental';
}
