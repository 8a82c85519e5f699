import { UnsupportedModuleError, UsageError, assert } from '../error/errors.ts';
import { ByteReader } from './byte-reader.ts';
import {
  type CatchClause,
  EMPTY_BLOCK_TYPE,
  readBlockType,
  readCatchClauses,
  readHeapType,
  readValueType,
} from './immediate.ts';
import { type Module, functionType } from './module.ts';
import { Immediate, Op, VARIES, immediateOf, popsOf, pushOf } from './opcode.ts';
import { readOpcode } from './opcode-reader.ts';
import type { FunctionType } from './value-type.ts';

/** The most locals, parameters included, that engines take. */
export const LOCALS_MAX = 50_000;

/**
 * Decodes one function body of a *valid* module into columns, with the operand stack's types at every instruction.
 *
 * Instruction i is a row of `op`, `start`, `end` (byte range in the module), `immediate`, `immediate2`, `partner`,
 * `labelDepth` and `stack`. Instructions that cannot be reached are left out, so that rows always have a known stack.
 *
 * The operand stack is a chain of nodes shared between instructions: a node is one value, with its type, its height
 * (1 for the bottom value) and the node below it; node 0 is the empty stack. A snapshot of the whole stack at any
 * instruction is therefore one number.
 *
 * One decoder serves all functions of a module in turn: the columns are overwritten by the next `decode`.
 */
export class BodyDecoder {
  readonly module: Module;

  /** −1 before the first `decode`. */
  functionIndex = -1;
  type: FunctionType = { params: new Uint8Array(0), results: new Uint8Array(0) };
  /** Types of parameters and declared locals. */
  localTypes = new Uint8Array(64);
  localCount = 0;

  count = 0;
  op = new Uint16Array(0);
  start = new Uint32Array(0);
  end = new Uint32Array(0);
  /** First immediate: index, label, block type (s33), memory offset; for `br_table` where its labels start in `labels`. */
  immediate = new Float64Array(0);
  /** Second immediate: table index, alignment of an access, number of labels of a `br_table` without the default, place of a `try_table`'s clauses in a list. */
  immediate2 = new Uint32Array(0);
  /** For a block, loop, if, try, try_table: its end (or delegate); for an else or handler: its opener; for an end: its opener, −1 for the function's. */
  partner = new Int32Array(0);
  /** For an if its else, for a try its first handler, for a handler the next one; −1 where there is none. */
  elseOf = new Int32Array(0);
  /** Number of labels around an instruction, the function's own included: the opener of a block counts outside it. */
  labelDepth = new Uint32Array(0);
  /** Operand stack before the instruction; `stack[count]` is the stack at the end. */
  stack = new Int32Array(0);

  /** The first stack node that the instruction made: its results are `[firstNode[i], firstNode[i + 1])`. */
  firstNode = new Int32Array(0);

  nodeCount = 1;
  nodeType = new Uint8Array(1024);
  nodeBelow = new Int32Array(1024);
  nodeHeight = new Int32Array(1024);
  /** Row that made the value. */
  nodeRow = new Int32Array(1024);

  labels: number[] = [];

  readonly #inline = new Map<number, FunctionType>();
  readonly #clauses: CatchClause[][] = [];
  // The control stack, one row per open label; row 0 is the function.
  #controlOpener = new Int32Array(64);
  /** Stack below the block's parameters. */
  #controlBase = new Int32Array(64);
  /** Stack with the parameters, as an else finds it. */
  #controlEntry = new Int32Array(64);
  #controlDepth = 0;

  constructor(module: Module) {
    this.module = module;
    this.#inline.set(EMPTY_BLOCK_TYPE, { params: new Uint8Array(0), results: new Uint8Array(0) });
  }

  /** Parameters and results of a block, loop, if, try or try_table at row `i`. */
  blockType(i: number): FunctionType {
    const code = this.immediate[i];
    if (code >= 0) return this.module.types[code];
    let type = this.#inline.get(code);
    if (type === undefined) {
      type = { params: new Uint8Array(0), results: Uint8Array.of(code + 128) };
      this.#inline.set(code, type);
    }
    return type;
  }

  /** The clauses of the `try_table` at row `i`. */
  catchClauses(i: number): readonly CatchClause[] {
    return this.#clauses[this.immediate2[i]];
  }

  /** The value of an `i32.const` at row `i`. */
  constant(i: number): number {
    return new ByteReader(this.module.bytes, this.start[i] + 1, this.end[i]).s32();
  }

  /** The type of the function that a call instruction at row `i` calls. */
  calleeType(i: number): FunctionType {
    const op = this.op[i];
    return op === Op.call || op === Op.returnCall
      ? functionType(this.module, this.immediate[i])
      : this.module.types[this.immediate[i]];
  }

  decode(functionIndex: number): void {
    const module = this.module;
    this.functionIndex = functionIndex;
    this.type = functionType(module, functionIndex);
    const defined = functionIndex - module.importedFunctionCount;
    const reader = new ByteReader(module.bytes, module.bodies[2 * defined], module.bodies[2 * defined + 1]);
    this.#reserve(reader.end - reader.position + 2);
    this.#readLocals(reader);
    this.labels.length = 0;
    this.#clauses.length = 0;
    this.nodeCount = 1;
    this.count = 0;
    this.#controlDepth = 0;
    this.#pushControl(-1, 0, 0);
    this.#readInstructions(reader);
  }

  #readLocals(reader: ByteReader): void {
    const params = this.type.params;
    let count = params.length;
    const declarations = reader.u32();
    const after = reader.position;
    for (let i = 0; i < declarations; i++) {
      count += reader.u32();
      readValueType(reader);
    }
    if (count > LOCALS_MAX) {
      throw new UsageError('invalid-module', `function ${this.functionIndex} has ${count} locals`, {
        byteOffset: after,
      });
    }
    if (this.localTypes.length < count) this.localTypes = new Uint8Array(count * 2);
    this.localTypes.set(params);
    reader.position = after;
    let next = params.length;
    for (let i = 0; i < declarations; i++) {
      const repeat = reader.u32();
      const type = reader.u8();
      this.localTypes.fill(type, next, next + repeat);
      next += repeat;
    }
    this.localCount = count;
  }

  #readInstructions(reader: ByteReader): void {
    let stack = 0;
    let unreachable = false;
    let deadDepth = 0;
    while (reader.position < reader.end) {
      const i = this.count;
      const at = reader.position;
      const op = readOpcode(reader);
      const kind = immediateOf[op];
      this.op[i] = op;
      this.start[i] = at;
      this.#readImmediates(reader, i, kind, at);
      this.end[i] = reader.position;
      if (unreachable) {
        if (op === Op.block || op === Op.loop || op === Op.if || op === Op.try || op === Op.tryTable) {
          deadDepth++;
        } else if ((op === Op.end || op === Op.delegate) && deadDepth > 0) {
          deadDepth--;
          continue;
        }
        if (deadDepth > 0 || !isSectionBoundary(op)) continue;
      }
      this.labelDepth[i] = this.#controlDepth;
      this.stack[i] = stack;
      this.firstNode[i] = this.nodeCount;
      this.count = i + 1;
      switch (op) {
        case Op.block:
        case Op.loop:
        case Op.if:
        case Op.try:
        case Op.tryTable:
          stack = this.#open(i, op, stack);
          break;
        case Op.catch:
        case Op.catchAll:
          stack = this.#handler(i, op);
          unreachable = false;
          break;
        case Op.else: {
          const control = this.#controlDepth - 1;
          this.partner[i] = this.#controlOpener[control];
          this.elseOf[this.#controlOpener[control]] = i;
          stack = this.#controlEntry[control];
          unreachable = false;
          break;
        }
        case Op.delegate:
        case Op.end: {
          const control = --this.#controlDepth;
          const opener = this.#controlOpener[control];
          this.partner[i] = opener;
          const results = opener < 0 ? this.type.results : this.blockType(opener).results;
          if (opener >= 0) this.partner[opener] = i;
          stack = this.#pushAll(this.#controlBase[control], results);
          unreachable = false;
          break;
        }
        case Op.unreachable:
        case Op.br:
        case Op.brTable:
        case Op.return:
        case Op.returnCall:
        case Op.returnCallIndirect:
        case Op.throw:
        case Op.throwRef:
        case Op.rethrow:
          unreachable = true;
          break;
        default:
          stack = this.#apply(i, op, stack);
      }
    }
    this.stack[this.count] = stack;
    this.firstNode[this.count] = this.nodeCount;
  }

  #readImmediates(reader: ByteReader, i: number, kind: number, at: number): void {
    switch (kind) {
      case Immediate.none:
        return;
      case Immediate.index:
        this.immediate[i] = reader.u32();
        return;
      case Immediate.block:
        this.immediate[i] = readBlockType(reader);
        this.elseOf[i] = -1;
        return;
      case Immediate.tryTable:
        this.immediate[i] = readBlockType(reader);
        this.elseOf[i] = -1;
        this.immediate2[i] = this.#clauses.push(readCatchClauses(reader)) - 1;
        return;
      case Immediate.indexPair:
        this.immediate[i] = reader.u32();
        this.immediate2[i] = reader.u32();
        return;
      case Immediate.memory:
      case Immediate.memoryLane:
        this.immediate2[i] = reader.u32();
        if (this.immediate2[i] & 0x40) throw new UnsupportedModuleError('several memories', 'code', at);
        this.immediate[i] = reader.u32();
        if (kind === Immediate.memoryLane) reader.u8();
        return;
      case Immediate.leb:
        reader.skipLeb();
        return;
      case Immediate.bytes4:
        reader.skip(4);
        return;
      case Immediate.bytes8:
        reader.skip(8);
        return;
      case Immediate.bytes16:
        reader.skip(16);
        return;
      case Immediate.lane:
        reader.skip(1);
        return;
      case Immediate.labelTable: {
        const count = reader.u32();
        this.immediate[i] = this.labels.length;
        this.immediate2[i] = count;
        for (let k = 0; k <= count; k++) this.labels.push(reader.u32());
        return;
      }
      case Immediate.selectTypes:
        for (let k = reader.u32(); k > 0; k--) this.immediate[i] = readValueType(reader);
        return;
      case Immediate.heapType:
        this.immediate[i] = readHeapType(reader);
        return;
    }
  }

  #open(i: number, op: number, before: number): number {
    const type = this.blockType(i);
    const stack = op === Op.if ? this.nodeBelow[before] : before;
    const base = this.#below(stack, type.params.length);
    // A loop's parameters are new values: its back edges bring others.
    const entry = op === Op.loop ? this.#pushAll(base, type.params) : stack;
    this.#pushControl(i, base, entry);
    return entry;
  }

  /** Begins a handler of the innermost try: the values that the exception carries are on the stack. */
  #handler(i: number, op: number): number {
    const control = this.#controlDepth - 1;
    const opener = this.#controlOpener[control];
    this.partner[i] = opener;
    this.elseOf[i] = -1;
    let last = opener;
    while (this.elseOf[last] >= 0) last = this.elseOf[last];
    this.elseOf[last] = i;
    const base = this.#controlBase[control];
    if (op === Op.catchAll) return base;
    return this.#pushAll(base, this.module.types[this.module.tagTypes[this.immediate[i]]].params);
  }

  #apply(i: number, op: number, stack: number): number {
    const pops = popsOf[op];
    if (pops !== VARIES) {
      for (let k = 0; k < pops; k++) stack = this.nodeBelow[stack];
      return pushOf[op] === 0 ? stack : this.#push(stack, pushOf[op]);
    }
    switch (op) {
      case Op.localGet:
        return this.#push(stack, this.localTypes[this.immediate[i]]);
      case Op.localSet:
      case Op.globalSet:
      case Op.brIf:
        return this.nodeBelow[stack];
      case Op.localTee:
        return this.#push(this.nodeBelow[stack], this.localTypes[this.immediate[i]]);
      case Op.globalGet:
        return this.#push(stack, this.module.globals[this.immediate[i]].type);
      case Op.tableGet:
        return this.#push(this.nodeBelow[stack], this.module.tables[this.immediate[i]].type);
      case Op.tableSet:
        return this.#below(stack, 2);
      case Op.select: {
        const first = this.#below(stack, 2);
        return this.#push(this.nodeBelow[first], this.nodeType[first]);
      }
      case Op.selectTyped:
        return this.#push(this.#below(stack, 3), this.immediate[i]);
      case Op.refAsNonNull:
        return this.#push(this.nodeBelow[stack], this.nodeType[stack]);
      case Op.refNull:
        return this.#push(stack, this.immediate[i]);
      case Op.call:
      case Op.callIndirect: {
        const type = this.calleeType(i);
        const pops2 = type.params.length + (op === Op.callIndirect ? 1 : 0);
        return this.#pushAll(this.#below(stack, pops2), type.results);
      }
      default:
        assert(false, `the table of instructions says that the operands of 0x${op.toString(16)} vary`);
    }
  }

  #below(stack: number, count: number): number {
    for (let k = 0; k < count; k++) stack = this.nodeBelow[stack];
    return stack;
  }

  #push(below: number, type: number): number {
    const node = this.nodeCount++;
    if (node === this.nodeType.length) this.#growNodes();
    this.nodeType[node] = type;
    this.nodeBelow[node] = below;
    this.nodeHeight[node] = this.nodeHeight[below] + 1;
    this.nodeRow[node] = this.count - 1;
    return node;
  }

  #pushAll(below: number, types: Uint8Array): number {
    let stack = below;
    for (let k = 0; k < types.length; k++) stack = this.#push(stack, types[k]);
    return stack;
  }

  #pushControl(opener: number, base: number, entry: number): void {
    const row = this.#controlDepth++;
    if (row === this.#controlOpener.length) {
      this.#controlOpener = grown(this.#controlOpener);
      this.#controlBase = grown(this.#controlBase);
      this.#controlEntry = grown(this.#controlEntry);
    }
    this.#controlOpener[row] = opener;
    this.#controlBase[row] = base;
    this.#controlEntry[row] = entry;
  }

  #growNodes(): void {
    const types = new Uint8Array(this.nodeType.length * 2);
    types.set(this.nodeType);
    this.nodeType = types;
    this.nodeBelow = grown(this.nodeBelow);
    this.nodeHeight = grown(this.nodeHeight);
    this.nodeRow = grown(this.nodeRow);
  }

  /** Columns for a body of so many bytes: no body has more instructions than bytes. */
  #reserve(capacity: number): void {
    if (this.op.length >= capacity) return;
    const size = Math.max(capacity, this.op.length * 2, 4096);
    this.op = new Uint16Array(size);
    this.start = new Uint32Array(size);
    this.end = new Uint32Array(size);
    this.immediate = new Float64Array(size);
    this.immediate2 = new Uint32Array(size);
    this.partner = new Int32Array(size);
    this.elseOf = new Int32Array(size);
    this.labelDepth = new Uint32Array(size);
    this.stack = new Int32Array(size);
    this.firstNode = new Int32Array(size);
  }
}

function isSectionBoundary(op: number): boolean {
  return op === Op.end || op === Op.else || op === Op.catch || op === Op.catchAll || op === Op.delegate;
}

function grown(column: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(column.length * 2);
  larger.set(column);
  return larger;
}
