import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { UsageError } from '../error/errors.ts';
import { kernelPagingObstacle } from '../kernel/paging-probe.ts';
import { kernelTrackingObstacle } from '../kernel/tracking-probe.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';
import type { GuestThreadData } from './protocol.ts';

/** How the guest's use of pages becomes known: by its code, by the kernel, or as `auto` says. */
export type TrackerName = 'auto' | 'software' | 'kernel';

/** How it does in a run. `none`: nothing of it needs to be known. */
export interface TrackerChoice {
  readonly name: 'none' | 'software' | 'kernel';
  /** Why, as a part of a sentence. */
  readonly reason: string;
}

/** What of a run decides. */
type RunChoice = Pick<GuestThreadData, 'fork' | 'paging' | 'tracePath' | 'pagerLink' | 'tracker'>;

/**
 * The tracker of a run; undefined as a policy: nothing is kept. What the kernel can do here is tried out.
 * @throws UsageError `tracker-unavailable`: the kernel was asked for, the run could have it, and it does not work here.
 */
export function chooseTracker(run: RunChoice, policy: PolicyName | undefined): TrackerChoice {
  if (!needsTracker(run, policy)) return { name: 'none', reason: 'no write of the program needs to be known' };
  if (run.tracker === 'software') return { name: 'software', reason: 'it was asked for (--tracker software)' };
  const refusal = kernelRefusal(run, policy);
  if (refusal !== undefined) return { name: 'software', reason: refusal };
  const obstacle = kernelObstacle(run);
  if (obstacle !== undefined) throw unavailable(obstacle);
  if (run.paging !== undefined)
    return { name: 'kernel', reason: 'it was asked for, and the kernel pages programs here' };
  return { name: 'kernel', reason: 'it was asked for, and the kernel tells here which pages were written' };
}

function needsTracker({ paging, tracePath, fork }: RunChoice, policy: PolicyName | undefined): boolean {
  if (paging !== undefined || tracePath !== undefined) return true;
  return keepsCheckpoints(policy) && (policy !== 'sequential' || fork);
}

function kernelRefusal(run: RunChoice, policy: PolicyName | undefined): string | undefined {
  if (run.tracePath !== undefined) return 'a run that is traced notes its references in its code';
  if (run.paging !== undefined) {
    if (run.tracker === 'auto')
      return 'a budget of memory is kept by checks in the code unless --tracker kernel is given';
  }
  if (run.tracker === 'auto') return 'marks in the code cost no more than the faults that --tracker kernel takes';
  return kernelPagingRefusal(policy, run.fork);
}

/** What stands in the way here, not in the run. */
function kernelObstacle({ paging, pagerLink }: RunChoice): string | undefined {
  if (paging === undefined) return kernelTrackingObstacle();
  return pagerLink === undefined ? kernelPagingObstacle() : undefined;
}

function unavailable(reason: string): UsageError {
  return new UsageError(
    'tracker-unavailable',
    `--tracker kernel cannot be had here: ${reason}; "continuo doctor" tells what to do, and without the option the program is run another way`,
    { reason },
  );
}

/** How the guest is rewritten for a tracker. */
export function trackingOf(run: RunChoice, policy: PolicyName | undefined, { name }: TrackerChoice): AccessTracking {
  if (name !== 'software') return 'none';
  if (run.paging?.pageByPage === true) return 'singly';
  // A first write must be told before it is made: it is counted as a fault, or its page is copied first.
  if (policy === 'incremental' || (run.fork && keepsCheckpoints(policy))) return 'protected';
  if (run.paging !== undefined || run.tracePath !== undefined) return 'paged';
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
