import { assert } from '../error/errors.ts';
import { obstacleTo } from './try-out.ts';
import type { UserFaults } from './user-faults.ts';

const PAGE_BYTES = 4096;

/** Why a program's memory cannot be paged by the kernel here, for people; undefined: it can. Tried out on memory of no use. */
export function kernelPagingObstacle(): string | undefined {
  return obstacleTo('paging', 2, tryOut);
}

/** All that a pager does to a page. No page is touched while it is absent: nobody would bring it. */
function tryOut(faults: UserFaults, at: number): void {
  const other = at + PAGE_BYTES;
  faults.register(at, 2 * PAGE_BYTES);
  faults.copyZeros(at, PAGE_BYTES, false, true);
  assert(!faults.isWritten(at), 'a protected page counts as written');
  faults.protect(at, PAGE_BYTES, false);
  assert(faults.isWritten(at), 'a page that may be written does not count as written');
  faults.move(other, at, PAGE_BYTES, true);
  assert(faults.isWritten(other) && !faults.isWritten(at), 'a page was moved and is still there');
  faults.protect(other, PAGE_BYTES, true);
  assert(!faults.isWritten(other), 'a protected page counts as written');
  faults.discard(other, PAGE_BYTES);
}
