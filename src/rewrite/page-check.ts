import { PAGE_SHIFT, PageAccess, controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import { Op } from '../wasm/opcode.ts';

/**
 * The test before a load or store of a guest that has fewer frames than pages. With e = address + offset, modulo 2³²:
 *
 *     state[index(e)] < wanted                 ;; 1 to read, 3 to write; unlikely
 *     if  call $ensure (e, bytes, write)  end
 *     the access, in its place
 *
 * Pages lie where they always lie, so the access does not wait for the test: an engine's processor runs both at once, and
 * what a translated address would cost (the first design: 1.8× and more) is not paid.
 *
 * An access whose instruction promises natural alignment has one byte to look at, and an odd address must not pass by
 * it, since it might reach into the next page. So the low bits of the address are rotated above the page's number:
 *
 *     index(e) = rotr(e, 12) & (2²⁰ − 1 | (bytes − 1) << 20)
 *
 * Behind the state bytes of all pages the window is zero, so an address that is not aligned is never let pass; `ensure`
 * then looks closer. An access that promises less looks at the states of its first and last byte.
 *
 * Addresses outside of the guest's memory have no state that passes; `ensure` lets them go on to the access, which traps.
 */
export function emitPageCheck(
  code: ByteWriter,
  unlikelyBranches: number[],
  check: {
    /** Local that holds the address, without the instruction's offset. */
    readonly address: number;
    readonly offset: number;
    readonly bytes: number;
    /** Whether the instruction promises natural alignment. */
    readonly aligned: boolean;
    readonly store: boolean;
    readonly ensureFunction: number;
  },
): void {
  const { address, offset, bytes, store } = check;
  emitSum(code, address, offset);
  if (check.aligned || bytes === 1) {
    if (bytes === 1) code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
    else {
      code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32Rotr);
      code
        .u8(Op.i32Const)
        .s32(PAGE_INDEX_MASK | ((bytes - 1) << PAGE_INDEX_BITS))
        .u8(Op.i32And);
    }
    code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates);
  } else {
    code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
    code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates);
    emitSum(code, address, offset + bytes - 1);
    code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
    code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates).u8(Op.i32And);
  }
  emitAccessTest(code, store);
  unlikelyBranches.push(code.length);
  code.pair(Op.if, 0x40);
  emitSum(code, address, offset);
  code
    .u8(Op.i32Const)
    .s32(bytes)
    .pair(Op.i32Const, store ? 1 : 0);
  code.u8(Op.call).u32(check.ensureFunction).u8(Op.end);
}

/** Before a store to pages that are there and pinned, though perhaps only to be read so far. */
export function emitRaise(code: ByteWriter, address: number, offset: number, bytes: number): void {
  for (const end of bytes === 1 ? [offset] : [offset, offset + bytes - 1]) {
    emitSum(code, address, end);
    code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
    code.pair(Op.i32Const, PageAccess.writable).pair(Op.i32Store8, 0).u32(controlRegion.pageStates);
  }
}

const PAGE_INDEX_BITS = 32 - PAGE_SHIFT;
const PAGE_INDEX_MASK = 2 ** PAGE_INDEX_BITS - 1;

/** A joined access byte is on the stack: 1 when it does not suffice. */
export function emitAccessTest(code: ByteWriter, store: boolean): void {
  if (store) code.pair(Op.i32Const, PageAccess.writable).u8(Op.i32LtU);
  else code.u8(Op.i32Eqz);
}

function emitSum(code: ByteWriter, address: number, offset: number): void {
  code.u8(Op.localGet).u32(address);
  if (offset > 0)
    code
      .u8(Op.i32Const)
      .s32(offset | 0)
      .u8(Op.i32Add);
}
