import { ByteWriter } from '../wasm/byte-writer.ts';
import { ExternalKind, SectionId, functionType } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';
import { BranchHints } from './branch-hints.ts';
import { savedReferenceTypes } from './call-graph.ts';
import {
  type PlacedValue,
  emitBeginFrame,
  emitLoadFrame,
  emitMovePointer,
  emitSaveFrame,
  frameBytesOf,
  parameterValues,
} from './frame-code.ts';
import { type CodeTarget, FunctionEmitter } from './function-emitter.ts';
import { FRAME_HEADER_BYTES, type FrameLayout, type FunctionPlan, PositionKind } from './function-plan.ts';
import { TypeSection, emitBlockType, writeHeader, writeMemoryImport, writeSection } from './module-encoder.ts';
import { ImportModule, MemoryImport } from './names.ts';
import { type Position, positionKey } from './resume-position.ts';
import { type RewrittenModule, referenceIndex, trampolineIndex } from './rewrite.ts';
import { RuntimeKey, runtimeKey, saveReferenceKey } from './runtime-functions.ts';

export interface ResumeModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Functions imported under `ImportModule` and their index as name: indices of the rewritten module. */
  readonly functions: readonly number[];
  /** What the guest is likely to spend its time in: loops. Other functions run once. */
  readonly longRunning: boolean;
}

/**
 * A loop's head that has not been captured itself, only a place in the loop, is taken for a loop that ends soon when it is
 * larger than this: optimising such a function takes V8 seconds.
 */
const LED_TO_BYTES_MAX = 64 * 1024;

export const ResumeTableImport = 'resume table';
export const ResumeFunctionName = 'continuo:resume ';

interface ResumeBody {
  readonly functionIndex: number;
  readonly slot: number;
  readonly typeIndex: number;
  readonly body: Uint8Array;
  readonly unlikelyBranches: readonly number[];
}

/**
 * Resume functions, made on demand: for a position at which a frame was captured, a function `[] → results` that takes
 * the frame off the save area and does the rest of the original function from there.
 *
 *     loop $outer                      ;; resume function of a position P inside $inner
 *       A                              load frame
 *       loop $inner                    block $exit_outer
 *         B; P: call $f; C               block $back_outer
 *         br_if $inner                     block $exit_inner
 *       end                                  block $back_inner
 *       D; br_if $outer                        call the next frame's resume function; C; br_if $back_inner
 *     end                                      br $exit_inner
 *     E                                      end
 *                                            save a frame at the head of $inner; tail-call its resume function
 *                                          end
 *                                          D; br_if $back_outer
 *                                          …
 *
 * The code after P is emitted outward, a block for each construct around it. A branch back to a loop's head goes on in
 * the resume function of that head, through a frame in the save area. So a resume function holds no dispatch and no
 * guard, its size is at most what follows P, and the functions in which a long loop then spends its time — those of
 * loop heads — are few, shared by all positions and compiled once with optimisation.
 *
 * Resume functions live in side modules that import the program's memory, tables, globals and functions; they find each
 * other through one table, by slot.
 *
 * This makes side modules and gives out slots of the table of resume functions.
 */
export class ResumeModuleBuilder {
  readonly #rewritten: RewrittenModule;
  readonly #plan: FunctionPlan;
  readonly #slots = new Map<number, number>();
  #slotCount = 0;
  /** Heads that have a function which is not for long running. */
  readonly #brief = new Set<number>();

  constructor(rewritten: RewrittenModule, plan: FunctionPlan) {
    this.#rewritten = rewritten;
    this.#plan = plan;
  }

  /** Slots given out so far: the table must be at least so long. */
  get slotCount(): number {
    return this.#slotCount;
  }

  /** Whether a function has yet to be made for a position at which the guest was captured. */
  isMissing(position: Position): boolean {
    const key = positionKey(position);
    return !this.#slots.has(key) || this.#brief.has(key);
  }

  slotOf(key: number): number | undefined {
    return this.#slots.get(key);
  }

  /**
   * Modules with a resume function for each missing position, all of them loop heads or none, and for the loop heads those
   * lead to. A brief function that is replaced keeps its slot: others may go on there.
   */
  build(positions: readonly Position[], loopHeads: boolean): ResumeModule[] {
    const wanted: Position[] = [];
    const slots: number[] = [];
    const want = (position: Position): number => {
      const key = positionKey(position);
      let slot = this.#slots.get(key);
      if (slot === undefined) {
        slot = this.#slotCount++;
        this.#slots.set(key, slot);
        wanted.push(position);
        slots.push(slot);
      }
      return slot;
    };
    for (const position of positions) {
      const key = positionKey(position);
      const slot = want(position);
      if (!this.#brief.delete(key)) continue;
      wanted.push(position);
      slots.push(slot);
    }
    if (wanted.length === 0) return [];
    const asked = wanted.length;

    const { module, options } = this.#rewritten;
    const types = new TypeSection(module);
    const functions: number[] = [];
    const importOf = new Map<number, number>();
    const importFunction = (index: number): number => {
      let number = importOf.get(index);
      if (number === undefined) {
        number = functions.length;
        functions.push(index);
        importOf.set(index, number);
      }
      return number;
    };
    const runtime = (key: string): number => importFunction(this.#rewritten.runtimeFunctions.get(key)!);
    const tableCount = module.tables.length;
    const savedTypes = savedReferenceTypes(this.#rewritten.graph);
    const target: CodeTarget = {
      ...options,
      functionIndex: (f) => importFunction(f < module.importedFunctionCount ? trampolineIndex(module, f) : f),
      referenceIndex: (f) => importFunction(referenceIndex(this.#rewritten, f)),
      runtimeFunction: (op, a, b) => runtime(runtimeKey(op, a, b)),
      saveFunction: (type) => runtime(saveReferenceKey(type)),
      endFrameFunction: () => runtime(RuntimeKey.endFrame),
      ensureFunction: () => runtime(RuntimeKey.ensure),
      table: (type) => tableCount + 1 + savedTypes.indexOf(type),
    };
    const emitter = new ResumeEmitter(this.#plan, target, types, want, tableCount);
    const long: ResumeBody[] = [];
    const brief: ResumeBody[] = [];
    // `wanted` grows while bodies are made: their back edges ask for loop heads.
    for (let k = 0; k < wanted.length; k++) {
      const made = { ...this.#resumeFunction(wanted[k], emitter, types, target), slot: slots[k] };
      const runsLong = k < asked ? loopHeads : made.body.length <= LED_TO_BYTES_MAX;
      if (!runsLong && k >= asked) this.#brief.add(positionKey(wanted[k]));
      (runsLong ? long : brief).push(made);
    }
    const modules: ResumeModule[] = [];
    for (const bodies of [long, brief]) {
      if (bodies.length === 0) continue;
      modules.push({ bytes: this.#encode(types, functions, bodies), functions, longRunning: bodies === long });
    }
    return modules;
  }

  #resumeFunction(
    position: Position,
    emitter: ResumeEmitter,
    types: TypeSection,
    target: CodeTarget,
  ): Omit<ResumeBody, 'slot'> {
    const { module } = this.#rewritten;
    const { params, results } = functionType(module, position.functionIndex);
    const typeIndex = types.indexOf({ params: new Uint8Array(0), results });
    const out = new ByteWriter(1024);
    if (position.position === 0) {
      this.#issueAgain(out, position.functionIndex, params, target);
    } else {
      if (this.#plan.body.functionIndex !== position.functionIndex) this.#plan.plan(position.functionIndex);
      emitter.emitResumeFunction(out, position);
    }
    const unlikelyBranches = position.position === 0 ? [] : [...emitter.unlikelyBranches];
    return { functionIndex: position.functionIndex, typeIndex, body: out.toBytes(), unlikelyBranches };
  }

  /** The resume function of an interrupted host call: the call with the same arguments. */
  #issueAgain(out: ByteWriter, f: number, params: Uint8Array, target: CodeTarget): void {
    const values = parameterValues(params);
    out.u32(params.length + 1);
    for (const type of params) out.u32(1).u8(type);
    out.u32(1).u8(ValueType.i32);
    emitLoadFrame(out, params.length, values, frameBytesOf(params) + FRAME_HEADER_BYTES, target);
    for (const { local } of values) out.u8(Op.localGet).u32(local);
    out.u8(Op.call).u32(target.functionIndex(f)).u8(Op.end);
  }

  #encode(types: TypeSection, functions: readonly number[], bodies: readonly ResumeBody[]): Uint8Array<ArrayBuffer> {
    // The imports first: their types may be new to the section that comes before them.
    const imports = this.#imports(types, functions);
    const out = new ByteWriter(4096);
    writeHeader(out);
    types.encode(out);
    writeSection(out, SectionId.import, imports);
    const declarations = new ByteWriter().u32(bodies.length);
    for (const { typeIndex } of bodies) declarations.u32(typeIndex);
    writeSection(out, SectionId.function, declarations);
    const { module } = this.#rewritten;
    const elements = new ByteWriter().u32(bodies.length + 1);
    bodies.forEach(({ slot }, k) => {
      elements.u32(2).u32(module.tables.length).u8(Op.i32Const).s32(slot).u8(Op.end).u8(0).u32(1);
      elements.u32(functions.length + k);
    });
    // A declarative segment allows ref.func of every imported function.
    elements.u32(3).u8(0).u32(functions.length);
    for (let k = 0; k < functions.length; k++) elements.u32(k);
    writeSection(out, SectionId.element, elements);
    const hints = new BranchHints();
    bodies.forEach(({ unlikelyBranches }, k) => hints.add(functions.length + k, unlikelyBranches));
    hints.encode(out);
    const code = new ByteWriter(4096).u32(bodies.length);
    for (const { body } of bodies) code.u32(body.length).raw(body);
    writeSection(out, SectionId.code, code);
    this.#names(out, bodies, functions.length);
    return out.toBytes();
  }

  #imports(types: TypeSection, functions: readonly number[]): ByteWriter {
    const { module, graph, addedFunctionTypes } = this.#rewritten;
    const savedTypes = savedReferenceTypes(graph);
    const tableCount = module.tables.length + 1 + savedTypes.length;
    const section = new ByteWriter();
    section.u32(functions.length + 1 + tableCount + module.globals.length + module.tagTypes.length);
    for (const index of functions) {
      const typeIndex =
        index < module.functionTypes.length
          ? module.functionTypes[index]
          : types.indexOf(addedFunctionTypes[index - module.functionTypes.length]);
      section.name(ImportModule).name(String(index)).u8(ExternalKind.function).u32(typeIndex);
    }
    writeMemoryImport(section, module);
    module.tables.forEach(({ type, limits }, k) => {
      section.name(ImportModule).name(`table ${k}`).pair(ExternalKind.table, type);
      if (limits.maximum === undefined) section.u8(0).u32(0);
      else section.u8(1).u32(0).u32(limits.maximum);
    });
    section.name(ImportModule).name(ResumeTableImport).pair(ExternalKind.table, ValueType.funcref).u8(0).u32(0);
    for (const type of savedTypes) {
      section.name(ImportModule).name(resumeImports.savedReferences(type)).pair(ExternalKind.table, type).u8(0).u32(0);
    }
    module.globals.forEach(({ type, mutable }, k) => {
      section
        .name(ImportModule)
        .name(`global ${k}`)
        .u8(ExternalKind.global)
        .pair(type, mutable ? 1 : 0);
    });
    module.tagTypes.forEach((type, k) => {
      section.name(ImportModule).name(resumeImports.tag(k)).pair(ExternalKind.tag, 0).u32(type);
    });
    return section;
  }

  /** Names under which a trap's stack shows which function of the original program was resumed. */
  #names(out: ByteWriter, bodies: readonly ResumeBody[], firstIndex: number): void {
    const names = new ByteWriter().u32(bodies.length);
    bodies.forEach(({ functionIndex }, k) => names.u32(firstIndex + k).name(`${ResumeFunctionName}${functionIndex}`));
    const section = new ByteWriter().name('name').u8(1).u32(names.length).raw(names.view());
    writeSection(out, SectionId.custom, section);
  }
}

/** Emits one resume function; see the head of this file for its shape. */
class ResumeEmitter extends FunctionEmitter {
  readonly #types: TypeSection;
  readonly #want: (position: Position) => number;
  readonly #resumeTable: number;

  constructor(
    plan: FunctionPlan,
    target: CodeTarget,
    types: TypeSection,
    want: (position: Position) => number,
    resumeTable: number,
  ) {
    super(plan, target);
    this.#types = types;
    this.#want = want;
    this.#resumeTable = resumeTable;
  }

  emitResumeFunction(out: ByteWriter, position: Position): void {
    const { plan, body, code } = this;
    const row = plan.rowAt(position.position);
    const layout = plan.layoutAt(position.position, position.kind)!;
    this.begin();
    this.openGroups(position.kind === PositionKind.after ? row + 1 : row);
    emitLoadFrame(code, this.scratchPointer(), this.#values(layout), layout.bytes, this.target);
    const openers = this.#openersAround(row);
    this.#openConstructs(openers, layout, row);
    let next = row;
    if (position.kind !== PositionKind.before) next++;
    if (position.kind === PositionKind.inside) this.#resumeCallee(row);
    for (let k = openers.length - 1; k >= 0; k--) {
      const opener = openers[k];
      const end = body.partner[opener];
      this.#emitRest(opener, row, next);
      this.keepResults(end);
      next = end + 1;
    }
    this.emitRows(next, body.count - 1);
    this.closeGroups();
    this.finish(out, 0);
  }

  /** The rest of a construct around the position, from row `next` to its end, and the end itself. */
  #emitRest(opener: number, row: number, next: number): void {
    const { body } = this;
    const end = body.partner[opener];
    switch (body.op[opener]) {
      case Op.loop:
        this.emitRows(next, end);
        return this.#closeLoop(opener);
      case Op.if:
        this.emitRows(next, body.elseOf[opener] > row ? body.elseOf[opener] : end);
        return this.#close();
      case Op.try: {
        const handler = this.#handlerAround(opener, row);
        if (body.op[end] === Op.delegate) return this.emitRows(next, end + 1);
        // Inside a handler the other handlers are done with; inside the body all of them are still to come.
        const following = handler < 0 ? -1 : body.elseOf[handler];
        this.emitRows(next, following < 0 ? end : following);
        return this.#close();
      }
      default:
        this.emitRows(next, end);
        this.#close();
    }
  }

  /** The handler of a try that a row stands in, −1 for its body. */
  #handlerAround(opener: number, row: number): number {
    const { elseOf } = this.body;
    let found = -1;
    for (let h = elseOf[opener]; h >= 0 && h <= row; h = elseOf[h]) found = h;
    return found;
  }

  /** Opens a try around a position in its body, or what holds the exception around one in a handler. */
  #openTry(opener: number, row: number, results: Uint8Array): void {
    const { body, code, plan } = this;
    if (this.#handlerAround(opener, row) < 0) {
      this.emitTry(opener, () => this.#openBlock(results, Op.try));
      return;
    }
    const note = plan.exceptions.notes.get(opener);
    this.#openBlock(results, note === undefined ? Op.block : Op.try);
    this.openLabel(body.labelDepth[opener], opener);
    if (note === undefined) return;
    note.valueLocals.forEach((locals, tag) => {
      code
        .u8(Op.localGet)
        .u32(note.tagLocal)
        .u8(Op.i32Const)
        .s32(tag + 1);
      code.u8(Op.i32Eq).pair(Op.if, 0x40);
      for (const local of locals) code.u8(Op.localGet).u32(local);
      code.u8(Op.throw).u32(tag).u8(Op.end);
    });
    code.u8(Op.unreachable).u8(Op.catchAll);
  }

  #values(layout: FrameLayout): PlacedValue[] {
    const { locals, localTypes, localOffsets, stackTypes, stackOffsets } = layout;
    const values = locals.map((local, k) => ({ local, type: localTypes[k], offset: localOffsets[k] }));
    stackTypes.forEach((type, k) => {
      values.push({ local: this.stackLocal(k + 1, type), type, offset: stackOffsets[k] });
    });
    return values;
  }

  /** Rows of the blocks, loops and ifs around a row, the outermost first. */
  #openersAround(row: number): number[] {
    const { body } = this;
    const openers: number[] = [];
    for (let i = 0; i < row; i++) {
      const op = body.op[i];
      if (op !== Op.block && op !== Op.loop && op !== Op.if && op !== Op.try && op !== Op.tryTable) continue;
      if (body.partner[i] < row) i = body.partner[i];
      else openers.push(i);
    }
    return openers;
  }

  /** Opens a block for each construct around the position, with the operands of the frame between them. */
  #openConstructs(openers: readonly number[], layout: FrameLayout, row: number): void {
    const { body } = this;
    let height = 0;
    for (const opener of openers) {
      const { params, results } = body.blockType(opener);
      const before = body.nodeHeight[body.stack[opener]] - (body.op[opener] === Op.if ? 1 : 0);
      const base = before - params.length;
      this.#pushOperands(layout, height, base);
      height = base;
      if (body.op[opener] === Op.try) {
        this.#openTry(opener, row, results);
        continue;
      }
      if (body.op[opener] === Op.tryTable) {
        this.emitTryTable(opener, () => emitBlockType(this.code, results, this.#types));
        continue;
      }
      this.#openBlock(results);
      if (body.op[opener] === Op.loop) {
        this.depth++;
        this.#openBlock(params);
      }
      this.openLabel(body.labelDepth[opener], opener);
    }
    this.#pushOperands(layout, height, layout.stackTypes.length);
  }

  #pushOperands(layout: FrameLayout, from: number, to: number): void {
    for (let k = from; k < to; k++) {
      this.code.u8(Op.localGet).u32(this.stackLocal(k + 1, layout.stackTypes[k]));
    }
  }

  #openBlock(results: Uint8Array, op: number = Op.block): void {
    this.code.u8(op);
    emitBlockType(this.code, results, this.#types);
  }

  #close(): void {
    this.code.u8(Op.end);
    this.depth--;
  }

  /** Calls the resume function of the frame above, whose slot the machine wrote into that frame's header. */
  #resumeCallee(row: number): void {
    const { code, body } = this;
    const results = body.calleeType(row).results;
    code.u8(Op.localGet).u32(this.scratchPointer()).pair(Op.i32Const, FRAME_HEADER_BYTES).u8(Op.i32Sub);
    code.pair(Op.i32Load, 2).u32(0);
    const typeIndex = this.#types.indexOf({ params: new Uint8Array(0), results });
    code.u8(Op.callIndirect).u32(typeIndex).u32(this.#resumeTable);
    this.afterCall(row);
  }

  #closeLoop(opener: number): void {
    const { code, body, plan } = this;
    // Falling out of the loop: its results go to the outer of its two blocks.
    code.u8(Op.br).u32(1);
    this.#close();
    const { params } = body.blockType(opener);
    const height = body.nodeHeight[body.stack[opener]] - params.length;
    for (let k = params.length - 1; k >= 0; k--) {
      code.u8(Op.localSet).u32(this.stackLocal(height + k + 1, params[k]));
    }
    const position = body.start[opener];
    const functionIndex = body.functionIndex;
    const layout = plan.layoutAt(position, PositionKind.before)!;
    const slot = this.#want({ functionIndex, position, kind: PositionKind.before });
    // A frame without end: its resume function takes it at once, nobody else reads its header.
    const pointer = this.scratchPointer();
    emitBeginFrame(code, pointer);
    emitSaveFrame(code, pointer, this.#values(layout), this.target);
    emitMovePointer(code, pointer, layout.bytes);
    const results = body.type.results;
    code.u8(Op.i32Const).s32(slot);
    code.u8(Op.returnCallIndirect).u32(this.#types.indexOf({ params: new Uint8Array(0), results }));
    code.u32(this.#resumeTable);
    this.#close();
  }
}

/** For assembling the import object: names of the side module's imports besides functions. */
export const resumeImports = {
  memory: MemoryImport,
  table: (index: number): string => `table ${index}`,
  savedReferences: (type: number): string => `saved ${type}`,
  global: (index: number): string => `global ${index}`,
  tag: (index: number): string => `tag ${index}`,
} as const;
