import { isCheckpointFile, PAGING_NAME } from '../checkpoint/job-directory.ts';
import type { Device } from '../device/device.ts';
import { recordAreaOffset, recordTable } from '../format/paging-format.ts';

/**
 * The largest number of a checkpoint that a job directory speaks of, complete or about to be: a look that costs nothing, to wait
 * for the next one by. 0 for none.
 */
export function newestGeneration(device: Device): number {
  const files = device.list().filter(isCheckpointFile);
  let newest = files.length === 0 ? 0 : Number(files[files.length - 1].slice(-10));
  const paging = device.openFile(PAGING_NAME, 'read');
  try {
    const head = new Uint8Array(recordTable.lengthBytes);
    for (const area of [0, 1]) {
      head.fill(0);
      paging.readInto(head, recordAreaOffset(area));
      newest = Math.max(newest, recordTable.decode(head).generation);
    }
  } finally {
    paging.close();
  }
  return newest;
}
