import { addressOf, libraryCalls, mapPages, unmapPages } from './c-library.ts';
import { PageGuard } from './page-guard.ts';

const PAGE_BYTES = 4096;
const PAGES = 4;
const CLEAN = 0;
const DIRTY = 1;

/**
 * Why first writes to pages cannot be found by mprotect and a handler of SIGSEGV here, for people; undefined: they can. Tried out on memory
 * of no use.
 */
export function pageGuardObstacle(): string | undefined {
  if (process.platform !== 'linux') return `there is no way for it on ${process.platform}`;
  try {
    return tryOut();
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return /koffi/.test(reason) ? `the package koffi cannot be used (${reason})` : reason;
  }
}

function tryOut(): string | undefined {
  const calls = libraryCalls();
  const pageBytes = Number(calls.pageSize());
  if (pageBytes !== PAGE_BYTES) return `pages of the system have ${pageBytes} bytes`;
  const at = mapPages(PAGES * PAGE_BYTES);
  const states = new Uint8Array(new SharedArrayBuffer(PAGES)).fill(CLEAN);
  const figures = new SharedArrayBuffer(64);
  let guard: PageGuard | undefined;
  try {
    guard = new PageGuard({ base: at, pagesMax: PAGES, states, figures });
    guard.protect(0, PAGES);
    const bytes = new Uint8Array(8).fill(1);
    for (const page of [0, 2, 2]) calls.moveBytes(at + page * PAGE_BYTES, addressOf(bytes), bytes.length);
    const found = states.join();
    const count = new Float64Array(figures)[0];
    return found === [DIRTY, CLEAN, DIRTY, CLEAN].join() && count === 2
      ? undefined
      : `pages 0 and 2 of ${PAGES} were written, and ${count} faults noted ${found}`;
  } finally {
    guard?.close();
    unmapPages(at, PAGES * PAGE_BYTES);
  }
}
