/** What a job directory holds, read without a lock, while the job runs as well. */
import { dirname, join, resolve } from 'node:path';
import type { Checkpoint, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { CheckpointStore, PolicyName } from '../checkpoint/checkpoint-store.ts';
import { openStore } from '../checkpoint/policies.ts';
import { FileDevice, kindOfPath } from '../device/file-device.ts';
import { type LockOwner, lockOwner } from '../device/job-lock.ts';
import { CorruptionError, UsageError } from '../error/errors.ts';
import type { JobIdentity, JsonValue } from '../format/job-format.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import { FunctionNames } from '../machine/guest-stack.ts';
import { decodeHostState } from '../machine/host-state.ts';
import { type MachineState, type PagingFigures, decodeMachineState } from '../machine/machine-state.ts';
import { type Module, decodeModule } from '../wasm/module.ts';
import type { WasiState } from '../wasi/wasi-state.ts';

/** A function of the program on the stack of a checkpoint. */
export interface ReportedFrame {
  readonly function: string;
  readonly functionIndex: number;
  /** Of the instruction in the program's file; 0 at the beginning of a function. */
  readonly byteOffset: number;
}

export interface ReportedFile {
  readonly descriptor: number;
  readonly path: string;
  /** Undefined for a directory. */
  readonly offsetBytes?: number;
}

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
  /** Mutable globals of the program, whose values are part of the checkpoint. */
  readonly globals: number;
  /** The guest's call stack, innermost first. */
  readonly stack: readonly ReportedFrame[];
  readonly openFiles: readonly ReportedFile[];
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
  /** The newest committed checkpoint; undefined before the first. */
  readonly checkpoint: ReportedCheckpoint | undefined;
}

/** A running job commits beside us: what is read may be gone before the next read, so a few more are worth it. */
const READS_MAX = 5;

/** @throws UsageError `job-not-found`, `job-not-a-job`, `job-newer-format`; CorruptionError; StorageError. */
export function readJobReport(directory: string): JobReport {
  const job = resolve(directory);
  for (let readCount = 1; ; readCount++) {
    try {
      return withStore(job, (store, policy) => reportOf(job, store, policy));
    } catch (error) {
      if (!(error instanceof CorruptionError) || readCount === READS_MAX || lockOwner(job) === undefined) throw error;
    }
  }
}

/** The program of a job and its arguments, the program's name first. */
export function readIdentity(directory: string): { readonly program: string; readonly arguments: readonly string[] } {
  return withStore(resolve(directory), ({ identity }) => ({
    program: identity.program,
    arguments: textList(identity['arguments']),
  }));
}

function withStore<T>(job: string, use: (store: CheckpointStore, policy: PolicyName) => T): T {
  const kind = kindOfPath(job);
  if (kind === 'absent') throw new UsageError('job-not-found', `there is no job directory ${job}`, { path: job });
  if (kind === 'other') throw new UsageError('job-not-a-job', `${job} is not a directory`, { path: job });
  const { store, policy } = openStore(new FileDevice(job), undefined, { readOnly: true });
  try {
    return use(store, policy);
  } finally {
    store.close();
  }
}

function reportOf(job: string, store: CheckpointStore, policy: PolicyName): JobReport {
  const { identity, latest } = store;
  const program = store.readProgram();
  const part = (name: string): JsonValue => identity[name] ?? null;
  return {
    job,
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
    owner: lockOwner(job),
    rejectedCheckpoint: store.rejectedCheckpoint,
    policy,
    slots: store.slotCounts(),
    checkpoint: latest === undefined ? undefined : checkpointOf(latest, decodeModule(program), identity),
  };
}

function checkpointOf(checkpoint: Checkpoint, module: Module, identity: JobIdentity): ReportedCheckpoint {
  const { generation, timeMs, trigger, guestPageCount, dirtyPages, pagesWritten } = checkpoint;
  const state = decodeMachineState(checkpoint.state);
  const { finished, exitCode, guestMs, paging } = state.phase;
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
    globals: module.globals.filter(({ mutable }) => mutable).length,
    stack: stackOf(state, new FunctionNames(module)),
    openFiles: openFilesOf(state, rootsOf(identity)),
  };
}

function stackOf({ layouts, frames }: MachineState, names: FunctionNames): ReportedFrame[] {
  const stack = frames.map(({ layout }) => {
    const { functionIndex, position } = layouts[layout];
    return { function: names.nameOf(functionIndex), functionIndex, byteOffset: position };
  });
  return stack.reverse();
}

function openFilesOf({ host }: MachineState, roots: readonly string[]): ReportedFile[] {
  const { descriptors, files } = decodeHostState(host).wasi;
  const pathOf = ({ root, path }: WasiState['files'][number]['at']): string => join(roots[root] ?? '', path);
  return descriptors.flatMap((descriptor): ReportedFile[] => {
    const { number } = descriptor;
    switch (descriptor.kind) {
      case 'file': {
        const file = files[descriptor.file];
        if (file === undefined) throw new CorruptionError(`descriptor ${number} names a file that is not recorded`);
        return [{ descriptor: number, path: pathOf(file.at), offsetBytes: descriptor.offsetBytes }];
      }
      case 'directory':
        return [{ descriptor: number, path: pathOf(descriptor.at) }];
      case 'inputFile':
        return [{ descriptor: number, path: 'standard input', offsetBytes: descriptor.offsetBytes }];
      case 'stream':
        return [];
    }
  });
}

/** Directories of the host that locations of files begin with: see `Location` in `wasi/host-tree.ts`. */
function rootsOf(identity: JobIdentity): string[] {
  const preopens = identity['preopens'];
  const granted = Array.isArray(preopens) ? (preopens as readonly JsonValue[]) : [];
  const streams = [identity['stdin'], identity['stdout'], identity['stderr']];
  return [
    ...granted.map((grant) => textField(grant, 'hostPath')),
    ...streams.map((stream) => dirname(textField(stream, 'path'))),
  ];
}

function textField(value: JsonValue | undefined, name: string): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return '';
  const field = (value as { readonly [name: string]: JsonValue })[name];
  return typeof field === 'string' ? field : '';
}

function textList(value: JsonValue | undefined): string[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]).map(String) : [];
}
