/** What a job directory holds, read without a lock, while the job runs as well. */
import { join } from 'node:path';
import type { Checkpoint, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore, PolicyName } from '../checkpoint/checkpoint-store.ts';
import { openStore } from '../checkpoint/policies.ts';
import type { Device } from '../device/device.ts';
import { sizeOfPath } from '../device/file-device.ts';
import { isLockName, type LockOwner, lockOwner } from '../device/job-lock.ts';
import { CorruptionError } from '../error/errors.ts';
import { CHECKPOINT_HEADER_BYTES } from '../format/checkpoint-file-format.ts';
import type { JsonValue } from '../format/job-format.ts';
import type { CheckpointView } from '../inspect/checkpoint-view.ts';
import { checkpointFilesOf } from '../inspect/files-view.ts';
import { type MemoryMap, memoryMapOf } from '../inspect/memory-map.ts';
import { openFilesOf, type ReportedFile } from '../inspect/open-files.ts';
import { keptOf } from '../inspect/kept-checkpoints.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { jobDevice, openViewOf, unlessOvertaken } from '../inspect/open-view.ts';
import { type GlobalValue, ProgramValues, type ReportedFrame, type TableValue } from '../inspect/program-values.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { type PagingFigures, decodeMachineState } from '../machine/machine-state.ts';
import { type Module, decodeModule } from '../wasm/module.ts';

export interface ReportedCheckpoint {
  readonly generation: number;
  /** When it was committed, in the form of ISO 8601, UTC. */
  readonly time: string;
  readonly trigger: string;
  /** The program's exit code once it has ended. */
  readonly exitCode: number | undefined;
  readonly guestMs: number;
  readonly pages: number;
  readonly memoryBytes: number;
  readonly dirtyPages: number;
  readonly pagesWritten: number;
  /** What paging had done in that run; undefined where all pages were in memory. */
  readonly paging: PagingFigures | undefined;
  readonly stateBytes: number;
  /** The program's memory, page by page. */
  readonly memory: MemoryMap;
  readonly globals: readonly GlobalValue[];
  readonly tables: readonly TableValue[];
  /** The guest's call stack, innermost first. */
  readonly stack: readonly ReportedFrame[];
  readonly openFiles: readonly ReportedFile[];
}

export interface ReportedCheckpointFile {
  readonly generation: number;
  readonly name: string;
  /** Whether it holds all pages; the others hold those written since the one before. */
  readonly full: boolean;
  readonly trigger: string;
  readonly pages: number;
  /** Pages that it says hold zeros, which have no contents in the file. */
  readonly zeroPages: number;
  readonly stateBytes: number;
  readonly bytes: number;
}

/** A file of the job directory. */
export interface ReportedSize {
  readonly name: string;
  readonly bytes: number;
}

/** A checkpoint that can be gone back to. */
export interface ReportedGeneration {
  readonly generation: number;
  /** In the form of ISO 8601, UTC. */
  readonly time: string;
  readonly trigger: string;
  readonly dirtyPages: number;
  /** Bytes of the job directory that no other kept checkpoint needs, and that others need as well. */
  readonly ownBytes: number;
  readonly sharedBytes: number;
}

export interface JobReport {
  readonly job: string;
  readonly program: string;
  readonly programBytes: number;
  /** SHA-256 of the program, in hexadecimal. */
  readonly digest: string;
  /** As the program sees them, its name first. */
  readonly arguments: readonly string[];
  readonly environment: JsonValue;
  readonly preopens: JsonValue;
  readonly stdin: JsonValue;
  readonly stdout: JsonValue;
  readonly stderr: JsonValue;
  readonly outputMode: JsonValue;
  /** Whether NaNs that the program can see have the same bits on every processor. */
  readonly canonicalNan: boolean;
  /** The live process that has the job. */
  readonly owner: LockOwner | undefined;
  /** Why a checkpoint that was begun does not count; undefined when there is none such. */
  readonly rejectedCheckpoint: string | undefined;
  /** How its pages are saved. */
  readonly policy: PolicyName;
  /** Undefined where its checkpoints are files of their own. */
  readonly slots: SlotCounts | undefined;
  /** Where its checkpoints are files: those that the newest one needs, the full one first. */
  readonly checkpointFiles: readonly ReportedCheckpointFile[] | undefined;
  readonly files: readonly ReportedSize[];
  /** The checkpoints that are kept, newest first, and how many are to be. */
  readonly keep: number;
  readonly generations: readonly ReportedGeneration[];
  /** The newest committed checkpoint; undefined before the first. */
  readonly checkpoint: ReportedCheckpoint | undefined;
}

/** @throws as `unlessOvertaken`, and UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`. */
export function readJobReport(directory: string, secret?: Secret): JobReport {
  const device = jobDevice(directory, secret);
  return unlessOvertaken(device, () => withStore(device, (store, policy) => reportOf(device, store, policy)));
}

/** The program of a job and its arguments, the program's name first. */
export function readIdentity(
  directory: string,
  secret?: Secret,
): { readonly program: string; readonly arguments: readonly string[] } {
  return withStore(jobDevice(directory, secret), ({ identity }) => ({
    program: identity.program,
    arguments: textList(identity['arguments']),
  }));
}

function withStore<T>(device: Device, use: (store: CheckpointStore, policy: PolicyName) => T): T {
  const { store, policy } = openStore(device, undefined, { readOnly: true });
  try {
    return use(store, policy);
  } finally {
    store.close();
  }
}

function reportOf(device: Device, store: CheckpointStore, policy: PolicyName): JobReport {
  const { identity, latest } = store;
  const program = store.readProgram();
  const part = (name: string): JsonValue => identity[name] ?? null;
  const isInFiles = policy === 'sequential' || policy === 'incremental';
  return {
    job: device.path,
    program: identity.program,
    programBytes: program.length,
    digest: identity.digest,
    arguments: textList(identity['arguments']),
    environment: part('environment'),
    preopens: part('preopens'),
    stdin: part('stdin'),
    stdout: part('stdout'),
    stderr: part('stderr'),
    outputMode: part('outputMode'),
    canonicalNan: part('canonicalNan') === true,
    owner: lockOwner(device.path),
    rejectedCheckpoint: store.rejectedCheckpoint,
    policy,
    slots: store.slotCounts(),
    checkpointFiles: isInFiles ? chainOf(device) : undefined,
    files: sizesOf(device),
    keep: store.keep,
    generations: keptOf(device).map(({ generation, timeMs, trigger, dirtyPages, ownBytes, sharedBytes }) => {
      return { generation, time: new Date(timeMs).toISOString(), trigger, dirtyPages, ownBytes, sharedBytes };
    }),
    checkpoint: latest === undefined ? undefined : newestOf(device, latest, decodeModule(program)),
  };
}

/** The checkpoint as a view reads it, which must be the one that the store found. */
function newestOf(device: Device, latest: Checkpoint, module: Module): ReportedCheckpoint {
  const view = openViewOf(device, device.path);
  try {
    if (view.checkpoint.generation !== latest.generation)
      throw new CorruptionError('the job was checkpointed meanwhile');
    return checkpointOf(view, module);
  } finally {
    view.close();
  }
}

function checkpointOf({ checkpoint, pages, identity }: CheckpointView, module: Module): ReportedCheckpoint {
  const { generation, timeMs, trigger, guestPageCount, dirtyPages, pagesWritten } = checkpoint;
  const state = decodeMachineState(checkpoint.state);
  const { finished, exitCode, guestMs, paging } = state.phase;
  const values = new ProgramValues(module);
  return {
    generation,
    time: new Date(timeMs).toISOString(),
    trigger,
    exitCode: finished ? exitCode : undefined,
    guestMs,
    pages: guestPageCount,
    memoryBytes: guestPageCount * PAGE_BYTES,
    dirtyPages,
    pagesWritten,
    paging,
    stateBytes: checkpoint.state.length,
    memory: memoryMapOf(pages, generation, paging?.residentPages),
    globals: values.globals(state),
    tables: values.tables(state),
    stack: values.stack(state),
    openFiles: openFilesOf(state, identity),
  };
}

function chainOf(device: Device): ReportedCheckpointFile[] {
  return checkpointFilesOf(device).map(({ name, fields, list }) => {
    const { generation, baseGeneration, trigger, pagesWritten, entryCount, stateBytes } = fields;
    const full = baseGeneration === 0;
    return {
      generation,
      name,
      full,
      trigger,
      pages: pagesWritten,
      zeroPages: (full ? fields.guestPageCount : entryCount) - pagesWritten,
      stateBytes,
      bytes: CHECKPOINT_HEADER_BYTES + pagesWritten * PAGE_BYTES + list.byteLength + stateBytes,
    };
  });
}

/** Files of the directory, but for claims of processes; one that goes meanwhile is left out. */
function sizesOf(device: Device): ReportedSize[] {
  return device
    .list()
    .filter((name) => !isLockName(name))
    .flatMap((name) => {
      const bytes = sizeOfPath(join(device.path, name));
      return bytes === undefined ? [] : [{ name, bytes }];
    });
}

function textList(value: JsonValue | undefined): string[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]).map(String) : [];
}
