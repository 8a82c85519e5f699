import { BIAS_WASM_PAGES, PAGE_SHIFT, PageState, PollState, controlRegion } from '../memory/layout.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import type { Module } from '../wasm/module.ts';
import { Op, PREFIX_MISC } from '../wasm/opcode.ts';
import { type FunctionType, ValueType, isReferenceType, valueTypeName } from '../wasm/value-type.ts';
import { type CallGraph, TABLE_INIT_STRIDE } from './call-graph.ts';
import { exceptionFunctions } from './exception-store.ts';
import { emitMemoryInstruction } from './frame-code.ts';
import type { TypeSection } from './module-encoder.ts';
import type { AccessTracking } from './access-emitter.ts';
import { type PagedCode, emitPagedCopy, emitPagedFill, emitPagedInit, ensureCode } from './paged-memory.ts';
import { FRAME_HEADER_BYTES, PositionKind } from './function-plan.ts';

/**
 * Functions of ours inside the rewritten module, behind the guest's own:
 *
 *   memory.size, memory.grow            in the guest's units, the control region taken off
 *   memory.copy, fill, init             bounds of the guest, pages marked; they trap exactly where the guest's would
 *   data.drop, elem.drop, table.init    on the module's own segments, for resume copies, which are other modules;
 *                                       drops leave a byte in the control region, so that a restart can repeat them
 *   save and load globals               numbers and vectors, bit for bit (JavaScript may change the bits of a NaN)
 *   save references                     into tables, since memory cannot hold them; see `exception-store.ts` for exceptions
 *   initialise                          the active data segments, which a restart must not apply again
 */
const I = ValueType.i32;
const none = new Uint8Array(0);

export const runtimeTypes = {
  nothing: { params: none, results: none },
  toI32: { params: none, results: Uint8Array.of(I) },
  i32ToNothing: { params: Uint8Array.of(I), results: none },
  i32ToI32: { params: Uint8Array.of(I), results: Uint8Array.of(I) },
  i32x2ToI32: { params: Uint8Array.of(I, I), results: Uint8Array.of(I) },
  i32x3: { params: Uint8Array.of(I, I, I), results: none },
  i32x3ToI32: { params: Uint8Array.of(I, I, I), results: Uint8Array.of(I) },
} as const satisfies Record<string, FunctionType>;

export interface RuntimeFunction {
  readonly key: string;
  readonly type: FunctionType;
  readonly body: Uint8Array;
}

export interface RuntimeContext {
  readonly module: Module;
  readonly graph: CallGraph;
  readonly tracking: AccessTracking;
  /** Function index of the first runtime function. */
  readonly firstIndex: number;
  /** Types of the tables of saved references, which follow the table of all functions. */
  readonly savedTypes: readonly number[];
  readonly types: TypeSection;
  /** How `ensure` calls the pager. */
  readonly fault: MachineEntry | undefined;
  /** How `memory.grow` tells the machine that it was done; undefined: it does not. */
  readonly growth?: MachineEntry;
}

/** A function of the machine: an entry of the table of all functions, with the type of that index. */
export interface MachineEntry {
  readonly table: number;
  readonly entry: number;
  readonly typeIndex: number;
}

/** Name of the runtime function that stands for an instruction with these immediates. */
export function runtimeKey(op: number, immediate: number, immediate2: number): string {
  switch (op) {
    case Op.memoryInit:
      return `memory.init ${immediate}`;
    case Op.dataDrop:
      return `data.drop ${immediate}`;
    case Op.elemDrop:
      return `elem.drop ${immediate}`;
    case Op.tableInit:
      return `table.init ${immediate} ${immediate2}`;
    default:
      return String(op);
  }
}

export const RuntimeKey = {
  checkedAddress: 'checked address',
  markPages: 'mark pages',
  initialise: 'initialise',
  dropActiveData: 'drop active data',
  saveGlobals: 'save globals',
  loadGlobals: 'load globals',
  endFrame: 'end frame',
  ensure: 'ensure',
} as const;

/** Key and type of the function that puts a reference of a type into its table of saved ones. */
export const saveReferenceKey = (type: number): string => `save ${valueTypeName(type)}`;
export const saveReferenceType = (type: number): FunctionType => ({
  params: Uint8Array.of(type),
  results: Uint8Array.of(I),
});

/** Where the k-th data segment of those that the program drops is noted as dropped. */
export function droppedDataAddress(k: number): number {
  return controlRegion.droppedSegments + k;
}

export function droppedElementAddress(k: number): number {
  return controlRegion.droppedSegments + controlRegion.droppedSegmentsBytes / 2 + k;
}

/** The runtime functions that a module needs, in order of index. */
export function makeRuntimeFunctions(context: RuntimeContext): RuntimeFunction[] {
  return new RuntimeBuilder(context).build();
}

class RuntimeBuilder {
  readonly #context: RuntimeContext;
  readonly #functions: RuntimeFunction[] = [];

  constructor(context: RuntimeContext) {
    this.#context = context;
  }

  build(): RuntimeFunction[] {
    const { module, graph, savedTypes } = this.#context;
    this.#checkedAddress();
    if (this.#context.fault === undefined) this.#markPages();
    else this.#ensure(this.#context.fault);
    this.#size();
    this.#grow();
    this.#fill();
    this.#copy();
    this.#endFrame();
    savedTypes.forEach((type, k) => this.#saveReference(type, module.tables.length + 1 + k));
    if (savedTypes.includes(ValueType.exnref)) this.#exceptions();
    this.#globals(RuntimeKey.saveGlobals, true);
    this.#globals(RuntimeKey.loadGlobals, false);
    for (const segment of graph.memoryInits) this.#memoryInit(segment);
    [...graph.dataDrops].forEach((segment, k) => this.#drop(Op.dataDrop, segment, droppedDataAddress(k)));
    [...graph.elemDrops].forEach((segment, k) => this.#drop(Op.elemDrop, segment, droppedElementAddress(k)));
    for (const pair of graph.tableInits) {
      this.#tableInit(Math.floor(pair / TABLE_INIT_STRIDE), pair % TABLE_INIT_STRIDE);
    }
    if (module.data.some((segment) => segment.mode === 'active')) {
      this.#initialise();
      this.#dropActiveData();
    }
    return this.#functions;
  }

  #add(key: string, type: FunctionType, code: ByteWriter, locals: readonly (readonly [number, number])[] = []): void {
    const body = new ByteWriter(code.length + 8);
    body.u32(locals.length);
    for (const [count, type_] of locals) body.u32(count).u8(type_);
    body.raw(code.view()).u8(Op.end);
    this.#functions.push({ key, type, body: body.toBytes() });
  }

  #indexOf(key: string): number {
    return this.#context.firstIndex + this.#functions.findIndex((f) => f.key === key);
  }

  /**
   * (guest address, length) → address in our memory. Traps when the range leaves the guest's memory, by filling a byte
   * at the address 2³² − 1, so that the trap is the engine's own out-of-bounds trap.
   */
  #checkedAddress(): void {
    const code = new ByteWriter();
    code.pair(Op.localGet, 0).u8(Op.i64ExtendI32U).pair(Op.localGet, 1).u8(Op.i64ExtendI32U).u8(Op.i64Add);
    code.pair(Op.memorySize, 0).u8(Op.i32Const).s32(BIAS_WASM_PAGES).u8(Op.i32Sub);
    code.u8(Op.i64ExtendI32U).pair(Op.i64Const, 16).u8(Op.i64Shl);
    code.u8(Op.i64GtU).pair(Op.if, 0x40);
    code.pair(Op.i32Const, 0x7f).pair(Op.i32Const, 0).pair(Op.i32Const, 2);
    this.#bulk(code, Op.memoryFill, 0);
    code.u8(Op.end);
    code
      .pair(Op.localGet, 0)
      .u8(Op.i32Const)
      .s32(BIAS_WASM_PAGES * 65536)
      .u8(Op.i32Add);
    this.#add(RuntimeKey.checkedAddress, runtimeTypes.i32x2ToI32, code);
  }

  /** (guest address, length, unused): marks the pages of a range that was checked before. */
  #markPages(): void {
    const code = new ByteWriter();
    if (this.#context.tracking === 'software') {
      code.pair(Op.localGet, 1).pair(Op.if, 0x40);
      code.pair(Op.localGet, 0).pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU).pair(Op.localTee, 2);
      code.u8(Op.i32Const).s32(controlRegion.pageStates).u8(Op.i32Add);
      code.pair(Op.i32Const, PageState.dirty);
      code.pair(Op.localGet, 0).pair(Op.localGet, 1).u8(Op.i32Add).pair(Op.i32Const, 1).u8(Op.i32Sub);
      code.pair(Op.i32Const, PAGE_SHIFT).u8(Op.i32ShrU);
      code.pair(Op.localGet, 2).u8(Op.i32Sub).pair(Op.i32Const, 1).u8(Op.i32Add);
      this.#bulk(code, Op.memoryFill, 0);
      code.u8(Op.end);
    }
    this.#add(RuntimeKey.markPages, runtimeTypes.i32x3, code);
  }

  #ensure({ table, entry, typeIndex }: MachineEntry): void {
    this.#add(RuntimeKey.ensure, runtimeTypes.i32x3, ensureCode(typeIndex, table, entry), [[3, I]]);
  }

  /** Code of a memory instruction that goes page by page; undefined where pages are always there. */
  #paged(code: ByteWriter): PagedCode | undefined {
    return this.#context.fault === undefined ? undefined : { code, ensure: this.#indexOf(RuntimeKey.ensure) };
  }

  #size(): void {
    const code = new ByteWriter();
    code.pair(Op.memorySize, 0).u8(Op.i32Const).s32(BIAS_WASM_PAGES).u8(Op.i32Sub);
    this.#add(String(Op.memorySize), runtimeTypes.toI32, code);
  }

  #grow(): void {
    const code = new ByteWriter();
    const { growth } = this.#context;
    code.pair(Op.localGet, 0).pair(Op.memoryGrow, 0);
    if (growth !== undefined) {
      code.pair(Op.localSet, 0).u8(Op.i32Const).s32(growth.entry);
      code.u8(Op.callIndirect).u32(growth.typeIndex).u32(growth.table).pair(Op.localGet, 0);
    }
    code.pair(Op.localTee, 0).pair(Op.i32Const, 0x7f).u8(Op.i32Eq);
    code.pair(Op.if, I).pair(Op.i32Const, 0x7f).u8(Op.else);
    code.pair(Op.localGet, 0).u8(Op.i32Const).s32(BIAS_WASM_PAGES).u8(Op.i32Sub).u8(Op.end);
    this.#add(String(Op.memoryGrow), runtimeTypes.i32ToI32, code);
  }

  #callChecked(code: ByteWriter, addressLocal: number, lengthLocal: number): void {
    code.pair(Op.localGet, addressLocal).pair(Op.localGet, lengthLocal);
    code.u8(Op.call).u32(this.#indexOf(RuntimeKey.checkedAddress));
  }

  #callMark(code: ByteWriter, addressLocal: number, lengthLocal: number): void {
    code.pair(Op.localGet, addressLocal).pair(Op.localGet, lengthLocal).pair(Op.i32Const, 0);
    code.u8(Op.call).u32(this.#indexOf(RuntimeKey.markPages));
  }

  #bulk(code: ByteWriter, op: number, immediate: number, immediate2?: number): void {
    code
      .u8(0xfc)
      .u32(op - PREFIX_MISC)
      .u32(immediate);
    if (immediate2 !== undefined) code.u32(immediate2);
  }

  #fill(): void {
    const code = new ByteWriter();
    this.#callChecked(code, 0, 2);
    const paged = this.#paged(code);
    if (paged === undefined) {
      code.pair(Op.localGet, 1).pair(Op.localGet, 2);
      this.#bulk(code, Op.memoryFill, 0);
      this.#callMark(code, 0, 2);
    } else {
      code.u8(Op.drop);
      emitPagedFill(paged);
    }
    this.#add(String(Op.memoryFill), runtimeTypes.i32x3, code, [[2, I]]);
  }

  #copy(): void {
    const code = new ByteWriter();
    this.#callChecked(code, 0, 2);
    this.#callChecked(code, 1, 2);
    const paged = this.#paged(code);
    if (paged === undefined) {
      code.pair(Op.localGet, 2);
      this.#bulk(code, Op.memoryCopy, 0, 0);
      this.#callMark(code, 0, 2);
    } else {
      code.u8(Op.drop).u8(Op.drop);
      emitPagedCopy(paged);
    }
    this.#add(String(Op.memoryCopy), runtimeTypes.i32x3, code, [[2, I]]);
  }

  #memoryInit(segment: number): void {
    const code = new ByteWriter();
    this.#callChecked(code, 0, 2);
    const paged = this.#paged(code);
    if (paged === undefined) {
      code.pair(Op.localGet, 1).pair(Op.localGet, 2);
      this.#bulk(code, Op.memoryInit, segment, 0);
      this.#callMark(code, 0, 2);
    } else {
      code.u8(Op.drop);
      emitPagedInit(paged, segment, { destination: 0, source: 1, count: 2, piece: 3, room: 4 });
    }
    this.#add(runtimeKey(Op.memoryInit, segment, 0), runtimeTypes.i32x3, code, [[2, I]]);
  }

  #drop(op: number, segment: number, flagAddress: number): void {
    const code = new ByteWriter();
    this.#bulk(code, op, segment);
    code.pair(Op.i32Const, 0).pair(Op.i32Const, 1);
    code.pair(Op.i32Store8, 0).u32(flagAddress);
    this.#add(runtimeKey(op, segment, 0), runtimeTypes.nothing, code);
  }

  #tableInit(segment: number, table: number): void {
    const code = new ByteWriter();
    code.pair(Op.localGet, 0).pair(Op.localGet, 1).pair(Op.localGet, 2);
    this.#bulk(code, Op.tableInit, segment, table);
    this.#add(runtimeKey(Op.tableInit, segment, table), runtimeTypes.i32x3, code);
  }

  /**
   * (bytes of the values, site code, function): writes the header, moves the area's end, begins unwinding. A call's frame is
   * `inside` when the callee unwound, else `after`.
   */
  #endFrame(): void {
    const code = new ByteWriter();
    const [site, functionIndex, end] = [1, 2, 3];
    code.pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(controlRegion.saveAreaPointer);
    code.pair(Op.localGet, 0).u8(Op.i32Add).pair(Op.localTee, end);
    code.u8(Op.i32Const).s32(controlRegion.saveArea + controlRegion.saveAreaBytes - FRAME_HEADER_BYTES);
    code.u8(Op.i32GtU).pair(Op.if, 0x40).u8(Op.unreachable).u8(Op.end);
    code.pair(Op.localGet, end).pair(Op.localGet, site).pair(Op.i32Const, 1).u8(Op.i32ShrU);
    code.pair(Op.i32Store, 2).u32(0);
    code.pair(Op.localGet, end).pair(Op.localGet, functionIndex).pair(Op.i32Const, 2).u8(Op.i32Shl);
    code.pair(Op.i32Const, PositionKind.before);
    code.pair(Op.i32Const, PositionKind.inside).pair(Op.i32Const, PositionKind.after);
    code.pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(controlRegion.unwindingWord).u8(Op.select);
    code.pair(Op.localGet, site).pair(Op.i32Const, 1).u8(Op.i32And).u8(Op.select);
    code.u8(Op.i32Or).pair(Op.i32Store, 2).u32(4);
    code.pair(Op.i32Const, 0).pair(Op.localGet, end).pair(Op.i32Const, FRAME_HEADER_BYTES).u8(Op.i32Add);
    code.pair(Op.i32Store, 2).u32(controlRegion.saveAreaPointer);
    code.pair(Op.i32Const, 0).pair(Op.i32Const, PollState.unwinding).pair(Op.i32Store, 2).u32(controlRegion.pollWord);
    code.pair(Op.i32Const, 0).pair(Op.i32Const, 1).pair(Op.i32Store, 2).u32(controlRegion.unwindingWord);
    this.#add(RuntimeKey.endFrame, runtimeTypes.i32x3, code, [[1, I]]);
  }

  /**
   * (reference) → its index in the table. All types of references count on from each other, so a table may be behind by
   * more than its size: it grows by the count, which doubles it at least.
   */
  #saveReference(type: number, table: number): void {
    const count = controlRegion.savedReferenceCount;
    const code = new ByteWriter();
    code.pair(Op.i32Const, 0).pair(Op.i32Load, 2).u32(count).pair(Op.localTee, 1);
    code
      .u8(0xfc)
      .u32(Op.tableSize - PREFIX_MISC)
      .u32(table)
      .u8(0x4f /* i32.ge_u */)
      .pair(Op.if, 0x40);
    code.pair(Op.refNull, type).pair(Op.localGet, 1).pair(Op.i32Const, 1).u8(Op.i32Add);
    code
      .u8(0xfc)
      .u32(Op.tableGrow - PREFIX_MISC)
      .u32(table);
    code.pair(Op.i32Const, 0x7f).u8(Op.i32Eq).pair(Op.if, 0x40).u8(Op.unreachable).u8(Op.end).u8(Op.end);
    code.pair(Op.localGet, 1).pair(Op.localGet, 0).u8(Op.tableSet).u32(table);
    code.pair(Op.i32Const, 0).pair(Op.localGet, 1).pair(Op.i32Const, 1).u8(Op.i32Add);
    code.pair(Op.i32Store, 2).u32(count);
    code.pair(Op.localGet, 1);
    this.#add(saveReferenceKey(type), saveReferenceType(type), code, [[1, I]]);
  }

  #exceptions(): void {
    const { module, types, savedTypes } = this.#context;
    const references = {
      saveFunction: (type: number): number => this.#indexOf(saveReferenceKey(type)),
      table: (type: number): number => module.tables.length + 1 + savedTypes.indexOf(type),
    };
    for (const { key, type, code, localTypes } of exceptionFunctions({ module, types, references })) {
      this.#add(
        key,
        type,
        code,
        localTypes.map((local) => [1, local]),
      );
    }
  }

  /** Mutable globals of number and vector type, a 16-byte cell each in order of index. */
  #globals(key: string, save: boolean): void {
    const code = new ByteWriter();
    let cell = controlRegion.globals;
    this.#context.module.globals.forEach(({ type, mutable }, index) => {
      if (!mutable || isReferenceType(type)) return;
      code.pair(Op.i32Const, 0);
      if (save) code.u8(Op.globalGet).u32(index);
      emitMemoryInstruction(code, type, save, cell);
      if (!save) code.u8(Op.globalSet).u32(index);
      cell += 16;
    });
    this.#add(key, runtimeTypes.nothing, code);
  }

  /** For a restart, which does not apply the active segments: code that names one must find it dropped. */
  #dropActiveData(): void {
    const code = new ByteWriter();
    this.#context.module.data.forEach((segment, index) => {
      if (segment.mode === 'active') this.#bulk(code, Op.dataDrop, index);
    });
    this.#add(RuntimeKey.dropActiveData, runtimeTypes.nothing, code);
  }

  #initialise(): void {
    const { module } = this.#context;
    const code = new ByteWriter();
    const [destination, source, count, piece, room] = [0, 1, 2, 3, 4];
    const paged = this.#paged(code);
    module.data.forEach((segment, index) => {
      if (segment.offset === undefined) return;
      const length = segment.bytes.end - segment.bytes.start;
      code.raw(module.bytes, segment.offset.start, segment.offset.end).pair(Op.localSet, destination);
      code.u8(Op.i32Const).s32(length).pair(Op.localSet, count);
      this.#callChecked(code, destination, count);
      if (paged === undefined) {
        code.pair(Op.i32Const, 0).pair(Op.localGet, count);
        this.#bulk(code, Op.memoryInit, index, 0);
        this.#callMark(code, destination, count);
      } else {
        code.u8(Op.drop).pair(Op.i32Const, 0).pair(Op.localSet, source);
        emitPagedInit(paged, index, { destination, source, count, piece, room });
      }
      this.#bulk(code, Op.dataDrop, index);
    });
    this.#add(RuntimeKey.initialise, runtimeTypes.nothing, code, [[5, I]]);
  }
}
