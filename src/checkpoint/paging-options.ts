import type { PageKernels } from '../format/page-kernels.ts';
import type { MemoryRelease } from '../memory/memory-release.ts';
import type { PageProtection } from '../pager/page-protection.ts';
import type { ReplacementName } from '../pager/replacement.ts';

/** How a guest with fewer frames than pages is paged. */
export interface PagingOptions {
  /** At least `FRAMES_MIN`. */
  readonly frameCount: number;
  readonly replacement?: ReplacementName;
  /** Undefined: pages that have left keep their memory. */
  readonly release?: MemoryRelease;
  /** Whether the pager is told of every first write to a page; see `Pager`. */
  readonly protects?: boolean;
  /** What looks at pages; a simulation has none with contents. Undefined: the page kernels, on the guest's memory. */
  readonly kernels?: PageKernels;
  /** What keeps the guest from pages, where its own code does not. */
  readonly protection?: PageProtection;
  /**
   * Whether pages that come unasked, behind one that was asked for, may be used without asking while half of the frames are free:
   * where asking costs much and nothing has to leave.
   */
  readonly opensAhead?: boolean;
}
