import { UnsupportedModuleError } from '../error/errors.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { readBlockType, readHeapType, readValueType, skipImmediates } from '../wasm/immediate.ts';
import type { Module, Place } from '../wasm/module.ts';
import { Immediate, Op, immediateOf } from '../wasm/opcode.ts';
import { readOpcode } from '../wasm/opcode-reader.ts';
import { ValueType } from '../wasm/value-type.ts';

/** Whether the engine takes a function without parameters and results that has this code. */
function takes(...code: readonly number[]): boolean {
  const sections = [
    [1, 4, 1, 0x60, 0, 0],
    [3, 2, 1, 0],
    [10, code.length + 4, 1, code.length + 2, 0, ...code, Op.end],
  ];
  return WebAssembly.validate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()));
}

/** Whether this engine takes exceptions by reference: `try_table`, `throw_ref`, `exnref`. */
export function hasExceptionsByReference(): boolean {
  return takes(Op.tryTable, 0x40, 0, Op.end);
}

/** Whether this engine takes `ref.as_non_null`. */
export function hasNonNullReferences(): boolean {
  return takes(Op.refNull, ValueType.funcref, Op.refAsNonNull, Op.drop);
}

const EXCEPTIONS = 'exceptions by reference (exnref)';
const NON_NULL = 'ref.as_non_null (typed function references)';

interface Use extends Place {
  readonly feature: string;
}

/** For a module that the engine does not take: refuses what Continuo knows and the engine lacks. */
export function refuseWhatEngineLacks(module: Module): void {
  const lacking = new Set<string>();
  if (!hasExceptionsByReference()) lacking.add(EXCEPTIONS);
  if (!hasNonNullReferences()) lacking.add(NON_NULL);
  if (lacking.size === 0) return;
  const use = useInTypes(module, lacking) ?? useInCode(module, lacking);
  if (use === undefined) return;
  const { feature, section, byteOffset } = use;
  throw new UnsupportedModuleError(
    feature,
    section,
    byteOffset,
    `the program uses ${feature} (${section} section, byte ${byteOffset}), which this Node.js (${process.version}) does not have; Node.js 24 has it`,
  );
}

function useInTypes({ exceptionReferenceAt: place }: Module, lacking: ReadonlySet<string>): Use | undefined {
  return place !== undefined && lacking.has(EXCEPTIONS) ? { feature: EXCEPTIONS, ...place } : undefined;
}

function useInCode({ bytes, bodies }: Module, lacking: ReadonlySet<string>): Use | undefined {
  for (let k = 0; k < bodies.length; k += 2) {
    const reader = new ByteReader(bytes, bodies[k], bodies[k + 1]);
    for (let declarations = reader.u32(); declarations > 0; declarations--) {
      reader.skipLeb();
      const byteOffset = reader.position;
      const isUse = readValueType(reader) === ValueType.exnref && lacking.has(EXCEPTIONS);
      if (isUse) return { feature: EXCEPTIONS, section: 'code', byteOffset };
    }
    while (!reader.atEnd) {
      const byteOffset = reader.position;
      const feature = readFeature(reader);
      if (feature !== undefined && lacking.has(feature)) return { feature, section: 'code', byteOffset };
    }
  }
  return undefined;
}

/** Reads an instruction: the feature that it belongs to, if an engine may lack that. */
function readFeature(reader: ByteReader): string | undefined {
  const op = readOpcode(reader);
  if (op === Op.refNull) return readHeapType(reader) === ValueType.exnref ? EXCEPTIONS : undefined;
  if (immediateOf[op] === Immediate.block) {
    return readBlockType(reader) + 128 === ValueType.exnref ? EXCEPTIONS : undefined;
  }
  skipImmediates(reader, immediateOf[op]);
  if (op === Op.refAsNonNull) return NON_NULL;
  return op === Op.tryTable || op === Op.throwRef ? EXCEPTIONS : undefined;
}
