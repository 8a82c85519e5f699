import { ContinuoError, CorruptionError } from '../error/errors.ts';
import { BIAS_BYTES, controlRegion } from '../memory/layout.ts';
import { frameBytesOf } from '../rewrite/frame-code.ts';
import type { FrameLayout } from '../rewrite/function-plan.ts';
import { frameValueBytes } from '../rewrite/save-tree.ts';
import { globalExport, tableExport } from '../rewrite/names.ts';
import { RuntimeKey, droppedDataAddress, droppedElementAddress, runtimeKey } from '../rewrite/runtime-functions.ts';
import { Op } from '../wasm/opcode.ts';
import { ValueType, isReferenceType } from '../wasm/value-type.ts';
import type { GuestInstance } from './guest-instance.ts';
import type { MachineState, Phase, StateFrame, StateLayout } from './machine-state.ts';
import type { KnownPosition } from './stack-area.ts';

/** The state of a stopped instance, its pages excepted. */
export function captureState(instance: GuestInstance, phase: Phase, host: Uint8Array): MachineState {
  const { module, graph } = instance.rewritten;
  instance.callRuntime(RuntimeKey.saveGlobals);
  const bytes = instance.guestMemory.bytes;
  const cells = numberGlobalCount(instance);
  const dropped = (segments: ReadonlySet<number>, addressOf: (k: number) => number): number[] =>
    [...segments].filter((_, k) => bytes[addressOf(k)] !== 0);
  return {
    phase,
    globals: bytes.slice(controlRegion.globals, controlRegion.globals + cells * 16),
    referenceGlobals: referenceGlobals(instance).map((global) => referenceNumber(instance, global.value)),
    tables: graph.mutatesTables ? module.tables.map((_, k) => tableContents(instance, k)) : undefined,
    droppedData: dropped(graph.dataDrops, droppedDataAddress),
    droppedElements: dropped(graph.elemDrops, droppedElementAddress),
    ...captureFrames(instance),
    host,
  };
}

/** Puts a fresh instance into a captured state; its memory has the size and pages of the checkpoint already. */
export function restoreState(instance: GuestInstance, state: MachineState): void {
  refuseOtherShape(instance, state);
  const bytes = instance.guestMemory.bytes;
  bytes.set(state.globals, controlRegion.globals);
  instance.callRuntime(RuntimeKey.loadGlobals);
  referenceGlobals(instance).forEach((global, k) => {
    global.value = referenceOf(instance, state.referenceGlobals[k]);
  });
  state.tables?.forEach((contents, k) => restoreTable(instance, k, contents));
  for (const segment of state.droppedData) instance.callRuntime(runtimeKey(Op.dataDrop, segment, 0));
  for (const segment of state.droppedElements) instance.callRuntime(runtimeKey(Op.elemDrop, segment, 0));
  // Active data segments are passive in the rewritten module; code that names one finds it dropped, as it must.
  instance.callRuntime(RuntimeKey.dropActiveData);
  restoreReferences(instance, instance.savedFuncrefs, state.savedFuncrefs);
  restoreReferences(instance, instance.savedExternrefs, state.savedExternrefs);
  restoreFrames(instance, state);
}

/** A state read from a file may be of another program, or damaged where no checksum saw it. */
function refuseOtherShape(instance: GuestInstance, state: MachineState): void {
  const { module, graph } = instance.rewritten;
  const refuse = (what: string, found: number, expected: number): void => {
    if (found === expected) return;
    throw new CorruptionError(`the checkpoint holds ${found} ${what}; the program has ${expected}`, {
      found,
      expected,
    });
  };
  refuse('bytes of globals', state.globals.length, numberGlobalCount(instance) * 16);
  refuse('globals of reference type', state.referenceGlobals.length, referenceGlobals(instance).length);
  if (state.tables !== undefined) refuse('tables', state.tables.length, module.tables.length);
  const refuseUnknown = (dropped: readonly number[], known: ReadonlySet<number>): void => {
    const unknown = dropped.find((segment) => !known.has(segment));
    if (unknown === undefined) return;
    throw new CorruptionError(`the checkpoint says that segment ${unknown} was dropped, which the program cannot do`);
  };
  refuseUnknown(state.droppedData, graph.dataDrops);
  refuseUnknown(state.droppedElements, graph.elemDrops);
}

function numberGlobalCount(instance: GuestInstance): number {
  return instance.rewritten.module.globals.filter(({ type, mutable }) => mutable && !isReferenceType(type)).length;
}

type CapturedFrames = Pick<MachineState, 'layouts' | 'frames' | 'savedFuncrefs' | 'savedExternrefs'>;

function captureFrames(instance: GuestInstance): CapturedFrames {
  const bytes = instance.guestMemory.bytes;
  const words = new Int32Array(bytes.buffer, 0, BIAS_BYTES >> 2);
  const { positions, starts } = instance.stackArea.walk(words);
  const numbers = new Map<KnownPosition, number>();
  const layouts: StateLayout[] = [];
  const frames = positions.map((known, k) => {
    let layout = numbers.get(known);
    if (layout === undefined) {
      layout = layouts.length;
      numbers.set(known, layout);
      const { functionIndex, position, kind } = known;
      const { locals, localTypes, stackTypes } = known.layout;
      layouts.push({ functionIndex, position, kind, locals, localTypes, stackTypes });
    }
    return { layout, values: takeValues(words, starts[k], known.layout) };
  });
  return {
    layouts,
    frames,
    savedFuncrefs: savedReferences(instance, instance.savedFuncrefs, ValueType.funcref, layouts, frames),
    savedExternrefs: savedReferences(instance, instance.savedExternrefs, ValueType.externref, layouts, frames),
  };
}

/** The values of a frame, locals and then operands, without what lies between them in the save area. */
function takeValues(words: Int32Array, start: number, layout: FrameLayout): Uint8Array {
  const { localTypes, localOffsets, stackTypes, stackOffsets } = layout;
  const values = new Int32Array((frameBytesOf(localTypes) + frameBytesOf(stackTypes)) >> 2);
  let at = 0;
  const take = (type: number, offset: number): void => {
    const from = (start + offset) >> 2;
    for (let k = 0; k < frameValueBytes(type) >> 2; k++) values[at++] = words[from + k];
  };
  for (let k = 0; k < localTypes.length; k++) take(localTypes[k], localOffsets[k]);
  for (let k = 0; k < stackTypes.length; k++) take(stackTypes[k], stackOffsets[k]);
  return new Uint8Array(values.buffer);
}

function restoreFrames(instance: GuestInstance, state: MachineState): void {
  const known = state.layouts.map((layout) => {
    const here = instance.stackArea.positionAt(layout.functionIndex, layout.position, layout.kind);
    if (here === undefined) {
      throw new CorruptionError(
        `the checkpoint stands at function ${layout.functionIndex}, byte ${layout.position}, where the program has no safepoint`,
        { functionIndex: layout.functionIndex, position: layout.position },
      );
    }
    return here;
  });
  const bytes = instance.guestMemory.bytes;
  const words = new Int32Array(bytes.buffer, 0, controlRegion.saveArea >> 2);
  const view = new DataView(bytes.buffer);
  let end: number = controlRegion.saveArea;
  for (let k = state.frames.length - 1; k >= 0; k--) {
    const frame = state.frames[k];
    const here = known[frame.layout];
    const next = end + here.layout.bytes;
    if (next > controlRegion.saveArea + controlRegion.saveAreaBytes) {
      throw new CorruptionError(`the checkpoint's stack of ${state.frames.length} frames does not fit the save area`);
    }
    placeValues(bytes, end, state.layouts[frame.layout], frame.values, here);
    view.setInt32(next - 8, here.layout.site, true);
    view.setInt32(next - 4, here.functionIndex * 4 + here.kind, true);
    end = next;
  }
  words[controlRegion.saveAreaPointer >> 2] = end;
}

/** Values of a frame go by local index: another version of the rewriter may know other locals to be live. */
function placeValues(bytes: Uint8Array, at: number, from: StateLayout, values: Uint8Array, to: KnownPosition): void {
  const { layout } = to;
  const wanted = frameBytesOf(from.localTypes) + frameBytesOf(from.stackTypes);
  if (wanted !== values.length || from.stackTypes.join() !== layout.stackTypes.join()) {
    throw new CorruptionError(
      `a frame of function ${from.functionIndex} does not have the values its position asks for`,
    );
  }
  const offsetOf = new Map<number, number>();
  let offset = 0;
  from.locals.forEach((local, k) => {
    offsetOf.set(local, offset);
    offset += frameValueBytes(from.localTypes[k]);
  });
  bytes.fill(0, at, at + layout.bytes);
  layout.locals.forEach((local, k) => {
    const size = frameValueBytes(layout.localTypes[k]);
    const source = offsetOf.get(local);
    if (source !== undefined) bytes.set(values.subarray(source, source + size), at + layout.localOffsets[k]);
  });
  layout.stackTypes.forEach((type, k) => {
    const size = frameValueBytes(type);
    bytes.set(values.subarray(offset, offset + size), at + layout.stackOffsets[k]);
    offset += size;
  });
}

function referenceGlobals(instance: GuestInstance): WebAssembly.Global[] {
  const globals: WebAssembly.Global[] = [];
  instance.rewritten.module.globals.forEach(({ type, mutable }, k) => {
    if (mutable && isReferenceType(type)) globals.push(instance.exports[globalExport(k)] as WebAssembly.Global);
  });
  return globals;
}

/** 0 for null, function index + 1 for a function of the program. */
function referenceNumber(instance: GuestInstance, value: unknown): number {
  if (value === null || value === undefined) return 0;
  if (typeof value === 'function') {
    const original = instance.functionOf(value);
    if (original !== undefined) return original + 1;
  }
  throw new UnsavableReferenceError();
}

/** The program holds a reference to something of the host; a checkpoint must wait until it holds none. */
export class UnsavableReferenceError extends ContinuoError {
  readonly exitCode = 2;
  constructor() {
    super(
      'unsupported-feature',
      'the program holds a reference to an object of the host (an externref, or a function that is not its own), which no checkpoint can hold',
    );
  }
}

function referenceOf(instance: GuestInstance, number: number): unknown {
  if (number === 0) return null;
  if (number - 1 >= instance.rewritten.module.functionTypes.length) {
    throw new CorruptionError(`the checkpoint refers to function ${number - 1}, which the program does not have`);
  }
  return instance.referenceTo(number - 1);
}

function tableContents(instance: GuestInstance, index: number): number[] {
  const table = instance.exports[tableExport(index)] as WebAssembly.Table;
  return Array.from({ length: table.length }, (_, k) => referenceNumber(instance, table.get(k)));
}

function restoreTable(instance: GuestInstance, index: number, contents: readonly number[]): void {
  const table = instance.exports[tableExport(index)] as WebAssembly.Table;
  if (table.length > contents.length) throw new CorruptionError(`the checkpoint's table ${index} is too short`);
  try {
    table.grow(contents.length - table.length);
  } catch (error) {
    throw new CorruptionError(`the checkpoint's table ${index} of ${contents.length} entries is too long`, {}, error);
  }
  const isExtern = instance.rewritten.module.tables[index].type === ValueType.externref;
  contents.forEach((number, k) => table.set(k, isExtern && number === 0 ? null : referenceOf(instance, number)));
}

/** References of a type that the frames name, by their index in the table; 0 for entries that no frame names. */
function savedReferences(
  instance: GuestInstance,
  table: WebAssembly.Table,
  type: number,
  layouts: readonly StateLayout[],
  frames: readonly StateFrame[],
): number[] {
  const numbers: number[] = [];
  for (const { layout, values } of frames) {
    const { localTypes, stackTypes } = layouts[layout];
    if (!localTypes.includes(type) && !stackTypes.includes(type)) continue;
    const view = new DataView(values.buffer, values.byteOffset, values.length);
    let offset = 0;
    for (const valueType of [...localTypes, ...stackTypes]) {
      if (valueType === type) {
        const index = view.getInt32(offset, true);
        while (numbers.length <= index) numbers.push(0);
        numbers[index] = referenceNumber(instance, table.get(index));
      }
      offset += frameValueBytes(valueType);
    }
  }
  return numbers;
}

function restoreReferences(instance: GuestInstance, table: WebAssembly.Table, numbers: readonly number[]): void {
  if (numbers.length > table.length) table.grow(numbers.length - table.length);
  numbers.forEach((number, k) => table.set(k, referenceOf(instance, number)));
}
