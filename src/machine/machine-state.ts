import { CorruptionError } from '../error/errors.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';

/**
 * What a checkpoint holds besides pages, in terms of the original program: no host address, no number that depends on
 * the rewriter, the tracker or the engine.
 *
 *   version │ phase │ figures │ globals │ reference globals │ tables │ dropped segments │ saved references │ layouts │ frames │ WASI
 *
 * Frames name a layout, of which there are few however deep the stack: position, live locals by index, operand types.
 * A reference in a frame is an index into the saved references of its type: function indices + 1, 0 for null; of
 * exceptions tag indices + 1 and values. Globals and tables of exceptions hold indices of saved ones + 1.
 */
export interface MachineState {
  readonly phase: Phase;
  /** One 16-byte cell per mutable global of number or vector type. */
  readonly globals: Uint8Array;
  /** One per mutable global of reference type. */
  readonly referenceGlobals: readonly number[];
  /** Contents of each table; undefined when the program cannot change its tables. */
  readonly tables: readonly (readonly number[])[] | undefined;
  readonly droppedData: readonly number[];
  readonly droppedElements: readonly number[];
  readonly savedFuncrefs: readonly number[];
  readonly savedExternrefs: readonly number[];
  readonly savedExceptions: readonly SavedException[];
  readonly layouts: readonly StateLayout[];
  /** Outermost first. */
  readonly frames: readonly StateFrame[];
  /** State of the host functions, as their own code encodes it. */
  readonly host: Uint8Array;
}

/** An exception that the program refers to. */
export interface SavedException {
  /** 0 for null, and for entries that nothing names. */
  readonly tagNumber: number;
  /** What it carries, in order, as in a frame; a reference to another exception is the index of a later one. */
  readonly values: Uint8Array;
}

/** Where the program stands in the calls that make it up: `calls[call]` is on the stack, or `finished`. */
export interface Phase {
  readonly call: number;
  readonly finished: boolean;
  /** The exit code of a finished program. */
  readonly exitCode: number;
  /** Time the guest has run so far, all starts together, milliseconds. */
  readonly guestMs: number;
  /** Runs of the job that ended without a checkpoint to stop at, as far as later ones know; undefined for none. */
  readonly failures?: number;
  /** What paging had done in this run when the checkpoint was begun; undefined where all pages were resident. */
  readonly paging?: PagingFigures;
}

/** For people who look at a checkpoint; nothing depends on them. The order is that of the file. */
export const pagingFigureNames = [
  'frames', 'residentPages', 'residentDirtyPages', 'inactivePages', 'softFaults', 'hardFaults', 'zeroFaults', 'pageOuts', 'clusters', 'pageIns',
  'pagesWrittenContinuous',
] as const; // prettier-ignore

export type PagingFigures = Readonly<Record<(typeof pagingFigureNames)[number], number>>;

export interface StateLayout {
  readonly functionIndex: number;
  readonly position: number;
  readonly kind: number;
  readonly locals: readonly number[];
  readonly localTypes: readonly number[];
  readonly stackTypes: readonly number[];
}

export interface StateFrame {
  /** Index into `layouts`. */
  readonly layout: number;
  /** Values of the locals, then of the operand stack, without a header. */
  readonly values: Uint8Array;
}

/** Version 1 had no figures of paging, version 2 neither failures nor exceptions. */
const STATE_VERSION = 3;

export function encodeMachineState(state: MachineState): Uint8Array {
  const out = new ByteWriter(1024 + state.host.length + state.globals.length);
  out
    .u32(STATE_VERSION)
    .u32(state.phase.call)
    .u8(state.phase.finished ? 1 : 0)
    .s32(state.phase.exitCode);
  out.raw(new Uint8Array(Float64Array.of(state.phase.guestMs).buffer));
  const { paging, failures = 0 } = state.phase;
  out.u32(failures);
  const figures = paging === undefined ? [] : pagingFigureNames.map((name) => paging[name]);
  out.u32(figures.length).raw(new Uint8Array(Float64Array.from(figures).buffer));
  writeBytes(out, state.globals);
  writeNumbers(out, state.referenceGlobals);
  out.u32(state.tables === undefined ? 0 : state.tables.length + 1);
  for (const table of state.tables ?? []) writeNumbers(out, table);
  writeNumbers(out, state.droppedData);
  writeNumbers(out, state.droppedElements);
  writeNumbers(out, state.savedFuncrefs);
  writeNumbers(out, state.savedExternrefs);
  out.u32(state.savedExceptions.length);
  for (const { tagNumber, values } of state.savedExceptions) writeBytes(out.u32(tagNumber), values);
  out.u32(state.layouts.length);
  for (const layout of state.layouts) {
    out.u32(layout.functionIndex).u32(layout.position).u8(layout.kind);
    writeNumbers(out, layout.locals);
    for (const type of layout.localTypes) out.u8(type);
    out.u32(layout.stackTypes.length);
    for (const type of layout.stackTypes) out.u8(type);
  }
  out.u32(state.frames.length);
  for (const { layout, values } of state.frames) {
    out.u32(layout);
    writeBytes(out, values);
  }
  writeBytes(out, state.host);
  return out.toBytes();
}

/** @throws CorruptionError when the bytes are not a machine state of this version. */
export function decodeMachineState(bytes: Uint8Array): MachineState {
  const reader = new ByteReader(bytes);
  try {
    const version = reader.u32();
    if (version < 1 || version > STATE_VERSION) {
      throw new CorruptionError(
        `the machine state has version ${version}; this Continuo reads versions up to ${STATE_VERSION}`,
      );
    }
    const call = reader.u32();
    const finished = reader.u8() === 1;
    const exitCode = reader.s32();
    const guestMs = new DataView(readRaw(reader, 8).buffer).getFloat64(0, true);
    const failures = version < 3 ? 0 : reader.u32();
    const paging = version === 1 ? undefined : readPagingFigures(reader);
    const globals = readBytes(reader);
    const referenceGlobals = readNumbers(reader);
    const tableCount = reader.u32();
    const tables = tableCount === 0 ? undefined : readList(reader, tableCount - 1, readNumbers);
    const droppedData = readNumbers(reader);
    const droppedElements = readNumbers(reader);
    const savedFuncrefs = readNumbers(reader);
    const savedExternrefs = readNumbers(reader);
    const savedExceptions = version < 3 ? [] : readList(reader, reader.u32(), readException);
    const layouts = readList(reader, reader.u32(), readLayout);
    const frames = readList(reader, reader.u32(), readFrame);
    for (const frame of frames) {
      if (frame.layout >= layouts.length)
        throw new CorruptionError(`a frame names layout ${frame.layout} of ${layouts.length}`);
    }
    const host = readBytes(reader);
    const known = failures === 0 ? {} : { failures };
    const phase = { call, finished, exitCode, guestMs, ...known, ...(paging === undefined ? {} : { paging }) };
    return {
      phase, globals, referenceGlobals, tables, droppedData, droppedElements, savedFuncrefs, savedExternrefs, savedExceptions,
      layouts, frames, host,
    }; // prettier-ignore
  } catch (error) {
    if (error instanceof CorruptionError) throw error;
    throw new CorruptionError(
      'the machine state of the checkpoint cannot be read',
      { stateBytes: bytes.length },
      error,
    );
  }
}

function readPagingFigures(reader: ByteReader): PagingFigures | undefined {
  const count = reader.u32();
  if (count === 0) return undefined;
  if (count !== pagingFigureNames.length) throw new CorruptionError(`the machine state has ${count} figures of paging`);
  const figures = new Float64Array(readRaw(reader, 8 * count).buffer);
  return Object.fromEntries(pagingFigureNames.map((name, k) => [name, figures[k]])) as PagingFigures;
}

function readLayout(reader: ByteReader): StateLayout {
  const functionIndex = reader.u32();
  const position = reader.u32();
  const kind = reader.u8();
  const locals = readNumbers(reader);
  const localTypes = Array.from(readRaw(reader, locals.length));
  const stackTypes = Array.from(readRaw(reader, reader.u32()));
  return { functionIndex, position, kind, locals, localTypes, stackTypes };
}

function readException(reader: ByteReader): SavedException {
  return { tagNumber: reader.u32(), values: readBytes(reader) };
}

function readFrame(reader: ByteReader): StateFrame {
  return { layout: reader.u32(), values: readBytes(reader) };
}

function writeBytes(out: ByteWriter, bytes: Uint8Array): void {
  out.u32(bytes.length).raw(bytes);
}

function writeNumbers(out: ByteWriter, numbers: readonly number[]): void {
  out.u32(numbers.length);
  for (const number of numbers) out.u32(number);
}

/** A copy: the caller may keep it, and it is aligned for any view. */
function readRaw(reader: ByteReader, length: number): Uint8Array<ArrayBuffer> {
  const start = reader.position;
  reader.skip(length);
  return new Uint8Array(reader.bytes.subarray(start, start + length));
}

function readBytes(reader: ByteReader): Uint8Array {
  return readRaw(reader, reader.u32());
}

function readNumbers(reader: ByteReader): number[] {
  return readList(reader, reader.u32(), (from) => from.u32());
}

function readList<T>(reader: ByteReader, count: number, readOne: (reader: ByteReader) => T): T[] {
  const list: T[] = [];
  for (let i = 0; i < count; i++) list.push(readOne(reader));
  return list;
}
