import { BIAS_BYTES, PAGE_BYTES, PAGE_SHIFT, PageAccess, controlRegion } from '../memory/layout.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { Op, PREFIX_MISC } from '../wasm/opcode.ts';

/**
 * The memory instructions of a guest whose pages may be absent: they go page by page, each piece made accessible
 * before it is touched. Bounds are checked for the whole first, as the specification wants it.
 *
 * A piece of a copy pins both of its pages, so that the second one does not drive the first one out.
 */
export interface PagedCode {
  readonly code: ByteWriter;
  /** Index of `ensure`: (guest address, bytes within a page or two, write). */
  readonly ensure: number;
}

/**
 * (guest address e, bytes, write): what the check before an access could not let pass. An access that crosses to the next
 * page, or is not aligned, may go on when both pages are there. The first write to a page only raises its state, unless the
 * pager must hear of it. All else is the pager's; when it fails the guest traps, which no handler of the guest can catch.
 */
export function ensureCode(faultType: number, functionsTable: number, faultEntry: number): ByteWriter {
  const [address, bytes, write, first, last, joined] = [0, 1, 2, 3, 4, 5];
  const code = new ByteWriter();
  code.pair(Op.localGet, address).pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU).pair(Op.localTee, first);
  code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates);
  code.pair(Op.localGet, address).pair(Op.localGet, bytes).u8(Op.i32Add).pair(Op.i32Const, 1).u8(Op.i32Sub);
  code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU).pair(Op.localTee, last);
  code.pair(Op.i32Load8U, 0).u32(controlRegion.pageStates).u8(Op.i32And).pair(Op.localTee, joined);
  // 1 to read, 3 to write.
  code.pair(Op.localGet, write).pair(Op.i32Const, 1).u8(Op.i32Shl).pair(Op.i32Const, 1).u8(Op.i32Add).u8(Op.i32GeU);
  code.pair(Op.if, 0x40).u8(Op.return).u8(Op.end);
  code.pair(Op.localGet, joined);
  code.pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(controlRegion.protectionWord).u8(Op.i32Eqz).u8(Op.i32And);
  code.pair(Op.if, 0x40);
  for (const page of [first, last]) {
    code.pair(Op.i32Const, 0).pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(controlRegion.firstWrites);
    code.pair(Op.localGet, page).pair(Op.i32Load8U, 0).u32(controlRegion.pageStates);
    code.pair(Op.i32Const, PageAccess.readable).u8(Op.i32Eq).u8(Op.i32Add);
    code.pair(Op.i32Store, 2).u32(controlRegion.firstWrites);
    code.pair(Op.localGet, page).pair(Op.i32Const, PageAccess.writable);
    code.pair(Op.i32Store8, 0).u32(controlRegion.pageStates);
  }
  code.u8(Op.return).u8(Op.end);
  for (const parameter of [address, bytes, write]) code.pair(Op.localGet, parameter);
  code.u8(Op.i32Const).s32(faultEntry).u8(Op.callIndirect).u32(faultType).u32(functionsTable);
  code.pair(Op.if, 0x40).u8(Op.unreachable).u8(Op.end);
  return code;
}

function emitBulk(code: ByteWriter, op: number, ...immediates: number[]): void {
  code.u8(0xfc).u32(op - PREFIX_MISC);
  for (const immediate of immediates) code.u32(immediate);
}

/** Pushes the machine's address of a guest address in a local. */
function emitPlace(code: ByteWriter, address: number): void {
  code.u8(Op.localGet).u32(address).u8(Op.i32Const).s32(BIAS_BYTES).u8(Op.i32Add);
}

/** piece = min(piece, bytes from the address to the end of its page). */
function emitPieceUpward(code: ByteWriter, address: number, piece: number, room: number): void {
  code.u8(Op.i32Const).s32(PAGE_BYTES).pair(Op.localGet, address);
  code
    .u8(Op.i32Const)
    .s32(PAGE_BYTES - 1)
    .u8(Op.i32And)
    .u8(Op.i32Sub);
  emitMinimum(code, piece, room);
}

/** piece = min(piece, bytes from the start of its page to address + count). */
function emitPieceDownward(code: ByteWriter, address: number, count: number, piece: number, room: number): void {
  code.pair(Op.localGet, address).pair(Op.localGet, count).u8(Op.i32Add).pair(Op.i32Const, 1).u8(Op.i32Sub);
  code
    .u8(Op.i32Const)
    .s32(PAGE_BYTES - 1)
    .u8(Op.i32And)
    .pair(Op.i32Const, 1)
    .u8(Op.i32Add);
  emitMinimum(code, piece, room);
}

/** The room is on the stack: piece = min(piece, room). */
function emitMinimum(code: ByteWriter, piece: number, room: number): void {
  code.pair(Op.localTee, room).pair(Op.localGet, piece);
  code.pair(Op.localGet, room).pair(Op.localGet, piece).u8(Op.i32LtU).u8(Op.select).pair(Op.localSet, piece);
}

function emitEnsure({ code, ensure }: PagedCode, address: number, piece: number, write: boolean): void {
  code
    .pair(Op.localGet, address)
    .pair(Op.localGet, piece)
    .pair(Op.i32Const, write ? 1 : 0);
  code.u8(Op.call).u32(ensure);
}

function emitAdd(code: ByteWriter, local: number, amount: number): void {
  code.pair(Op.localGet, local).pair(Op.localGet, amount).u8(Op.i32Add).pair(Op.localSet, local);
}

function emitSubtract(code: ByteWriter, local: number, amount: number): void {
  code.pair(Op.localGet, local).pair(Op.localGet, amount).u8(Op.i32Sub).pair(Op.localSet, local);
}

/** Repeats what `emitPiece` emits until no bytes are left; at its start `piece` is `count`. */
function emitPieces(code: ByteWriter, count: number, piece: number, emitPiece: () => void): void {
  code.pair(Op.block, 0x40).pair(Op.loop, 0x40);
  code.pair(Op.localGet, count).pair(Op.localTee, piece).u8(Op.i32Eqz).pair(Op.brIf, 1);
  emitPiece();
  emitSubtract(code, count, piece);
  code.pair(Op.br, 0).u8(Op.end).u8(Op.end);
}

/** memory.fill (0: destination, 1: value, 2: count), two locals from 3 on; the range lies in the guest's memory. */
export function emitPagedFill(paged: PagedCode): void {
  const { code } = paged;
  const [destination, value, count, piece, room] = [0, 1, 2, 3, 4];
  emitPieces(code, count, piece, () => {
    emitPieceUpward(code, destination, piece, room);
    emitEnsure(paged, destination, piece, true);
    emitPlace(code, destination);
    code.pair(Op.localGet, value).pair(Op.localGet, piece);
    emitBulk(code, Op.memoryFill, 0);
    emitAdd(code, destination, piece);
  });
}

/** memory.copy (0: destination, 1: source, 2: count), two locals from 3 on; both ranges lie in the guest's memory. */
export function emitPagedCopy(paged: PagedCode): void {
  const { code } = paged;
  const [destination, source, count, piece, room] = [0, 1, 2, 3, 4];
  const emitPin = (address: number, pin: number): void => {
    code.pair(Op.i32Const, 0).pair(Op.localGet, address).pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
    code.pair(Op.i32Store, 2).u32(controlRegion.pins + 4 * pin);
  };
  const emitPiece = (): void => {
    emitPin(source, 0);
    emitPin(destination, 1);
    emitEnsure(paged, source, piece, false);
    emitEnsure(paged, destination, piece, true);
    emitPlace(code, destination);
    emitPlace(code, source);
    code.pair(Op.localGet, piece);
    emitBulk(code, Op.memoryCopy, 0, 0);
  };
  // Upward unless source < destination < source + count.
  code.pair(Op.localGet, destination).pair(Op.localGet, source).u8(Op.i32Sub).pair(Op.localGet, count).u8(Op.i32GeU);
  code.pair(Op.if, 0x40);
  emitPieces(code, count, piece, () => {
    emitPieceUpward(code, destination, piece, room);
    emitPieceUpward(code, source, piece, room);
    emitPiece();
    emitAdd(code, destination, piece);
    emitAdd(code, source, piece);
  });
  code.u8(Op.else);
  // From the end: both addresses are moved to the piece for its time.
  emitPieces(code, count, piece, () => {
    emitPieceDownward(code, destination, count, piece, room);
    emitPieceDownward(code, source, count, piece, room);
    code.pair(Op.localGet, count).pair(Op.localGet, piece).u8(Op.i32Sub).pair(Op.localSet, room);
    emitAdd(code, destination, room);
    emitAdd(code, source, room);
    emitPiece();
    emitSubtract(code, destination, room);
    emitSubtract(code, source, room);
  });
  code.u8(Op.end);
}

/**
 * memory.init of a segment; the destination's range lies in the guest's memory. The segment's own bounds are tested by an
 * init of no bytes at its end, which traps as the whole would.
 */
export function emitPagedInit(
  paged: PagedCode,
  segment: number,
  locals: { destination: number; source: number; count: number; piece: number; room: number },
): void {
  const { code } = paged;
  const { destination, source, count, piece, room } = locals;
  code.pair(Op.i32Const, 0);
  // source + count, or 2³² − 1 where that is too large: no segment is so long.
  code.pair(Op.localGet, source).pair(Op.localGet, count).u8(Op.i32Add).pair(Op.localTee, room);
  code.pair(Op.i32Const, 0x7f).pair(Op.localGet, room).pair(Op.localGet, source).u8(Op.i32GeU).u8(Op.select);
  code.pair(Op.i32Const, 0);
  emitBulk(code, Op.memoryInit, segment, 0);
  emitPieces(code, count, piece, () => {
    emitPieceUpward(code, destination, piece, room);
    emitEnsure(paged, destination, piece, true);
    emitPlace(code, destination);
    code.pair(Op.localGet, source).pair(Op.localGet, piece);
    emitBulk(code, Op.memoryInit, segment, 0);
    emitAdd(code, destination, piece);
    emitAdd(code, source, piece);
  });
}
