/** The state of WASI as a checkpoint stores it: plain JSON, free of anything of one process or one machine. */
import { CorruptionError } from '../error/errors.ts';
import type { Check } from './checked-json.ts';
import {
  ShapeError,
  constant,
  count,
  digits,
  finite,
  flag,
  list,
  nullable,
  oneOf,
  record,
  text,
  variant,
} from './checked-json.ts';
import type { ClockState } from './guest-clock.ts';
import type { HeldPart } from './held-output.ts';
import type { Location } from './host-tree.ts';
import type { OutputStreamState, StandardOutputState } from './standard-output.ts';
import { checkLocation } from './undo-record.ts';

/** A file that descriptors are open on. */
export interface FileState {
  at: Location;
  inode: string;
  /** Size to cut it to; null where the guest has not changed it. */
  lengthBytes: number | null;
}

interface DescriptorStateBase {
  number: number;
  flags: number;
  rights: number;
  inheriting: number;
}

export type DescriptorState =
  | (DescriptorStateBase & { kind: 'file'; file: number; access: 'read' | 'write' | 'both'; offsetBytes: number })
  | (DescriptorStateBase & {
      kind: 'directory';
      at: Location;
      inode: string;
      preopen: number | null;
      removed: boolean;
      listing: { names: string[]; fileTypes: number[] } | null;
    })
  /** Standard input, inherited as a regular file. */
  | (DescriptorStateBase & { kind: 'inputFile'; offsetBytes: number })
  /** 0 standard input, 1 standard output, 2 standard error. */
  | (DescriptorStateBase & { kind: 'stream'; stream: number });

export interface WasiState {
  version: 1;
  /** The undo journals from this generation on tell what changed in the host's files after this state. */
  generation: number;
  clock: ClockState;
  waitStartMs: number | null;
  /** What an interrupted write to a stream had written; absent for nothing. */
  interruptedWriteBytes?: number;
  input: { offsetBytes: number; unreadBase64: string };
  output: StandardOutputState;
  files: FileState[];
  descriptors: DescriptorState[];
  asides: { at: Location; inode: string }[];
}

const descriptorBase = { number: count, flags: count, rights: count, inheriting: count };

const checkDescriptor: Check<DescriptorState> = variant<DescriptorState>({
  file: record({
    ...descriptorBase,
    kind: constant('file'),
    file: count,
    access: oneOf('read', 'write', 'both'),
    offsetBytes: count,
  }),
  directory: record({
    ...descriptorBase,
    kind: constant('directory'),
    at: checkLocation,
    inode: digits,
    preopen: nullable(count),
    removed: flag,
    listing: nullable(record<{ names: string[]; fileTypes: number[] }>({ names: list(text), fileTypes: list(count) })),
  }),
  inputFile: record({ ...descriptorBase, kind: constant('inputFile'), offsetBytes: count }),
  stream: record({ ...descriptorBase, kind: constant('stream'), stream: count }),
});

const checkState: Check<WasiState> = record<WasiState>({
  version: (value, place) => {
    if (value !== 1) throw new ShapeError(place, '1');
    return 1;
  },
  generation: count,
  clock: record<ClockState>({ monotonicMs: finite, processorMs: finite }),
  waitStartMs: nullable(finite),
  interruptedWriteBytes: (value, place) => (value === undefined ? undefined : count(value, place)),
  input: record<WasiState['input']>({ offsetBytes: count, unreadBase64: text }),
  output: record<StandardOutputState>({
    streams: list(
      record<OutputStreamState>({ producedBytes: count, releasedBytes: count, fileBytes: nullable(count) }),
    ),
    held: list(record<HeldPart>({ generation: count, lengthBytes: count, checksum: count })),
  }),
  files: list(record<FileState>({ at: checkLocation, inode: digits, lengthBytes: nullable(count) })),
  descriptors: list(checkDescriptor),
  asides: list(record<{ at: Location; inode: string }>({ at: checkLocation, inode: digits })),
});

/** Checks what came out of a checkpoint. Errors: CorruptionError. */
export function parseWasiState(value: unknown): WasiState {
  try {
    return checkState(value, 'state');
  } catch (error) {
    throw new CorruptionError(
      `the checkpoint's record of open files cannot be read: ${error instanceof Error ? error.message : String(error)}; ` +
        'continue the job with the version of Continuo that wrote it',
      {},
      error,
    );
  }
}
