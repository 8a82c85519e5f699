/** The text of `docs/formats.md`, from the same tables that encode and decode the files; a test compares the two. */
import { CHECKPOINT_HEADER_BYTES, checkpointEntryTable, checkpointFileTable } from './checkpoint-file-format.ts';
import type { FieldRow } from './field-table.ts';
import {
  TRACE_BLOCK_BYTES,
  TRACE_FORMAT_VERSION,
  traceBlockTable,
  traceEndTable,
  traceEventRows,
  traceHeaderTable,
} from './trace-format.ts';
import {
  CHUNK_BYTES_MAX,
  CHUNK_PAGES_MAX,
  restartChunkTable,
  restartEndTable,
  restartHeaderTable,
  RESTART_FORMAT_VERSION,
  ZERO_PAGE_FLAG,
} from './restart-format.ts';
import {
  BLOCK_BYTES,
  jobSealTable,
  SEALED_BLOCK_BYTES,
  SEALED_PIECE_BYTES,
  sealedBlockTable,
  sealedPieceTable,
  sealTable,
} from './seal-format.ts';
import { jobTable } from './job-format.ts';
import {
  deltaEntryTable,
  deltaPageTable,
  DELTA_PAGES_MAX,
  DELTAS_PER_PAGE,
  FIRST_FREE_SLOT,
  FORMAT_VERSION,
  INLINE_STATE_BYTES_MAX,
  KEEP_MAX,
  MAP_FANOUT,
  mapEntryTable,
  pagingHeaderTable,
  RECORD_AREA_BYTES,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  recordTable,
  retainedEntryTable,
  retainedTable,
  ROOT_ENTRIES,
  SLOT_BYTES,
} from './paging-format.ts';

export function formatsDocument(): string {
  return `# The files of a job directory

Made from the field tables of \`src/format\` by \`npx vitest run test/store/format.test.ts -u\`; do not edit.

Format version ${FORMAT_VERSION}. All numbers are little-endian, fields follow each other without padding, offsets are in
bytes. Checksums are XXH64 with seed 0. A reader trusts no length and no index: each is held against its bounds, and
a file that fails is reported with path, byte, expected and found value.

| file | contents | written |
| --- | --- | --- |
| \`program.wasm\` | the original program, byte for byte | once, before \`job\` |
| \`paging\` | pages of the guest, page map, commit records | at every checkpoint |
| \`job\` | identity of the job; it is there exactly when the job is whole | once, last, by a rename from \`job.new\` |
| \`checkpoint-…\` | one checkpoint of the policies \`sequential\` and \`incremental\`; the ten digits are its generation | at each of their checkpoints |
| \`lock-…\` | a process's claim to the job: who it is, in JSON | while a process uses the job |
| \`seal\` | of a sealed job: how its key is made; not sealed itself | once, before \`program.wasm\` |
| \`given-up\` | number of the newest checkpoint that was given up by going back, in decimal digits and an end of line | before the job goes back |
| \`undo…\` | what is needed to undo the guest's effects on files since the last checkpoint | while the guest runs |

## \`job\`

${fieldsOf(jobTable.rows())}

The identity follows: \`identityBytes\` of JSON, an object with at least \`program\` and \`digest\`.

## \`paging\`

Slots of ${SLOT_BYTES} bytes.

| byte | slot | what |
| --- | --- | --- |
| 0 | 0 | header |
| ${recordAreaOffset(0)} | ${recordAreaOffset(0) / SLOT_BYTES} | record area of even generations, ${RECORD_AREA_BYTES} bytes |
| ${recordAreaOffset(1)} | ${recordAreaOffset(1) / SLOT_BYTES} | record area of odd generations, ${RECORD_AREA_BYTES} bytes |
| ${FIRST_FREE_SLOT * SLOT_BYTES} | ${FIRST_FREE_SLOT} | pages, map pages, delta pages, machine states, in any order |

### Header

${fieldsOf(pagingHeaderTable.rows())}

### Commit record

Written at the start of its area, as long as it is, rounded up to ${RECORD_UNIT_BYTES} bytes. Its parts follow each other:

1. the fields below;
2. the root of the page map: a map entry for each ${MAP_FANOUT * MAP_FANOUT} pages of the guest, at most ${ROOT_ENTRIES};
3. \`deltaPageCount\` map entries that name delta pages, at most ${DELTA_PAGES_MAX}, in the order in which they apply;
4. \`deltaCount\` delta entries, which apply last;
5. the machine state, when \`stateSlot\` is 0; longer ones than ${INLINE_STATE_BYTES_MAX} bytes have a run of slots;
6. the list of retained checkpoints, where the job keeps more than the newest.

${fieldsOf(recordTable.rows())}

The newest record whose checksum holds is the job's checkpoint if all slots of its own generation agree with their
checksums; otherwise its commit did not complete, and the record in the other area is.

### Retained checkpoints

A header, then \`count\` entries, newest first, less than ${KEEP_MAX}. Each names a run of slots with a copy of the record of a
checkpoint that may be gone back to, made when the checkpoint after it committed. What the copy names, and what the record
names, is never overwritten while the entry stands; a list of retained checkpoints inside of a copy says nothing.

${fieldsOf(retainedTable.rows())}

#### Entry

${fieldsOf(retainedEntryTable.rows())}

### Map entry

A directory page holds ${MAP_FANOUT} entries of leaf pages, a leaf page ${MAP_FANOUT} entries of the guest's pages.

${fieldsOf(mapEntryTable.rows())}

### Delta page

Up to ${DELTAS_PER_PAGE} delta entries after a header of ${deltaPageTable.lengthBytes} bytes; what follows them in the slot has no meaning.

${fieldsOf(deltaPageTable.rows())}

### Delta entry

${fieldsOf(deltaEntryTable.rows())}

## \`checkpoint-…\`

| byte | what |
| --- | --- |
| 0 | header |
| ${CHECKPOINT_HEADER_BYTES} | \`pagesWritten\` pages of 4096 bytes, none of them all zeros |
| behind them | the list: \`entryCount\` entries, ascending by page |
| behind it | the machine state |

A file with \`baseGeneration\` 0 is full: pages that its list does not name hold zeros. Any other adds to the file of that
generation, and the newest entry of a page holds. The newest file whose checksums all hold is the job's checkpoint.

### Header

${fieldsOf(checkpointFileTable.rows())}

### Entry of the list

${fieldsOf(checkpointEntryTable.rows())}

## Sealed jobs

The file \`seal\` says how the key is made ([seal](#seal)), and all others but the locks are sealed in blocks of ${BLOCK_BYTES} bytes of contents,
each of which lies in ${SEALED_BLOCK_BYTES} bytes of the file. A block that is all zeros in the file is one of zeros. What is authenticated beside a
block: the name of its file (\`job\` for \`job.new\`) and its number, u64. A block of \`undo…\` and \`output…\` has two places, one behind the
other; the one with the higher version holds.

### \`seal\`

${fieldsOf(jobSealTable.rows())}

### Sealed block

${fieldsOf(sealedBlockTable.rows())}

# Traces

The file of \`continuo trace\`, which is no part of a job. Format version ${TRACE_FORMAT_VERSION}. A header and a description, then blocks
of at most ${TRACE_BLOCK_BYTES} bytes of events, each deflated by itself, then the end block, without which the file was cut.

### Trace header

${fieldsOf(traceHeaderTable.rows())}

### Block

${fieldsOf(traceBlockTable.rows())}

### End block

${fieldsOf(traceEndTable.rows())}

### Events

Each is a number in LEB128, value × 8 + kind; numbers that follow it are in LEB128 too. A page is written as the difference to the
page of the reference before, as zigzag: d ≥ 0 as 2d, d < 0 as −2d − 1. An access is no event while the program has access
to its page: to those of the last reference, of a repetition, and to those that it has pinned since it referenced them.

| kind | value; what follows | meaning |
| --- | --- | --- |
${traceEventRows.map((row) => `| ${row.join(' | ')} |`).join('\n')}

# Restart files

The file of \`continuo export\`. Format version ${RESTART_FORMAT_VERSION}. A header, then chunks, in this order: description, parts of the program
(not in a delta), pages, checkpoint, parts of the machine state, parts of held output, end. What is longer than a chunk comes in several. Where the
header says so, a seal follows it, and then a sealed stream whose contents are the chunks.

### Restart header

${fieldsOf(restartHeaderTable.rows())}

### Chunk

${fieldsOf(restartChunkTable.rows())}

The contents of a chunk of pages are a list of at most ${CHUNK_PAGES_MAX} page numbers (u32), ascending, and then 4096 bytes for each of them
that does not have the bit ${ZERO_PAGE_FLAG.toString(16)} (hexadecimal) set, which says that the page holds zeros. With the list that is at most ${CHUNK_BYTES_MAX} bytes.
Pages that no chunk names hold zeros. The same page may come in a later chunk again, and the last one holds.

Description and checkpoint are objects in JSON (UTF-8). A description with a \`base\` (job, generation, checksum of the machine state) makes the
file a delta: pages that it does not name are those of that checkpoint. An empty checksum there stands for any. A job that was made of such files has
the name of its checkpoint (job, generation, checksum) as \`origin\` in its machine state, until it takes one itself.

### End chunk

${fieldsOf(restartEndTable.rows())}

### Seal

AES-256-GCM. The key of the file is HKDF-SHA256 of the given key, or of what scrypt makes of the pass phrase, with \`salt\` and the text
\`continuo file key\`; \`keyCheck\` is drawn in the same way with \`continuo key check\`.

${fieldsOf(sealTable.rows())}

### Sealed piece

Pieces of ${SEALED_PIECE_BYTES} bytes, the last one shorter perhaps. The nonce is \`noncePrefix\` and the number of the piece (u32); authenticated beside
a piece are SHA-256 of all that lies before the stream, the number of the piece, and the fields below.

${fieldsOf(sealedPieceTable.rows())}
`;
}

function fieldsOf(rows: readonly FieldRow[]): string {
  const lines = rows.map(
    ({ offsetBytes, type, name, meaning }) => `| ${offsetBytes} | ${type} | ${name} | ${meaning} |`,
  );
  return ['| offset | type | field | meaning |', '| --- | --- | --- | --- |', ...lines].join('\n');
}
