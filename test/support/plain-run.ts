import type { Limits, Module } from '../../src/wasm/module.ts';
import { ExternalKind } from '../../src/wasm/module.ts';
import { ValueType, isReferenceType } from '../../src/wasm/value-type.ts';
import { makeObservable, observed } from './observable-module.ts';
import {
  type Call,
  type Host,
  type Observation,
  type Scenario,
  cellText,
  describeReference,
  describeValue,
  outcomeOf,
} from './observation.ts';

/** Runs a scenario on plain V8: what every rewritten run must come to. */
export function runPlain(scenario: Scenario): Observation {
  const { module, bytes } = makeObservable(scenario.wasm);
  const log: string[] = [];
  let memory: WebAssembly.Memory | undefined;
  const guestBytes = (): Uint8Array => (memory === undefined ? new Uint8Array(0) : new Uint8Array(memory.buffer));
  // The name of an exported function is its index (JavaScript API, 5.6).
  const numberOf = ({ name }: { readonly name: string }): string => name;
  const host: Host = {
    log: (...values) => void log.push(values.map((value) => describeValue(value, numberOf)).join(' ')),
    read: (address, lengthBytes) => guestBytes().slice(address, address + lengthBytes),
    write: (address, source) => guestBytes().set(source, address),
  };
  const imports: WebAssembly.Imports = { ...scenario.imports?.(host) };
  if (module.memoryImported) memory = addMemory(imports, module);
  const outcomes: string[] = [];
  let instance: WebAssembly.Instance | undefined;
  const instantiated = outcomeOf(() => {
    instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);
  }, numberOf);
  // What an engine says of a segment out of bounds differs between instantiation and code.
  if (instance === undefined) {
    return { outcomes: [instantiated.split(':')[0]], log, memory: guestBytes().slice(), globals: [], tables: [] };
  }
  const { exports } = instance;
  memory ??= exports[observed.memory] as WebAssembly.Memory | undefined;
  const start: readonly Call[] = module.startFunction === undefined ? [] : [{ name: observed.start }];
  for (const { name, args } of [...start, ...scenario.calls]) {
    const f = exports[name] as (...args: readonly unknown[]) => unknown;
    outcomes.push(outcomeOf(() => f(...(args ?? [])), numberOf));
  }
  const globals = module.globals.flatMap(({ type, mutable }, index) => {
    if (!mutable) return [];
    if (isReferenceType(type)) {
      return [describeReference(type, () => (exports[observed.global(index)] as WebAssembly.Global).value, numberOf)];
    }
    const half = (k: number): bigint => (exports[observed.bits(index, k)] as () => bigint)();
    return [cellText(half(0), type === ValueType.v128 ? half(1) : 0n)];
  });
  const tables = module.tables.map(({ type }, index) => {
    const table = exports[observed.table(index)] as WebAssembly.Table;
    return Array.from({ length: table.length }, (_, k) => describeReference(type, () => table.get(k), numberOf));
  });
  return { outcomes, log, memory: guestBytes().slice(), globals, tables };
}

function addMemory(imports: WebAssembly.Imports, module: Module): WebAssembly.Memory {
  const { initial, maximum, shared } = module.memory as Limits;
  const memory = new WebAssembly.Memory(maximum === undefined ? { initial } : { initial, maximum, shared });
  const entry = module.imports.find(({ kind }) => kind === ExternalKind.memory)!;
  imports[entry.module] = { ...imports[entry.module], [entry.name]: memory };
  return memory;
}
