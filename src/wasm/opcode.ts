import { ValueType } from './value-type.ts';

/**
 * The instruction table: for every instruction that Continuo knows, how its immediates are read, how many operands it
 * pops, and what it pushes. An opcode that is not in the table is an error, never a guess.
 *
 * An opcode is one number: the byte itself, or for a prefixed instruction the prefix's base plus the number after it.
 */
export const PREFIX_MISC = 0x100; // 0xfc
export const PREFIX_SIMD = 0x200; // 0xfd
export const PREFIX_ATOMIC = 0x400; // 0xfe
const TABLE_SIZE = 0x500;
/** Read-modify-write instructions; stores and loads lie before them. */
const ATOMIC_RMW = 0x1e;

export const Op = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  try: 0x06,
  catch: 0x07,
  throw: 0x08,
  rethrow: 0x09,
  throwRef: 0x0a,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  returnCall: 0x12,
  returnCallIndirect: 0x13,
  delegate: 0x18,
  catchAll: 0x19,
  drop: 0x1a,
  select: 0x1b,
  selectTyped: 0x1c,
  tryTable: 0x1f,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  tableGet: 0x25,
  tableSet: 0x26,
  i32Load: 0x28,
  i64Load: 0x29,
  f32Load: 0x2a,
  f64Load: 0x2b,
  i32Load8U: 0x2d,
  i32Store: 0x36,
  i64Store: 0x37,
  f32Store: 0x38,
  f64Store: 0x39,
  i32Store8: 0x3a,
  memorySize: 0x3f,
  memoryGrow: 0x40,
  i32Const: 0x41,
  i64Const: 0x42,
  f32Const: 0x43,
  f64Const: 0x44,
  i32Eqz: 0x45,
  i32Eq: 0x46,
  i32Ne: 0x47,
  i32LtS: 0x48,
  i32LtU: 0x49,
  i32GtS: 0x4a,
  i32GtU: 0x4b,
  i32LeS: 0x4c,
  i32LeU: 0x4d,
  i32GeU: 0x4f,
  i64Eq: 0x51,
  i64LtS: 0x53,
  i64GtU: 0x56,
  i32Add: 0x6a,
  i32Sub: 0x6b,
  i32Mul: 0x6c,
  i32DivU: 0x6e,
  i32RemU: 0x70,
  i32And: 0x71,
  i32Or: 0x72,
  i32Xor: 0x73,
  i32Shl: 0x74,
  i32ShrU: 0x76,
  i32Rotr: 0x78,
  i64Add: 0x7c,
  i64Shl: 0x86,
  i64ExtendI32U: 0xad,
  refNull: 0xd0,
  refIsNull: 0xd1,
  refFunc: 0xd2,
  refAsNonNull: 0xd4,
  memoryInit: PREFIX_MISC + 8,
  dataDrop: PREFIX_MISC + 9,
  memoryCopy: PREFIX_MISC + 10,
  memoryFill: PREFIX_MISC + 11,
  tableInit: PREFIX_MISC + 12,
  elemDrop: PREFIX_MISC + 13,
  tableCopy: PREFIX_MISC + 14,
  tableGrow: PREFIX_MISC + 15,
  tableSize: PREFIX_MISC + 16,
  tableFill: PREFIX_MISC + 17,
  v128Load: PREFIX_SIMD + 0,
  v128Store: PREFIX_SIMD + 11,
  v128Const: PREFIX_SIMD + 12,
  atomicWait32: PREFIX_ATOMIC + 1,
  atomicWait64: PREFIX_ATOMIC + 2,
  i32AtomicLoad: PREFIX_ATOMIC + 0x10,
  i64AtomicLoad: PREFIX_ATOMIC + 0x11,
} as const;

/** How the bytes after an opcode are read. */
export const Immediate = {
  unknown: 0,
  none: 1,
  /** A block type. */
  block: 2,
  /** One index: label, local, global, function, table or segment. */
  index: 3,
  /** Two indices. */
  indexPair: 4,
  labelTable: 5,
  /** Alignment and offset. */
  memory: 6,
  /** Alignment, offset and lane. */
  memoryLane: 7,
  leb: 8,
  bytes4: 9,
  bytes8: 10,
  bytes16: 11,
  lane: 12,
  selectTypes: 13,
  heapType: 14,
  /** A block type and catch clauses. */
  tryTable: 15,
} as const;

export const immediateOf = new Uint8Array(TABLE_SIZE);
/** Operands popped; `VARIES` where it depends on the immediates or the context. */
export const popsOf = new Uint8Array(TABLE_SIZE);
/** Type pushed, 0 for none; meaningless where `popsOf` is `VARIES`. */
export const pushOf = new Uint8Array(TABLE_SIZE);
/** Bytes accessed by a load or store, 0 for any other instruction. */
export const accessBytesOf = new Uint8Array(TABLE_SIZE);
/** 1 for an instruction that writes to memory at an address operand, whether or not it has a result. */
export const isStore = new Uint8Array(TABLE_SIZE);

export const VARIES = 255;

const { i32: I, i64: L, f32: F, f64: D, v128: V } = ValueType;

function define(first: number, last: number, immediate: number, pops: number, push: number): void {
  for (let op = first; op <= last; op++) {
    immediateOf[op] = immediate;
    popsOf[op] = pops;
    pushOf[op] = push;
  }
}

function defineAccess(op: number, immediate: number, bytes: number, pops: number, push: number): void {
  define(op, op, immediate, pops, push);
  accessBytesOf[op] = bytes;
  isStore[op] = push === 0 ? 1 : 0;
}

function defineCore(): void {
  const im = Immediate;
  define(0x00, 0x01, im.none, 0, 0);
  define(0x02, 0x04, im.block, VARIES, 0);
  define(0x05, 0x05, im.none, VARIES, 0);
  // Exceptions in their first form, then in their second, by reference.
  define(0x06, 0x06, im.block, VARIES, 0);
  define(0x07, 0x09, im.index, VARIES, 0);
  define(0x18, 0x18, im.index, VARIES, 0);
  define(0x19, 0x19, im.none, VARIES, 0);
  define(0x0a, 0x0a, im.none, VARIES, 0);
  define(0x1f, 0x1f, im.tryTable, VARIES, 0);
  define(0x0b, 0x0b, im.none, VARIES, 0);
  define(0x0c, 0x0d, im.index, VARIES, 0);
  define(0x0e, 0x0e, im.labelTable, VARIES, 0);
  define(0x0f, 0x0f, im.none, VARIES, 0);
  define(0x10, 0x10, im.index, VARIES, 0);
  define(0x11, 0x11, im.indexPair, VARIES, 0);
  define(0x12, 0x12, im.index, VARIES, 0);
  define(0x13, 0x13, im.indexPair, VARIES, 0);
  define(0x1a, 0x1a, im.none, 1, 0);
  define(0x1b, 0x1b, im.none, VARIES, 0);
  define(0x1c, 0x1c, im.selectTypes, VARIES, 0);
  define(0x20, 0x26, im.index, VARIES, 0);
  const loads: [number, number][] = [
    [4, I], [8, L], [4, F], [8, D], [1, I], [1, I], [2, I], [2, I], [1, L], [1, L], [2, L], [2, L], [4, L], [4, L],
  ]; // prettier-ignore
  loads.forEach(([bytes, type], i) => defineAccess(0x28 + i, im.memory, bytes, 1, type));
  [4, 8, 4, 8, 1, 2, 1, 2, 4].forEach((bytes, i) => defineAccess(0x36 + i, im.memory, bytes, 2, 0));
  define(0x3f, 0x3f, im.index, 0, I);
  define(0x40, 0x40, im.index, 1, I);
  define(0x41, 0x41, im.leb, 0, I);
  define(0x42, 0x42, im.leb, 0, L);
  define(0x43, 0x43, im.bytes4, 0, F);
  define(0x44, 0x44, im.bytes8, 0, D);
}

function defineNumeric(): void {
  const im = Immediate.none;
  define(0x45, 0x45, im, 1, I);
  define(0x46, 0x4f, im, 2, I);
  define(0x50, 0x50, im, 1, I);
  define(0x51, 0x66, im, 2, I);
  define(0x67, 0x69, im, 1, I);
  define(0x6a, 0x78, im, 2, I);
  define(0x79, 0x7b, im, 1, L);
  define(0x7c, 0x8a, im, 2, L);
  define(0x8b, 0x91, im, 1, F);
  define(0x92, 0x98, im, 2, F);
  define(0x99, 0x9f, im, 1, D);
  define(0xa0, 0xa6, im, 2, D);
  const conversions = [
    I, I, I, I, I, L, L, L, L, L, L, F, F, F, F, F, D, D, D, D, D, I, L, F, D, I, I, L, L, L,
  ]; // prettier-ignore
  conversions.forEach((type, i) => define(0xa7 + i, 0xa7 + i, im, 1, type));
  for (let i = 0; i < 8; i++) define(PREFIX_MISC + i, PREFIX_MISC + i, im, 1, i < 4 ? I : L);
}

function defineReferencesAndBulk(): void {
  const im = Immediate;
  define(0xd0, 0xd0, im.heapType, VARIES, 0);
  define(0xd1, 0xd1, im.none, 1, I);
  define(0xd2, 0xd2, im.index, 0, ValueType.funcref);
  // Binaryen puts it where its own types tell that a reference is not null.
  define(0xd4, 0xd4, im.none, VARIES, 0);
  define(Op.memoryInit, Op.memoryInit, im.indexPair, 3, 0);
  define(Op.dataDrop, Op.dataDrop, im.index, 0, 0);
  define(Op.memoryCopy, Op.memoryCopy, im.indexPair, 3, 0);
  define(Op.memoryFill, Op.memoryFill, im.index, 3, 0);
  define(Op.tableInit, Op.tableInit, im.indexPair, 3, 0);
  define(Op.elemDrop, Op.elemDrop, im.index, 0, 0);
  define(Op.tableCopy, Op.tableCopy, im.indexPair, 3, 0);
  define(Op.tableGrow, Op.tableGrow, im.index, 2, I);
  define(Op.tableSize, Op.tableSize, im.index, 0, I);
  define(Op.tableFill, Op.tableFill, im.index, 3, 0);
}

function defineSimd(): void {
  const im = Immediate;
  const S = PREFIX_SIMD;
  const pure = (first: number, last: number, pops: number, push: number) =>
    define(S + first, S + last, im.none, pops, push);
  defineAccess(S, im.memory, 16, 1, V);
  for (let n = 0x01; n <= 0x06; n++) defineAccess(S + n, im.memory, 8, 1, V);
  for (let n = 0x07; n <= 0x0a; n++) defineAccess(S + n, im.memory, 1 << (n - 7), 1, V);
  defineAccess(S + 0x0b, im.memory, 16, 2, 0);
  define(S + 0x0c, S + 0x0c, im.bytes16, 0, V);
  define(S + 0x0d, S + 0x0d, im.bytes16, 2, V);
  pure(0x0e, 0x0e, 2, V); // swizzle
  pure(0x0f, 0x14, 1, V); // splat
  const lanes: [number, number][] = [
    [1, I], [1, I], [2, V], [1, I], [1, I], [2, V], [1, I], [2, V], [1, L], [2, V], [1, F], [2, V], [1, D], [2, V],
  ]; // prettier-ignore
  lanes.forEach(([pops, push], i) => define(S + 0x15 + i, S + 0x15 + i, im.lane, pops, push));
  pure(0x23, 0x4c, 2, V); // comparisons
  pure(0x4d, 0x4d, 1, V);
  pure(0x4e, 0x51, 2, V);
  pure(0x52, 0x52, 3, V);
  pure(0x53, 0x53, 1, I);
  for (let n = 0; n < 4; n++) {
    defineAccess(S + 0x54 + n, im.memoryLane, 1 << n, 2, V);
    defineAccess(S + 0x58 + n, im.memoryLane, 1 << n, 2, 0);
  }
  defineAccess(S + 0x5c, im.memory, 4, 1, V);
  defineAccess(S + 0x5d, im.memory, 8, 1, V);
  pure(0x5e, 0x5f, 1, V);
  // Integer and float arithmetic; the four integer shapes follow one pattern with gaps, and floats fill some gaps.
  const unary = [
    0x60, 0x61, 0x62, 0x67, 0x68, 0x69, 0x6a, 0x74, 0x75, 0x7a, 0x7c, 0x7d, 0x7e, 0x7f, 0x80, 0x81, 0x87, 0x88, 0x89,
    0x8a, 0x94, 0xa0, 0xa1, 0xa7, 0xa8, 0xa9, 0xaa, 0xc0, 0xc1, 0xc7, 0xc8, 0xc9, 0xca, 0xe0, 0xe1, 0xe3, 0xec, 0xed,
    0xef, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff,
  ]; // prettier-ignore
  for (const n of unary) pure(n, n, 1, V);
  for (const n of [0x63, 0x64, 0x83, 0x84, 0xa3, 0xa4, 0xc3, 0xc4]) pure(n, n, 1, I);
  const binary: [number, number][] = [
    [0x65, 0x66], [0x6b, 0x73], [0x76, 0x79], [0x7b, 0x7b], [0x82, 0x82], [0x85, 0x86], [0x8b, 0x93], [0x95, 0x99],
    [0x9b, 0x9f], [0xab, 0xae], [0xb1, 0xb1], [0xb5, 0xba], [0xbc, 0xbf], [0xcb, 0xce], [0xd1, 0xd1], [0xd5, 0xdf],
    [0xe4, 0xeb], [0xf0, 0xf7],
  ]; // prettier-ignore
  for (const [first, last] of binary) pure(first, last, 2, V);
  // Relaxed SIMD, where the engine has it.
  pure(0x100, 0x100, 2, V);
  pure(0x101, 0x104, 1, V);
  pure(0x105, 0x10c, 3, V);
  pure(0x10d, 0x112, 2, V);
  pure(0x113, 0x113, 3, V);
}

function defineAtomics(): void {
  const im = Immediate;
  const A = PREFIX_ATOMIC;
  defineAccess(A, im.memory, 4, 2, I);
  defineAccess(Op.atomicWait32, im.memory, 4, 3, I);
  defineAccess(Op.atomicWait64, im.memory, 8, 3, I);
  // The fence has a byte that says nothing yet.
  define(A + 3, A + 3, im.lane, 0, 0);
  const shapes: [number, number][] = [[4, I], [8, L], [1, I], [2, I], [1, L], [2, L], [4, L]]; // prettier-ignore
  shapes.forEach(([bytes, type], k) => {
    defineAccess(Op.i32AtomicLoad + k, im.memory, bytes, 1, type);
    defineAccess(A + 0x17 + k, im.memory, bytes, 2, 0);
    // add, sub, and, or, xor, xchg; then cmpxchg, which takes what it expects as well.
    for (let n = 0; n < 7; n++) {
      const op = A + ATOMIC_RMW + 7 * n + k;
      defineAccess(op, im.memory, bytes, n < 6 ? 2 : 3, type);
      isStore[op] = 1;
    }
  });
}

defineCore();
defineNumeric();
defineReferencesAndBulk();
defineSimd();
defineAtomics();
