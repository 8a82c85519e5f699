import { UnsupportedModuleError, UsageError } from '../error/errors.ts';
import { MAX_GUEST_WASM_PAGES } from '../memory/layout.ts';
import { ByteReader } from './byte-reader.ts';
import { Immediate, Op, PREFIX_MISC, PREFIX_SIMD, immediateOf } from './opcode.ts';
import { type FunctionType, ValueType, isKnownValueType, valueTypeName } from './value-type.ts';

/** Section numbers of the binary format. */
export const SectionId = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
  tag: 13,
} as const;

const sectionNames = [
  'custom', 'type', 'import', 'function', 'table', 'memory', 'global', 'export', 'start', 'element', 'code', 'data',
  'data count', 'tag',
]; // prettier-ignore

export const ExternalKind = { function: 0, table: 1, memory: 2, global: 3, tag: 4 } as const;

/** A byte range of the module. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Where something stands, for errors. */
export interface Place {
  readonly section: string;
  readonly byteOffset: number;
}

export interface Section extends ByteRange {
  readonly id: number;
}

export interface Limits {
  readonly initial: number;
  /** Undefined when the module names none. */
  readonly maximum: number | undefined;
  /** A memory that threads could share. */
  readonly shared: boolean;
}

export interface Import {
  readonly module: string;
  readonly name: string;
  readonly kind: number;
  /** Bytes of the import's description, kind byte included. */
  readonly description: ByteRange;
}

export interface GlobalVariable {
  readonly type: number;
  readonly mutable: boolean;
  /** Undefined for an imported global. */
  readonly initial: ConstantExpression | undefined;
}

export interface Table {
  readonly type: number;
  readonly limits: Limits;
  readonly imported: boolean;
}

export interface Export {
  readonly name: string;
  readonly kind: number;
  readonly index: number;
}

/** A constant expression: its bytes without the final `end`, and what it says where that is simple. */
export interface ConstantExpression extends ByteRange {
  /** The function of a lone `ref.func`, else undefined. */
  readonly functionIndex: number | undefined;
}

export interface ElementSegment {
  readonly mode: 'active' | 'passive' | 'declarative';
  readonly table: number;
  readonly offset: ConstantExpression | undefined;
  readonly type: number;
  /** Function indices, or one expression per element. */
  readonly functions: readonly number[] | undefined;
  readonly expressions: readonly ConstantExpression[] | undefined;
}

export interface DataSegment {
  readonly mode: 'active' | 'passive';
  readonly offset: ConstantExpression | undefined;
  readonly bytes: ByteRange;
}

/**
 * A module as its sections say it, bodies undecoded: index spaces flattened (imports first), everything else as byte
 * ranges of `bytes`, so that untouched parts are copied raw.
 */
export interface Module {
  readonly bytes: Uint8Array;
  readonly sections: readonly Section[];
  readonly types: readonly FunctionType[];
  readonly imports: readonly Import[];
  /** Type index per function, imported functions first. */
  readonly functionTypes: Uint32Array;
  readonly importedFunctionCount: number;
  readonly tables: readonly Table[];
  readonly importedTableCount: number;
  readonly memory: Limits | undefined;
  readonly memoryImported: boolean;
  readonly globals: readonly GlobalVariable[];
  readonly importedGlobalCount: number;
  /** Type index per exception tag, imported tags first; its parameters are what an exception carries. */
  readonly tagTypes: readonly number[];
  readonly importedTagCount: number;
  readonly exports: readonly Export[];
  readonly startFunction: number | undefined;
  readonly elements: readonly ElementSegment[];
  readonly data: readonly DataSegment[];
  /** Start and end of each defined function's body: `[2 * i]`, `[2 * i + 1]`. */
  readonly bodies: Uint32Array;
  /** The first mention of `exnref` outside of code. */
  readonly exceptionReferenceAt: Place | undefined;
}

export function functionType(module: Module, functionIndex: number): FunctionType {
  return module.types[module.functionTypes[functionIndex]];
}

/** Reads the sections of a module. Throws a usage error for nonsense and an unsupported-module error with the place. */
export function decodeModule(bytes: Uint8Array): Module {
  return new ModuleDecoder(bytes).decode();
}

class ModuleDecoder {
  readonly #bytes: Uint8Array;
  readonly #reader: ByteReader;
  #section: string = 'header';
  readonly #sections: Section[] = [];
  readonly #types: FunctionType[] = [];
  readonly #imports: Import[] = [];
  readonly #functionTypes: number[] = [];
  readonly #tables: Table[] = [];
  readonly #globals: GlobalVariable[] = [];
  readonly #tagTypes: number[] = [];
  #importedTagCount = 0;
  readonly #exports: Export[] = [];
  readonly #elements: ElementSegment[] = [];
  readonly #data: DataSegment[] = [];
  #memory: Limits | undefined;
  #memoryImported = false;
  #importedFunctionCount = 0;
  #importedTableCount = 0;
  #importedGlobalCount = 0;
  #startFunction: number | undefined;
  #bodies = new Uint32Array(0);
  #exceptionReferenceAt: Place | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#reader = new ByteReader(bytes);
  }

  decode(): Module {
    const reader = this.#reader;
    const magic = [0, 0x61, 0x73, 0x6d];
    if (this.#bytes.length === 0 || magic.some((byte, i) => i < this.#bytes.length && this.#bytes[i] !== byte)) {
      throw new UsageError('not-wasm', 'the file is not a WebAssembly module: it does not begin with \\0asm');
    }
    reader.skip(4);
    const version = reader.u8() + reader.u8() * 256 + (reader.u8() + reader.u8() * 256) * 65536;
    if (version === 0x1000d) this.#unsupported('the component model', 4);
    if (version !== 1)
      throw new UsageError('not-wasm', `the file is WebAssembly of version ${version}; only version 1 is known`);
    while (!reader.atEnd) this.#decodeSection();
    const [declared, defined] = [this.#functionTypes.length - this.#importedFunctionCount, this.#bodies.length / 2];
    if (declared !== defined) {
      this.#invalid(`it declares ${declared} functions and has code for ${defined}`, reader.position);
    }
    return {
      bytes: this.#bytes,
      sections: this.#sections,
      types: this.#types,
      imports: this.#imports,
      functionTypes: Uint32Array.from(this.#functionTypes),
      importedFunctionCount: this.#importedFunctionCount,
      tables: this.#tables,
      importedTableCount: this.#importedTableCount,
      memory: this.#memory,
      memoryImported: this.#memoryImported,
      globals: this.#globals,
      importedGlobalCount: this.#importedGlobalCount,
      tagTypes: this.#tagTypes,
      importedTagCount: this.#importedTagCount,
      exports: this.#exports,
      startFunction: this.#startFunction,
      elements: this.#elements,
      data: this.#data,
      bodies: this.#bodies,
      exceptionReferenceAt: this.#exceptionReferenceAt,
    };
  }

  #decodeSection(): void {
    const reader = this.#reader;
    const at = reader.position;
    const id = reader.u8();
    const length = reader.u32();
    const start = reader.position;
    const end = start + length;
    if (end > this.#bytes.length) {
      throw new UsageError(
        'truncated-module',
        `the program ends too early: its ${sectionNames[id] ?? id} section needs ${end - this.#bytes.length} more bytes`,
        { byteOffset: this.#bytes.length },
      );
    }
    this.#section = sectionNames[id] ?? `number ${id}`;
    if (id > SectionId.tag) this.#unsupported(`a section of unknown kind ${id}`, at);
    this.#sections.push({ id, start, end });
    reader.end = end;
    this.#decodeContents(id);
    reader.position = end;
    reader.end = this.#bytes.length;
  }

  #decodeContents(id: number): void {
    switch (id) {
      case SectionId.type:
        return this.#each(() => this.#type());
      case SectionId.import:
        return this.#each(() => this.#import());
      case SectionId.function:
        return this.#each(() => this.#functionTypes.push(this.#typeIndex()));
      case SectionId.table:
        return this.#each(() => this.#tables.push(this.#table(false)));
      case SectionId.memory:
        return this.#each(() => this.#defineMemory(false));
      case SectionId.global:
        return this.#each(() => {
          const { type, mutable } = this.#globalType();
          this.#globals.push({ type, mutable, initial: this.#constantExpression() });
        });
      case SectionId.export:
        return this.#each(() =>
          this.#exports.push({ name: this.#reader.name(), kind: this.#reader.u8(), index: this.#reader.u32() }),
        );
      case SectionId.start:
        this.#startFunction = this.#reader.u32();
        return;
      case SectionId.element:
        return this.#each(() => this.#elements.push(this.#element()));
      case SectionId.code:
        return this.#code();
      case SectionId.data:
        return this.#each(() => this.#data.push(this.#dataSegment()));
      case SectionId.tag:
        return this.#each(() => this.#tagTypes.push(this.#tag()));
    }
  }

  #each(decodeOne: () => void): void {
    const count = this.#count();
    for (let i = 0; i < count; i++) decodeOne();
  }

  #count(): number {
    const at = this.#reader.position;
    const count = this.#reader.u32();
    // No entry is shorter than a byte: a count that the section cannot hold is found before room is made for it.
    if (count > this.#reader.end - at) this.#invalid(`the ${this.#section} section claims ${count} entries`, at);
    return count;
  }

  #type(): void {
    const at = this.#reader.position;
    const form = this.#reader.u8();
    if (form !== 0x60) this.#unsupported('types of the garbage-collection proposal', at);
    const params = this.#valueTypes();
    this.#types.push({ params, results: this.#valueTypes() });
  }

  #valueTypes(): Uint8Array {
    const count = this.#count();
    const types: number[] = [];
    for (let i = 0; i < count; i++) types.push(this.#valueType());
    return Uint8Array.from(types);
  }

  #valueType(): number {
    const at = this.#reader.position;
    const type = this.#reader.u8();
    if (!isKnownValueType(type)) this.#unsupported(`values of ${valueTypeName(type)}`, at);
    if (type === ValueType.exnref) this.#exceptionReferenceAt ??= { section: this.#section, byteOffset: at };
    return type;
  }

  #typeIndex(): number {
    const at = this.#reader.position;
    const index = this.#reader.u32();
    if (index >= this.#types.length) this.#invalid(`type ${index} does not exist`, at);
    return index;
  }

  #limits(what: string): Limits {
    const at = this.#reader.position;
    const flags = this.#reader.u8();
    if (flags & 0x04) this.#unsupported(`a 64-bit ${what} (memory64)`, at);
    if (flags & 0x08) this.#unsupported(`a ${what} with pages of its own size`, at);
    const shared = (flags & 0x02) !== 0;
    if (shared && what !== 'memory') this.#unsupported(`a shared ${what} (threads)`, at);
    if (flags > 3) this.#invalid(`limits of unknown kind ${flags}`, at);
    const initial = this.#reader.u32();
    return { initial, maximum: flags & 1 ? this.#reader.u32() : undefined, shared };
  }

  #table(imported: boolean): Table {
    if (this.#reader.bytes[this.#reader.position] === 0x40) {
      this.#unsupported('tables with an initial value', this.#reader.position);
    }
    const type = this.#valueType();
    return { type, limits: this.#limits('table'), imported };
  }

  #defineMemory(imported: boolean): void {
    const at = this.#reader.position;
    if (this.#memory !== undefined) this.#unsupported('several memories', at);
    this.#memory = this.#limits('memory');
    if (this.#memory.initial > MAX_GUEST_WASM_PAGES) {
      this.#unsupported(
        `a memory of ${this.#memory.initial} pages of 64 KiB at its start, more than ${MAX_GUEST_WASM_PAGES},`,
        at,
      );
    }
    this.#memoryImported = imported;
  }

  #globalType(): { type: number; mutable: boolean } {
    const type = this.#valueType();
    return { type, mutable: this.#reader.u8() === 1 };
  }

  #tag(): number {
    const at = this.#reader.position;
    if (this.#reader.u8() !== 0) this.#unsupported('a tag that is no exception', at);
    return this.#typeIndex();
  }

  #import(): void {
    const reader = this.#reader;
    const module = reader.name();
    const name = reader.name();
    const start = reader.position;
    const kind = reader.u8();
    switch (kind) {
      case ExternalKind.function:
        this.#functionTypes.push(this.#typeIndex());
        this.#importedFunctionCount++;
        break;
      case ExternalKind.table:
        this.#tables.push(this.#table(true));
        this.#importedTableCount++;
        break;
      case ExternalKind.memory:
        this.#defineMemory(true);
        break;
      case ExternalKind.global:
        this.#globals.push({ ...this.#globalType(), initial: undefined });
        this.#importedGlobalCount++;
        break;
      case ExternalKind.tag:
        this.#tagTypes.push(this.#tag());
        this.#importedTagCount++;
        break;
      default:
        this.#invalid(`an import of unknown kind ${kind}`, start);
    }
    this.#imports.push({ module, name, kind, description: { start, end: reader.position } });
  }

  #constantExpression(): ConstantExpression {
    const reader = this.#reader;
    const start = reader.position;
    let functionIndex: number | undefined;
    let count = 0;
    for (;;) {
      const at = reader.position;
      let op = reader.u8();
      if (op === Op.end) break;
      if (op === 0xfd) op = PREFIX_SIMD + reader.u32();
      else if (op === 0xfc) op = PREFIX_MISC + reader.u32();
      else if (op === 0xfb) this.#unsupported('instructions of the garbage-collection proposal', at);
      count++;
      switch (immediateOf[op] ?? Immediate.unknown) {
        case Immediate.none:
          break;
        case Immediate.index: {
          const index = reader.u32();
          if (op === Op.refFunc) functionIndex = index;
          break;
        }
        case Immediate.leb:
        case Immediate.heapType:
          reader.skipLeb();
          break;
        case Immediate.bytes4:
          reader.skip(4);
          break;
        case Immediate.bytes8:
          reader.skip(8);
          break;
        case Immediate.bytes16:
          reader.skip(16);
          break;
        default:
          this.#unsupported(`opcode 0x${op.toString(16)} in a constant expression`, at);
      }
    }
    return { start, end: reader.position - 1, functionIndex: count === 1 ? functionIndex : undefined };
  }

  #element(): ElementSegment {
    const reader = this.#reader;
    const at = reader.position;
    const flags = reader.u32();
    if (flags > 7) this.#invalid(`an element segment of unknown kind ${flags}`, at);
    const active = (flags & 1) === 0;
    const mode = active ? 'active' : flags & 2 ? 'declarative' : 'passive';
    const table = active && flags & 2 ? reader.u32() : 0;
    const offset = active ? this.#constantExpression() : undefined;
    const usesExpressions = (flags & 4) !== 0;
    let type: number = ValueType.funcref;
    if (flags & 3) {
      if (usesExpressions) type = this.#valueType();
      else reader.u8();
    }
    const count = this.#count();
    if (usesExpressions) {
      const expressions: ConstantExpression[] = [];
      for (let i = 0; i < count; i++) expressions.push(this.#constantExpression());
      return { mode, table, offset, type, functions: undefined, expressions };
    }
    const functions: number[] = [];
    for (let i = 0; i < count; i++) functions.push(reader.u32());
    return { mode, table, offset, type, functions, expressions: undefined };
  }

  #dataSegment(): DataSegment {
    const reader = this.#reader;
    const at = reader.position;
    const flags = reader.u32();
    if (flags > 2) this.#invalid(`a data segment of unknown kind ${flags}`, at);
    if (flags === 2 && reader.u32() !== 0) this.#unsupported('several memories', at);
    const offset = flags === 1 ? undefined : this.#constantExpression();
    const length = reader.u32();
    const start = reader.position;
    reader.skip(length);
    return { mode: flags === 1 ? 'passive' : 'active', offset, bytes: { start, end: reader.position } };
  }

  #code(): void {
    const reader = this.#reader;
    const count = this.#count();
    this.#bodies = new Uint32Array(count * 2);
    for (let i = 0; i < count; i++) {
      const size = reader.u32();
      this.#bodies[2 * i] = reader.position;
      reader.skip(size);
      this.#bodies[2 * i + 1] = reader.position;
    }
  }

  #unsupported(feature: string, byteOffset: number): never {
    throw new UnsupportedModuleError(feature, this.#section, byteOffset);
  }

  #invalid(what: string, byteOffset: number): never {
    throw new UsageError(
      'invalid-module',
      `the program is not a valid WebAssembly module: ${what} (byte ${byteOffset})`,
      {
        byteOffset,
      },
    );
  }
}
