/**
 * Copying a checkpoint out of a job directory, where the job may be running: nothing is written there, and no lock is taken.
 *
 * A running job goes on to later checkpoints and uses the slots again that the one being copied needs. So the newest checkpoint is
 * copied in passes, as live migration does: the first takes all pages, each later one those that changed since the checkpoint of
 * the pass before, until a pass finds every page as its checkpoint says, and the program's files too. That pass's checkpoint
 * is the one that was copied. A page that was overtaken is left out: it has changed, so a later pass has it.
 *
 * A delta is the same without the first pass: it begins with what changed since the checkpoint that it builds on. After a job
 * went back to an older checkpoint, the generations of its pages do not tell what changed since one that it gave up by that; then,
 * all pages come, those that hold zeros too.
 *
 * A kept checkpoint that was asked for by its number stands still as long as the job keeps it: every pass is of the same one.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { openStore } from '../checkpoint/policies.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import type { PageReader } from '../checkpoint/copied-pages.ts';
import { checkpointFileName, PAGING_NAME, readJob } from '../checkpoint/job-directory.ts';
import { lastGivenUp } from '../checkpoint/given-up.ts';
import { openKept, type OpenCheckpoint } from '../checkpoint/kept-checkpoint.ts';
import type { Device } from '../device/device.ts';
import { lockOwner } from '../device/job-lock.ts';
import { CorruptionError, StorageError, UsageError } from '../error/errors.ts';
import { hex } from '../format/commit-record.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { SLOT_BYTES } from '../format/paging-format.ts';
import { STAGED_PAGES_MAX, Workbench } from '../format/workbench.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import { describeJob } from '../machine/job-description.ts';
import { decodeHostState } from '../machine/host-state.ts';
import { allPages } from '../pager/dirty-tracker.ts';
import { withoutHeldOutputIn } from '../machine/kept-host-states.ts';
import { decodeMachineState } from '../machine/machine-state.ts';
import { FilesMovedOn, recordFiles, type RecordedFiles } from '../wasi/file-evidence.ts';
import { copyHeldOutput } from '../wasi/held-output.ts';
import { allHasLeft, readReleasedBytes } from '../wasi/standard-output.ts';
import { newestGeneration } from './newest-generation.ts';
import type { RestartCheckpoint, RestartDescription } from './restart-content.ts';

/** Passes after which a job that changes pages faster than they are copied is given up. */
const PASSES_MAX = 30;
/** Between passes that have little left to copy. */
const PASS_DELAY_MS = 20;
/** Pages that are read before any of them is written, so that a short pass is over before the job has gone on: 16 MB. */
const READ_PAGES_MAX = 4096;

/** Where a copy goes. */
export interface CopyTarget {
  /** Once, before all else. What changed only has no program. */
  begin(description: RestartDescription, program: Uint8Array | undefined): Promise<void>;
  /** At most 256 pages, ascending, and their contents one after another; a page that comes again is what came last. */
  addPages(pages: Uint32Array, contents: Uint8Array): Promise<void>;
  /** At last: everything of the checkpoint but its pages. */
  finish(checkpoint: RestartCheckpoint, state: Uint8Array, held: readonly Uint8Array[]): Promise<void>;
}

export interface CopySettings {
  /** A kept checkpoint, by its number; undefined: the newest. */
  readonly at?: number | undefined;
  /** Only what changed since: a checkpoint of the job, by its name or its number. */
  readonly since?: CheckpointName | number | undefined;
  readonly onProgress?: (donePages: number, totalPages: number) => void;
}

export interface CopyResult {
  readonly generation: number;
  /** Which checkpoint it is, for a delta that builds on it. */
  readonly name: CheckpointName;
  readonly trigger: string;
  readonly timeMs: number;
  readonly guestPageCount: number;
  /** Pages copied, those that came twice counted twice. */
  readonly pages: number;
  readonly passes: number;
  /** Files that the program has changed since the checkpoint. */
  readonly changedSince: readonly string[];
}

/** A checkpoint that is open to be copied. */
interface CopySource extends OpenCheckpoint {
  /** What it held back has left, since a checkpoint was taken after it. */
  readonly isOlder: boolean;
}

/** A pass that found everything as its checkpoint says. */
interface WholePass {
  readonly latest: Checkpoint;
  readonly recorded: RecordedFiles;
  readonly held: readonly Uint8Array[];
  readonly shownBytes: number[] | null;
}

/**
 * Copies a checkpoint of a job.
 * @throws UsageError `job-not-found`, `job-without-checkpoint`, `generation-not-kept`, `guest-file-changed`, `bad-argument`, `wrong-base`, and
 * what the target throws; CorruptionError; StorageError.
 */
export async function copyJob(device: Device, target: CopyTarget, settings: CopySettings = {}): Promise<CopyResult> {
  return new JobCopy(device, target, settings).run();
}

class JobCopy {
  readonly #device: Device;
  readonly #target: CopyTarget;
  readonly #settings: CopySettings;
  readonly #room = new Uint8Array(READ_PAGES_MAX * SLOT_BYTES);
  #isBegun = false;
  /** The checkpoint of the last pass, and whether that pass found every page as it says. */
  #since = 0;
  #areGood = true;
  #pages = 0;
  #expectedPages = 0;

  constructor(device: Device, target: CopyTarget, settings: CopySettings) {
    this.#device = device;
    this.#target = target;
    this.#settings = settings;
  }

  async run(): Promise<CopyResult> {
    let failure: Error | undefined;
    for (let passes = 1; passes <= PASSES_MAX; passes++) {
      if (passes > 1) await delay(passes > 2 ? PASS_DELAY_MS : 0);
      try {
        const whole = await this.#pass();
        if (whole !== undefined) return await this.#finish(whole, passes);
        failure = tooFast(this.#device.path);
      } catch (error) {
        if (error instanceof FilesMovedOn) failure = tooFast(this.#device.path);
        else if (isOvertaken(error, this.#device)) failure = error;
        else throw error;
      }
      // Nobody has gone on with a job that nobody runs.
      if (passes > 1 && lockOwner(this.#device.path) === undefined) throw failure;
    }
    throw failure!;
  }

  /** Copies what changed since the pass before; undefined when the job went on meanwhile. */
  async #pass(): Promise<WholePass | undefined> {
    const { at } = this.#settings;
    const source = at === undefined ? newestSource(this.#device) : keptSource(this.#device, at);
    try {
      const { checkpoint: latest } = source;
      if (!this.#isBegun || latest.generation !== this.#since || !this.#areGood) {
        // What was read of this very checkpoint and was not what it says is not overtaken but damaged.
        if (this.#isBegun && latest.generation === this.#since) throw damagedPages(this.#device.path);
        const reader = source.pageReader();
        try {
          const pages = this.#isBegun ? this.#changed(reader, latest, this.#since) : await this.#begin(source, reader);
          this.#areGood = await this.#copyPages(reader, pages);
          this.#since = latest.generation;
        } finally {
          reader.close();
        }
      }
      if (!this.#areGood) return undefined;
      this.#makeDurable(latest.generation);
      return this.#completePass(source);
    } finally {
      source.close();
    }
  }

  /** Gives the target the description and, of a whole copy, the program; returns the pages that come first. */
  async #begin(source: CopySource, reader: PageReader): Promise<Uint32Array> {
    const { checkpoint: latest, identity, policy } = source;
    // Refuses what a program that embeds Continuo gave the job: nobody else can give it again.
    describeJob(identity);
    const { since } = this.#settings;
    const base = since === undefined ? null : this.#baseOf(since, latest);
    const pages = base === null ? reader.list(0) : this.#changed(reader, latest, base.generation);
    this.#expectedPages = pages.length;
    const program = base === null ? source.readProgram() : undefined;
    this.#isBegun = true;
    const description = { identity, policy, programBytes: program?.length ?? 0, pages: this.#expectedPages, base };
    await this.#target.begin(description, program);
    this.#settings.onProgress?.(0, this.#expectedPages);
    return pages;
  }

  #changed(reader: PageReader, { guestPageCount }: Checkpoint, since: number): Uint32Array {
    return since > lastGivenUp(this.#device) ? reader.list(since) : allPages(guestPageCount);
  }

  /** The base of a delta, held against the job as far as it still knows of it. */
  #baseOf(since: CheckpointName | number, latest: Checkpoint): CheckpointName {
    const { path } = this.#device;
    const newest = this.#nameOf(latest);
    const base = typeof since === 'number' ? { ...newest, generation: since, stateChecksum: '' } : since;
    const refuse = (text: string): never => {
      throw new UsageError('wrong-base', `--since: ${text}`, { path, wanted: base.generation });
    };
    if (base.job !== newest.job) refuse(`the file is of another job than ${path}`);
    if (base.generation > latest.generation || base.generation < 1) {
      refuse(`${path} has no checkpoint ${base.generation} yet: its newest is ${latest.generation}`);
    }
    if (base.generation < latest.generation) return base;
    if (base.stateChecksum !== '' && base.stateChecksum !== newest.stateChecksum) {
      refuse(`checkpoint ${base.generation} of ${path} is another than that of the file`);
    }
    return newest;
  }

  #nameOf({ generation, state }: Checkpoint): CheckpointName {
    const bench = Workbench.ofThread();
    const job = Buffer.from(readJob(this.#device, bench).jobId).toString('hex');
    return { job, generation, stateChecksum: hex(bench.checksumOf(state)) };
  }

  /**
   * A checkpoint that is complete and not yet durable may be lost in a power failure, and another get its number: no delta may
   * build on such a one. What nobody runs was made durable by whoever opens it next, or is on a medium that cannot be written.
   */
  #makeDurable(generation: number): void {
    if (lockOwner(this.#device.path) === undefined) return;
    const own = checkpointFileName(generation);
    const file = this.#device.openFile(this.#device.list().includes(own) ? own : PAGING_NAME, 'read');
    try {
      file.sync();
    } finally {
      file.close();
    }
    this.#device.syncDirectory();
  }

  /** Copies pages; false when one was overtaken. */
  async #copyPages(reader: PageReader, pages: Uint32Array): Promise<boolean> {
    this.#expectedPages = Math.max(this.#expectedPages, this.#pages + pages.length);
    let areGood = true;
    for (let from = 0; from < pages.length; from += READ_PAGES_MAX) {
      const batch = pages.subarray(from, from + READ_PAGES_MAX);
      const good = new Uint8Array(batch.length);
      reader.read(batch, this.#room, good);
      for (let start = 0; start < batch.length; start += STAGED_PAGES_MAX) {
        const end = Math.min(batch.length, start + STAGED_PAGES_MAX);
        areGood = (await this.#addPages(batch, good, start, end)) && areGood;
      }
    }
    return areGood;
  }

  /** Gives the good ones of some pages to the target; false when one of them is not. */
  async #addPages(batch: Uint32Array, good: Uint8Array, start: number, end: number): Promise<boolean> {
    const pages = new Uint32Array(end - start);
    let count = 0;
    for (let i = start; i < end; i++) {
      if (good[i] === 0) continue;
      const to = (start + count) * SLOT_BYTES;
      if (count < i - start) this.#room.copyWithin(to, i * SLOT_BYTES, (i + 1) * SLOT_BYTES);
      pages[count++] = batch[i];
    }
    if (count > 0) {
      const contents = this.#room.subarray(start * SLOT_BYTES, (start + count) * SLOT_BYTES);
      await this.#target.addPages(pages.subarray(0, count), contents);
      this.#pages += count;
      this.#settings.onProgress?.(this.#pages, this.#expectedPages);
    }
    return count === end - start;
  }

  /** Everything of a checkpoint but its pages, all of it as the checkpoint says; undefined when the job has gone on. */
  #completePass({ checkpoint: found, identity, isOlder }: CopySource): WholePass {
    const latest = isOlder ? { ...found, state: withoutHeldOutputIn(found.state) } : found;
    const { wasi } = decodeHostState(decodeMachineState(latest.state).host);
    // What has left since an older checkpoint is not what the program will write after it.
    const shownBytes = isOlder ? null : (readReleasedBytes(this.#device) ?? null);
    const held: Uint8Array[] = [];
    if (!copyHeldOutput(this.#device, wasi.output.held, (bytes) => held.push(bytes))) {
      if (allHasLeft(wasi.output, shownBytes)) held.length = 0;
      else throw new FilesMovedOn();
    }
    const recorded = recordFiles(configOf(identity), wasi, this.#device);
    return { latest, recorded, held, shownBytes };
  }

  async #finish({ latest, recorded, held, shownBytes }: WholePass, passes: number): Promise<CopyResult> {
    const { generation, timeMs, trigger, guestPageCount, dirtyPages, state } = latest;
    const name = this.#nameOf(latest);
    const checkpoint: RestartCheckpoint = {
      name,
      timeMs,
      trigger,
      guestPageCount,
      dirtyPages,
      stateBytes: state.length,
      files: [...recorded.files],
      streams: [...recorded.streams],
      shownBytes,
    };
    await this.#target.finish(checkpoint, state, held);
    const { changedSince } = recorded;
    return { generation, name, trigger, timeMs, guestPageCount, pages: this.#pages, passes, changedSince };
  }
}

function newestSource(device: Device): CopySource {
  const { store, policy } = openStore(device, undefined, { readOnly: true });
  const { latest: checkpoint, identity } = store;
  if (checkpoint !== undefined) {
    return {
      checkpoint,
      identity,
      policy,
      isOlder: false,
      pageReader: () => store.pageReader(),
      readProgram: () => store.readProgram(),
      close: () => store.close(),
    };
  }
  store.close();
  throw withoutCheckpoint(device.path);
}

function keptSource(device: Device, at: number): CopySource {
  const kept = openKept(device, at);
  return { ...kept, isOlder: newestGeneration(device) > at };
}

function configOf(identity: JobIdentity): Parameters<typeof recordFiles>[0] {
  const { stdout, stderr, ...rest } = describeJob(identity);
  // Where bytes of a function of an embedder go is nothing that could be looked at; such jobs were refused before.
  const target = (output: typeof stdout): { kind: 'inherit' } | { kind: 'file'; path: string } =>
    output.kind === 'file' ? output : { kind: 'inherit' };
  return { ...rest, stdout: target(stdout), stderr: target(stderr) };
}

/** Files of the directory went or changed between two looks at it, as a running job's do. */
function isOvertaken(error: unknown, device: Device): error is Error {
  if (error instanceof StorageError) return error.details['systemCode'] === 'ENOENT' && device.list().length > 0;
  return error instanceof CorruptionError;
}

function withoutCheckpoint(path: string): UsageError {
  return new UsageError(
    'job-without-checkpoint',
    `${path} has no checkpoint yet: there is nothing to restart from but the program itself`,
    { path },
  );
}

function damagedPages(path: string): CorruptionError {
  return new CorruptionError(
    `pages of the checkpoint in ${path} are damaged: what was read does not agree with its checksums; restore the job directory from a copy`,
    { path },
  );
}

function tooFast(path: string): UsageError {
  return new UsageError(
    'job-locked',
    `the job in ${path} changes faster than it can be copied: lengthen its --interval, or stop it (SIGTERM) and export it then`,
    { path },
  );
}
