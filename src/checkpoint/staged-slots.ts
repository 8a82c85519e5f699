import type { DeviceFile } from '../device/device.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import type { JobImage } from './job-image.ts';

/**
 * Writes pages that are in the bench's staging room, examined, to slots that no checkpoint names, and enters them in the map
 * with a generation that is not committed. `results`: four words for each page, of which the third tells that it holds zeros.
 */
export function placeStaged(
  file: DeviceFile,
  { map, slots, tree }: JobImage,
  { staging }: Workbench,
  pages: Uint32Array,
  results: Uint32Array,
  generation: number,
  softLimit: number,
): void {
  let next = 0;
  while (next < pages.length) {
    const page = pages[next];
    if (page >= map.pageCount) map.grow(page + 1);
    if (results[4 * next + 2] !== 0) {
      if (map.slotOf(page) !== 0) map.place(page, 0, generation, 0, 0);
      next += 1;
      continue;
    }
    let end = next + 1;
    while (end < pages.length && results[4 * end + 2] === 0) end += 1;
    const slot = slots.takeRun(end - next, softLimit);
    end = next + slots.runLength;
    file.write(staging.subarray(next * SLOT_BYTES, end * SLOT_BYTES), slot * SLOT_BYTES);
    for (let i = next; i < end; i++) {
      if (pages[i] >= map.pageCount) map.grow(pages[i] + 1);
      map.place(pages[i], slot + i - next, generation, results[4 * i], results[4 * i + 1]);
    }
    next = end;
  }
  tree.noteChanges();
}
