/**
 * The paging file: slots of one page each.
 *
 *   slot 0        header, written when the job is made and never again
 *   slots 1–16    record area of even generations
 *   slots 17–32   record area of odd generations
 *   slots 33–     pages of the guest, pages of the map, delta pages and long machine states, wherever there was room
 *
 * A commit record names everything that its checkpoint needs. The *map* says for each page of the guest where it is;
 * it is a tree of pages of 256 entries: the record holds the root, up to 16 entries, each names a *directory page*,
 * whose entries name *leaf pages*, whose entries name the guest's pages. An entry with slot 0 stands for 4096 zero
 * bytes: a page of zeros, or a part of the map that says nothing but that.
 *
 * Entries that changed since the tree was last written are *deltas*: full delta pages, named by the record in the
 * order in which they apply, and then the record's own list. So a commit of few pages writes few bytes; from time to
 * time a *fold* writes the changed leaves and directories and the deltas start anew.
 *
 * Every entry carries the generation of the checkpoint that wrote its slot. Recovery takes the newest record only if
 * each slot of that record's own generation holds what its checksum says: those are the slots that the record's
 * barrier covered, so a record whose barrier did not complete is told from one whose barrier did.
 *
 * A job that retains checkpoints (`--keep`) copies the record of each, byte for byte, to a run of slots when the next one
 * commits, and every later record lists these copies behind its other parts.
 */
import { PAGE_BYTES } from '../memory/layout.ts';
import { bytes, FieldTable, text, u32, u53, xxh64, type ValuesOf } from './field-table.ts';

/** Raised with every change of a file's layout; a job of a newer format is refused, not guessed at. */
export const FORMAT_VERSION = 1;

export const SLOT_BYTES = PAGE_BYTES;
export const RECORD_AREA_SLOTS = 16;
export const RECORD_AREA_BYTES = RECORD_AREA_SLOTS * SLOT_BYTES;
/** Records are written as long as they are, rounded up to this: the unit in which media tear. */
export const RECORD_UNIT_BYTES = 512;
/** The first slot that is given out; the slots below are the header and the record areas. */
export const FIRST_FREE_SLOT = 1 + 2 * RECORD_AREA_SLOTS;

export const MAP_FANOUT = 256;
export const MAP_FANOUT_SHIFT = 8;
export const ROOT_ENTRIES = 16;
/** Pages that the map can name: 4 GiB of guest memory. */
export const MAPPED_PAGES_MAX = ROOT_ENTRIES * MAP_FANOUT * MAP_FANOUT;
export const ENTRY_BYTES = 16;
/** 32-bit words of an entry in memory: slot, generation, checksum low, checksum high. Same order as in the file. */
export const ENTRY_WORDS = 4;

export const DELTA_ENTRY_BYTES = 20;
export const DELTA_PAGE_HEADER_BYTES = 16;
export const DELTAS_PER_PAGE = (SLOT_BYTES - DELTA_PAGE_HEADER_BYTES) / DELTA_ENTRY_BYTES;
/** Delta pages that a record may name before a fold is forced; bounds the record and the time of recovery. */
export const DELTA_PAGES_MAX = 1024;
/** A machine state up to this length is kept inside the record; a longer one takes a run of slots. */
export const INLINE_STATE_BYTES_MAX = 32768;

export const PAGING_MAGIC = 'CTNOPAGE';
export const RECORD_MAGIC = 'CTNORECD';

export const pagingHeaderTable = new FieldTable({
  magic: text(8, `\`${PAGING_MAGIC}\`: tells a paging file from any other`),
  formatVersion: u32('version of this layout; a reader refuses what is newer than itself'),
  slotBytes: u32('bytes of a slot, 4096'),
  recordAreaSlots: u32('slots of each record area, 16'),
  firstFreeSlot: u32('first slot behind the record areas, 33'),
  jobId: bytes(16, 'random name of the job, as in its `job` file: a paging file of another job is noticed'),
  checksum: xxh64('of the bytes before it'),
});

export const mapEntryTable = new FieldTable({
  slot: u32('slot that holds the page; 0: all bytes are zero, no slot'),
  generation: u32('checkpoint that wrote the slot; 0: the page was never written'),
  checksum: xxh64("of the slot's 4096 bytes; 0 where there is no slot"),
});

export const deltaEntryTable = new FieldTable({
  page: u32('index of the page in the guest'),
  slot: u32('as in a map entry'),
  generation: u32('as in a map entry'),
  checksum: xxh64('as in a map entry'),
});

export const deltaPageTable = new FieldTable({
  count: u32('delta entries that follow, at most 204; the checksum in the record covers no more than them'),
  unused: bytes(12, 'zero'),
});

export const recordTable = new FieldTable({
  magic: text(8, `\`${RECORD_MAGIC}\`; zero bytes: the area holds no record`),
  checksum: xxh64('of the rest of the record: tells a torn record'),
  recordBytes: u32('length of the record with all its parts'),
  generation: u32('number of the checkpoint, from 1 on; its parity names the area'),
  timeMs: u53('time of the commit, milliseconds since 1970 UTC'),
  previousGeneration: u32('the checkpoint before it; 0: none'),
  guestPageCount: u32("the guest's memory size in pages of 4096 bytes"),
  previousChecksum: xxh64("the checksum field of the previous checkpoint's record: tells a lost write of a record"),
  trigger: text(24, 'why the checkpoint was taken'),
  dirtyPages: u32('pages written by the guest since the checkpoint before'),
  pagesWritten: u32('pages of the guest that this checkpoint wrote; must equal the map entries of its generation'),
  stateBytes: u32('length of the machine state'),
  stateSlot: u32('first slot of the machine state; 0: it is the last part of the record'),
  stateChecksum: xxh64('of the machine state'),
  deltaPageCount: u32('delta pages named after the root'),
  deltaCount: u32('delta entries after the delta pages'),
});

/** Most checkpoints that a job can be told to keep: bounds the list of those before the newest. */
export const KEEP_MAX = 64;

export const retainedTable = new FieldTable({
  keep: u32(
    'checkpoints to keep, the newest included, at least 2; what a later run takes for its own when it is not told',
  ),
  count: u32('retained checkpoints listed'),
});

export const retainedEntryTable = new FieldTable({
  generation: u32('number of the retained checkpoint; they descend'),
  writtenBy: u32('generation of the checkpoint that wrote the copy of its record'),
  slot: u32("first slot of the copy, which says what that checkpoint's record said"),
  recordBytes: u32('length of the copy'),
  checksum: xxh64('the checksum field of the copy'),
});

export type RetainedEntry = ValuesOf<typeof retainedEntryTable>;

export type RecordFields = ValuesOf<typeof recordTable>;

/** Bytes of a delta page that count: its header and its entries. */
export function deltaPageBytes(count: number): number {
  return DELTA_PAGE_HEADER_BYTES + count * DELTA_ENTRY_BYTES;
}

/** Entries of the root that a guest of so many pages needs; a record holds no more. */
export function rootEntryCount(guestPageCount: number): number {
  return Math.ceil(guestPageCount / (MAP_FANOUT * MAP_FANOUT));
}

/** The byte at which the record area of a generation starts. */
export function recordAreaOffset(generation: number): number {
  return SLOT_BYTES + (generation % 2) * RECORD_AREA_BYTES;
}
