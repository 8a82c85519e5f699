import { addressOf, libraryCalls, mapPages, SystemRefusal, unmapPages } from './c-library.ts';
import { PagemapScan } from './pagemap-scan.ts';
import { WriteNotes } from './write-notes.ts';

const PAGE_BYTES = 4096;
const PAGES = 8;

/** Why the system cannot tell which pages a program wrote here, for people; undefined: it can. Tried out on memory of no use. */
export function kernelTrackingObstacle(): string | undefined {
  if (process.platform !== 'linux') return `there is no way for it on ${process.platform}`;
  try {
    return tryOut();
  } catch (error) {
    if (error instanceof SystemRefusal) return error.message;
    const cause = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    return `the package koffi cannot be used (${cause})`;
  }
}

function tryOut(): string | undefined {
  const calls = libraryCalls();
  const pageBytes = Number(calls.pageSize());
  if (pageBytes !== PAGE_BYTES) return `pages of the system have ${pageBytes} bytes`;
  const at = mapPages(PAGES * PAGE_BYTES);
  let scan: PagemapScan | undefined;
  let notes: WriteNotes | undefined;
  try {
    scan = new PagemapScan(2);
    notes = new WriteNotes(at, PAGES * PAGE_BYTES);
    notes.protect(at, PAGES * PAGE_BYTES);
    const bytes = new Uint8Array(8);
    const from = addressOf(bytes);
    // Three regions in room for two; one page that is only read.
    for (const page of [1, 3, 6]) calls.moveBytes(at + page * PAGE_BYTES, from, bytes.length);
    calls.moveBytes(from, at + 5 * PAGE_BYTES, bytes.length);
    for (const expected of ['1,3,6', '']) {
      scan.clear();
      scan.addWritten(at, 0, PAGES);
      const found = scan.pages.subarray(0, scan.count).join();
      if (found !== expected) return `the system names pages ${found} where ${expected || 'none'} were written`;
    }
    return undefined;
  } finally {
    scan?.close();
    notes?.close();
    unmapPages(at, PAGES * PAGE_BYTES);
  }
}
