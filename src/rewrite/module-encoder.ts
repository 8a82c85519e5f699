import { BIAS_WASM_PAGES, MAX_GUEST_WASM_PAGES } from '../memory/layout.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { ExternalKind, type Module, type Section, SectionId } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { type FunctionType, ValueType, sameTypes } from '../wasm/value-type.ts';
import type { BranchHints } from './branch-hints.ts';
import {
  FunctionsExport,
  InsideExport,
  ImportModule,
  MemoryImport,
  globalExport,
  savedReferencesExport,
  tagExport,
  tableExport,
} from './names.ts';

/** The module's types with ours behind them. */
export class TypeSection {
  readonly #types: FunctionType[];
  readonly #originalCount: number;
  readonly #module: Module;

  constructor(module: Module) {
    this.#module = module;
    this.#types = [...module.types];
    this.#originalCount = module.types.length;
  }

  /** The index of a type, added when the module lacks it. */
  indexOf(type: FunctionType): number {
    const known = this.#types.findIndex(
      (other) => sameTypes(other.params, type.params) && sameTypes(other.results, type.results),
    );
    if (known >= 0) return known;
    this.#types.push(type);
    return this.#types.length - 1;
  }

  encode(out: ByteWriter): void {
    const section = new ByteWriter();
    section.u32(this.#types.length);
    const original = this.#module.sections.find((s) => s.id === SectionId.type);
    if (original !== undefined) copyEntries(section, this.#module, original);
    for (const { params, results } of this.#types.slice(this.#originalCount)) {
      section.u8(0x60).u32(params.length).raw(params).u32(results.length).raw(results);
    }
    writeSection(out, SectionId.type, section);
  }
}

/** The type of a block without parameters. */
export function emitBlockType(code: ByteWriter, results: Uint8Array, types: TypeSection): void {
  if (results.length === 0) code.u8(0x40);
  else if (results.length === 1) code.u8(results[0]);
  else code.s32(types.indexOf({ params: new Uint8Array(0), results }));
}

export function writeSection(out: ByteWriter, id: number, contents: ByteWriter): void {
  out.u8(id).u32(contents.length).raw(contents.view());
}

export function writeHeader(out: ByteWriter): void {
  out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
}

/** Copies the entries of a section that begins with their number. */
export function copyEntries(out: ByteWriter, module: Module, section: Section): void {
  const reader = new ByteReader(module.bytes, section.start, section.end);
  reader.u32();
  out.raw(module.bytes, reader.position, section.end);
}

/** Limits of the machine's memory: the guest's behind the control region. */
export function memoryLimits(module: Module): { initial: number; maximum: number } {
  const guest = module.memory ?? { initial: 0, maximum: 0 };
  return {
    initial: guest.initial + BIAS_WASM_PAGES,
    maximum: Math.min(guest.maximum ?? 65536, MAX_GUEST_WASM_PAGES) + BIAS_WASM_PAGES,
  };
}

export function writeMemoryImport(out: ByteWriter, module: Module): void {
  const { initial, maximum } = memoryLimits(module);
  out.name(ImportModule).name(MemoryImport).pair(ExternalKind.memory, 3).u32(initial).u32(maximum);
}

/** What the rewriter adds to a module's index spaces. */
export interface Additions {
  readonly types: TypeSection;
  /** Type index and body of each added function, in order of index. */
  readonly functions: readonly { readonly typeIndex: number; readonly body: Uint8Array }[];
  /** The function that stands for one of the original. */
  readonly functionIndex: (original: number) => number;
  /** The function that a reference to it names. */
  readonly referenceIndex: (original: number) => number;
  /** Whether a global tells that the instance's own code runs. */
  readonly insideGlobal: boolean;
  /** Types of the tables of saved references. */
  readonly savedTypes: readonly number[];
}

/**
 * Writes the rewritten module around the code section: the guest's memory, start function and active data give way
 * to the import of ours and the runtime functions; tables, globals and functions stay where they were, with ours behind
 * them; imported functions are named through their trampolines.
 */
export class ModuleEncoder {
  readonly #module: Module;
  readonly #additions: Additions;

  constructor(module: Module, additions: Additions) {
    this.#module = module;
    this.#additions = additions;
  }

  encode(out: ByteWriter, code: ByteWriter, hints: BranchHints): void {
    writeHeader(out);
    this.#additions.types.encode(out);
    this.#imports(out);
    this.#functions(out);
    this.#tables(out);
    this.#tags(out);
    this.#globals(out);
    this.#exports(out);
    this.#elements(out);
    this.#dataCount(out);
    hints.encode(out);
    writeSection(out, SectionId.code, code);
    this.#data(out);
    this.#names(out);
  }

  #imports(out: ByteWriter): void {
    const module = this.#module;
    const section = new ByteWriter();
    const kept = module.imports.filter((entry) => entry.kind !== ExternalKind.memory);
    section.u32(kept.length + 1);
    for (const { module: from, name, description } of kept) {
      section.name(from).name(name).raw(module.bytes, description.start, description.end);
    }
    writeMemoryImport(section, module);
    writeSection(out, SectionId.import, section);
  }

  #functions(out: ByteWriter): void {
    const module = this.#module;
    const section = new ByteWriter();
    const defined = module.functionTypes.length - module.importedFunctionCount;
    section.u32(defined + this.#additions.functions.length);
    for (let f = module.importedFunctionCount; f < module.functionTypes.length; f++) {
      section.u32(module.functionTypes[f]);
    }
    for (const { typeIndex } of this.#additions.functions) section.u32(typeIndex);
    writeSection(out, SectionId.function, section);
  }

  #tables(out: ByteWriter): void {
    const module = this.#module;
    const defined = module.tables.slice(module.importedTableCount);
    const section = new ByteWriter();
    const { savedTypes } = this.#additions;
    section.u32(defined.length + 1 + savedTypes.length);
    for (const { type, limits } of defined) {
      section.u8(type);
      if (limits.maximum === undefined) section.u8(0).u32(limits.initial);
      else section.u8(1).u32(limits.initial).u32(limits.maximum);
    }
    section.pair(ValueType.funcref, 0).u32(this.#totalFunctionCount());
    for (const type of savedTypes) section.pair(type, 0).u32(16);
    writeSection(out, SectionId.table, section);
  }

  #totalFunctionCount(): number {
    return this.#module.functionTypes.length + this.#additions.functions.length;
  }

  #tags(out: ByteWriter): void {
    const defined = this.#module.tagTypes.slice(this.#module.importedTagCount);
    if (defined.length === 0) return;
    const section = new ByteWriter().u32(defined.length);
    for (const type of defined) section.u8(0).u32(type);
    writeSection(out, SectionId.tag, section);
  }

  #globals(out: ByteWriter): void {
    const module = this.#module;
    const defined = module.globals.slice(module.importedGlobalCount);
    const { insideGlobal } = this.#additions;
    const count = defined.length + (insideGlobal ? 1 : 0);
    if (count === 0) return;
    const section = new ByteWriter();
    section.u32(count);
    for (const { type, mutable, initial } of defined) {
      section.pair(type, mutable ? 1 : 0);
      if (initial!.functionIndex === undefined) section.raw(module.bytes, initial!.start, initial!.end);
      else section.u8(Op.refFunc).u32(this.#additions.referenceIndex(initial!.functionIndex));
      section.u8(Op.end);
    }
    if (insideGlobal) section.pair(ValueType.i32, 1).pair(Op.i32Const, 0).u8(Op.end);
    writeSection(out, SectionId.global, section);
  }

  #exports(out: ByteWriter): void {
    const module = this.#module;
    const firstTable = module.tables.length;
    const section = new ByteWriter();
    const guest = module.exports.filter((entry) => entry.kind !== ExternalKind.memory);
    const { insideGlobal, savedTypes } = this.#additions;
    const addedTables = [FunctionsExport, ...savedTypes.map(savedReferencesExport)];
    const added =
      module.tables.length +
      module.globals.length +
      module.tagTypes.length +
      addedTables.length +
      (insideGlobal ? 1 : 0);
    section.u32(guest.length + added);
    for (const { name, kind, index } of guest) {
      section
        .name(name)
        .u8(kind)
        .u32(kind === ExternalKind.function ? this.#additions.referenceIndex(index) : index);
    }
    module.tables.forEach((_, k) => section.name(tableExport(k)).u8(ExternalKind.table).u32(k));
    module.tagTypes.forEach((_, k) => section.name(tagExport(k)).u8(ExternalKind.tag).u32(k));
    module.globals.forEach((_, k) => section.name(globalExport(k)).u8(ExternalKind.global).u32(k));
    addedTables.forEach((name, k) =>
      section
        .name(name)
        .u8(ExternalKind.table)
        .u32(firstTable + k),
    );
    if (insideGlobal) section.name(InsideExport).u8(ExternalKind.global).u32(module.globals.length);
    writeSection(out, SectionId.export, section);
  }

  #elements(out: ByteWriter): void {
    const module = this.#module;
    const section = new ByteWriter();
    section.u32(module.elements.length + 1);
    for (const segment of module.elements) {
      const usesExpressions = segment.expressions !== undefined;
      const low = segment.mode === 'active' ? 2 : segment.mode === 'passive' ? 1 : 3;
      section.u32(low | (usesExpressions ? 4 : 0));
      if (segment.mode === 'active') {
        section.u32(segment.table).raw(module.bytes, segment.offset!.start, segment.offset!.end).u8(Op.end);
      }
      if (usesExpressions) {
        section.u8(segment.type).u32(segment.expressions.length);
        for (const { start, end, functionIndex } of segment.expressions) {
          if (functionIndex === undefined) section.raw(module.bytes, start, end);
          else section.u8(Op.refFunc).u32(this.#additions.referenceIndex(functionIndex));
          section.u8(Op.end);
        }
      } else {
        section.u8(0).u32(segment.functions!.length);
        for (const f of segment.functions!) section.u32(this.#additions.referenceIndex(f));
      }
    }
    const total = this.#totalFunctionCount();
    section.u32(2).u32(module.tables.length).pair(Op.i32Const, 0).u8(Op.end).u8(0).u32(total);
    const { length } = module.functionTypes;
    for (let f = 0; f < total; f++) section.u32(f < length ? this.#additions.functionIndex(f) : f);
    writeSection(out, SectionId.element, section);
  }

  #dataCount(out: ByteWriter): void {
    const count = this.#module.data.length;
    if (count > 0) writeSection(out, SectionId.dataCount, new ByteWriter().u32(count));
  }

  #data(out: ByteWriter): void {
    const module = this.#module;
    if (module.data.length === 0) return;
    const section = new ByteWriter(1 << 16);
    section.u32(module.data.length);
    for (const { bytes } of module.data) {
      section
        .u8(1)
        .u32(bytes.end - bytes.start)
        .raw(module.bytes, bytes.start, bytes.end);
    }
    writeSection(out, SectionId.data, section);
  }

  /** Keeps the names, which a trap's stack shows; other custom sections speak of bytes that have moved. */
  #names(out: ByteWriter): void {
    const module = this.#module;
    for (const section of module.sections) {
      if (section.id !== SectionId.custom) continue;
      if (new ByteReader(module.bytes, section.start, section.end).name() !== 'name') continue;
      out
        .u8(SectionId.custom)
        .u32(section.end - section.start)
        .raw(module.bytes, section.start, section.end);
    }
  }
}
