/**
 * The trace of a run: its page references and checkpoints, as `continuo trace` records them and `continuo simulate` replays
 * them.
 *
 *   header │ description (JSON) │ block │ block │ … │ end block
 *
 * A block is a header and events, deflated, so that neither side ever holds more than one. Events go on from one block to
 * the next: page numbers are differences to the page of the reference before. The end block has no events and says what
 * there is in all; a file without it was cut.
 */
import { FieldTable, text, u32, u53, xxh64, type ValuesOf } from './field-table.ts';

export const TRACE_FORMAT_VERSION = 1;
export const TRACE_MAGIC = 'CTNOTRCE';
/** Bytes of events in a block, before they are deflated. */
export const TRACE_BLOCK_BYTES = 1 << 20;
/** Descriptions and deflated blocks beyond this are no trace of ours. */
export const TRACE_PART_BYTES_MAX = 1 << 22;

export const traceHeaderTable = new FieldTable({
  magic: text(8, `\`${TRACE_MAGIC}\`: tells a trace from any other file`),
  formatVersion: u32('version of this layout; a reader refuses what is newer than itself'),
  descriptionBytes: u32('length of the description that follows: an object in JSON, UTF-8'),
  checksum: xxh64('of the bytes before it and of the description, in this order'),
});

export const traceBlockTable = new FieldTable({
  eventBytes: u32('bytes of events, at most 1048576; 0: the end block'),
  storedBytes: u32('bytes that follow: the events, deflated without a header (RFC 1951); in the end block its fields'),
  checksum: xxh64('of the bytes that follow'),
});

export const traceEndTable = new FieldTable({
  references: u53('references in the trace: accesses of the program, and ranges that host functions used'),
  checkpoints: u32('checkpoints in the trace'),
  pageCount: u32("the program's memory at the end, in pages of 4096 bytes"),
  exited: u32('1: the program ended by itself; 0: it was stopped'),
});

export type TraceEnd = ValuesOf<typeof traceEndTable>;

/**
 * Events. Each is a number in LEB128: value × 8 + kind, kind below 8. A page is written as zigzag(page − page of the
 * reference before); a reference's own page is that of the next ones' "before".
 */
export const TraceEvent = {
  read: 0,
  write: 1,
  /** The access reaches into the next page. */
  readCrossing: 2,
  writeCrossing: 3,
  raise: 4,
  pin: 5,
  zero: 6,
  other: 7,
} as const;

/** Values of `other`, with what follows them. */
export const OtherEvent = { release: 0, holdToRead: 1, holdToWrite: 2, grow: 3, repeat: 4, checkpoint: 5 } as const;

/** The most references in a loop of them that is noted as such. */
export const REPEAT_MAX = 8;

export const TRACE_TRIGGERS = ['start', 'request', 'stop', 'safepoints', 'end', 'steps', 'program'] as const;
export type TraceTrigger = (typeof TRACE_TRIGGERS)[number];

/** The rows of the document: kind, value and what follows, meaning. */
export const traceEventRows: readonly (readonly [kind: string, value: string, meaning: string])[] = [
  ['0 read, 1 write', 'page', 'the program accessed a page that is not pinned and not among the last ones referenced'],
  ['2, 3', 'page', 'the same, and the access reaches into the page behind it'],
  ['4 raise', 'page × 2 + noted', 'the first write to a page referenced to be read; noted: the program asked for it'],
  [
    '5 pin',
    'place × 2 + same',
    'a place of the list of pages that the program uses without asking now names the page of the next reference (same), ' +
      'or page + 1 that follows, 0 for none',
  ],
  ['6 zero', 'page × 2 + zeros', 'the page holds zeros only (1), or no longer (0), when it is used next'],
  ['7 other', '0', 'the host function that held pages has returned, or goes on to others'],
  ['7 other', '1 or 2; address, length', 'a host function uses a range of memory, to read (1) or to write (2)'],
  ['7 other', '3; pages', 'the memory has grown to so many pages'],
  [
    '7 other',
    '4; count',
    `the last so many references, at most ${REPEAT_MAX}, go on being made in their order, until one that follows`,
  ],
  [
    '7 other',
    '5 + trigger; state bytes',
    `a checkpoint, its trigger one of ${TRACE_TRIGGERS.map((name) => `\`${name}\``).join(', ')}, and the length of its machine state`,
  ],
];
