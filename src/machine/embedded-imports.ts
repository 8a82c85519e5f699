import { UsageError } from '../error/errors.ts';
import { ExternalKind, type Module, functionType } from '../wasm/module.ts';
import { ValueType, isReferenceType } from '../wasm/value-type.ts';
import { EmbeddedMemory, checkMemoryLimits } from './embedded-memory.ts';
import { type Crossing, bridgeTo, isExportedFunction } from './function-bridge.ts';

/** Returned by an interruptible host function that has done nothing yet: it is called again when the guest goes on. */
export const Interrupted: unique symbol = Symbol('continuo interrupted');

/** What an embedder gives a module to import: as for `WebAssembly.instantiate`, memories as `EmbeddedMemory`. */
export type EmbeddedImports = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Functions of instances of ours: they can be called by another one without a wrapper, whatever their types. */
const functionsOfInstances = new WeakSet<object>();

export function isFunctionOfInstance(value: unknown): boolean {
  return typeof value === 'function' && functionsOfInstances.has(value);
}

export function noteFunctionOfInstance(value: object): void {
  functionsOfInstances.add(value);
}

type HostFunction = (...args: readonly unknown[]) => unknown;

export interface ImportWrapping {
  /** Names as `module.name`. */
  readonly interruptible: readonly string[];
  readonly crossing: Crossing;
  /** Makes of a host function what the guest calls. */
  outside(call: HostFunction): HostFunction;
  /** Begins the unwinding of the guest whose call was interrupted. */
  interrupt(name: string): void;
}

export interface LinkedImports {
  readonly imports: WebAssembly.Imports;
  /** The imported memory, if any. */
  readonly memory: EmbeddedMemory | undefined;
}

/**
 * Imports for the rewritten module. What is missing stays missing, so that the engine says so in its own words.
 * @throws UsageError for a `WebAssembly.Memory`, and for interruptible functions that are not imported.
 */
export function linkImports(module: Module, given: EmbeddedImports, wrapping: ImportWrapping): LinkedImports {
  // Without prototypes: `__proto__` is a name as any other.
  const imports = Object.create(null) as Record<string, Record<string, WebAssembly.ImportValue>>;
  const unknown = new Set(wrapping.interruptible);
  let memory: EmbeddedMemory | undefined;
  let f = 0;
  for (const [k, { module: from, name, kind }] of module.imports.entries()) {
    const values = given[from];
    const path = `${from}.${name}`;
    const type = kind === ExternalKind.function ? functionType(module, f++) : undefined;
    if (values === undefined || values === null) {
      if (kind !== ExternalKind.memory) continue;
      throw new TypeError(
        `WebAssembly.Instance(): Import #${k} module="${from}" error: module is not an object or function`,
      );
    }
    imports[from] ??= Object.create(null) as Record<string, WebAssembly.ImportValue>;
    const value = values[name];
    if (kind === ExternalKind.memory) {
      memory = checkMemory(value, path, `Import #${k} module="${from}" function="${name}"`);
      checkMemoryLimits(memory, module.memory!);
    } else if (type !== undefined && typeof value === 'function') {
      const isInterruptible = unknown.delete(path);
      imports[from][name] = isInterruptible
        ? interruptibleCall(path, type.results, value as HostFunction, wrapping)
        : isFunctionOfInstance(value)
          ? value
          : isExportedFunction(value)
            ? bridgeTo(value, type, { module: from, name, index: k }, wrapping.crossing)
            : wrapping.outside(value as HostFunction);
    } else {
      imports[from][name] = value as WebAssembly.ImportValue;
    }
  }
  if (unknown.size > 0) {
    throw new UsageError(
      'bad-argument',
      `interruptible names ${[...unknown].join(', ')}, which the module does not import as a function`,
      { names: [...unknown] },
    );
  }
  return { imports, memory };
}

function checkMemory(value: unknown, path: string, place: string): EmbeddedMemory {
  if (value instanceof EmbeddedMemory) return value;
  if (value instanceof WebAssembly.Memory) {
    throw new UsageError(
      'memory-at-offset',
      `the import ${path} is a WebAssembly.Memory: a guest that can be captured needs room below its address 0; give a new EmbeddedMemory({ initial, maximum }) or the exported memory of an instance made by instantiate`,
      { import: path },
    );
  }
  throw new WebAssembly.LinkError(
    `WebAssembly.Instance(): ${place} error: memory import must be a WebAssembly.Memory object`,
  );
}

function interruptibleCall(
  path: string,
  results: Uint8Array,
  call: HostFunction,
  wrapping: ImportWrapping,
): HostFunction {
  const zeros = zeroResults(results);
  const outside = wrapping.outside(call);
  return (...args) => {
    const result = outside(...args);
    if (result !== Interrupted) return result;
    wrapping.interrupt(path);
    return zeros;
  };
}

/** What a call that does not count returns: values that the engine takes for its result types. */
function zeroResults(types: Uint8Array): unknown {
  const zeros = Array.from(types, (type) => {
    if (type === ValueType.i64) return 0n;
    return isReferenceType(type) ? null : 0;
  });
  return zeros.length === 1 ? zeros[0] : zeros;
}

/** The rewritten module imports its memory last: the engine's number of an import is put right. */
export function numberedAsOriginal(error: unknown, imports: Module['imports']): unknown {
  const memory = imports.findIndex(({ kind }) => kind === ExternalKind.memory);
  if (memory < 0 || !(error instanceof WebAssembly.LinkError || error instanceof TypeError)) return error;
  error.message = error.message.replace(/(?<=Import #)\d+/, (number) =>
    String(Number(number) + (Number(number) >= memory ? 1 : 0)),
  );
  return error;
}
