import { controlRegion } from '../memory/layout.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { type Module, functionType } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { type FunctionType, ValueType, isReferenceType } from '../wasm/value-type.ts';
import type { CallGraph } from './call-graph.ts';
import {
  type FrameValue,
  type ReferenceStore,
  emitLoadValues,
  emitSaveValues,
  emitUnwindingTest,
} from './frame-code.ts';
import { runtimeTypes } from './runtime-functions.ts';

/**
 * Doors: how code outside of an instance calls its functions when the instance is hosted by an embedder.
 *
 * A function that can be captured returns early when it is, and its caller must know. Callers inside the module do;
 * others — JavaScript, other instances, through exports, tables and references — do not. So wherever the guest lets go
 * of a reference to a function, it gives that of the function's door:
 *
 *     func $door (params) (results)            func $enter                      func $finish (slot)   ;; module of its own
 *       if the guest runs already:               params from the cells            resume function in the slot
 *         return_call the function               call the function                unless it unwound:
 *       params to the cells                      unless it unwound:                 results to the cells
 *       call the host, which calls $enter          results to the cells
 *       and, after each capture, $finish
 *       results from the cells
 *
 * Values pass through cells of the control region, bit for bit: JavaScript may change the bits of a NaN and has no
 * vectors. The cells are taken at once by whoever they are for, so that nested calls need no stack of them.
 *
 * Functions that cannot be captured need no door.
 */
export interface DoorContext extends ReferenceStore {
  /** Global of the rewritten module that is 1 while its own code runs, 0 while the host or another instance does. */
  readonly insideGlobal: number;
  readonly functionsTable: number;
  /** Entry of that table which holds the host's function (original function index). */
  readonly hostEntry: number;
  readonly hostType: number;
}

export const enterKey = (functionIndex: number): string => `enter ${functionIndex}`;

/** Original functions that need a door: the guest may let go of a reference to them, and they can be captured. */
export function functionsBehindDoors(module: Module, graph: CallGraph): number[] {
  const list: number[] = [];
  for (let f = 0; f < module.functionTypes.length; f++) {
    if (graph.canUnwind[f] && (graph.addressTaken[f] || f === module.startFunction)) list.push(f);
  }
  return list;
}

const cellsOf = (types: Uint8Array, firstLocal: number): FrameValue[] =>
  Array.from(types, (type, k) => ({ local: firstLocal + k, type }));

export function emitCells(code: ByteWriter, pointer: number): void {
  code.u8(Op.i32Const).s32(controlRegion.scratch).u8(Op.localSet).u32(pointer);
}

/** References in cells are indices into the tables of saved references, which are free while nothing is captured. */
export function emitForgetReferences(code: ByteWriter, types: Uint8Array): void {
  if (!types.some(isReferenceType)) return;
  code.pair(Op.i32Const, 0).pair(Op.i32Const, 0).pair(Op.i32Store, 2).u32(controlRegion.savedReferenceCount);
}

/** The door of the function `index` of the rewritten module, which stands for `original`. */
export function doorBody(
  original: number,
  index: number,
  { params, results }: FunctionType,
  context: DoorContext,
): Uint8Array {
  const pointer = params.length;
  const code = new ByteWriter();
  code.u32(1).u32(1).u8(ValueType.i32);
  code.u8(Op.globalGet).u32(context.insideGlobal).pair(Op.if, 0x40);
  for (let k = 0; k < params.length; k++) code.u8(Op.localGet).u32(k);
  code.u8(Op.returnCall).u32(index).u8(Op.end);
  emitCells(code, pointer);
  emitSaveValues(code, pointer, cellsOf(params, 0), context);
  code.u8(Op.i32Const).s32(original).u8(Op.i32Const).s32(context.hostEntry);
  code.u8(Op.callIndirect).u32(context.hostType).u32(context.functionsTable);
  emitLoadValues(code, pointer, Array.from(results), context);
  emitForgetReferences(code, results);
  return code.u8(Op.end).toBytes();
}

/** `[] → []`: calls the function with the parameters in the cells. */
export function enterBody(index: number, { params, results }: FunctionType, context: DoorContext): Uint8Array {
  const pointer = params.length + results.length;
  const code = new ByteWriter();
  emitDeclarations(code, [...params, ...results, ValueType.i32]);
  emitCells(code, pointer);
  emitLoadValues(code, pointer, Array.from(params), context);
  emitForgetReferences(code, params);
  code.u8(Op.call).u32(index);
  emitStoreResults(code, results, params.length, pointer, context);
  return code.u8(Op.end).toBytes();
}

export function emitDeclarations(code: ByteWriter, types: readonly number[]): void {
  code.u32(types.length);
  for (const type of types) code.u32(1).u8(type);
}

/** The results are on the stack: to the cells, unless the function unwound and they mean nothing. */
export function emitStoreResults(
  code: ByteWriter,
  results: Uint8Array,
  firstLocal: number,
  pointer: number,
  references: ReferenceStore,
): void {
  for (let k = results.length - 1; k >= 0; k--) code.u8(Op.localSet).u32(firstLocal + k);
  emitUnwindingTest(code);
  code.pair(Op.if, 0x40).u8(Op.return).u8(Op.end);
  emitSaveValues(code, pointer, cellsOf(results, firstLocal), references);
}

/** The bodies and types of all doors and of what they lead to, in order of index: door, enter, door, enter, … */
export function makeDoors(
  module: Module,
  originals: readonly number[],
  indexOf: (original: number) => number,
  context: DoorContext,
): { readonly type: FunctionType; readonly body: Uint8Array }[] {
  return originals.flatMap((original) => {
    const type = functionType(module, original);
    return [
      { type, body: doorBody(original, indexOf(original), type, context) },
      { type: runtimeTypes.nothing, body: enterBody(indexOf(original), type, context) },
    ];
  });
}
