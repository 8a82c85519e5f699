import { ENTRY_WORDS, SLOT_BYTES } from '../format/paging-format.ts';
import { checksumOfWords, damagedFile } from '../pager/page-damage.ts';
import { PAGE_IN_PAGES_MAX, type PageTransfer } from '../pager/page-transfer.ts';
import { NO_PAGE, SlotRuns } from '../pager/slot-runs.ts';
import type { JobImage } from './job-image.ts';

/**
 * Reads all pages of an image into the guest's memory; returns which ones have a slot.
 * @throws CorruptionError.
 */
export function loadPages({ map, slots }: JobImage, transfer: PageTransfer, path: string): Uint32Array {
  const { entries } = map;
  const loaded = new Uint32Array(map.workingCount);
  let loadedCount = 0;
  const runs = new SlotRuns(map, slots.slotCount, PAGE_IN_PAGES_MAX);
  while (runs.next()) {
    const checksums = transfer.pageIn(runs.pages, runs.count, runs.slot);
    for (let i = 0; i < runs.count; i++) {
      if (runs.pages[i] === NO_PAGE) continue;
      const at = runs.pages[i] * ENTRY_WORDS;
      const low = checksums?.[2 * i];
      const high = checksums?.[2 * i + 1];
      if (low !== entries[at + 2] || high !== entries[at + 3]) {
        const found = low === undefined || high === undefined ? 'beyond the end' : checksumOfWords(low, high);
        const expected = checksumOfWords(entries[at + 2], entries[at + 3]);
        throw damagedFile(path, entries[at] * SLOT_BYTES, `checksum of page ${runs.pages[i]}`, expected, found);
      }
      loaded[loadedCount++] = runs.pages[i];
    }
  }
  return loaded.subarray(0, loadedCount);
}
