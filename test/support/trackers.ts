/** The trackers that tests of runs are made for: each where it works; where one does not, the reason is printed. */
import { kernelPages } from '../kernel/kernel-paging.ts';
import { kernelProtects } from '../kernel/kernel-protection-here.ts';
import { kernelTracks } from '../kernel/kernel-tracking.ts';
import { guardsPages } from '../kernel/page-guard-here.ts';

export type Tracker = 'software' | 'kernel';
export type ProtectingTracker = Tracker | 'mprotect';

/** Of programs with all of their pages in memory. */
export const trackers: readonly Tracker[] = kernelTracks ? ['software', 'kernel'] : ['software'];

/** Of programs with fewer frames than pages. */
export const pagingTrackers: readonly Tracker[] = kernelPages ? ['software', 'kernel'] : ['software'];

/** Those that tell of first writes by faults, to programs with all of their pages in memory. */
export const faultTrackers: readonly ProtectingTracker[] = [
  ...(kernelProtects ? (['kernel'] as const) : []),
  ...(guardsPages ? (['mprotect'] as const) : []),
];

/** Of programs with all of their pages in memory, whose first writes must be told before they are made. */
export const protectingTrackers: readonly ProtectingTracker[] = ['software', ...faultTrackers];
