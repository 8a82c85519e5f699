import { assert } from '../error/errors.ts';
import { addressOf } from './c-library.ts';
import { obstacleTo } from './try-out.ts';
import type { UserFaults } from './user-faults.ts';

const PAGE_BYTES = 4096;
const PAGES = 3;

/**
 * Why a program cannot be stopped here at its first write to a page, for people; undefined: it can. Tried out on memory of no
 * use, of which nothing is written while it is protected: nobody would serve the fault.
 */
export function kernelProtectionObstacle(): string | undefined {
  if (process.platform !== 'linux') return `there is no way for it on ${process.platform}`;
  return obstacleTo('protection', PAGES, tryOut);
}

/** Pages that were written, and one that never was: absent pages are protected as well. */
function tryOut(faults: UserFaults, at: number): void {
  const bytes = new Uint8Array(8).fill(1);
  const written = [at, at + PAGE_BYTES];
  faults.registerWrites(at, PAGES * PAGE_BYTES);
  for (const page of written) faults.copyBytes(page, addressOf(bytes), bytes.length);
  faults.protect(at, PAGES * PAGE_BYTES, true);
  for (let page = 0; page < PAGES; page++) {
    assert(!faults.isWritten(at + page * PAGE_BYTES), 'a page that is protected counts as written');
  }
  faults.protect(at, PAGE_BYTES, false);
  assert(faults.isWritten(at) && !faults.isWritten(at + PAGE_BYTES), 'one page was released, and not it alone');
}
