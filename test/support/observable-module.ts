import { ByteReader } from '../../src/wasm/byte-reader.ts';
import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ExternalKind, type Module, SectionId, decodeModule } from '../../src/wasm/module.ts';
import { Op } from '../../src/wasm/opcode.ts';
import { ValueType, isReferenceType } from '../../src/wasm/value-type.ts';

/** Names of what an observable module exports besides its own exports. */
export const observed = {
  memory: 'observed memory',
  start: 'observed start',
  table: (index: number): string => `observed table ${index}`,
  global: (index: number): string => `observed global ${index}`,
  /** Function `[] → i64` that gives bits of a mutable number or vector global; vectors have a second half. */
  bits: (index: number, half: number): string => `observed bits ${index}.${half}`,
} as const;

const sectionOrder = [
  SectionId.type, SectionId.import, SectionId.function, SectionId.table, SectionId.memory, SectionId.tag, SectionId.global,
  SectionId.export, SectionId.element, SectionId.dataCount, SectionId.code, SectionId.data,
]; // prettier-ignore

/**
 * The same program with its memory, tables and globals exported, and its start function exported instead of started: so
 * that plain V8 shows the state that the rewritten program is compared with. All indices stay as they are.
 */
export function makeObservable(bytes: Uint8Array): { module: Module; bytes: Uint8Array<ArrayBuffer> } {
  const module = decodeModule(bytes);
  const getters = module.globals.flatMap(({ type, mutable }, index) => {
    if (!mutable || isReferenceType(type)) return [];
    const halves = type === ValueType.v128 ? [0, 1] : [0];
    return halves.map((half) => ({ index, half, body: getter(type, index, half) }));
  });
  const out = new ByteWriter(bytes.length + 1024);
  out.raw(bytes, 0, 8);
  const append = (id: number, count: number, write: (section: ByteWriter) => void): void => {
    const section = new ByteWriter();
    const original = module.sections.find((candidate) => candidate.id === id);
    if (original === undefined && count === 0) return;
    if (original === undefined) {
      section.u32(count);
    } else {
      const reader = new ByteReader(bytes, original.start, original.end);
      section.u32(reader.u32() + count).raw(bytes, reader.position, original.end);
    }
    write(section);
    out.u8(id).u32(section.length).raw(section.view());
  };
  for (const id of sectionOrder) {
    switch (id) {
      case SectionId.type:
        append(id, 1, (section) => section.u8(0x60).u32(0).u32(1).u8(ValueType.i64));
        break;
      case SectionId.function:
        append(id, getters.length, (section) => getters.forEach(() => section.u32(module.types.length)));
        break;
      case SectionId.export:
        writeExports(out, module, getters);
        break;
      case SectionId.code:
        append(id, getters.length, (section) =>
          getters.forEach(({ body }) => section.u32(body.length).raw(body.view())),
        );
        break;
      default: {
        const section = module.sections.find((candidate) => candidate.id === id);
        if (section !== undefined) {
          out
            .u8(id)
            .u32(section.end - section.start)
            .raw(bytes, section.start, section.end);
        }
      }
    }
  }
  return { module, bytes: out.toBytes() };
}

function getter(type: number, index: number, half: number): ByteWriter {
  const code = new ByteWriter().u32(0).u8(Op.globalGet).u32(index);
  if (type === ValueType.i32) code.u8(Op.i64ExtendI32U);
  else if (type === ValueType.f32) code.u8(0xbc /* i32.reinterpret_f32 */).u8(Op.i64ExtendI32U);
  else if (type === ValueType.f64) code.u8(0xbd /* i64.reinterpret_f64 */);
  else if (type === ValueType.v128) {
    code.u8(0xfd).u32(0x1d /* i64x2.extract_lane */).u8(half);
  }
  return code.u8(Op.end);
}

function writeExports(
  out: ByteWriter,
  module: Module,
  getters: readonly { readonly index: number; readonly half: number }[],
): void {
  const entries = module.exports.map(({ name, kind, index }) => ({ name, kind, index }));
  if (module.memory !== undefined) entries.push({ name: observed.memory, kind: ExternalKind.memory, index: 0 });
  module.tables.forEach((_, index) => entries.push({ name: observed.table(index), kind: ExternalKind.table, index }));
  module.globals.forEach((_, index) =>
    entries.push({ name: observed.global(index), kind: ExternalKind.global, index }),
  );
  getters.forEach(({ index, half }, k) =>
    entries.push({
      name: observed.bits(index, half),
      kind: ExternalKind.function,
      index: module.functionTypes.length + k,
    }),
  );
  if (module.startFunction !== undefined) {
    entries.push({ name: observed.start, kind: ExternalKind.function, index: module.startFunction });
  }
  const section = new ByteWriter().u32(entries.length);
  for (const { name, kind, index } of entries) section.name(name).u8(kind).u32(index);
  out.u8(SectionId.export).u32(section.length).raw(section.view());
}
