import { UnsupportedModuleError } from '../error/errors.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { readBlockType, readHeapType, readValueType, skipImmediates } from '../wasm/immediate.ts';
import type { Module, Place } from '../wasm/module.ts';
import { Immediate, Op, immediateOf } from '../wasm/opcode.ts';
import { readOpcode } from '../wasm/opcode-reader.ts';
import { ValueType } from '../wasm/value-type.ts';

/** A function that holds an empty `try_table`. */
const tryTable = Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
  1, 4, 1, 0x60, 0, 0,
  3, 2, 1, 0,
  10, 8, 1, 6, 0, Op.tryTable, 0x40, 0, Op.end, Op.end,
); // prettier-ignore

/** Whether this engine takes exceptions by reference: `try_table`, `throw_ref`, `exnref`. */
export function hasExceptionsByReference(): boolean {
  return WebAssembly.validate(tryTable);
}

/** For a module that the engine does not take: refuses what Continuo knows and the engine lacks. */
export function refuseWhatEngineLacks(module: Module): void {
  if (hasExceptionsByReference()) return;
  const place = module.exceptionReferenceAt ?? exceptionsByReferenceInCode(module);
  if (place === undefined) return;
  const { section, byteOffset } = place;
  const feature = 'exceptions by reference (exnref)';
  throw new UnsupportedModuleError(
    feature,
    section,
    byteOffset,
    `the program uses ${feature} (${section} section, byte ${byteOffset}), which this Node.js (${process.version}) does not have; Node.js 24 has them`,
  );
}

function exceptionsByReferenceInCode({ bytes, bodies }: Module): Place | undefined {
  for (let k = 0; k < bodies.length; k += 2) {
    const reader = new ByteReader(bytes, bodies[k], bodies[k + 1]);
    for (let declarations = reader.u32(); declarations > 0; declarations--) {
      reader.skipLeb();
      const byteOffset = reader.position;
      if (readValueType(reader) === ValueType.exnref) return { section: 'code', byteOffset };
    }
    while (!reader.atEnd) {
      const byteOffset = reader.position;
      if (usesExceptionsByReference(reader)) return { section: 'code', byteOffset };
    }
  }
  return undefined;
}

/** Reads an instruction. */
function usesExceptionsByReference(reader: ByteReader): boolean {
  const op = readOpcode(reader);
  if (op === Op.tryTable || op === Op.throwRef) return true;
  if (op === Op.refNull) return readHeapType(reader) === ValueType.exnref;
  if (immediateOf[op] === Immediate.block) return readBlockType(reader) + 128 === ValueType.exnref;
  skipImmediates(reader, immediateOf[op]);
  return false;
}
