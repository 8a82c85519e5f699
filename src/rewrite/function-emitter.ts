import { UnsupportedModuleError } from '../error/errors.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { type BodyDecoder, LOCALS_MAX } from '../wasm/function-body.ts';
import { hasTag } from '../wasm/immediate.ts';
import { Op, accessBytesOf, popsOf, VARIES } from '../wasm/opcode.ts';
import type { CountedLoop } from './counted-loop.ts';
import { type ReferenceStore, emitEndFrame, emitPoll, emitUnwindingTest, emitZeros, siteCode } from './frame-code.ts';
import { ENTRY_SITE, type FunctionPlan } from './function-plan.ts';
import type { ExceptionNote } from './exception-notes.ts';
import { AccessEmitter, type AccessTarget, checksAhead } from './access-emitter.ts';
import { LocalPool, Scratch, writeLocals } from './local-pool.ts';
import { NanAnalysis } from './nan-analysis.ts';
import { emitCanonical } from './nan-code.ts';
import { SaveEmitter } from './save-emitter.ts';
import { Lanes } from './float-behaviour.ts';
import { emitStripHead } from './strip-code.ts';

/** Where an emitter's code stands: what the numbers of functions are there. */
export interface CodeTarget extends ReferenceStore, AccessTarget {
  /** Polls count safepoints down besides looking at the poll word. */
  readonly counting: boolean;
  /** NaNs that the program can see have the same bits on every processor; see `nan-analysis.ts`. */
  readonly canonicalNan?: boolean;
  /** The function to call for a function of the original program. */
  functionIndex(original: number): number;
  /** The function that a reference to a function of the original program names. */
  referenceIndex(original: number): number;
  /** The function of ours that does a memory, table or segment instruction in the guest's stead. */
  runtimeFunction(op: number, immediate: number, immediate2: number): number;
}

/** Iterations of a loop below which the head of a strip costs as much as it saves. */
const STRIPPED_ITERATIONS_MIN = 8;

/** Instructions whose bytes are copied as they are and that change neither labels nor numbers. */
const plain = new Uint8Array(popsOf.length);
for (let op = 0; op < plain.length; op++) {
  plain[op] = popsOf[op] !== VARIES && accessBytesOf[op] === 0 ? 1 : 0;
}
for (const op of [
  Op.localGet, Op.localSet, Op.localTee, Op.globalGet, Op.globalSet, Op.tableGet, Op.tableSet, Op.select,
  Op.selectTyped, Op.refNull, Op.return, Op.unreachable, Op.else, Op.returnCallIndirect, Op.throw,
  Op.throwRef, Op.refAsNonNull,
]) plain[op] = 1; // prettier-ignore
for (const op of [
  Op.refFunc, Op.memorySize, Op.memoryGrow, Op.memoryInit, Op.memoryCopy, Op.memoryFill, Op.dataDrop, Op.elemDrop,
  Op.tableInit,
]) plain[op] = 0; // prettier-ignore

const isSimpleValue = new Uint8Array(popsOf.length);
for (const op of [Op.localGet, Op.i32Const, Op.i64Const, Op.f32Const, Op.f64Const]) isSimpleValue[op] = 1;

/**
 * Emits instructions of a planned function with safepoints and memory access put in.
 *
 *     block … block            one per place at which the saving code is entered
 *       …                      the original instructions
 *       return
 *     end  save …              ;; branched to by the sites; see `save-tree.ts`
 *     …
 *     end  save …
 *     end the frame, return zeros
 *
 * An operand that lies on the stack at a site is copied to a local when it is made (`local.tee`), so that the saving
 * code, which stands outside all blocks of the original, can reach it. Labels keep their relative depths but for those
 * that the caller opened itself.
 */
export class FunctionEmitter {
  readonly code = new ByteWriter(4096);
  /**
   * Offsets of the branches to saving code: in `code` while a function is emitted, then from the start of its body. Engines
   * that take branch hints keep what they need for the cold side off the hot one.
   */
  readonly unlikelyBranches: number[] = [];
  protected readonly plan: FunctionPlan;
  protected readonly body: BodyDecoder;
  protected readonly target: CodeTarget;
  /** Per label of the original (0 is the function's), the number of labels around its counterpart in the output. */
  protected labelAt = new Int32Array(64);
  /** Row of the construct that opened each label of the original. */
  readonly #labelRow: number[] = [];
  /** Labels open in the output. */
  protected depth = 0;
  readonly #locals = new LocalPool();
  #rawStart = 0;
  #rawEnd = 0;
  readonly #accesses: AccessEmitter;
  readonly #saving: SaveEmitter;
  readonly #nans: NanAnalysis | undefined;

  constructor(plan: FunctionPlan, target: CodeTarget) {
    this.plan = plan;
    this.body = plan.body;
    this.target = target;
    this.#accesses = new AccessEmitter(this.code, plan.body, target, this.#locals, this.unlikelyBranches);
    this.#saving = new SaveEmitter(this.code, this.#locals);
    this.#nans = target.canonicalNan === true ? new NanAnalysis() : undefined;
  }

  /** The whole body of the planned function: local declarations and code. */
  emitFunction(out: ByteWriter): void {
    this.begin();
    this.openGroups(0);
    if (this.plan.entryGroup >= 0) this.emitSite(this.plan.entryGroup, ENTRY_SITE);
    this.emitRows(0, this.body.count - 1);
    this.closeGroups();
    this.finish(out, this.body.type.params.length);
  }

  protected begin(): void {
    this.#nans?.analyse(this.body);
    this.code.clear();
    this.unlikelyBranches.length = 0;
    this.#locals.reset(this.body.localCount + this.plan.exceptions.localTypes.length);
    this.depth = 1;
    this.labelAt[0] = 0;
    this.#rawStart = this.#rawEnd = 0;
  }

  /** Opens the blocks of the saving code that the sites in the rows from `firstRow` on need. */
  protected openGroups(firstRow: number): void {
    const { plan, body } = this;
    this.#saving.begin(plan.saveTree);
    if (firstRow === 0 && plan.entryGroup >= 0) this.#saving.enter(plan.groups[plan.entryGroup].node);
    for (let i = firstRow; i < body.count; i++) {
      if (plan.groupOf[i] >= 0) this.#saving.enter(plan.groups[plan.groupOf[i]].node);
    }
    this.depth += this.#saving.open(this.depth);
  }

  protected closeGroups(): void {
    const { code, plan, target } = this;
    if (this.#saving.isUsed) {
      code.u8(Op.return);
      this.depth = this.#saving.close(this.depth, target, ({ local, height, type }) => {
        if (local < 0) return this.stackLocal(height, type);
        this.#emitSavedCanonical(local, type);
        return local;
      });
      const site = plan.siteCount > 1 ? { local: this.#siteLocal() } : this.#onlySiteCode();
      emitEndFrame(code, plan.saveTree.frameBytes, site, this.body.functionIndex, target);
      emitZeros(code, this.body.type.results);
    }
    code.u8(Op.end);
  }

  #onlySiteCode(): number {
    const { plan } = this;
    return siteCode(plan.entryGroup >= 0 ? ENTRY_SITE : 1, plan.groups[0].kind === 'poll');
  }

  /** Writes the declarations of the locals from index `parameterCount` on, then the code. */
  protected finish(out: ByteWriter, parameterCount: number): void {
    const { functionIndex, localCount, start } = this.body;
    if (localCount + this.#locals.types.length > LOCALS_MAX) {
      throw new UnsupportedModuleError(`${localCount} locals in function ${functionIndex}`, 'code', start[0]);
    }
    const startBytes = out.length;
    const types: number[] = [];
    for (let k = parameterCount; k < this.body.localCount; k++) types.push(this.body.localTypes[k]);
    types.push(...this.plan.exceptions.localTypes, ...this.#locals.types);
    writeLocals(out, types);
    const headBytes = out.length - startBytes;
    for (let k = 0; k < this.unlikelyBranches.length; k++) this.unlikelyBranches[k] += headBytes;
    out.raw(this.code.view());
  }

  /** The local that keeps the operand of a height (1 is the bottom) and type. */
  protected stackLocal(height: number, type: number): number {
    return this.#locals.local(height, type);
  }

  protected scratchPointer(): number {
    return this.#locals.local(Scratch.pointer);
  }

  protected emitRows(from: number, to: number): void {
    const { body, plan } = this;
    const { kept } = plan;
    for (let i = from; i < to; i++) {
      const op = body.op[i];
      const counted = op === Op.loop ? plan.countedLoops.get(i) : undefined;
      if (counted !== undefined && this.#runsInStrips(counted)) {
        this.#flushRaw();
        this.#emitCountedLoop(counted);
        i = body.partner[i];
        continue;
      }
      if (i === this.#accesses.strip?.boundStart) {
        this.#flushRaw();
        this.code.u8(Op.localGet).u32(this.#locals.local(Scratch.limit));
        i = this.#accesses.strip.boundRow;
        continue;
      }
      if (plain[op] === 1) {
        const simple = isSimpleValue[op] === 1 && !this.#isMadeCanonical(i);
        if (simple && i + 1 < to && this.#accesses.isTrackedStore(i + 1)) {
          this.#flushRaw();
          this.#accesses.emitStoreOfSimpleValue(i);
          i++;
          continue;
        }
        this.#copyRow(i);
      } else {
        this.#flushRaw();
        this.#emitSpecial(i, op);
      }
      if (this.#isMadeCanonical(i)) this.#emitCanonical(i);
      if (kept[body.firstNode[i]] === 1 && op !== Op.call && op !== Op.callIndirect) this.keepResults(i);
      if (op === Op.loop) this.#pollLoop(i);
    }
    this.#flushRaw();
  }

  #isMadeCanonical(i: number): boolean {
    return this.#nans !== undefined && this.#nans.canonicalLanes[i] !== 0;
  }

  #emitCanonical(i: number): void {
    const { code, body } = this;
    const type = body.nodeType[body.firstNode[i]];
    this.#flushRaw();
    emitCanonical(code, type, this.#nans!.canonicalLanes[i], this.#locals.local(Scratch.nan, type));
  }

  /** Frames hold what the program would read: which locals are lazy is nothing that a checkpoint depends on. */
  #emitSavedCanonical(local: number, type: number): void {
    const lanes = local < this.body.localCount ? this.#nans?.lazyLanes[local] : undefined;
    if (lanes === undefined || lanes === Lanes.none) return;
    this.code.u8(Op.localGet).u32(local);
    emitCanonical(this.code, type, lanes, this.#locals.local(Scratch.nan, type));
    this.code.u8(Op.localSet).u32(local);
  }

  /** Copies bytes of the original, joined with those before when they are neighbours. */
  #copyRow(i: number): void {
    const { body } = this;
    if (this.#rawEnd !== body.start[i]) {
      this.#flushRaw();
      this.#rawStart = body.start[i];
    }
    this.#rawEnd = body.end[i];
  }

  #flushRaw(): void {
    if (this.#rawEnd > this.#rawStart) this.code.raw(this.body.module.bytes, this.#rawStart, this.#rawEnd);
    this.#rawStart = this.#rawEnd = 0;
  }

  #raw(i: number): void {
    this.code.raw(this.body.module.bytes, this.body.start[i], this.body.end[i]);
  }

  #emitSpecial(i: number, op: number): void {
    const { body, code, target } = this;
    switch (op) {
      case Op.block:
      case Op.loop:
      case Op.if:
        this.openLabel(body.labelDepth[i], i);
        return this.#raw(i);
      case Op.try:
        return this.emitTry(i, () => this.#raw(i));
      case Op.tryTable:
        return this.emitTryTable(i, () => code.s32(body.immediate[i]));
      case Op.catch:
      case Op.catchAll:
        return this.#emitHandler(i);
      case Op.rethrow:
        code.u8(op).u32(this.branchDepth(i, body.immediate[i]));
        return;
      case Op.delegate:
        this.depth--;
        code.u8(op).u32(this.#delegateDepth(i));
        return;
      case Op.end:
        this.depth--;
        code.u8(Op.end);
        return;
      case Op.br:
      case Op.brIf:
        if (this.#accesses.strip?.boundRow === -1 && this.#accesses.strip.branchRow === i) {
          code.u8(Op.localGet).u32(this.#locals.local(Scratch.limit)).u8(Op.i32Ne);
        }
        code.u8(op).u32(this.branchDepth(i, body.immediate[i]));
        return;
      case Op.brTable: {
        const count = body.immediate2[i];
        code.u8(op).u32(count);
        for (let k = 0; k <= count; k++) code.u32(this.branchDepth(i, body.labels[body.immediate[i] + k]));
        return;
      }
      case Op.call:
        code.u8(op).u32(target.functionIndex(body.immediate[i]));
        return this.afterCall(i);
      case Op.callIndirect:
        this.#raw(i);
        return this.afterCall(i);
      case Op.returnCall:
        code.u8(op).u32(target.functionIndex(body.immediate[i]));
        return;
      case Op.refFunc:
        code.u8(op).u32(target.referenceIndex(body.immediate[i]));
        return;
      case Op.memorySize:
      case Op.memoryGrow:
      case Op.memoryInit:
      case Op.memoryCopy:
      case Op.memoryFill:
      case Op.dataDrop:
      case Op.elemDrop:
      case Op.tableInit:
        code.u8(Op.call).u32(target.runtimeFunction(op, body.immediate[i], body.immediate2[i]));
        return;
      default:
        this.#accesses.emit(i);
    }
  }

  /** Notes that the label of the construct at `row` is the next one of the output. */
  protected openLabel(original: number, row: number): void {
    if (original >= this.labelAt.length) {
      const larger = new Int32Array(original * 2);
      larger.set(this.labelAt);
      this.labelAt = larger;
    }
    this.labelAt[original] = this.depth++;
    this.#labelRow[original] = row;
  }

  /** A try, and inside it the second one that notes exceptions for a handler that does not tell the tag. */
  protected emitTry(i: number, emitOpening: () => void): void {
    const note = this.plan.exceptions.notes.get(i);
    if (note?.hasCatchAll) this.code.pair(Op.i32Const, 0).u8(Op.localSet).u32(note.tagLocal);
    emitOpening();
    this.openLabel(this.body.labelDepth[i], i);
    if (!note?.hasCatchAll) return;
    emitOpening();
    this.depth++;
  }

  /** A try_table with its labels put right: they count from outside of it. */
  protected emitTryTable(i: number, emitType: () => void): void {
    const { body, code } = this;
    const clauses = body.catchClauses(i);
    code.u8(Op.tryTable);
    emitType();
    code.u32(clauses.length);
    for (const { kind, tag, label } of clauses) {
      code.u8(kind);
      if (hasTag(kind)) code.u32(tag);
      code.u32(this.branchDepth(i, label));
    }
    this.openLabel(body.labelDepth[i], i);
  }

  #emitHandler(i: number): void {
    const { body, code, plan } = this;
    const note = plan.exceptions.notes.get(body.partner[i]);
    if (note?.hasCatchAll && body.elseOf[body.partner[i]] === i) {
      for (let tag = 0; tag < note.valueLocals.length; tag++) {
        code.u8(Op.catch).u32(tag);
        this.#emitNote(note, tag);
        code.pair(Op.rethrow, 0);
      }
      code.u8(Op.end);
      this.depth--;
    }
    this.#raw(i);
    if (note === undefined || note.hasCatchAll || body.op[i] !== Op.catch) return;
    const tag = body.immediate[i];
    this.#emitNote(note, tag);
    for (const local of note.valueLocals[tag]) code.u8(Op.localGet).u32(local);
  }

  /** Moves the values of a caught exception from the stack to their locals. */
  #emitNote(note: ExceptionNote, tag: number): void {
    const { code } = this;
    for (const local of note.valueLocals[tag].toReversed()) code.u8(Op.localSet).u32(local);
    code.u8(Op.i32Const).s32(tag + 1);
    code.u8(Op.localSet).u32(note.tagLocal);
  }

  /** A delegate counts labels from outside of its own try. One to a try of two goes to the inner, as the body does. */
  #delegateDepth(i: number): number {
    const original = this.body.labelDepth[i] - 2 - this.body.immediate[i];
    const row = this.#labelRow[original];
    // In the handlers the inner one is closed.
    const inBody = original > 0 && i < this.body.elseOf[row];
    const inner = inBody && this.plan.exceptions.notes.get(row)?.hasCatchAll ? 1 : 0;
    return this.depth - 1 - (this.labelAt[original] + inner);
  }

  protected branchDepth(i: number, label: number): number {
    return this.depth - 1 - this.labelAt[this.body.labelDepth[i] - 1 - label];
  }

  /** Copies the values that row `i` left on the stack to their locals, if they lie on the stack at some site. */
  protected keepResults(i: number): void {
    const { body, code, plan } = this;
    const first = body.firstNode[i];
    const made = body.firstNode[i + 1] - first;
    if (made === 0 || plan.kept[first] === 0) return;
    this.#flushRaw();
    if (made === 1) {
      code.u8(Op.localTee).u32(this.stackLocal(body.nodeHeight[first], body.nodeType[first]));
      return;
    }
    for (let n = first + made - 1; n >= first; n--) {
      code.u8(Op.localSet).u32(this.stackLocal(body.nodeHeight[n], body.nodeType[n]));
    }
    for (let n = first; n < first + made; n++) {
      code.u8(Op.localGet).u32(this.stackLocal(body.nodeHeight[n], body.nodeType[n]));
    }
  }

  #pollLoop(i: number): void {
    if (this.plan.groupOf[i] >= 0) this.emitSite(this.plan.groupOf[i], this.plan.siteOf[i]);
  }

  /** The test of a site, which branches to the saving code of its group. Operands on the stack stay there. */
  protected emitSite(groupIndex: number, site: number): void {
    const { code } = this;
    const { kind, node } = this.plan.groups[groupIndex];
    if (this.plan.siteCount > 1) {
      code
        .u8(Op.i32Const)
        .s32(siteCode(site, kind === 'poll'))
        .u8(Op.localSet)
        .u32(this.#siteLocal());
    }
    if (kind === 'call') emitUnwindingTest(code);
    else emitPoll(code, this.target.counting);
    this.unlikelyBranches.push(code.length);
    code.u8(Op.brIf).u32(this.depth - 1 - this.#saving.label(node));
  }

  #siteLocal(): number {
    return this.#locals.local(Scratch.site);
  }

  /** What follows a call: its results are kept first, since the saving code of a polled call needs them. */
  protected afterCall(i: number): void {
    this.keepResults(i);
    const groupIndex = this.plan.groupOf[i];
    if (groupIndex >= 0) this.emitSite(groupIndex, this.plan.siteOf[i]);
  }

  /** Strips pay where the loop is long, and is polled or has checks for the strip's head to make. */
  #runsInStrips({ row, tripCount, accessStreams }: CountedLoop): boolean {
    if (this.plan.groupOf[row] >= 0) return true;
    return checksAhead(this.target.tracking) && accessStreams.length > 0 && tripCount! >= STRIPPED_ITERATIONS_MIN;
  }

  /** The loop in strips; see `strip-code.ts` for the shape. Its label is that of the inner loop. */
  #emitCountedLoop(loop: CountedLoop): void {
    const { body, code } = this;
    const { row, boundStart, boundRow } = loop;
    const emitBound = (): void => {
      if (boundRow < 0) code.pair(Op.i32Const, 0);
      else for (let i = boundStart; i <= boundRow; i++) this.#raw(i);
    };
    code.pair(Op.loop, 0x40);
    this.depth++;
    this.#pollLoop(row);
    const locals = {
      limit: this.#locals.local(Scratch.limit),
      iterations: this.#locals.local(Scratch.iterations),
      address: this.#locals.local(Scratch.address),
      left: this.#locals.local(Scratch.left),
    };
    const value = boundRow >= 0 && body.op[boundRow] === Op.i32Const ? body.constant(boundRow) : undefined;
    emitStripHead(code, loop, locals, this.#accesses.stripStreams(), emitBound, { value });
    code.pair(Op.loop, 0x40);
    this.openLabel(body.labelDepth[row], row);
    this.#accesses.strip = loop;
    this.emitRows(row + 1, body.partner[row]);
    this.#accesses.strip = undefined;
    code.u8(Op.end);
    this.depth--;
    // The original condition, on the values that the strip left.
    code.u8(Op.localGet).u32(loop.induction);
    emitBound();
    code.u8(loop.condition === 'ne' ? Op.i32Ne : loop.condition === 'lt_s' ? Op.i32LtS : Op.i32LtU);
    code.pair(Op.brIf, 0).u8(Op.end);
    this.depth--;
  }
}
