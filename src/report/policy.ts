/** The policies of a comparison: their order, names and colours. */

export type Policy = 'none' | 'sequential' | 'incremental' | 'continuous';

/** In the order of the paper's Table I. */
export const POLICIES: readonly Policy[] = ['none', 'sequential', 'incremental', 'continuous'];

export function isPolicy(name: string): name is Policy {
  return POLICIES.some((policy) => policy === name);
}

/** `continuous + fork` */
export function policyLabel(policy: string, fork: boolean): string {
  return fork ? `${policy} + fork` : policy;
}

/** Without fork first, then as `POLICIES` has them; names that it has not come last, by the alphabet. */
export function comparePolicies(
  a: { readonly policy: string; readonly fork: boolean },
  b: { readonly policy: string; readonly fork: boolean },
): number {
  return Number(a.fork) - Number(b.fork) || rank(a.policy) - rank(b.policy) || a.policy.localeCompare(b.policy, 'en');
}

function rank(name: string): number {
  return isPolicy(name) ? POLICIES.indexOf(name) : POLICIES.length;
}

/** A variable of the page's style sheet, so that one drawing serves light and dark. */
export function policyColour(name: string): string {
  return isPolicy(name) ? `var(--${name})` : 'var(--other)';
}
