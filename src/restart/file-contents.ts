import { hex } from '../format/commit-record.ts';
import { MAPPED_PAGES_MAX, SLOT_BYTES } from '../format/paging-format.ts';
import { CHUNK_PAGES_MAX, ChunkKind, ZERO_PAGE_FLAG } from '../format/restart-format.ts';
import { Workbench } from '../format/workbench.ts';
import { decodeHostState, type HostState } from '../machine/host-state.ts';
import { decodeMachineState, type MachineState } from '../machine/machine-state.ts';
import { PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import { allHasLeft, type StandardOutputState } from '../wasi/standard-output.ts';
import type { Chunk, ChunkReader } from './chunk-reader.ts';
import { parseCheckpoint, type RestartCheckpoint } from './restart-content.ts';

/** Gets pages, ascending, and their contents one after another. */
export type TakePages = (pages: Uint32Array, contents: Uint8Array) => void;

/** Gets held output as it comes: `add` for each part, then `finish`. */
export interface HeldOutputTaker {
  add(bytes: Uint8Array): void;
  /** @throws CorruptionError when something is missing. */
  finish(): void;
  close(): void;
}

/** The checkpoint of a file, with its machine state in parts. */
export interface FileCheckpoint {
  readonly checkpoint: RestartCheckpoint;
  readonly machine: MachineState;
  readonly host: HostState;
}

/** What follows description and program in a restart file, in its order; nothing of it is believed. */
export class FileContents {
  readonly #reader: ChunkReader;
  readonly #path: string;
  readonly #expectedPages: number;
  readonly #onProgress: ((donePages: number, totalPages: number) => void) | undefined;
  #pagesTaken = 0;
  /** One more than the largest page that came. */
  #pagesReach = 0;

  constructor(
    reader: ChunkReader,
    path: string,
    expectedPages: number,
    onProgress: ((donePages: number, totalPages: number) => void) | undefined,
  ) {
    this.#reader = reader;
    this.#path = path;
    this.#expectedPages = expectedPages;
    this.#onProgress = onProgress;
  }

  /** All pages, in pieces of at most 256. */
  takePages(put: TakePages): void {
    while (this.#reader.peek().kind === ChunkKind.pages) this.#takeChunk(this.#reader.next(), put);
  }

  #takeChunk({ contents, entryCount }: Chunk, put: TakePages): void {
    if (entryCount === 0 || entryCount > CHUNK_PAGES_MAX || contents.length < 4 * entryCount) {
      throw this.#reader.damaged('the number of pages in a chunk', `1 to ${CHUNK_PAGES_MAX}`, entryCount);
    }
    const list = new DataView(contents.buffer, contents.byteOffset, 4 * entryCount);
    const pages = new Uint32Array(entryCount);
    const zeros = new Uint8Array(entryCount);
    let solid = 0;
    for (let i = 0; i < entryCount; i++) {
      const entry = list.getUint32(4 * i, true);
      zeros[i] = entry >= ZERO_PAGE_FLAG ? 1 : 0;
      pages[i] = zeros[i] === 1 ? entry - ZERO_PAGE_FLAG : entry;
      if (pages[i] >= MAPPED_PAGES_MAX || (i > 0 && pages[i] <= pages[i - 1])) {
        throw this.#reader.damaged('a page of a chunk', `ascending, below ${MAPPED_PAGES_MAX}`, pages[i]);
      }
      if (zeros[i] === 0) solid += 1;
    }
    const wantedBytes = 4 * entryCount + solid * SLOT_BYTES;
    if (contents.length !== wantedBytes) {
      throw this.#reader.damaged('the length of a chunk of pages', String(wantedBytes), contents.length);
    }
    put(pages, solid === entryCount ? contents.subarray(4 * entryCount) : spread(contents, zeros));
    this.#pagesReach = Math.max(this.#pagesReach, pages[entryCount - 1] + 1);
    this.#pagesTaken += entryCount;
    this.#onProgress?.(this.#pagesTaken, Math.max(this.#pagesTaken, this.#expectedPages));
  }

  takeCheckpoint(): FileCheckpoint {
    const reader = this.#reader;
    const checkpoint = parseCheckpoint(reader.parts(ChunkKind.checkpoint, 'checkpoint'), this.#path);
    const { trigger, guestPageCount, dirtyPages, stateBytes, name } = checkpoint;
    const isPossible =
      guestPageCount <= MAPPED_PAGES_MAX &&
      guestPageCount >= this.#pagesReach &&
      guestPageCount % PAGES_PER_WASM_PAGE === 0 &&
      dirtyPages <= MAPPED_PAGES_MAX;
    if (!isPossible)
      throw reader.damaged('its number of pages', `${this.#pagesReach} to ${MAPPED_PAGES_MAX}`, guestPageCount);
    const { generation } = name;
    if (generation < 1 || generation > GENERATION_MAX) {
      throw reader.damaged('the number of its checkpoint', `1 to ${GENERATION_MAX}`, generation);
    }
    if (Buffer.byteLength(trigger) > TRIGGER_BYTES_MAX)
      throw reader.damaged('its trigger', 'a short text', trigger.length);
    const state = reader.parts(ChunkKind.state, 'machine state');
    const checksum = hex(Workbench.ofThread().checksumOf(state));
    if (state.length !== stateBytes || checksum !== name.stateChecksum) {
      throw reader.damaged('the checksum of its machine state', name.stateChecksum, checksum);
    }
    const machine = decodeMachineState(state);
    const host = decodeHostState(machine.host);
    return { checkpoint, machine, host };
  }

  /** Returns the state of the streams, without what had left when the file was made. Then the file has ended. */
  takeHeldOutput(
    output: StandardOutputState,
    { shownBytes }: RestartCheckpoint,
    takerFor: (parts: StandardOutputState['held']) => HeldOutputTaker,
  ): StandardOutputState {
    let rest = output;
    if (output.held.length > 0 && this.#reader.peek().kind !== ChunkKind.heldOutput) {
      if (!allHasLeft(output, shownBytes))
        throw this.#reader.damaged('the kind of a chunk', 'that of held output', 'another');
      const streams = output.streams.map((stream) => ({ ...stream, releasedBytes: stream.producedBytes }));
      rest = { streams, held: [] };
    }
    const taker = takerFor(rest.held);
    try {
      while (this.#reader.peek().kind === ChunkKind.heldOutput) taker.add(this.#reader.next().contents);
      taker.finish();
    } finally {
      taker.close();
    }
    this.#reader.end();
    return rest;
  }
}

/** Generations are u32 in the files of a job. */
const GENERATION_MAX = 0xffff_ffff;
const TRIGGER_BYTES_MAX = 24;

/** The contents of a chunk of pages with those of its zero pages among them. */
function spread(contents: Uint8Array, zeros: Uint8Array): Uint8Array {
  const whole = new Uint8Array(zeros.length * SLOT_BYTES);
  let from = 4 * zeros.length;
  for (const [i, isZero] of zeros.entries()) {
    if (isZero === 1) continue;
    whole.set(contents.subarray(from, from + SLOT_BYTES), i * SLOT_BYTES);
    from += SLOT_BYTES;
  }
  return whole;
}
