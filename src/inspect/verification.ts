/**
 * Checks every checksum and every invariant of a job, and changes nothing.
 *
 * What is found is one of two things. *Damage* is what no interruption leaves: the checkpoint that the job would go on from, or
 * what belongs to it, is not what was written. *Unfinished* is what an interrupted save leaves, and damage of the newest
 * checkpoint's own record as well, since nothing tells the two apart: the job goes on from the checkpoint before.
 *
 * Bytes that no checkpoint needs are not looked at: slots and record bytes that are free, journals and output of generations
 * that have passed.
 */
import { CheckpointChain } from '../checkpoint/checkpoint-chain.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import {
  checkPagingHeader,
  checkpointFileName,
  isCheckpointFile,
  JOB_NAME,
  PAGING_NAME,
  readJob,
  readProgram,
} from '../checkpoint/job-directory.ts';
import { JobImage } from '../checkpoint/job-image.ts';
import { recoverLive, type Recovery } from '../checkpoint/recovery.ts';
import { readCopy } from '../checkpoint/retained.ts';
import { accountSlots } from '../checkpoint/slot-accounts.ts';
import type { Device, DeviceFile } from '../device/device.ts';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { type JobFile, jobTable } from '../format/job-format.ts';
import {
  FORMAT_VERSION,
  PAGING_MAGIC,
  pagingHeaderTable,
  RECORD_UNIT_BYTES,
  recordAreaOffset,
  SLOT_BYTES,
} from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, Workbench } from '../format/workbench.ts';
import { decodeHostState } from '../machine/host-state.ts';
import { describeJob } from '../machine/job-description.ts';
import { decodeMachineState } from '../machine/machine-state.ts';
import { checksumOfWords, damagedFile } from '../pager/page-damage.ts';
import { NO_PAGE, SlotRuns } from '../pager/slot-runs.ts';
import { checkHeldPart } from '../wasi/held-output.ts';
import { COUNT_FILE, surveyCounts } from '../wasi/standard-output.ts';
import { isJournalName, surveyJournal } from '../wasi/undo-journal.ts';
import { decodeModule } from '../wasm/module.ts';
import { StateCheck } from './state-check.ts';

export interface Unfinished {
  readonly path: string;
  readonly byteOffset: number;
  /** A sentence. */
  readonly what: string;
}

/** What was checked and holds, as far as it was reached. */
export interface CheckedParts {
  programBytes: number;
  /** Of the checkpoint that the job goes on from; 0: none. */
  generation: number;
  pages: number;
  /** Pages with contents whose checksum was computed; of a chain, in all its files. */
  checkedPages: number;
  stateBytes: number;
  frames: number;
  checkpointFiles: number;
  undoRecords: number;
  heldOutputBytes: number;
}

export interface Verification {
  readonly verdict: 'sound' | 'unfinished' | 'damaged';
  /** The first fault: path, byte, what was expected and found are in its details. */
  readonly damage: CorruptionError | undefined;
  readonly unfinished: readonly Unfinished[];
  readonly checked: Readonly<CheckedParts>;
}

export interface VerifyOptions {
  /** Whether a process has the job: what it is writing is not whole yet, and no finding. */
  readonly isRunning: boolean;
  readonly onProgress?: (donePages: number, totalPages: number) => void;
}

/** @throws UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`; StorageError. Damage is returned. */
export function verifyJob(device: Device, options: VerifyOptions): Verification {
  const run = new VerificationRun(device, options);
  let damage: CorruptionError | undefined;
  try {
    run.run();
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    damage = error;
  }
  const { unfinished, checked } = run;
  const verdict = damage !== undefined ? 'damaged' : unfinished.length > 0 ? 'unfinished' : 'sound';
  return { verdict, damage, unfinished, checked };
}

/** Where a machine state lies. */
interface StatePlace {
  readonly path: string;
  readonly byteOffset: number;
}

class VerificationRun {
  readonly unfinished: Unfinished[] = [];
  readonly checked: CheckedParts = {
    programBytes: 0,
    generation: 0,
    pages: 0,
    checkedPages: 0,
    stateBytes: 0,
    frames: 0,
    checkpointFiles: 0,
    undoRecords: 0,
    heldOutputBytes: 0,
  };
  readonly #device: Device;
  readonly #options: VerifyOptions;
  readonly #bench = Workbench.ofThread();

  constructor(device: Device, options: VerifyOptions) {
    this.#device = device;
    this.#options = options;
  }

  run(): void {
    const job = this.#readJob();
    const program = readProgram(this.#device, job);
    this.checked.programBytes = program.length;
    const hasFiles = this.#device.list().some(isCheckpointFile);
    const file = this.#device.openFile(PAGING_NAME, 'read');
    try {
      checkPagingHeader(file, job, this.#bench);
      this.#checkZeros(file, pagingHeaderTable.lengthBytes, SLOT_BYTES, 'the rest of the header');
      if (hasFiles) this.#checkChain(file, job, program);
      else this.#checkPaging(file, job, program);
    } finally {
      file.close();
    }
  }

  /** A `job` file that looks like no job's, or a newer one's, is damaged where the rest of the directory is a job of ours. */
  #readJob(): JobFile {
    try {
      return readJob(this.#device, this.#bench);
    } catch (error) {
      if (!(error instanceof UsageError) || !this.#hasPagingFile()) throw error;
      const path = `${this.#device.path}/${JOB_NAME}`;
      if (error.code === 'job-not-a-job') throw damagedFile(path, 0, 'the magic', 'CONTINUO', 'another');
      if (error.code !== 'job-newer-format') throw error;
      const found = String(error.details['formatVersion']);
      throw damagedFile(path, jobTable.offsetOf('formatVersion'), 'the version', `at most ${FORMAT_VERSION}`, found);
    }
  }

  /** Whether there is a paging file of our version, whatever else is wrong with it. */
  #hasPagingFile(): boolean {
    const names = this.#device.list();
    if (!names.includes(JOB_NAME) || !names.includes(PAGING_NAME)) return false;
    const file = this.#device.openFile(PAGING_NAME, 'read');
    try {
      const header = new Uint8Array(pagingHeaderTable.lengthBytes);
      file.readInto(header, 0);
      const { magic, formatVersion } = pagingHeaderTable.decode(header);
      return magic === PAGING_MAGIC && formatVersion <= FORMAT_VERSION;
    } finally {
      file.close();
    }
  }

  #checkPaging(file: DeviceFile, job: JobFile, program: Uint8Array): void {
    this.#checkEmptyAreas(file);
    const recovery = recoverLive(file, this.#bench);
    const { image, record, state, retained, rejected } = recovery;
    if (rejected !== undefined) this.#isUnfinished(file.path, rejected.areaOffsetBytes, rejected.reason);
    if (record === undefined) return this.#checkRunFiles(undefined);
    this.#checkSlots(file, recovery);
    const { fields } = record;
    const { generation, guestPageCount, stateSlot, recordBytes, stateBytes } = fields;
    const byteOffset =
      stateSlot === 0 ? recordAreaOffset(generation) + recordBytes - stateBytes : stateSlot * SLOT_BYTES;
    Object.assign(this.checked, { generation, pages: guestPageCount });
    if (retained.damage !== undefined) throw retained.damage;
    const named = accountSlots(file, record, image, this.#bench).usedCount();
    if (named !== image.slots.usedCount) {
      const found = String(image.slots.usedCount);
      throw damagedFile(file.path, recordAreaOffset(generation), 'the slots in use', String(named), found);
    }
    for (const entry of record.retained?.entries ?? []) {
      const kept = readCopy(file, entry, generation, this.#bench);
      new JobImage(file, this.#bench).load(file, kept, true);
    }
    this.#checkState({ guestPageCount, state }, { path: file.path, byteOffset }, job, program);
  }

  /** An area that seems to hold no record holds nothing: a record without its magic is none that was never written. */
  #checkEmptyAreas(file: DeviceFile): void {
    const sector = new Uint8Array(RECORD_UNIT_BYTES);
    for (const parity of [0, 1]) {
      const offset = recordAreaOffset(parity);
      sector.fill(0, file.readInto(sector, offset));
      const at = sector.findIndex((byte) => byte !== 0);
      if (at > 0 && sector[0] === 0) {
        this.#isUnfinished(
          file.path,
          offset,
          `the record there has lost its magic: byte ${offset} is 0 and byte ${offset + at} is not`,
        );
      }
    }
  }

  /** Reads every page of the checkpoint, whoever wrote it. */
  #checkSlots(file: DeviceFile, { image }: Recovery): void {
    const { map, slots } = image;
    const { entries } = map;
    const runs = new SlotRuns(map, slots.slotCount, STAGED_PAGES_MAX);
    let done = 0;
    while (runs.next()) {
      const view = this.#bench.staging.subarray(0, runs.count * SLOT_BYTES);
      view.fill(0, file.readInto(view, runs.slot * SLOT_BYTES));
      const checksums = this.#bench.checksumStaged(runs.count);
      for (let i = 0; i < runs.count; i++) {
        const page = runs.pages[i];
        if (page === NO_PAGE) continue;
        done += 1;
        const [low, high] = [entries[4 * page + 2], entries[4 * page + 3]];
        if (checksums[2 * i] === low && checksums[2 * i + 1] === high) continue;
        const found = checksumOfWords(checksums[2 * i], checksums[2 * i + 1]);
        const byteOffset = (runs.slot + i) * SLOT_BYTES;
        throw damagedFile(file.path, byteOffset, `checksum of page ${page}`, checksumOfWords(low, high), found);
      }
      this.#options.onProgress?.(done, map.workingCount);
    }
    this.checked.checkedPages = done;
  }

  #checkChain(paging: DeviceFile, job: JobFile, program: Uint8Array): void {
    this.#checkEmptyAreas(paging);
    const chain = CheckpointChain.readLive(this.#device, job.jobId, this.#bench);
    if (chain.rejected !== undefined) {
      const { name, fault, reason } = chain.rejected;
      this.#isUnfinished(`${this.#device.path}/${name}`, fault.byteOffset, reason);
    }
    const { latest, names } = chain;
    if (latest === undefined) return this.#checkRunFiles(undefined);
    const totalPages = names.reduce((sum, name) => sum + chain.readLink(name).fields.pagesWritten, 0);
    for (const name of names) {
      chain.readLink(name, (count) => {
        this.checked.checkedPages += count;
        this.#options.onProgress?.(this.checked.checkedPages, totalPages);
      });
      this.checked.checkpointFiles += 1;
    }
    for (const kept of chain.kept) {
      const older = CheckpointChain.readLive(this.#device, job.jobId, this.#bench, kept);
      for (const name of older.names.filter((other) => !names.includes(other))) {
        older.readLink(name, () => {});
        this.checked.checkpointFiles += 1;
      }
    }
    const { generation, guestPageCount, state } = latest;
    Object.assign(this.checked, { generation, pages: guestPageCount });
    const file = this.#device.openFile(checkpointFileName(generation), 'read');
    const byteOffset = file.sizeBytes() - state.length;
    file.close();
    this.#checkState(latest, { path: file.path, byteOffset }, job, program);
  }

  #checkState(
    { state: bytes, guestPageCount }: Pick<Checkpoint, 'state' | 'guestPageCount'>,
    place: StatePlace,
    job: JobFile,
    program: Uint8Array,
  ): void {
    this.checked.stateBytes = bytes.length;
    const state = placed(place, 'the machine state', () => decodeMachineState(bytes));
    const host = placed(place, 'the state of the host functions', () => decodeHostState(state.host));
    const preopens = this.#checkIdentity(job);
    const check = new StateCheck(decodeModule(program), state, (what, expected, found, offsetBytes = 0) => {
      throw damagedFile(place.path, place.byteOffset + offsetBytes, what, expected, String(found));
    });
    check.run(bytes, guestPageCount, preopens + 3);
    this.checked.frames = state.frames.length;
    this.#checkRunFiles(host.wasi);
  }

  /** Returns how many directories the program has. */
  #checkIdentity({ identity }: JobFile): number {
    const { preopens } = identity;
    const path = `${this.#device.path}/${JOB_NAME}`;
    try {
      placed({ path, byteOffset: jobTable.lengthBytes }, "the job's description", () => describeJob(identity));
    } catch (error) {
      // Only the program that embeds Continuo can go on with its job; that it can be read is all there is to see.
      if (!(error instanceof UsageError)) throw error;
    }
    return Array.isArray(preopens) ? preopens.length : 0;
  }

  /** What the guest's effects since the checkpoint need to be undone, and output that waits to be shown. */
  #checkRunFiles(wasi: ReturnType<typeof decodeHostState>['wasi'] | undefined): void {
    for (const name of this.#device.list().filter(isJournalName)) this.#checkJournal(name, wasi?.generation ?? 0);
    for (const part of wasi?.output.held ?? []) {
      checkHeldPart(this.#device, part);
      this.checked.heldOutputBytes += part.lengthBytes;
    }
    if (surveyCounts(this.#device) === 'damaged') {
      const what = 'the count of output that was shown does not agree with its checksum: some may be shown again';
      this.#isUnfinished(`${this.#device.path}/${COUNT_FILE}`, 0, what);
    }
  }

  #checkJournal(name: string, fromGeneration: number): void {
    const file = this.#device.openFile(name, 'read');
    try {
      const survey = surveyJournal(file);
      if (survey === undefined) {
        return this.#isUnfinished(file.path, 0, 'the header does not agree with its checksum: nothing in it is undone');
      }
      if (survey.generation < fromGeneration) return;
      this.checked.undoRecords += survey.records.length;
      const restBytes = file.sizeBytes() - survey.endBytes;
      if (restBytes > 0) {
        const what = `the record there does not hold together: it and the ${restBytes} bytes to the end are not undone`;
        this.#isUnfinished(file.path, survey.endBytes, what);
      }
    } finally {
      file.close();
    }
  }

  #checkZeros(file: DeviceFile, fromBytes: number, toBytes: number, what: string): void {
    const bytes = new Uint8Array(toBytes - fromBytes);
    file.readInto(bytes, fromBytes);
    const at = bytes.findIndex((byte) => byte !== 0);
    if (at >= 0) throw damagedFile(file.path, fromBytes + at, what, 'zero', String(bytes[at]));
  }

  /** A process that has the job may be at work just there. */
  #isUnfinished(path: string, byteOffset: number, what: string): void {
    if (this.#options.isRunning) return;
    this.unfinished.push({ path, byteOffset, what });
  }
}

/** Corruption that does not say where it was found gets the place at which it lies. */
function placed<T>({ path, byteOffset }: StatePlace, what: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof CorruptionError) || error.details['byteOffset'] !== undefined) throw error;
    const found = error.message;
    throw new CorruptionError(
      `${path} is damaged at byte ${byteOffset}: ${what} cannot be read: ${found}`,
      { path, byteOffset, field: what, expected: 'one that can be read', found },
      error,
    );
  }
}
