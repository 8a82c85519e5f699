import { ByteWriter } from '../wasm/byte-writer.ts';
import { ExternalKind, SectionId } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import type { FunctionType } from '../wasm/value-type.ts';

/** Called around a foreign function: the guest that calls it is left and entered again. */
export interface Crossing {
  readonly leave: () => void;
  readonly enter: () => void;
}

/** Module of the crossing's own imports; the foreign function is imported under its own name. */
const CROSSING_MODULE = 'continuo:crossing';

const probe = new WebAssembly.Table({ element: 'anyfunc', initial: 1 });

/** Whether a value is an exported function of some WebAssembly instance: only those can be entries of a table. */
export function isExportedFunction(value: unknown): value is () => unknown {
  if (typeof value !== 'function') return false;
  try {
    probe.set(0, value);
    probe.set(0, null);
    return true;
  } catch {
    return false;
  }
}

/**
 * A function of a plain WebAssembly instance, as a guest imports it. A wrapper in JavaScript would lose its type, vectors
 * and bits of NaNs, so this one is a module:
 *
 *     (func (type) (call $leave) params … (call $foreign) (call $enter))
 *
 * When the foreign function throws, the guest is not entered again: the end of its run, which sees the error too, puts
 * things right; a guest that catches it is captured no more until then.
 * @throws WebAssembly.LinkError when the function has another type, in the words of V8.
 */
export function bridgeTo(
  foreign: () => unknown,
  { params, results }: FunctionType,
  place: { readonly module: string; readonly name: string; readonly index: number },
  { leave, enter }: Crossing,
): () => unknown {
  const types = new ByteWriter().u32(2);
  types.u8(0x60).u32(params.length).raw(params).u32(results.length).raw(results);
  types.u8(0x60).u32(0).u32(0);
  const imports = new ByteWriter().u32(3);
  imports.name(place.module).name(place.name).u8(ExternalKind.function).u32(0);
  imports.name(CROSSING_MODULE).name('leave').u8(ExternalKind.function).u32(1);
  imports.name(CROSSING_MODULE).name('enter').u8(ExternalKind.function).u32(1);
  const body = new ByteWriter().u32(0).pair(Op.call, 1);
  for (let k = 0; k < params.length; k++) body.u8(Op.localGet).u32(k);
  body.pair(Op.call, 0).pair(Op.call, 2).u8(Op.end);
  const sections: readonly (readonly [number, ByteWriter])[] = [
    [SectionId.type, types],
    [SectionId.import, imports],
    [SectionId.function, new ByteWriter().u32(1).u32(0)],
    [SectionId.export, new ByteWriter().u32(1).name('').u8(ExternalKind.function).u32(3)],
    [SectionId.code, new ByteWriter().u32(1).u32(body.length).raw(body.view())],
  ];
  const out = new ByteWriter().raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  for (const [id, contents] of sections) out.u8(id).u32(contents.length).raw(contents.view());
  const given = Object.create(null) as Record<string, WebAssembly.ModuleImports>;
  given[CROSSING_MODULE] = { leave, enter };
  const named = Object.create(null) as WebAssembly.ModuleImports;
  named[place.name] = foreign;
  given[place.module] = named;
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(out.toBytes()), given).exports[''] as () => unknown;
  } catch (error) {
    if (error instanceof WebAssembly.LinkError)
      error.message = error.message.replace('Import #0', `Import #${place.index}`);
    throw error;
  }
}

/** A function of JavaScript as a table of WebAssembly can hold it: exported by a module that imports it. */
export function asExportedFunction(
  f: (...args: number[]) => number | void,
  { params, results }: FunctionType,
): () => unknown {
  const sections: readonly (readonly [number, ByteWriter])[] = [
    [SectionId.type, new ByteWriter().u32(1).u8(0x60).u32(params.length).raw(params).u32(results.length).raw(results)],
    [SectionId.import, new ByteWriter().u32(1).name('').name('').u8(ExternalKind.function).u32(0)],
    [SectionId.export, new ByteWriter().u32(1).name('').u8(ExternalKind.function).u32(0)],
  ];
  const out = new ByteWriter().raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  for (const [id, contents] of sections) out.u8(id).u32(contents.length).raw(contents.view());
  const module = new WebAssembly.Module(out.toBytes());
  return new WebAssembly.Instance(module, { '': { '': f } }).exports[''] as () => unknown;
}
