import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { UsageError } from '../error/errors.ts';
import { kernelTrackingObstacle } from '../kernel/tracking-probe.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';
import type { GuestThreadData, TrackerName } from './protocol.ts';

/** What of a run decides. */
type RunChoice = Pick<GuestThreadData, 'fork' | 'paging' | 'tracePath' | 'pagerLink' | 'tracker'>;

/** How the guest's use of memory becomes known, and why so. */
export interface TrackingChoice {
  /** What the guest's code does for it. */
  readonly tracking: AccessTracking;
  readonly tracker: ChosenTracker;
  /** For people, as a part of a sentence. */
  readonly reason: string;
}

/** `none`: nobody needs to know. */
export type ChosenTracker = 'software' | 'kernel' | 'none';

/**
 * Chooses how the guest's use of memory becomes known; undefined as a policy: nothing is kept.
 * @throws UsageError `tracker-unavailable`: the kernel was asked for and cannot tell.
 */
export function chooseTracking(run: RunChoice, policy: PolicyName | undefined): TrackingChoice {
  if (isPagedByKernel(run, policy)) {
    return { tracking: 'none', tracker: 'kernel', reason: 'pages are brought at page faults, which a thread serves' };
  }
  const refusal = run.tracker === 'software' ? undefined : firstWriteRefusal(policy, run.fork);
  // A first write must be told before it is made: it is counted as a fault, or its page is copied first.
  if (policy === 'incremental' || (run.fork && keepsCheckpoints(policy))) {
    return { tracking: 'protected', tracker: 'software', reason: refusal ?? ASKED };
  }
  if (run.tracePath !== undefined) {
    return { tracking: 'paged', tracker: 'software', reason: 'references of pages are recorded by checks in the code' };
  }
  if (run.paging !== undefined) return { tracking: 'paged', tracker: 'software', reason: pagedReason(run, policy) };
  if (policy !== 'continuous') return { tracking: 'none', tracker: 'none', reason: needlessReason(policy) };
  return chooseForWrites(run.tracker);
}

const ASKED = 'it was asked for';

function chooseForWrites(tracker: TrackerName): TrackingChoice {
  if (tracker === 'software') return { tracking: 'software', tracker, reason: ASKED };
  const obstacle = kernelTrackingObstacle();
  if (obstacle === undefined) {
    const reason = 'the kernel notes written pages here, so that the code of the program holds no marks';
    return { tracking: 'none', tracker: 'kernel', reason: tracker === 'kernel' ? ASKED : reason };
  }
  if (tracker === 'kernel') {
    throw new UsageError(
      'tracker-unavailable',
      `the kernel cannot tell here which pages the program wrote (${obstacle}); "continuo doctor" tells what to do, and without --tracker the program is run another way`,
      { reason: obstacle },
    );
  }
  return { tracking: 'software', tracker: 'software', reason: obstacle };
}

function pagedReason({ tracker, pagerLink }: RunChoice, policy: PolicyName | undefined): string {
  if (tracker === 'software') return ASKED;
  const refusal = pagerLink === undefined ? undefined : kernelPagingRefusal(policy, false);
  return refusal ?? 'memory is paged by checks in the code of the program, unless the kernel is asked for';
}

function needlessReason(policy: PolicyName | undefined): string {
  if (policy === undefined) return 'no checkpoints are kept';
  return policy === 'none'
    ? 'the policy "none" saves the program at its start and its end only'
    : `the policy "${policy}" saves all pages each time`;
}

/** Whether checkpoints are taken between start and end. */
export function keepsCheckpoints(policy: PolicyName | undefined): boolean {
  return policy !== undefined && policy !== 'none';
}

/** Whether the kernel stops the guest at absent pages, instead of checks in its code. */
export function isPagedByKernel(run: Pick<RunChoice, 'pagerLink' | 'fork'>, policy: PolicyName | undefined): boolean {
  return run.pagerLink !== undefined && kernelPagingRefusal(policy, run.fork) === undefined;
}

/** Why the kernel cannot do what a run needs to know before a page is written, for people; undefined: it needs nothing like that. */
export function firstWriteRefusal(policy: PolicyName | undefined, forks: boolean): string | undefined {
  if (forks && keepsCheckpoints(policy)) return 'the kernel tells of no write before it is made, which --fork needs';
  if (policy === 'incremental')
    return 'the kernel tells of no write before it is made, which the policy "incremental" needs';
  return undefined;
}

/** Why a run with a budget of memory cannot be paged by the kernel, for people; undefined: it can. */
export function kernelPagingRefusal(policy: PolicyName | undefined, forks: boolean): string | undefined {
  if (policy === 'sequential') return 'the policy "sequential" reads all pages back in the thread of the program';
  return firstWriteRefusal(policy, forks);
}
