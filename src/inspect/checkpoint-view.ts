/**
 * A checkpoint to be looked at: who the job is, the machine state, and each page by its number. It is read only, without the
 * job's lock, so it may be that of a job that runs.
 *
 * `CheckpointView` is the one seam between what looks at checkpoints (`continuo inspect`, `diff`, `memory`) and where they are:
 * whatever keeps a checkpoint in another form has a view of its own and a place in `open-view.ts`.
 */
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { DeviceFile } from '../device/device.ts';
import { UsageError } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import type { Workbench } from '../format/workbench.ts';
import { checksumOfWords, damagedFile } from '../pager/page-damage.ts';

/** The guest's memory in a checkpoint. */
export interface PageContents {
  readonly pageCount: number;
  /** Whether the page is kept as one of zeros, without contents. */
  isZero(page: number): boolean;
  /** XXH64 of the contents, low and high word; both 0 where the page is kept as zeros. */
  checksumLow(page: number): number;
  checksumHigh(page: number): number;
  /** The checkpoint that wrote what the page holds; 0: it was never written. */
  generationOf(page: number): number;
  /** Reads 4096 bytes, held against their checksum. @throws CorruptionError. */
  read(page: number, room: Uint8Array): void;
}

export interface CheckpointView {
  /** As people named it. */
  readonly origin: string;
  readonly identity: JobIdentity;
  readonly policy: PolicyName;
  /** With the machine state. */
  readonly checkpoint: Checkpoint;
  readonly pages: PageContents;
  /** The original program, its digest checked. */
  readProgram(): Uint8Array;
  close(): void;
}

export function noCheckpoint(path: string): UsageError {
  return new UsageError(
    'no-checkpoint',
    `the job in ${path} has no checkpoint yet; there is nothing of it to look at`,
    { path },
  );
}

/** Reads a page's contents from their place in a file. @throws CorruptionError when they are not what the checksum says. */
export function readChecked(
  file: DeviceFile,
  positionBytes: number,
  page: number,
  pages: PageContents,
  bench: Workbench,
  room: Uint8Array,
): void {
  const staged = bench.staging.subarray(0, SLOT_BYTES);
  staged.fill(0, file.readInto(staged, positionBytes));
  const [low, high] = bench.checksumStaged(1);
  if (low !== pages.checksumLow(page) || high !== pages.checksumHigh(page)) {
    const expected = checksumOfWords(pages.checksumLow(page), pages.checksumHigh(page));
    throw damagedFile(file.path, positionBytes, `checksum of page ${page}`, expected, checksumOfWords(low, high));
  }
  room.set(staged);
}
