import { controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import { Op, PREFIX_SIMD } from '../wasm/opcode.ts';
import { ValueType, isReferenceType } from '../wasm/value-type.ts';
import { frameValueBytes } from './save-tree.ts';

/**
 * The instruction sequences that every rewritten function shares: polls, and the saving and loading of frames.
 *
 *     ;; poll                     ;; callee unwound?            ;; save (cold, at the function's end)
 *     i32.const 0                 i32.const 0                   sp = pointer
 *     i32.load pollWord           i32.load unwindingWord        [sp + 0] = first live local …
 *     br_if $save                 br_if $save                   end frame (n, site code, function)
 *                                                               return zeros
 *
 * Ending a frame — header, check of the area's end, words — is a runtime function: at that point no value of the
 * guest is live any more. A call before that would make V8 spill live values where they are made, in the hot loop.
 */

/** Functions and tables of the rewritten module that the sequences use. */
export interface ReferenceStore {
  /** Function (reference) → its index in the table of saved references. */
  saveFunction(type: number): number;
  /** Function (bytes of the values, site code, function index) that ends a frame and begins or goes on unwinding. */
  endFrameFunction(): number;
  table(type: number): number;
}

export interface FrameValue {
  readonly local: number;
  readonly type: number;
}

/** A value and where it lies in its frame. */
export interface PlacedValue extends FrameValue {
  readonly offset: number;
}

/** Values of these types in the locals from 0 on, one behind the other. */
export function parameterValues(types: Uint8Array): PlacedValue[] {
  let end = 0;
  return Array.from(types, (type, local) => {
    const offset = end;
    end += frameValueBytes(type);
    return { local, type, offset };
  });
}

export function frameBytesOf(types: Iterable<number>): number {
  let bytes = 0;
  for (const type of types) bytes += frameValueBytes(type);
  return bytes;
}

/** What a site tells the code that ends its frame: its number, and whether it captures itself before the instruction. */
export function siteCode(site: number, before: boolean): number {
  return site * 2 + (before ? 1 : 0);
}

export function emitLoadWord(code: ByteWriter, address: number): void {
  code.pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(address);
}

export function emitPoll(code: ByteWriter, counting: boolean): void {
  emitLoadWord(code, controlRegion.pollWord);
  if (!counting) return;
  // left = countdown; countdown = left − 1; captures when left was 0
  const word = controlRegion.safepointCountdown;
  code.pair(Op.i32Const, 0);
  emitLoadWord(code, word);
  code.pair(Op.i32Const, 1).u8(Op.i32Sub).pair(Op.i32Store, 2).u32(word);
  emitLoadWord(code, word);
  code.pair(Op.i32Const, 0).u8(Op.i32LtS).u8(Op.i32Or);
}

export function emitUnwindingTest(code: ByteWriter): void {
  emitLoadWord(code, controlRegion.unwindingWord);
}

/** A load or store of a whole value of a type; the alignment hint is 1 byte, which every address keeps. */
export function emitMemoryInstruction(code: ByteWriter, type: number, store: boolean, offset: number): void {
  switch (type) {
    case ValueType.v128:
      code.pair(0xfd, (store ? Op.v128Store : Op.v128Load) - PREFIX_SIMD).u8(0);
      break;
    case ValueType.i64:
      code.pair(store ? Op.i64Store : Op.i64Load, 0);
      break;
    case ValueType.f32:
      code.pair(store ? Op.f32Store : Op.f32Load, 0);
      break;
    case ValueType.f64:
      code.pair(store ? Op.f64Store : Op.f64Load, 0);
      break;
    default:
      code.pair(store ? Op.i32Store : Op.i32Load, 0);
  }
  code.u32(offset);
}

/** Sets the local `pointer` to where the next frame begins. */
export function emitBeginFrame(code: ByteWriter, pointer: number): void {
  emitLoadWord(code, controlRegion.saveAreaPointer);
  code.u8(Op.localSet).u32(pointer);
}

/** Stores a local's value; the address is on the stack, and `offset` is added to it. */
export function emitSaveValue(
  code: ByteWriter,
  value: FrameValue,
  offset: number,
  references: Pick<ReferenceStore, 'saveFunction'>,
): void {
  const { local, type } = value;
  code.u8(Op.localGet).u32(local);
  const isReference = isReferenceType(type);
  if (isReference) code.u8(Op.call).u32(references.saveFunction(type));
  emitMemoryInstruction(code, isReference ? ValueType.i32 : type, true, offset);
}

/** Stores values at their places in the frame that begins at `pointer`. */
export function emitSaveFrame(
  code: ByteWriter,
  pointer: number,
  values: readonly PlacedValue[],
  references: ReferenceStore,
): void {
  for (const value of values) {
    code.u8(Op.localGet).u32(pointer);
    emitSaveValue(code, value, value.offset, references);
  }
}

/** Stores values at `pointer` upward. */
export function emitSaveValues(
  code: ByteWriter,
  pointer: number,
  values: readonly FrameValue[],
  references: Pick<ReferenceStore, 'saveFunction'>,
): void {
  let offset = 0;
  for (const value of values) {
    code.u8(Op.localGet).u32(pointer);
    emitSaveValue(code, value, offset, references);
    offset += frameValueBytes(value.type);
  }
}

/** Ends a frame whose values take `bytes`. `site` is a site code, or the local that holds it. */
export function emitEndFrame(
  code: ByteWriter,
  bytes: number,
  site: number | { readonly local: number },
  functionIndex: number,
  references: ReferenceStore,
): void {
  code.u8(Op.i32Const).s32(bytes);
  if (typeof site === 'number') code.u8(Op.i32Const).s32(site);
  else code.u8(Op.localGet).u32(site.local);
  code.u8(Op.i32Const).s32(functionIndex);
  code.u8(Op.call).u32(references.endFrameFunction());
}

/** Moves the save area's end to `pointer + bytes`. */
export function emitMovePointer(code: ByteWriter, pointer: number, bytes: number): void {
  code.pair(Op.i32Const, 0).u8(Op.localGet).u32(pointer).u8(Op.i32Const).s32(bytes).u8(Op.i32Add);
  code.pair(Op.i32Store, 2).u32(controlRegion.saveAreaPointer);
}

/** Takes the newest frame, of so many bytes, off the save area: `pointer` becomes its start, its values go to their locals. */
export function emitLoadFrame(
  code: ByteWriter,
  pointer: number,
  values: readonly PlacedValue[],
  frameBytes: number,
  references: ReferenceStore,
): void {
  code.pair(Op.i32Const, 0);
  emitLoadWord(code, controlRegion.saveAreaPointer);
  code.u8(Op.i32Const).s32(frameBytes).u8(Op.i32Sub).u8(Op.localTee).u32(pointer);
  code.pair(Op.i32Store, 2).u32(controlRegion.saveAreaPointer);
  for (const { local, type, offset } of values) {
    emitLoadValue(code, pointer, offset, type, references);
    code.u8(Op.localSet).u32(local);
  }
}

/** Pushes values that were saved at `pointer` upward. */
export function emitLoadValues(
  code: ByteWriter,
  pointer: number,
  types: readonly number[],
  references: Pick<ReferenceStore, 'table'>,
): void {
  let offset = 0;
  for (const type of types) {
    emitLoadValue(code, pointer, offset, type, references);
    offset += frameValueBytes(type);
  }
}

function emitLoadValue(
  code: ByteWriter,
  pointer: number,
  offset: number,
  type: number,
  references: Pick<ReferenceStore, 'table'>,
): void {
  code.u8(Op.localGet).u32(pointer);
  const isReference = isReferenceType(type);
  emitMemoryInstruction(code, isReference ? ValueType.i32 : type, false, offset);
  if (isReference) code.u8(Op.tableGet).u32(references.table(type));
}

export function emitZeros(code: ByteWriter, types: Uint8Array): void {
  for (const type of types) {
    switch (type) {
      case ValueType.i32:
        code.pair(Op.i32Const, 0);
        break;
      case ValueType.i64:
        code.pair(Op.i64Const, 0);
        break;
      case ValueType.f32:
        code.u8(Op.f32Const).raw(zeros, 0, 4);
        break;
      case ValueType.f64:
        code.u8(Op.f64Const).raw(zeros, 0, 8);
        break;
      case ValueType.v128:
        code.pair(0xfd, Op.v128Const - PREFIX_SIMD).raw(zeros, 0, 16);
        break;
      default:
        code.pair(Op.refNull, type);
    }
  }
}

const zeros = new Uint8Array(16);
