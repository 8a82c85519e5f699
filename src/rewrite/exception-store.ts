import { ByteWriter } from '../wasm/byte-writer.ts';
import { CatchKind } from '../wasm/immediate.ts';
import type { Module } from '../wasm/module.ts';
import { Op, PREFIX_MISC } from '../wasm/opcode.ts';
import { type FunctionType, ValueType } from '../wasm/value-type.ts';
import { type FrameValue, type ReferenceStore, emitLoadValues, emitSaveValues } from './frame-code.ts';
import { type TypeSection, emitBlockType } from './module-encoder.ts';

/**
 * Functions of ours that take references to exceptions apart and make them again, which JavaScript cannot.
 *
 * A captured stack keeps such references in a table, as it keeps others, so an instance that goes on has the very
 * exceptions. A checkpoint needs what they stand for, the tag and the values:
 *
 *     note (index, address) → tag + 1       throws the table's entry into a try_table that has a clause for each tag, and
 *                                           stores the values at the address; 0 for null, −1 where no tag fits
 *     make (index, address, tag + 1)        throws the tag with the values there, and puts what it caught into the table
 *     save, load of a global, a table       between them and the table, whose index −1 stands for null
 *
 * A value that is a reference itself is the index of an entry in the table of its type, as in a frame.
 */
export const ExceptionKey = {
  note: 'note exception',
  make: 'make exception',
  saveGlobal: (index: number): string => `save exception global ${index}`,
  loadGlobal: (index: number): string => `load exception global ${index}`,
  saveEntry: (table: number): string => `save exception of table ${table}`,
  loadEntry: (table: number): string => `load exception of table ${table}`,
} as const;

export interface ExceptionStoreContext {
  readonly module: Module;
  readonly types: TypeSection;
  readonly references: Pick<ReferenceStore, 'saveFunction' | 'table'>;
}

interface ExceptionFunction {
  readonly key: string;
  readonly type: FunctionType;
  readonly code: ByteWriter;
  readonly localTypes: readonly number[];
}

const { i32: I, exnref: E } = ValueType;
const none = new Uint8Array(0);
const i32s = (count: number): Uint8Array => new Uint8Array(count).fill(I);

/** All of them, as far as the module has globals and tables for them. */
export function exceptionFunctions(context: ExceptionStoreContext): ExceptionFunction[] {
  const { globals, tables } = context.module;
  const functions = [noteFunction(context), makeFunction(context)];
  globals.forEach(({ type, mutable }, index) => {
    if (type === E && mutable) functions.push(...globalFunctions(context, index));
  });
  tables.forEach(({ type }, index) => {
    if (type === E) functions.push(...tableFunctions(context, index));
  });
  return functions;
}

function noteFunction({ module, types, references }: ExceptionStoreContext): ExceptionFunction {
  const [index, address, exception] = [0, 1, 2];
  const { tagTypes } = module;
  const code = new ByteWriter();
  code.pair(Op.localGet, index).u8(Op.tableGet).u32(references.table(E));
  code.pair(Op.localTee, exception).u8(Op.refIsNull);
  code.pair(Op.if, 0x40).pair(Op.i32Const, 0).pair(Op.return, Op.end);
  code.pair(Op.block, 0x40);
  for (let tag = tagTypes.length - 1; tag >= 0; tag--) {
    code.u8(Op.block);
    emitBlockType(code, module.types[tagTypes[tag]].params, types);
  }
  code.pair(Op.tryTable, 0x40).u32(tagTypes.length + 1);
  for (let tag = 0; tag < tagTypes.length; tag++) code.u8(CatchKind.catch).u32(tag).u32(tag);
  code.u8(CatchKind.catchAll).u32(tagTypes.length);
  code.pair(Op.localGet, exception).pair(Op.throwRef, Op.end).u8(Op.unreachable);
  const localTypes: number[] = [E];
  for (let tag = 0; tag < tagTypes.length; tag++) {
    code.u8(Op.end);
    const values = Array.from(module.types[tagTypes[tag]].params, (type): FrameValue => ({
      local: address + localTypes.push(type),
      type,
    }));
    for (const { local } of values.toReversed()) code.u8(Op.localSet).u32(local);
    emitSaveValues(code, address, values, references);
    code
      .u8(Op.i32Const)
      .s32(tag + 1)
      .u8(Op.return);
  }
  code.u8(Op.end).u8(Op.i32Const).s32(-1);
  return { key: ExceptionKey.note, type: { params: i32s(2), results: i32s(1) }, code, localTypes };
}

function makeFunction({ module, references }: ExceptionStoreContext): ExceptionFunction {
  const [index, address, number, exception] = [0, 1, 2, 3];
  const code = new ByteWriter();
  code.pair(Op.block, E).pair(Op.tryTable, 0x40).u32(1).pair(CatchKind.catchAllRef, 0);
  module.tagTypes.forEach((type, tag) => {
    code
      .pair(Op.localGet, number)
      .u8(Op.i32Const)
      .s32(tag + 1);
    code.u8(Op.i32Eq).pair(Op.if, 0x40);
    emitLoadValues(code, address, Array.from(module.types[type].params), references);
    code.u8(Op.throw).u32(tag).u8(Op.end);
  });
  code.u8(Op.end).pair(Op.refNull, E).u8(Op.end).pair(Op.localSet, exception);
  emitSetEntry(code, references.table(E), index, () => code.pair(Op.localGet, exception));
  return { key: ExceptionKey.make, type: { params: i32s(3), results: none }, code, localTypes: [E] };
}

function globalFunctions({ references }: ExceptionStoreContext, global: number): ExceptionFunction[] {
  const save = new ByteWriter().u8(Op.globalGet).u32(global).u8(Op.call).u32(references.saveFunction(E));
  const load = new ByteWriter();
  emitSavedOrNull(load, references.table(E), 0);
  load.u8(Op.globalSet).u32(global);
  return [
    { key: ExceptionKey.saveGlobal(global), type: { params: none, results: i32s(1) }, code: save, localTypes: [] },
    { key: ExceptionKey.loadGlobal(global), type: { params: i32s(1), results: none }, code: load, localTypes: [] },
  ];
}

function tableFunctions({ references }: ExceptionStoreContext, table: number): ExceptionFunction[] {
  const save = new ByteWriter().pair(Op.localGet, 0).u8(Op.tableGet).u32(table);
  save.u8(Op.call).u32(references.saveFunction(E));
  const load = new ByteWriter();
  emitSetEntry(load, table, 0, () => emitSavedOrNull(load, references.table(E), 1));
  return [
    { key: ExceptionKey.saveEntry(table), type: { params: i32s(1), results: i32s(1) }, code: save, localTypes: [] },
    { key: ExceptionKey.loadEntry(table), type: { params: i32s(2), results: none }, code: load, localTypes: [] },
  ];
}

/** The entry of the table of saved ones that the index in a local names. */
function emitSavedOrNull(code: ByteWriter, savedTable: number, index: number): void {
  code.pair(Op.localGet, index).pair(Op.i32Const, 0).u8(Op.i32LtS).pair(Op.if, E).pair(Op.refNull, E).u8(Op.else);
  code.pair(Op.localGet, index).u8(Op.tableGet).u32(savedTable).u8(Op.end);
}

/** Sets the entry of a table that the index in a local names; a table that is too short grows to it. */
function emitSetEntry(code: ByteWriter, table: number, index: number, emitValue: () => void): void {
  const bulk = (op: number): void => {
    code
      .u8(0xfc)
      .u32(op - PREFIX_MISC)
      .u32(table);
  };
  code.pair(Op.localGet, index);
  bulk(Op.tableSize);
  code.u8(Op.i32GeU).pair(Op.if, 0x40).pair(Op.refNull, E);
  code.pair(Op.localGet, index).pair(Op.i32Const, 1).u8(Op.i32Add);
  bulk(Op.tableSize);
  code.u8(Op.i32Sub);
  bulk(Op.tableGrow);
  code.pair(Op.i32Const, 0x7f).u8(Op.i32Eq).pair(Op.if, 0x40).u8(Op.unreachable).u8(Op.end).u8(Op.end);
  code.pair(Op.localGet, index);
  emitValue();
  code.u8(Op.tableSet).u32(table);
}
