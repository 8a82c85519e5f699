import { BIAS_BYTES, PAGE_SHIFT, PageState, controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import type { BodyDecoder } from '../wasm/function-body.ts';
import { Immediate, Op, PREFIX_MISC, PREFIX_SIMD, immediateOf } from '../wasm/opcode.ts';

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

/**
 * The load or store of row `i`: guest address 0 lies at the bias, which is added to the immediate offset. An offset that
 * would pass 2³² − 1 is clamped there, where no memory of ours reaches: such an access always traps, as the guest's would.
 */
export function emitBiasedAccess(code: ByteWriter, body: BodyDecoder, i: number): void {
  const op = body.op[i];
  const offset = Math.min(body.immediate[i] + BIAS_BYTES, 0xffffffff);
  if (op < PREFIX_MISC) code.u8(op);
  else code.u8(0xfd).u32(op - PREFIX_SIMD);
  code.u32(body.immediate2[i]).u32(offset);
  if (immediateOf[op] === Immediate.memoryLane) code.u8(body.module.bytes[body.end[i] - 1]);
}
