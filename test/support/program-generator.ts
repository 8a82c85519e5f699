import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ValueType } from '../../src/wasm/value-type.ts';
import { FunctionGenerator } from './generated-function.ts';
import { allTypes } from './instruction-samples.ts';
import type { ProgramShape, Signature } from './leaf-generator.ts';
import type { Host, Scenario } from './observation.ts';
import { Random } from './random.ts';

const { i32, i64, f32, f64, v128, funcref, externref } = ValueType;
const FUEL_GLOBAL = 0;
const TABLE_ENTRIES = 8;
const entry: Signature = { params: [i32], results: [i32, f64] };

/**
 * A random program that ends and uses everything that the rewriter must keep: loops and calls with operands of all types
 * below them, references, tables, bulk instructions, tail calls, host calls. The same seed gives the same program.
 */
export function generateProgram(seed: number): Scenario {
  const random = new Random(seed);
  const imported = Array.from({ length: 1 + random.below(2) }, () => ({
    params: typesOf(random, 3, hostTypes),
    results: typesOf(random, 2, hostTypes),
  }));
  const defined: Signature[] = [];
  for (let k = 2 + random.below(5); k > 0; k--) {
    // Some share their signature: tail calls and the table want that.
    defined.push(
      random.chance(0.3)
        ? { results: random.pick([entry, ...defined]).results, params: typesOf(random, 4, allTypes) }
        : { params: typesOf(random, 4, allTypes), results: typesOf(random, 3, allTypes) },
    );
  }
  const functions: readonly Signature[] = [...imported, ...defined];
  const types: Signature[] = [];
  const typeIndex = ({ params, results }: Signature): number => {
    const known = types.findIndex(
      (type) => type.params.join() === params.join() && type.results.join() === results.join(),
    );
    return known >= 0 ? known : types.push({ params, results }) - 1;
  };
  for (const signature of [...functions, entry]) typeIndex(signature);
  const shape: ProgramShape = {
    random,
    functions,
    globals: [i32, ...typesOf(random, 6, allTypes), i32, i64, f64, v128, funcref],
    fuel: FUEL_GLOBAL,
    funcrefTable: 0,
    externrefTable: 1,
    tableFunctions: Array.from({ length: TABLE_ENTRIES }, () => random.below(functions.length)),
    passiveData: [1, 2],
    passiveElements: [1],
    tags: random.chance(0.4) ? [typesOf(random, 3, allTypes), typesOf(random, 2, allTypes), []] : [],
    typeIndex,
  };
  for (const params of shape.tags) typeIndex({ params, results: [] });
  const fuel = 20 + random.below(200);
  const generator = (signature: Signature): FunctionGenerator =>
    new FunctionGenerator(shape, signature, 40 + random.below(160));
  const bodies = defined.map((signature) => generator(signature).generate());
  // The entry gives fuel, so no other function may call it: it is not among those of the shape.
  bodies.push(generator(entry).generate([...new ByteWriter().u8(0x41).s32(fuel).u8(0x24).u32(FUEL_GLOBAL).view()]));
  return {
    wasm: encode(shape, types, imported.length, bodies),
    imports: (host) => ({ host: hostFunctions(host, imported) }),
    calls: Array.from({ length: 2 }, () => ({ name: 'run', args: [random.below(1000)] })),
  };
}

/** What JavaScript can pass and return. */
const hostTypes: readonly number[] = [i32, i32, i64, f32, f64, externref];

function typesOf(random: Random, countMax: number, among: readonly number[]): number[] {
  return Array.from({ length: random.below(countMax + 1) }, () => random.pick(among));
}

/** Functions that note their arguments and return numbers that depend on how often they were called. */
function hostFunctions(host: Host, imported: readonly Signature[]): WebAssembly.ModuleImports {
  let count = 0;
  const functions: WebAssembly.ModuleImports = {};
  imported.forEach(({ results }, f) => {
    functions[`f${f}`] = (...args: readonly unknown[]): unknown => {
      host.log(f, ...args);
      count++;
      const values = results.map((type) => {
        if (type === externref) return null;
        return type === i64 ? BigInt(count) * 0x123456789n : count % 7;
      });
      return values.length === 1 ? values[0] : values;
    };
  });
  return functions;
}

function encode(
  shape: ProgramShape,
  types: readonly Signature[],
  importedCount: number,
  bodies: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const { functions, globals, tableFunctions, random } = shape;
  const out = new ByteWriter(8192).raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const section = (id: number, write: (contents: ByteWriter) => void): void => {
    const contents = new ByteWriter(1024);
    write(contents);
    out.u8(id).u32(contents.length).raw(contents.view());
  };
  section(1, (s) => {
    s.u32(types.length);
    for (const { params, results } of types) {
      s.u8(0x60).u32(params.length).raw(Uint8Array.from(params));
      s.u32(results.length).raw(Uint8Array.from(results));
    }
  });
  section(2, (s) => {
    s.u32(importedCount);
    for (let f = 0; f < importedCount; f++) s.name('host').name(`f${f}`).u8(0).u32(shape.typeIndex(functions[f]));
  });
  section(3, (s) => {
    s.u32(bodies.length);
    for (const signature of functions.slice(importedCount)) s.u32(shape.typeIndex(signature));
    s.u32(shape.typeIndex(entry));
  });
  section(4, (s) => s.u32(2).u8(funcref).u8(1).u32(TABLE_ENTRIES).u32(64).u8(externref).u8(0).u32(4));
  section(5, (s) => s.u32(1).u8(1).u32(1).u32(3));
  if (shape.tags.length > 0) {
    section(13, (s) => {
      s.u32(shape.tags.length);
      for (const params of shape.tags) s.u8(0).u32(shape.typeIndex({ params, results: [] }));
    });
  }
  section(6, (s) => {
    s.u32(globals.length);
    for (const type of globals) s.u8(type).u8(1).raw(initialValue(type)).u8(0x0b);
  });
  section(7, (s) => s.u32(1).name('run').u8(0).u32(functions.length));
  section(9, (s) => {
    s.u32(3);
    s.u8(0).u8(0x41).s32(0).u8(0x0b).u32(tableFunctions.length);
    for (const f of tableFunctions) s.u32(f);
    s.u8(1).u8(0).u32(2).u32(random.below(functions.length)).u32(random.below(functions.length));
    // Every function may be named by ref.func.
    s.u8(3).u8(0).u32(functions.length);
    for (let f = 0; f < functions.length; f++) s.u32(f);
  });
  section(12, (s) => s.u32(3));
  section(10, (s) => {
    s.u32(bodies.length);
    for (const body of bodies) s.u32(body.length).raw(body);
  });
  section(11, (s) => {
    s.u32(3).u8(0).u8(0x41).s32(random.below(60_000)).u8(0x0b).u32(40).raw(random.bytes(40));
    s.u8(1).u32(20).raw(random.bytes(20)).u8(1).u32(14).raw(random.bytes(14));
  });
  return out.toBytes();
}

function initialValue(type: number): Uint8Array {
  switch (type) {
    case i32:
      return Uint8Array.of(0x41, 0);
    case i64:
      return Uint8Array.of(0x42, 0x7f);
    case f32:
      return Uint8Array.of(0x43, 0, 0, 0x40, 0x40);
    case f64:
      return Uint8Array.of(0x44, 0, 0, 0, 0, 0, 0, 0x10, 0x40);
    case v128:
      return Uint8Array.from([0xfd, 0x0c, ...Array.from({ length: 16 }, (_, k) => k)]);
    default:
      return Uint8Array.of(0xd0, type);
  }
}
