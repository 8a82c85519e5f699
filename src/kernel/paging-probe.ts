import { assert } from '../error/errors.ts';
import { UserFaults } from './user-faults.ts';

const PAGE_BYTES = 4096;

/** Why a program's memory cannot be paged by the kernel here, for people; undefined: it can. Tried out on memory of no use. */
export function kernelPagingObstacle(): string | undefined {
  let faults: UserFaults | undefined;
  try {
    faults = new UserFaults();
    const at = faults.map(2 * PAGE_BYTES);
    try {
      tryOut(faults, at);
    } finally {
      faults.unmap(at, 2 * PAGE_BYTES);
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
  } finally {
    faults?.close();
  }
}

/** All that a pager does to a page. No page is touched while it is absent: nobody would bring it. */
function tryOut(faults: UserFaults, at: number): void {
  const other = at + PAGE_BYTES;
  faults.register(at, 2 * PAGE_BYTES);
  faults.copyZeros(at, false, true);
  assert(!faults.isWritten(at), 'a protected page counts as written');
  faults.protect(at, PAGE_BYTES, false);
  assert(faults.isWritten(at), 'a page that may be written does not count as written');
  faults.move(other, at, PAGE_BYTES, true);
  assert(faults.isWritten(other) && !faults.isWritten(at), 'a page was moved and is still there');
  faults.protect(other, PAGE_BYTES, true);
  assert(!faults.isWritten(other), 'a protected page counts as written');
  faults.discard(other, PAGE_BYTES);
}
