/** The checkpoint of a job of the policies `sequential` and `incremental`: pages in a chain of checkpoint files. */
import { CheckpointChain, type Link } from '../checkpoint/checkpoint-chain.ts';
import { readJob, readProgram } from '../checkpoint/job-directory.ts';
import { chainAt, policyOfChain } from '../checkpoint/kept-checkpoint.ts';
import type { Device, DeviceFile } from '../device/device.ts';
import { FILE_ENTRY_WORDS } from '../format/checkpoint-file-format.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import { Workbench } from '../format/workbench.ts';
import { damagedFile } from '../pager/page-damage.ts';
import { type CheckpointView, noCheckpoint, type PageContents, readChecked } from './checkpoint-view.ts';

/** With `at`, the kept checkpoint of that generation; undefined: the newest. @throws UsageError `generation-not-kept`. */
export function openFilesView(device: Device, origin: string, at?: number): CheckpointView {
  const bench = Workbench.ofThread();
  const job = readJob(device, bench);
  const chain = chainAt(device, job.jobId, bench, at);
  if (chain.latest === undefined) throw noCheckpoint(device.path);
  const pages = new PagesInFiles(device, chain, chain.latest.guestPageCount, bench);
  return {
    origin,
    identity: job.identity,
    policy: policyOfChain(chain),
    checkpoint: chain.latest,
    pages,
    readProgram: () => readProgram(device, job),
    close: () => pages.close(),
  };
}

/** Header and list of the files that the newest checkpoint needs, the full one first. */
export function checkpointFilesOf(device: Device): Link[] {
  const bench = Workbench.ofThread();
  const chain = CheckpointChain.readLive(device, readJob(device, bench).jobId, bench);
  return chain.names.map((name) => chain.readLink(name));
}

/** Of each page: number of its file + 1 (0: none names it), position there, checksum. */
const PLACE_WORDS = 4;

class PagesInFiles implements PageContents {
  readonly pageCount: number;
  readonly #bench: Workbench;
  /** Open as long as the view is: a job that runs may remove their names. */
  readonly #files: DeviceFile[] = [];
  readonly #generations: number[] = [];
  readonly #places: Uint32Array;

  constructor(device: Device, chain: CheckpointChain, pageCount: number, bench: Workbench) {
    this.pageCount = pageCount;
    this.#bench = bench;
    this.#places = new Uint32Array(pageCount * PLACE_WORDS);
    try {
      for (const name of chain.names) {
        this.#files.push(device.openFile(name, 'read'));
        const { fields, list } = chain.readLink(name);
        this.#generations.push(fields.generation);
        if (fields.guestPageCount > pageCount) {
          const expected = `at most ${pageCount}`;
          throw damagedFile(
            `${device.path}/${name}`,
            0,
            'the number of pages',
            expected,
            String(fields.guestPageCount),
          );
        }
        for (let from = 0; from < list.length; from += FILE_ENTRY_WORDS) {
          const to = list[from] * PLACE_WORDS;
          this.#places[to] = this.#files.length;
          this.#places.set(list.subarray(from + 1, from + FILE_ENTRY_WORDS), to + 1);
        }
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  isZero(page: number): boolean {
    return this.#places[page * PLACE_WORDS + 1] === 0;
  }

  checksumLow(page: number): number {
    return this.#places[page * PLACE_WORDS + 2];
  }

  checksumHigh(page: number): number {
    return this.#places[page * PLACE_WORDS + 3];
  }

  generationOf(page: number): number {
    return this.#generations[this.#places[page * PLACE_WORDS] - 1] ?? 0;
  }

  read(page: number, room: Uint8Array): void {
    const at = page * PLACE_WORDS;
    const position = this.#places[at + 1];
    if (position === 0) {
      room.fill(0, 0, SLOT_BYTES);
      return;
    }
    const file = this.#files[this.#places[at] - 1];
    readChecked(file, position * SLOT_BYTES, page, this, this.#bench, room);
  }

  close(): void {
    for (const file of this.#files) file.close();
    this.#files.length = 0;
  }
}
