import { BIAS_BYTES, PAGE_SHIFT, PageState, controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import type { BodyDecoder } from '../wasm/function-body.ts';
import { Immediate, Op, PREFIX_ATOMIC, PREFIX_MISC, PREFIX_SIMD, immediateOf } from '../wasm/opcode.ts';

/** How far behind a dirty page's end the tracker looks for stores that spilled over. */
export const MARK_REACH_BYTES = 16;

/**
 * Marks the page of a store's first byte dirty; the address is on the stack. A store that spills into the next page
 * is found by the tracker, which compares the first 16 bytes behind each dirty page: so a store within 16 bytes of the
 * address may be marked by the address alone, without its offset.
 */
export function emitMark(code: ByteWriter, offset: number, accessBytes: number): void {
  if (offset + accessBytes > MARK_REACH_BYTES) {
    code.u8(Op.i32Const);
    code.s32(offset | 0).u8(Op.i32Add);
  }
  code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
  code.pair(Op.i32Const, PageState.dirty).pair(Op.i32Store8, 0).u32(controlRegion.pageStates);
}

function biasedOffset(body: BodyDecoder, i: number): number {
  return Math.min(body.immediate[i] + BIAS_BYTES, 0xffffffff);
}

function emitAccessOpcode(code: ByteWriter, op: number): void {
  if (op < PREFIX_MISC) code.u8(op);
  else if (op < PREFIX_ATOMIC) code.u8(0xfd).u32(op - PREFIX_SIMD);
  else code.u8(0xfe).u32(op - PREFIX_ATOMIC);
}

export function isWait(op: number): boolean {
  return op === Op.atomicWait32 || op === Op.atomicWait64;
}

/**
 * Before an `atomic.wait` of row `i`, whose operands are in locals: nobody else is there to wake the guest, so what would
 * wait for good traps instead, as any wait does on a memory that is not shared.
 */
export function emitEndlessWait(
  code: ByteWriter,
  body: BodyDecoder,
  i: number,
  locals: { readonly address: number; readonly expected: number; readonly timeout: number },
): void {
  if (body.module.memory?.shared !== true) {
    code.u8(Op.unreachable);
    return;
  }
  const wide = body.op[i] === Op.atomicWait64;
  code.u8(Op.localGet).u32(locals.timeout).pair(Op.i64Const, 0).u8(Op.i64LtS).pair(Op.if, 0x40);
  code.u8(Op.localGet).u32(locals.address);
  emitAccessOpcode(code, wide ? Op.i64AtomicLoad : Op.i32AtomicLoad);
  code.u32(body.immediate2[i]).u32(biasedOffset(body, i));
  code
    .u8(Op.localGet)
    .u32(locals.expected)
    .u8(wide ? Op.i64Eq : Op.i32Eq);
  code.pair(Op.if, 0x40).u8(Op.unreachable).u8(Op.end).u8(Op.end);
}

/**
 * The load or store of row `i`: guest address 0 lies at the bias, which is added to the immediate offset. An offset that
 * would pass 2³² − 1 is clamped there, where no memory of ours reaches: such an access always traps, as the guest's would.
 */
export function emitBiasedAccess(code: ByteWriter, body: BodyDecoder, i: number): void {
  const op = body.op[i];
  emitAccessOpcode(code, op);
  code.u32(body.immediate2[i]).u32(biasedOffset(body, i));
  if (immediateOf[op] === Immediate.memoryLane) code.u8(body.module.bytes[body.end[i] - 1]);
}
