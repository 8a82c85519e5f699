/** The checkpoint of a job of the policies `continuous` and `none`: pages in slots of the paging file. */
import { checkPagingHeader, PAGING_NAME, readJob, readProgram } from '../checkpoint/job-directory.ts';
import { recoverAt } from '../checkpoint/kept-checkpoint.ts';
import { checkpointOf } from '../checkpoint/recovery.ts';
import type { Device, DeviceFile } from '../device/device.ts';
import { ENTRY_WORDS, SLOT_BYTES } from '../format/paging-format.ts';
import { Workbench } from '../format/workbench.ts';
import type { PageMap } from '../pager/page-map.ts';
import { type CheckpointView, noCheckpoint, type PageContents, readChecked } from './checkpoint-view.ts';

/** With `at`, the kept checkpoint of that generation; undefined: the newest. @throws UsageError `generation-not-kept`. */
export function openPagingView(device: Device, origin: string, at?: number): CheckpointView {
  const bench = Workbench.ofThread();
  const job = readJob(device, bench);
  const file = device.openFile(PAGING_NAME, 'read');
  try {
    checkPagingHeader(file, job, bench);
    const found = recoverAt(file, device.path, bench, at);
    if (found === undefined) throw noCheckpoint(device.path);
    const { image, record, state } = found;
    return {
      origin,
      identity: job.identity,
      policy: 'continuous',
      checkpoint: checkpointOf(record.fields, state),
      pages: new PagesInSlots(file, image.map, bench),
      readProgram: () => readProgram(device, job),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

class PagesInSlots implements PageContents {
  readonly #file: DeviceFile;
  readonly #map: PageMap;
  readonly #bench: Workbench;

  constructor(file: DeviceFile, map: PageMap, bench: Workbench) {
    this.#file = file;
    this.#map = map;
    this.#bench = bench;
  }

  get pageCount(): number {
    return this.#map.pageCount;
  }

  isZero(page: number): boolean {
    return this.#map.slotOf(page) === 0;
  }

  checksumLow(page: number): number {
    return this.#map.entries[page * ENTRY_WORDS + 2];
  }

  checksumHigh(page: number): number {
    return this.#map.entries[page * ENTRY_WORDS + 3];
  }

  generationOf(page: number): number {
    return this.#map.generationOf(page);
  }

  read(page: number, room: Uint8Array): void {
    const slot = this.#map.slotOf(page);
    if (slot === 0) {
      room.fill(0, 0, SLOT_BYTES);
      return;
    }
    readChecked(this.#file, slot * SLOT_BYTES, page, this, this.#bench, room);
  }
}
