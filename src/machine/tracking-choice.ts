import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import { FileDevice } from '../device/file-device.ts';
import { UsageError } from '../error/errors.ts';
import { isCheckpointFile } from '../checkpoint/job-directory.ts';
import { pageGuardObstacle } from '../kernel/page-guard-probe.ts';
import { kernelPagingObstacle } from '../kernel/paging-probe.ts';
import { kernelProtectionObstacle } from '../kernel/protection-probe.ts';
import { kernelTrackingObstacle } from '../kernel/tracking-probe.ts';
import type { AccessTracking } from '../rewrite/access-emitter.ts';
import type { GuestThreadData } from './protocol.ts';

/** How the guest's use of pages becomes known: by its code, by the kernel, by faults that a handler of signals takes, or as `auto` says. */
export type TrackerName = 'auto' | 'software' | 'kernel' | 'mprotect';

/** How it does in a run. `none`: nothing of it needs to be known. */
export interface TrackerChoice {
  readonly name: 'none' | 'software' | 'kernel' | 'mprotect';
  /** Why, as a part of a sentence. */
  readonly reason: string;
}

/** What of a run decides. */
type RunChoice = Pick<GuestThreadData, 'fork' | 'paging' | 'tracePath' | 'pagerLink' | 'tracker'>;

/**
 * The tracker of a run; undefined as a policy: nothing is kept. What the kernel can do here is tried out. `auto` leaves written pages
 * to the kernel where that works: real programs ran 3 to 9 % faster without marks (`bench/programs/run.mjs --tracker software`, and `kernel`).
 * @throws UsageError `tracker-unavailable`: a tracker was asked for, the run could have it, and it does not work here; `bad-argument`:
 * `mprotect` was asked for, and the run is none that it is for.
 */
export function chooseTracker(run: RunChoice, policy: PolicyName | undefined): TrackerChoice {
  if (run.tracker === 'mprotect') return chooseSignals(run, policy);
  if (!needsTracker(run, policy)) return { name: 'none', reason: 'no write of the program needs to be known' };
  if (run.tracker === 'software') return { name: 'software', reason: 'it was asked for (--tracker software)' };
  const refusal = kernelRefusal(run, policy);
  if (refusal !== undefined) return { name: 'software', reason: refusal };
  const obstacle = kernelObstacle(run, policy);
  if (run.tracker === 'auto') {
    if (obstacle !== undefined)
      return { name: 'software', reason: `the kernel does not tell written pages: ${obstacle}` };
    return {
      name: 'kernel',
      reason: 'the kernel tells here which pages were written, at less cost than marks in the code',
    };
  }
  if (obstacle !== undefined) throw unavailable('kernel', obstacle);
  if (run.paging !== undefined)
    return { name: 'kernel', reason: 'it was asked for, and the kernel pages programs here' };
  if (isProtectedByKernel(run, policy))
    return { name: 'kernel', reason: 'it was asked for, and the kernel stops programs here at first writes to pages' };
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
  if (run.tracker === 'auto') {
    if (policy === 'incremental' || run.fork)
      return 'a check in the code tells of a first write in less time than the fault that --tracker kernel takes';
    return undefined;
  }
  return run.paging === undefined ? undefined : kernelPagingRefusal(policy, run.fork);
}

/** What stands in the way here, not in the run. */
function kernelObstacle(run: RunChoice, policy: PolicyName | undefined): string | undefined {
  // A thread was started that serves faults, where they can be served.
  if (run.paging !== undefined) return run.pagerLink === undefined ? kernelPagingObstacle() : undefined;
  if (!isProtectedByKernel(run, policy)) return kernelTrackingObstacle();
  return run.pagerLink === undefined ? kernelProtectionObstacle() : undefined;
}

/** There is nothing that it could be replaced by quietly: it is asked for to be compared with others. */
function chooseSignals(run: RunChoice, policy: PolicyName | undefined): TrackerChoice {
  const refusal = signalsRefusal(run, policy);
  if (refusal !== undefined) {
    const text = `--tracker mprotect stops the program at its first writes to pages, for --policy incremental and for --fork with any policy, while all pages are in memory; ${refusal}: use --tracker software or kernel`;
    throw new UsageError('bad-argument', text, { tracker: 'mprotect' });
  }
  const obstacle = pageGuardObstacle();
  if (obstacle !== undefined) throw unavailable('mprotect', obstacle);
  return { name: 'mprotect', reason: 'it was asked for, and a handler of SIGSEGV can be had here' };
}

/** Why protection by mprotect is not for a run, for people; undefined: it is. */
function signalsRefusal({ tracePath, paging, fork }: RunChoice, policy: PolicyName | undefined): string | undefined {
  if (tracePath !== undefined) return 'a run that is traced notes its references in its code';
  if (paging !== undefined) return 'with --memory they are not';
  if (policy === undefined) return 'without --job there are no checkpoints';
  if (isToldFirstWrites(policy, fork)) return undefined;
  return policy === 'none'
    ? 'the policy "none" takes no checkpoints'
    : `the policy "${policy}" without --fork is neither`;
}

function unavailable(tracker: TrackerName, reason: string): UsageError {
  return new UsageError(
    'tracker-unavailable',
    `--tracker ${tracker} cannot be had here: ${reason}; "continuo doctor" tells what to do, and without the option the program is run another way`,
    { reason },
  );
}

/** How the guest is rewritten for a tracker. */
export function trackingOf(run: RunChoice, policy: PolicyName | undefined, { name }: TrackerChoice): AccessTracking {
  if (name !== 'software') return 'none';
  if (run.paging?.pageByPage === true) return 'singly';
  // A first write must be told before it is made: it is counted as a fault, or its page is copied first.
  if (isToldFirstWrites(policy, run.fork)) return 'protected';
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
  return run.paging !== undefined && run.pagerLink !== undefined && kernelPagingRefusal(policy, run.fork) === undefined;
}

/** Whether the kernel stops the guest, whose pages are all resident, at its first write to a page, where it is to know writes. */
export function isProtectedByKernel({ paging, fork, tracker }: RunChoice, policy: PolicyName | undefined): boolean {
  return tracker === 'kernel' && paging === undefined && isToldFirstWrites(policy, fork);
}

/** Whether first writes to pages must be told before they are made: to count them, or to keep pages that are being saved. */
export function isToldFirstWrites(policy: PolicyName | undefined, forks: boolean): boolean {
  return policy === 'incremental' || (forks && keepsCheckpoints(policy));
}

/** Whether a run needs a thread that serves the guest's faults, as far as is known before its job is opened, and can have one. */
export function servesFaults(
  run: Omit<RunChoice, 'pagerLink'> & Pick<GuestThreadData, 'jobDirectory' | 'policy'>,
): boolean {
  const { tracker, paging, jobDirectory, fork, policy, tracePath } = run;
  if (tracker !== 'kernel' || tracePath !== undefined) return false;
  if (paging !== undefined) return kernelPagingObstacle() === undefined;
  if (jobDirectory === undefined) return false;
  // A job that goes on in its own way may be incremental.
  const mayProtect =
    fork ||
    policy === 'incremental' ||
    (policy === undefined && new FileDevice(jobDirectory).list().some(isCheckpointFile));
  return mayProtect && kernelProtectionObstacle() === undefined;
}

/** Why a run with a budget of memory cannot be paged by the kernel, for people; undefined: it can. */
export function kernelPagingRefusal(policy: PolicyName | undefined, forks: boolean): string | undefined {
  if (forks && keepsCheckpoints(policy))
    return '--fork saves pages out of memory, in which a program that is paged by the kernel does not have them all';
  if (policy === 'incremental') return 'the policy "incremental" reads pages back in the thread of the program';
  if (policy === 'sequential') return 'the policy "sequential" reads all pages back in the thread of the program';
  return undefined;
}
