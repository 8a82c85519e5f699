import type { RewriteOptions } from '../../src/rewrite/rewrite.ts';
import { Random } from './random.ts';

/** Every way of rewriting a program. */
export const allOptions: readonly RewriteOptions[] = [
  { tracking: 'software', counting: true },
  { tracking: 'none', counting: true },
  { tracking: 'paged', counting: true },
  { tracking: 'software', counting: false },
  { tracking: 'none', counting: false },
  { tracking: 'paged', counting: false },
  { tracking: 'singly', counting: true },
  { tracking: 'none', counting: true, tellsGrowth: true },
];

/** The same, each with canonical NaNs. */
export const allCanonical: readonly RewriteOptions[] = allOptions.map((options) => ({
  ...options,
  canonicalNan: true,
}));

export const optionsName = ({ tracking, counting, canonicalNan, tellsGrowth }: RewriteOptions): string =>
  `tracking ${tracking}${counting ? ', counting' : ''}${canonicalNan === true ? ', canonical NaNs' : ''}${tellsGrowth === true ? ', growth told' : ''}`;

/** What a run knows of its progress when it asks how to go on. */
export interface Progress {
  readonly captures: number;
  /** Whether the guest was captured at a loop's head or function's entry, where it looks at the poll word again first. */
  readonly atPoll: boolean;
  readonly options: RewriteOptions;
}

/** How to go on: on this instance or a fresh one, to the capture after so many safepoints. */
export interface Step {
  /** Safepoints passed before the next capture; Infinity for none. Without counting, 0 or Infinity. */
  readonly safepoints: number;
  /** A fresh instance is made, rewritten with these options, and takes over. */
  readonly migrateTo?: RewriteOptions;
}

/** Where a run is captured, and what happens then. */
export interface CapturePlan {
  readonly name: string;
  readonly first: RewriteOptions;
  next(progress: Progress): Step;
  /** Whether the host interrupts the call that the guest just made to it. */
  interrupts(): boolean;
  /** Whether a capture is asked for while the host does what the guest called it for. */
  requests(): boolean;
}

export function uninterrupted(options: RewriteOptions): CapturePlan {
  return {
    name: `uninterrupted, ${optionsName(options)}`,
    first: options,
    next: () => ({ safepoints: Infinity }),
    interrupts: () => false,
    requests: () => false,
  };
}

/** Captured at every `stride`-th safepoint and resumed on the same instance. */
export function everySafepoint(tracking: RewriteOptions['tracking'], stride = 1, canonicalNan = false): CapturePlan {
  return {
    name: `captured at every ${stride}. safepoint, tracking ${tracking}`,
    first: { tracking, counting: true, canonicalNan },
    // The poll at which the guest stands is passed again before any other safepoint.
    next: ({ atPoll }) => ({ safepoints: stride - 1 + (atPoll ? 1 : 0) }),
    interrupts: () => false,
    requests: () => false,
  };
}

/** Captured at random safepoints, and host calls interrupted at random; goes on as often here as on a fresh instance. */
export function migrating(
  seed: number,
  meanSafepoints: number,
  interruptChance = 0.3,
  among: readonly RewriteOptions[] = allOptions,
): CapturePlan {
  const random = new Random(seed);
  return {
    name: `migrating, seed ${seed}, ${meanSafepoints} safepoints on average`,
    first: random.pick(among),
    next: ({ atPoll, options }) => {
      const migrates = random.chance(0.6);
      // An instance that does not count is captured at once, and where it stands at a poll that is no progress.
      const possible = atPoll ? among.filter(({ counting }) => counting) : among;
      const to = migrates || !possible.includes(options) ? random.pick(possible) : undefined;
      const next = to ?? options;
      const safepoints = next.counting ? random.below(2 * meanSafepoints) + 1 : 0;
      return to === undefined ? { safepoints } : { safepoints, migrateTo: to };
    },
    interrupts: () => random.chance(interruptChance),
    requests: () => random.chance(interruptChance / 2),
  };
}
