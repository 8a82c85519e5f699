import type { Device, DeviceFile } from '../device/device.ts';
import { assert, CorruptionError } from '../error/errors.ts';
import {
  CHECKPOINT_FILE_MAGIC,
  CHECKPOINT_HEADER_BYTES,
  checkpointFileTable,
  checksumOfHeader,
  FILE_ENTRY_WORDS,
  type CheckpointFileFields,
} from '../format/checkpoint-file-format.ts';
import { hex } from '../format/commit-record.ts';
import { FORMAT_VERSION, MAPPED_PAGES_MAX, SLOT_BYTES } from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, type Workbench } from '../format/workbench.ts';
import { checksumOfWords, damagedFile } from '../pager/page-damage.ts';
import type { Checkpoint } from './checkpoint.ts';
import { ChainPages, type OpenLink } from './copied-pages.ts';
import { checkpointFileName, generationOfFile, isCheckpointFile } from './job-directory.ts';

/** The trigger of a checkpoint that goes back to an older one. */
export const BACK_TRIGGER = 'back';

/** A reader beside a job gives up after so many attempts. */
const LIVE_ATTEMPTS_MAX = 20;
/** What is wrong with a file: of the newest one, that its save did not complete; of any other, damage. */
export interface FileFault {
  readonly byteOffset: number;
  readonly what: string;
  readonly expected: string;
  readonly found: string;
}

export interface Link {
  readonly name: string;
  readonly fields: CheckpointFileFields;
  /** Entries of `FILE_ENTRY_WORDS` words, ascending by page. */
  readonly list: Uint32Array;
}

/**
 * The checkpoint files that the newest checkpoint needs, from the full one to the newest.
 *
 * What a file says is held against its bounds and its checksums before it is used. Of the newest file every page is read and
 * checked when the chain is opened, because only that tells whether its save completed.
 */
export class CheckpointChain {
  readonly runPagesMax = STAGED_PAGES_MAX;
  readonly latest: Checkpoint | undefined;
  /** The policy that took it. */
  readonly latestPolicy: string | undefined;
  /** What the header of the newest file says. */
  readonly fields: CheckpointFileFields | undefined;
  /** A file whose save did not complete. */
  readonly rejected: { readonly name: string; readonly reason: string; readonly fault: FileFault } | undefined;
  /** Pages in the files that only say what changed. */
  changedPages = 0;
  /** From the full file to the newest. */
  #names: string[] = [];
  /** What a file builds on, by its name, where it is known. */
  readonly #bases = new Map<string, number>();
  readonly #device: Device;
  readonly #jobId: Uint8Array;
  readonly #bench: Workbench;

  /** With `at`, the chain of the checkpoint of that generation instead of the newest. */
  constructor(device: Device, jobId: Uint8Array, bench: Workbench, at?: number) {
    this.#device = device;
    this.#jobId = jobId;
    this.#bench = bench;
    const names = at === undefined ? device.list().filter(isCheckpointFile).toReversed() : [checkpointFileName(at)];
    let newest: Link | FileFault | undefined;
    for (const name of names.slice(0, 2)) {
      newest = this.#read(name, true);
      if (!isFault(newest)) break;
      const reason = `${name}: ${newest.what} should be ${newest.expected} and is ${newest.found}`;
      // A save begins when the one before it is durable, so there is one incomplete file at most.
      if (this.rejected !== undefined || at !== undefined) throw this.#damaged(name, newest);
      this.rejected = { name, reason, fault: newest };
      newest = undefined;
    }
    if (newest === undefined || isFault(newest)) {
      // Only a save of the first checkpoint has none before it; a job that was made with one has it whole.
      const { rejected } = this;
      if (rejected !== undefined && generationOfFile(rejected.name) > 1)
        throw this.#damaged(rejected.name, rejected.fault);
      return;
    }
    const { fields, name } = newest;
    this.#names = this.#namesBack(newest);
    this.fields = fields;
    this.latestPolicy = fields.policy;
    this.latest = { ...fields, state: this.#stateOf(name, fields) };
  }

  /**
   * The chain for a reader without the job's lock: the process that has it may remove files meanwhile, so damage counts only
   * when the directory is as it was.
   */
  static readLive(device: Device, jobId: Uint8Array, bench: Workbench, at?: number): CheckpointChain {
    for (let attempt = 1; ; attempt++) {
      const names = device.list().join();
      try {
        return new CheckpointChain(device, jobId, bench, at);
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        if (attempt === LIVE_ATTEMPTS_MAX || device.list().join() === names) throw error;
      }
    }
  }

  /** Generations that may be gone back to, newest first; those that a going back has given up are none, if still there. */
  get kept(): readonly number[] {
    if (this.fields === undefined) return [];
    const { generation, oldestKept, baseGeneration, trigger } = this.fields;
    const from = oldestKept === 0 ? generation : oldestKept;
    return this.#device
      .list()
      .filter(isCheckpointFile)
      .map(generationOfFile)
      .filter((other) => other >= from && other <= generation)
      .filter((other) => trigger !== BACK_TRIGGER || other <= baseGeneration || other === generation)
      .toReversed();
  }

  /** A checkpoint is durable; what neither it nor any of the `kept` generations needs goes. */
  extend(name: string, isFull: boolean, pagesWritten: number, kept: readonly number[]): void {
    if (isFull) this.#names = [];
    this.#names.push(name);
    this.changedPages = isFull ? 0 : this.changedPages + pagesWritten;
    const needed = new Set(this.#names);
    for (const generation of kept) this.#addNeeded(checkpointFileName(generation), needed);
    for (const other of this.#device.list()) {
      if (isCheckpointFile(other) && other < name && !needed.has(other)) this.#device.remove(other);
    }
  }

  /** Adds a file and those that it builds on. What stands behind a damaged one cannot be known, and is of no use. */
  #addNeeded(first: string, needed: Set<string>): void {
    for (let name = first; !needed.has(name);) {
      needed.add(name);
      const base = this.#bases.get(name) ?? this.#baseOf(name);
      if (base === 0) return;
      this.#bases.set(name, base);
      name = checkpointFileName(base);
    }
  }

  /** The generation that a file builds on; 0 for none. */
  #baseOf(name: string): number {
    const link = this.#read(name, false);
    return isFault(link) ? 0 : link.fields.baseGeneration;
  }

  /**
   * Reads the newest contents of all pages into the rooms that `roomFor` gives for runs of neighbours, `runPages` at most.
   * @throws CorruptionError.
   */
  readPages(pageCount: number, runPages: number, roomFor: (page: number, count: number) => Uint8Array): void {
    const seen = new Uint8Array(pageCount);
    for (const name of this.#names.toReversed()) {
      const link = this.#read(name, false);
      if (isFault(link)) throw this.#damaged(name, link);
      const file = this.#device.openFile(name, 'read');
      try {
        this.#readLink(file, link, seen, runPages, roomFor);
      } finally {
        file.close();
      }
    }
  }

  /** The pages of the newest checkpoint, all files that hold them open. */
  openPages(): ChainPages {
    assert(this.latest !== undefined, 'there is no checkpoint to read');
    const links: OpenLink[] = [];
    try {
      for (const name of this.#names) {
        const link = this.#read(name, false);
        if (isFault(link)) throw this.#damaged(name, link);
        links.push({ file: this.#device.openFile(name, 'read'), generation: link.fields.generation, list: link.list });
      }
    } catch (error) {
      for (const { file } of links) file.close();
      throw error;
    }
    return new ChainPages(links, this.latest.guestPageCount, this.#bench);
  }

  #readLink(
    file: DeviceFile,
    { list }: Link,
    seen: Uint8Array,
    runPages: number,
    roomFor: (page: number, count: number) => Uint8Array,
  ): void {
    const entries = list.length / FILE_ENTRY_WORDS;
    let i = 0;
    while (i < entries) {
      const at = i * FILE_ENTRY_WORDS;
      const page = list[at];
      const position = list[at + 1];
      if (seen[page] !== 0 || position === 0) {
        seen[page] = 1;
        i += 1;
        continue;
      }
      let count = 1;
      while (count < runPages && i + count < entries) {
        const next = at + count * FILE_ENTRY_WORDS;
        if (list[next] !== page + count || list[next + 1] !== position + count || seen[page + count] !== 0) break;
        count += 1;
      }
      const view = this.#bench.staging.subarray(0, count * SLOT_BYTES);
      view.fill(0, file.readInto(view, position * SLOT_BYTES));
      this.#checkStaged(file, list, i, count);
      roomFor(page, count).set(view);
      seen.fill(1, page, page + count);
      i += count;
    }
  }

  #checkStaged(file: DeviceFile, list: Uint32Array, from: number, count: number): void {
    const fault = this.#stagedFault(list, from, count);
    if (fault === undefined) return;
    throw damagedFile(file.path, fault.byteOffset, fault.what, fault.expected, fault.found);
  }

  #stagedFault(list: Uint32Array, from: number, count: number): FileFault | undefined {
    const checksums = this.#bench.checksumStaged(count);
    for (let i = 0; i < count; i++) {
      const at = (from + i) * FILE_ENTRY_WORDS;
      if (checksums[2 * i] === list[at + 2] && checksums[2 * i + 1] === list[at + 3]) continue;
      const expected = checksumOfWords(list[at + 2], list[at + 3]);
      const found = checksumOfWords(checksums[2 * i], checksums[2 * i + 1]);
      return fault(list[at + 1] * SLOT_BYTES, `the checksum of page ${list[at]}`, expected, found);
    }
    return undefined;
  }

  /** Names of the files, from the full one to the newest. */
  get names(): readonly string[] {
    return this.#names;
  }

  /**
   * Header and list of a file of the chain; with `onPages` all that it holds is read and checked, and the callback is told the
   * pages of each piece.
   * @throws CorruptionError.
   */
  readLink(name: string, onPages?: (count: number) => void): Link {
    const link = this.#read(name, onPages !== undefined, onPages);
    if (isFault(link)) throw this.#damaged(name, link);
    return link;
  }

  /** Names of the chain of a file, the full one first; counts the pages that changed. */
  #namesBack(newest: Link): string[] {
    const names = [newest.name];
    let { fields } = newest;
    while (fields.baseGeneration !== 0) {
      this.changedPages += fields.pagesWritten;
      const name = checkpointFileName(fields.baseGeneration);
      const link = this.#read(name, false);
      if (isFault(link)) throw this.#damaged(name, link);
      if (link.fields.generation >= fields.generation) {
        throw this.#damaged(name, fault(0, 'the generation', `below ${fields.generation}`, link.fields.generation));
      }
      names.unshift(name);
      fields = link.fields;
    }
    return names;
  }

  /** Reads and checks header and list of a file, and with `whole` all that it holds. */
  #read(name: string, whole: boolean, onPages?: (count: number) => void): Link | FileFault {
    let file: DeviceFile;
    try {
      file = this.#device.openFile(name, 'read');
    } catch (error) {
      throw new CorruptionError(`a checkpoint needs ${name}, which cannot be read`, { path: name }, error);
    }
    try {
      const header = new Uint8Array(CHECKPOINT_HEADER_BYTES);
      file.readInto(header, 0);
      const fields = checkpointFileTable.decode(header);
      const bad = this.#headerFault(name, header, fields, file.sizeBytes());
      if (bad !== undefined) return bad;
      const list = new Uint32Array(fields.entryCount * FILE_ENTRY_WORDS);
      const listBytes = new Uint8Array(list.buffer);
      const listAt = CHECKPOINT_HEADER_BYTES + fields.pagesWritten * SLOT_BYTES;
      file.readInto(listBytes, listAt);
      const checksum = this.#bench.checksumOf(listBytes);
      if (checksum !== fields.listChecksum) {
        return fault(listAt, 'the checksum of the list', hex(fields.listChecksum), hex(checksum));
      }
      const link = { name, fields, list };
      return this.#listFault(link, listAt) ?? (whole ? this.#contentFault(file, link, onPages) : undefined) ?? link;
    } finally {
      file.close();
    }
  }

  #headerFault(
    name: string,
    header: Uint8Array,
    fields: CheckpointFileFields,
    sizeBytes: number,
  ): FileFault | undefined {
    const offset = (field: Parameters<typeof checkpointFileTable.offsetOf>[0]): number =>
      checkpointFileTable.offsetOf(field);
    if (fields.magic !== CHECKPOINT_FILE_MAGIC) return fault(0, 'the magic', CHECKPOINT_FILE_MAGIC, fields.magic);
    const checksum = checksumOfHeader(header, this.#bench);
    if (checksum !== fields.checksum) {
      return fault(offset('checksum'), 'the checksum of the header', hex(fields.checksum), hex(checksum));
    }
    if (fields.formatVersion !== FORMAT_VERSION) {
      return fault(offset('formatVersion'), 'the version', String(FORMAT_VERSION), fields.formatVersion);
    }
    if (checkpointFileName(fields.generation) !== name) {
      return fault(offset('generation'), 'the generation', `that of ${name}`, fields.generation);
    }
    if (Buffer.compare(fields.jobId, this.#jobId) !== 0) {
      return fault(offset('jobId'), 'the job', Buffer.from(this.#jobId).toString('hex'), 'that of another job');
    }
    const { pagesWritten, entryCount, stateBytes, guestPageCount } = fields;
    if (guestPageCount > MAPPED_PAGES_MAX || entryCount > guestPageCount || pagesWritten > entryCount) {
      return fault(offset('guestPageCount'), 'the number of pages', 'one that fits', guestPageCount);
    }
    const wantedBytes =
      CHECKPOINT_HEADER_BYTES + pagesWritten * SLOT_BYTES + entryCount * FILE_ENTRY_WORDS * 4 + stateBytes;
    return sizeBytes === wantedBytes ? undefined : fault(0, 'the length', String(wantedBytes), sizeBytes);
  }

  /** Pages ascend, positions follow each other: nothing is named twice, and nothing outside of the file. */
  #listFault({ fields, list }: Link, listAt: number): FileFault | undefined {
    let previous = -1;
    let position = CHECKPOINT_HEADER_BYTES / SLOT_BYTES;
    for (let at = 0; at < list.length; at += FILE_ENTRY_WORDS) {
      const page = list[at];
      if (page <= previous || page >= fields.guestPageCount) {
        return fault(listAt + 4 * at, 'a page of the list', `between ${previous + 1} and its end`, page);
      }
      previous = page;
      if (list[at + 1] === 0) continue;
      if (list[at + 1] !== position) {
        return fault(listAt + 4 * at, `the position of page ${page}`, String(position), list[at + 1]);
      }
      position += 1;
    }
    const count = position - CHECKPOINT_HEADER_BYTES / SLOT_BYTES;
    return count === fields.pagesWritten
      ? undefined
      : fault(listAt, 'the pages of the list', String(fields.pagesWritten), count);
  }

  #contentFault(file: DeviceFile, { fields, list }: Link, onPages?: (count: number) => void): FileFault | undefined {
    const stored = withPosition(list, fields.pagesWritten);
    for (let from = 0; from < fields.pagesWritten; from += STAGED_PAGES_MAX) {
      const count = Math.min(STAGED_PAGES_MAX, fields.pagesWritten - from);
      const view = this.#bench.staging.subarray(0, count * SLOT_BYTES);
      view.fill(0, file.readInto(view, CHECKPOINT_HEADER_BYTES + from * SLOT_BYTES));
      const bad = this.#stagedFault(stored, from, count);
      if (bad !== undefined) return bad;
      onPages?.(count);
    }
    const stateAt = file.sizeBytes() - fields.stateBytes;
    const state = new Uint8Array(fields.stateBytes);
    file.readInto(state, stateAt);
    const checksum = this.#bench.checksumOf(state);
    if (checksum === fields.stateChecksum) return undefined;
    return fault(stateAt, 'the checksum of the machine state', hex(fields.stateChecksum), hex(checksum));
  }

  #stateOf(name: string, { stateBytes }: CheckpointFileFields): Uint8Array {
    const file = this.#device.openFile(name, 'read');
    try {
      const state = new Uint8Array(stateBytes);
      file.readInto(state, file.sizeBytes() - stateBytes);
      return state;
    } finally {
      file.close();
    }
  }

  #damaged(name: string, { byteOffset, what, expected, found }: FileFault): CorruptionError {
    return damagedFile(`${this.#device.path}/${name}`, byteOffset, what, expected, found);
  }
}

/** Removes the files of the checkpoints between two, durably. */
export function removeBetween(device: Device, older: number, newer: number): void {
  const between = device
    .list()
    .filter((name) => isCheckpointFile(name) && name > checkpointFileName(older) && name < checkpointFileName(newer));
  for (const name of between) device.remove(name);
  if (between.length > 0) device.syncDirectory();
}

/** The entries of pages that lie in the file, in the order in which they do. */
function withPosition(list: Uint32Array, count: number): Uint32Array {
  const stored = new Uint32Array(count * FILE_ENTRY_WORDS);
  let to = 0;
  for (let at = 0; at < list.length; at += FILE_ENTRY_WORDS) {
    if (list[at + 1] === 0) continue;
    for (let k = 0; k < FILE_ENTRY_WORDS; k++) stored[to + k] = list[at + k];
    to += FILE_ENTRY_WORDS;
  }
  return stored;
}

function fault(byteOffset: number, what: string, expected: string, found: string | number): FileFault {
  return { byteOffset, what, expected, found: String(found) };
}

function isFault(value: Link | FileFault): value is FileFault {
  return 'what' in value;
}
