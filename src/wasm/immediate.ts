import { UnsupportedModuleError } from '../error/errors.ts';
import type { ByteReader } from './byte-reader.ts';
import { Immediate } from './opcode.ts';
import { ValueType, isKnownValueType, valueTypeName } from './value-type.ts';

/** Block type without parameters and results. */
export const EMPTY_BLOCK_TYPE = -64;

/** Reads a value type in code; a type of two bytes begins with one that is refused. */
export function readValueType(reader: ByteReader): number {
  const at = reader.position;
  const type = reader.u8();
  if (!isKnownValueType(type)) throw new UnsupportedModuleError(`values of ${valueTypeName(type)}`, 'code', at);
  return type;
}

/** Reads a block type: an index, `EMPTY_BLOCK_TYPE`, or a value type − 128. */
export function readBlockType(reader: ByteReader): number {
  const at = reader.position;
  const type = reader.s33();
  if (type < 0 && type !== EMPTY_BLOCK_TYPE && !isKnownValueType(type + 128)) {
    throw new UnsupportedModuleError(`values of ${valueTypeName(type + 128)}`, 'code', at);
  }
  return type;
}

/** Reads a heap type: the reference type whose null it names. The bottom types' only value is null, too. */
export function readHeapType(reader: ByteReader): number {
  const at = reader.position;
  const type = reader.s33() + 128;
  switch (type) {
    case ValueType.funcref:
    case 0x73:
      return ValueType.funcref;
    case ValueType.externref:
    case 0x72:
      return ValueType.externref;
    case ValueType.exnref:
    case 0x74:
      return ValueType.exnref;
    default:
      throw new UnsupportedModuleError('references of the garbage-collection proposal', 'code', at);
  }
}

/** What a `try_table` catches and where it goes with it; labels count from outside of the `try_table`. */
export interface CatchClause {
  readonly kind: number;
  /** Meaningless where the clause catches all. */
  readonly tag: number;
  readonly label: number;
}

export const CatchKind = { catch: 0, catchRef: 1, catchAll: 2, catchAllRef: 3 } as const;

export const hasTag = (kind: number): boolean => kind === CatchKind.catch || kind === CatchKind.catchRef;
export const hasReference = (kind: number): boolean => kind === CatchKind.catchRef || kind === CatchKind.catchAllRef;

export function readCatchClauses(reader: ByteReader): CatchClause[] {
  const clauses: CatchClause[] = [];
  for (let count = reader.u32(); count > 0; count--) {
    const at = reader.position;
    const kind = reader.u8();
    if (kind > CatchKind.catchAllRef) throw new UnsupportedModuleError(`a catch clause of kind ${kind}`, 'code', at);
    clauses.push({ kind, tag: hasTag(kind) ? reader.u32() : 0, label: reader.u32() });
  }
  return clauses;
}

/** Passes over the immediates of an instruction, for scans that do not need them. */
export function skipImmediates(reader: ByteReader, kind: number): void {
  switch (kind) {
    case Immediate.none:
      return;
    case Immediate.index:
    case Immediate.block:
    case Immediate.leb:
    case Immediate.heapType:
      return reader.skipLeb();
    case Immediate.indexPair:
    case Immediate.memory:
      reader.skipLeb();
      return reader.skipLeb();
    case Immediate.memoryLane:
      reader.skipLeb();
      reader.skipLeb();
      return reader.skip(1);
    case Immediate.bytes4:
      return reader.skip(4);
    case Immediate.bytes8:
      return reader.skip(8);
    case Immediate.bytes16:
      return reader.skip(16);
    case Immediate.lane:
      return reader.skip(1);
    case Immediate.labelTable:
      for (let count = reader.u32(); count >= 0; count--) reader.skipLeb();
      return;
    case Immediate.selectTypes:
      for (let count = reader.u32(); count > 0; count--) reader.skip(1);
      return;
    case Immediate.tryTable:
      reader.skipLeb();
      readCatchClauses(reader);
  }
}
