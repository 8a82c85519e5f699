/**
 * A checkpoint file: what the policies `sequential` and `incremental` write at each checkpoint, in a file of its own.
 *
 *   byte 0      header, in the first 4096 bytes
 *   byte 4096   pages, one after another; none of them is all zeros
 *   then        the list: an entry for each page that the checkpoint says something of, ascending
 *   then        the machine state
 *
 * A *full* file says everything: a page that it does not name holds zeros. An incremental one says what changed since the
 * file before it, which it names; the newest entry of a chain holds.
 */
import { bytes, FieldTable, text, u32, u53, xxh64, type ValuesOf } from './field-table.ts';
import { JOB_ID_BYTES } from './job-format.ts';
import { FORMAT_VERSION, SLOT_BYTES } from './paging-format.ts';
import type { Workbench } from './workbench.ts';

export const CHECKPOINT_FILE_MAGIC = 'CTNOCKPT';
export const CHECKPOINT_HEADER_BYTES = SLOT_BYTES;
/** 32-bit words of an entry of the list: page, position, checksum low, checksum high. */
export const FILE_ENTRY_WORDS = 4;

export const checkpointFileTable = new FieldTable({
  magic: text(8, `\`${CHECKPOINT_FILE_MAGIC}\`: tells a checkpoint file from any other`),
  checksum: xxh64('of the rest of the header: tells a file whose save did not complete'),
  formatVersion: u32('version of this layout'),
  generation: u32('number of the checkpoint, from 1 on'),
  jobId: bytes(JOB_ID_BYTES, 'random name of the job, as in its `job` file'),
  policy: text(16, '`sequential` or `incremental`: which policy took the checkpoint'),
  trigger: text(24, 'why it was taken'),
  timeMs: u53('when it was taken, milliseconds since 1970 UTC'),
  baseGeneration: u32('the checkpoint that this one adds to; 0: the file is full'),
  guestPageCount: u32("the guest's memory size in pages of 4096 bytes"),
  dirtyPages: u32('pages written by the guest since the checkpoint before'),
  pagesWritten: u32('pages in the file'),
  entryCount: u32('entries of the list'),
  stateBytes: u32('length of the machine state'),
  listChecksum: xxh64('of the list'),
  stateChecksum: xxh64('of the machine state'),
  keep: u32('checkpoints to keep, this one included; 0: made before there was a choice, which is 1'),
  oldestKept: u32('generation of the oldest checkpoint that may be gone back to once this one is durable; 0: this one'),
});

export const checkpointEntryTable = new FieldTable({
  page: u32('index of the page in the guest'),
  position: u32('where it lies in the file, in units of 4096 bytes; 0: all its bytes are zero'),
  checksum: xxh64("of the page's 4096 bytes; 0 where it has no position"),
});

export type CheckpointFileFields = ValuesOf<typeof checkpointFileTable>;

/** What is known before the pages are: the rest follows from them. */
export type CheckpointFileStart = Omit<
  CheckpointFileFields,
  | 'magic'
  | 'checksum'
  | 'formatVersion'
  | 'pagesWritten'
  | 'entryCount'
  | 'stateBytes'
  | 'listChecksum'
  | 'stateChecksum'
>;

const CHECKED_FROM = checkpointFileTable.offsetOf('formatVersion');

export function encodeCheckpointHeader(
  fields: Omit<CheckpointFileFields, 'magic' | 'checksum' | 'formatVersion'>,
  bench: Workbench,
): Uint8Array {
  const header = new Uint8Array(CHECKPOINT_HEADER_BYTES);
  const whole = { ...fields, magic: CHECKPOINT_FILE_MAGIC, formatVersion: FORMAT_VERSION };
  checkpointFileTable.encode({ ...whole, checksum: 0n }, header);
  checkpointFileTable.encode({ ...whole, checksum: checksumOfHeader(header, bench) }, header);
  return header;
}

export function checksumOfHeader(header: Uint8Array, bench: Workbench): bigint {
  return bench.checksumOf(header.subarray(CHECKED_FROM));
}
