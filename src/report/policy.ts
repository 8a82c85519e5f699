/** The policies of a comparison: their order, names and colours. */

export type Policy = 'none' | 'sequential' | 'incremental' | 'continuous';

/** In the order of the paper's Table I. */
export const POLICIES: readonly Policy[] = ['none', 'sequential', 'incremental', 'continuous'];

export function isPolicy(name: string): name is Policy {
  return POLICIES.some((policy) => policy === name);
}

/** How a program's writes become known, where runs differ in it. */
export type Tracker = 'software' | 'kernel' | 'mprotect';

export const TRACKERS: readonly Tracker[] = ['software', 'kernel', 'mprotect'];

/** `continuous + fork, kernel` */
export function cellLabel({
  policy,
  fork,
  tracker,
}: {
  readonly policy: string;
  readonly fork: boolean;
  readonly tracker?: Tracker;
}): string {
  return tracker === undefined ? policyLabel(policy, fork) : `${policyLabel(policy, fork)}, ${tracker}`;
}

/** `continuous + fork` */
export function policyLabel(policy: string, fork: boolean): string {
  return fork ? `${policy} + fork` : policy;
}

/** Without fork first, then as `POLICIES` has them, the trackers of each side by side; other names come last, by the alphabet. */
export function comparePolicies(a: Ordered, b: Ordered): number {
  return (
    Number(a.fork) - Number(b.fork) ||
    rank(a.policy) - rank(b.policy) ||
    a.policy.localeCompare(b.policy, 'en') ||
    trackerRank(a) - trackerRank(b)
  );
}

interface Ordered {
  readonly policy: string;
  readonly fork: boolean;
  readonly tracker?: Tracker;
}

function trackerRank({ tracker }: Ordered): number {
  return tracker === undefined ? -1 : TRACKERS.indexOf(tracker);
}

function rank(name: string): number {
  return isPolicy(name) ? POLICIES.indexOf(name) : POLICIES.length;
}

/** A variable of the page's style sheet, so that one drawing serves light and dark. */
export function policyColour(name: string): string {
  return isPolicy(name) ? `var(--${name})` : 'var(--other)';
}
