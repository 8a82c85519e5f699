/**
 * The restart file: one checkpoint of a job with all that a restart elsewhere needs, written and read from its start to its
 * end without going back.
 *
 *   header │ chunk │ chunk │ … │ end chunk
 *
 * Where the header says that the file is sealed, what follows it is a sealed stream (see `seal-format.ts`) whose contents are
 * the chunks. Chunks come in this order: description, parts of the program, pages, checkpoint, parts of the machine state,
 * parts of held output, end. A page may come again: the file of a running job brings pages that were changed
 * meanwhile a second time, and the last one holds.
 *
 * A *delta* says what changed since another checkpoint, which its description names (`base`); it has no program, and is no
 * different otherwise.
 */
import { FieldTable, text, u32, u53, xxh64, type ValuesOf } from './field-table.ts';
import { SLOT_BYTES } from './paging-format.ts';
import type { Workbench } from './workbench.ts';

/** Raised with every change of the layout; a reader refuses what is newer than itself and reads all that is older. */
export const RESTART_FORMAT_VERSION = 1;
export const RESTART_MAGIC = 'CTNORSTF';
/** Pages of a chunk: one megabyte. */
export const CHUNK_PAGES_MAX = 256;
/** Bytes of a chunk before compression: a full chunk of pages with its list. What is longer comes in parts. */
export const CHUNK_BYTES_MAX = CHUNK_PAGES_MAX * (SLOT_BYTES + 4);
/** In the list of a chunk of pages: the page holds zeros, and no contents follow for it. */
export const ZERO_PAGE_FLAG = 0x8000_0000;
/** Programs, machine states and descriptions beyond this are none of ours. */
export const PART_BYTES_MAX = 2 ** 30;

export const ChunkKind = {
  description: 1,
  program: 2,
  pages: 3,
  checkpoint: 4,
  state: 5,
  heldOutput: 6,
  end: 7,
} as const;

export const ChunkMethod = { stored: 0, deflate: 1, brotli: 2, zstd: 3 } as const;

export const restartHeaderTable = new FieldTable({
  magic: text(8, `\`${RESTART_MAGIC}\`: tells a restart file from any other`),
  formatVersion: u32('version of this layout; a reader refuses what is newer than itself'),
  sealed: u32('1: the fields of a seal follow, and then a sealed stream; 0: the chunks follow'),
  checksum: xxh64('of the bytes before it and of the fields of the seal, in this order'),
});

export const restartChunkTable = new FieldTable({
  kind: u32('1 description, 2 program, 3 pages, 4 checkpoint, 5 machine state, 6 held output, 7 end'),
  sequence: u32('number of the chunk in the file, from 0 on: tells chunks in another order'),
  method: u32('how its contents are compressed: 0 not, 1 deflate (RFC 1951), 2 brotli (RFC 7932), 3 zstd (RFC 8878)'),
  plainBytes: u32(`length of its contents, at most ${CHUNK_BYTES_MAX}`),
  storedBytes: u32('length of what follows, at most `plainBytes`'),
  entryCount: u32('of a chunk of pages: entries of its list; else 0'),
  checksum: xxh64('of the bytes before it and of what follows, in this order'),
});

export const restartEndTable = new FieldTable({
  chunks: u32('chunks before this one'),
  pageEntries: u53('entries of the lists of all chunks of pages'),
  plainBytes: u53('contents of all chunks before this one, before compression'),
});

export type RestartChunk = ValuesOf<typeof restartChunkTable>;
export type RestartEnd = ValuesOf<typeof restartEndTable>;

/** The checksum of a structure whose checksum is its last field, with what follows it. */
export function checksumWithBody(bench: Workbench, head: Uint8Array, body: Uint8Array): bigint {
  const checked = new Uint8Array(head.length - 8 + body.length);
  checked.set(head.subarray(0, head.length - 8));
  checked.set(body, head.length - 8);
  return bench.checksumOf(checked);
}
