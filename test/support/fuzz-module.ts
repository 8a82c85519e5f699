import { ExternalKind, decodeModule, functionType } from '../../src/wasm/module.ts';
import { ValueType, valueTypeName } from '../../src/wasm/value-type.ts';
import { type Host, type Scenario } from './observation.ts';
import { Random } from './random.ts';

const { i32, i64, f32, f64, v128 } = ValueType;

/** A scenario that calls every function which a module of Binaryen's fuzzer exports, with random arguments. */
export function fuzzScenario(wasm: Uint8Array, seed: number): Scenario {
  const module = decodeModule(wasm);
  const random = new Random(seed);
  const calls = module.exports
    .filter(({ kind }) => kind === ExternalKind.function)
    .map(({ name, index }) => ({
      name,
      args: Array.from(functionType(module, index).params, (type) => randomValue(random, type)),
    }));
  const imports = (host: Host): WebAssembly.Imports => {
    const all: Record<string, WebAssembly.ModuleImports> = {};
    let f = 0;
    let g = 0;
    let t = 0;
    for (const { module: from, name, kind } of module.imports) {
      const fields = (all[from] ??= {});
      if (kind === ExternalKind.function) fields[name] = hostFunction(host, name, functionType(module, f++).results);
      else if (kind === ExternalKind.tag) fields[name] = hostTag(name, module.types[module.tagTypes[t++]].params);
      else if (kind === ExternalKind.global) fields[name] = hostGlobal(module.globals[g++]);
      else if (kind === ExternalKind.table) {
        fields[name] = new WebAssembly.Table({ element: 'anyfunc', ...limitsOf(module.tables[0].limits) });
      }
    }
    return all;
  };
  return { wasm, imports, calls };
}

function limitsOf(limits: { readonly initial: number; readonly maximum: number | undefined }) {
  return limits.maximum === undefined ? { initial: limits.initial } : { ...limits, maximum: limits.maximum };
}

function randomValue(random: Random, type: number): unknown {
  switch (type) {
    case i32:
      return random.next() | 0;
    case i64:
      return BigInt.asIntN(64, (BigInt(random.next()) << 32n) | BigInt(random.next()));
    case f32:
    case f64:
      return random.below(1000) / 8 - 50;
    case v128:
      // JavaScript has no such value: the call throws the same on both sides.
      return 0;
    default:
      return null;
  }
}

/** Notes its arguments; returns zeros, so that what it is told stands for all that it could do. */
function hostFunction(host: Host, name: string, results: Uint8Array): (...args: readonly unknown[]) => unknown {
  const values = Array.from(results, (type) =>
    type === i64 ? 0n : type === i32 || type === f32 || type === f64 ? 0 : null,
  );
  return (...args) => {
    host.log(name, ...args);
    return values.length === 1 ? values[0] : values;
  };
}

const globalTypes: Readonly<Record<number, string>> = {
  [i32]: 'i32',
  [i64]: 'i64',
  [f32]: 'f32',
  [f64]: 'f64',
  [v128]: 'v128',
};

/** What the library of types does not know of `WebAssembly`. */
const { JSTag, Tag } = WebAssembly as unknown as {
  readonly JSTag: WebAssembly.ImportValue | undefined;
  readonly Tag: new (type: { readonly parameters: readonly string[] }) => WebAssembly.ImportValue;
};

/** The tag of JavaScript's own exceptions, or one of the host's. */
function hostTag(name: string, types: Uint8Array): WebAssembly.ImportValue {
  if (name === 'jstag' && JSTag !== undefined) return JSTag;
  return new Tag({ parameters: Array.from(types, valueTypeName) });
}

function hostGlobal({ type, mutable }: { readonly type: number; readonly mutable: boolean }): WebAssembly.Global {
  const value = globalTypes[type] ?? (type === ValueType.funcref ? 'anyfunc' : 'externref');
  const initial = type === i64 ? 7n : type === v128 ? undefined : globalTypes[type] === undefined ? null : 7;
  return new WebAssembly.Global({ value: value as WebAssembly.ValueType, mutable }, initial as never);
}
