import { CorruptionError } from '../error/errors.ts';
import { BIAS_BYTES, controlRegion } from '../memory/layout.ts';
import type { CallGraph } from '../rewrite/call-graph.ts';
import { frameBytesOf } from '../rewrite/frame-code.ts';
import type { FrameLayout } from '../rewrite/function-plan.ts';
import { frameValueBytes } from '../rewrite/save-tree.ts';
import { RuntimeKey, droppedDataAddress, droppedElementAddress, runtimeKey } from '../rewrite/runtime-functions.ts';
import { Op } from '../wasm/opcode.ts';
import type { Module } from '../wasm/module.ts';
import { isReferenceType } from '../wasm/value-type.ts';
import type { GuestInstance } from './guest-instance.ts';
import type { MachineState, Phase, StateLayout } from './machine-state.ts';
import {
  ReferenceCapture,
  entryCount,
  restoreGlobal,
  restoreSavedReferences,
  restoreTable,
} from './saved-references.ts';
import type { KnownPosition } from './stack-area.ts';

/** The state of a stopped instance, its pages excepted. */
export function captureState(instance: GuestInstance, phase: Phase, host: Uint8Array): MachineState {
  const { module, graph } = instance.rewritten;
  instance.callRuntime(RuntimeKey.saveGlobals);
  const savedBefore = instance.savedReferenceCount;
  try {
    return { ...stateOfInstance(instance, module, graph), phase, host };
  } finally {
    // What was put behind the frames' references has been looked at.
    instance.savedReferenceCount = savedBefore;
  }
}

function stateOfInstance(
  instance: GuestInstance,
  module: Module,
  graph: CallGraph,
): Omit<MachineState, 'phase' | 'host'> {
  const references = new ReferenceCapture(instance);
  const frames = captureFrames(instance, references);
  const bytes = instance.guestMemory.bytes;
  const cells = numberGlobalCount(instance);
  const dropped = (segments: ReadonlySet<number>, addressOf: (k: number) => number): number[] =>
    [...segments].filter((_, k) => bytes[addressOf(k)] !== 0);
  return {
    globals: bytes.slice(controlRegion.globals, controlRegion.globals + cells * 16),
    referenceGlobals: referenceGlobals(module).map((k) => references.ofGlobal(k)),
    tables: graph.mutatesTables ? module.tables.map((_, k) => references.ofTable(k)) : undefined,
    droppedData: dropped(graph.dataDrops, droppedDataAddress),
    droppedElements: dropped(graph.elemDrops, droppedElementAddress),
    ...frames,
    ...references.saved(),
  };
}

/** Puts a fresh instance into a captured state; its memory has the size and pages of the checkpoint already. */
export function restoreState(instance: GuestInstance, state: MachineState): void {
  refuseOtherShape(instance, state);
  const bytes = instance.guestMemory.bytes;
  bytes.set(state.globals, controlRegion.globals);
  instance.callRuntime(RuntimeKey.loadGlobals);
  restoreSavedReferences(instance, state);
  referenceGlobals(instance.rewritten.module).forEach((global, k) => {
    restoreGlobal(instance, global, state.referenceGlobals[k]);
  });
  state.tables?.forEach((contents, k) => restoreTable(instance, k, contents));
  for (const segment of state.droppedData) instance.callRuntime(runtimeKey(Op.dataDrop, segment, 0));
  for (const segment of state.droppedElements) instance.callRuntime(runtimeKey(Op.elemDrop, segment, 0));
  // Active data segments are passive in the rewritten module; code that names one finds it dropped, as it must.
  instance.callRuntime(RuntimeKey.dropActiveData);
  restoreFrames(instance, state);
  instance.savedReferenceCount = entryCount(state);
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
  refuse('globals of reference type', state.referenceGlobals.length, referenceGlobals(module).length);
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

function captureFrames(
  instance: GuestInstance,
  references: ReferenceCapture,
): Pick<MachineState, 'layouts' | 'frames'> {
  const bytes = instance.guestMemory.bytes;
  const words = new Int32Array(bytes.buffer, 0, BIAS_BYTES >> 2);
  const { positions, starts } = instance.stackArea.walk(words);
  const numbers = new Map<KnownPosition, number>();
  const layouts: StateLayout[] = [];
  const typesOf: (readonly number[])[] = [];
  const frames = positions.map((known, k) => {
    let layout = numbers.get(known);
    if (layout === undefined) {
      layout = layouts.length;
      numbers.set(known, layout);
      const { functionIndex, position, kind } = known;
      const { locals, localTypes, stackTypes } = known.layout;
      layouts.push({ functionIndex, position, kind, locals, localTypes, stackTypes });
      typesOf.push([...localTypes, ...stackTypes]);
    }
    const values = takeValues(words, starts[k], known.layout);
    references.add(typesOf[layout], values);
    return { layout, values };
  });
  return { layouts, frames };
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

/** Mutable globals of reference type. */
function referenceGlobals({ globals }: Module): number[] {
  const indices: number[] = [];
  globals.forEach(({ type, mutable }, k) => {
    if (mutable && isReferenceType(type)) indices.push(k);
  });
  return indices;
}
