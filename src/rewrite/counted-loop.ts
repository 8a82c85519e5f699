import type { BodyDecoder } from '../wasm/function-body.ts';
import { Op, PREFIX_ATOMIC, accessBytesOf, isStore, popsOf } from '../wasm/opcode.ts';
import { type LoopAccess, type LoopStreams, type Term, accessStreams, storeStreams } from './loop-streams.ts';

/**
 * Recognises innermost loops that a local counts, so that they can run in strips:
 *
 *     loop                            loop                      loop
 *       …                               local.get $i              …
 *       local.tee $i (+ step)           N                         local.tee $i (+ step)
 *       N                               i32.lt_s                  br_if 0     ;; until zero
 *       i32.ne                          if                      end
 *       br_if 0                           …
 *     end                                 local.set $i (+ step)
 *                                         br 1
 *   (clang)                           end end  (AssemblyScript)
 *
 * Such a loop has one back edge, no call, no loop inside, and a bound N that it does not change. Its stores whose
 * address moves by a constant (a *stream*) need no mark of their own when a strip ends before the stream leaves its page.
 */
export interface CountedLoop extends LoopStreams {
  readonly row: number;
  readonly induction: number;
  /** Added to the induction local in each iteration; not 0. */
  readonly step: number;
  readonly condition: 'ne' | 'lt_s' | 'lt_u';
  /** The condition is tested before the body, not after it. */
  readonly testedAtTop: boolean;
  /** First and last row of the bound's operand; −1 for the implicit zero of a bare `br_if`, whose row is `branchRow`. */
  readonly boundStart: number;
  readonly boundRow: number;
  readonly branchRow: number;
  /** Number of iterations when it is known and the same each time, else undefined. */
  readonly tripCount: number | undefined;
}

/** The largest step of a stream for which strips are long enough to pay. */
const STREAM_STEP_MAX = 512;
const INDUCTION_STEP_MAX = 1 << 16;
const EXPRESSION_DEPTH_MAX = 16;
/** Rows before the body of a loop that is tested at its top, as far as it is looked for. */
const BOUND_ROWS_MAX = 16;

type Comparison = Pick<CountedLoop, 'induction' | 'step' | 'condition' | 'boundStart' | 'boundRow'>;
type LoopShape = Comparison & Pick<CountedLoop, 'testedAtTop' | 'branchRow'>;

interface LinearForm {
  readonly terms: Map<number, number>;
  constant: number;
}

/** Keys of terms: globals are told apart from locals by a high bit. */
const GLOBAL_KEY = 2 ** 24;

export class LoopAnalysis {
  readonly #body: BodyDecoder;
  #loop = 0;
  #end = 0;
  /** Label depth of the rows of the body that stand in no block. */
  #level = 0;
  /** 1 per row behind the loop's that every iteration runs which gets so far. */
  #always = new Uint8Array(256);
  /** Rows that write each local, ascending. */
  readonly #localWrites = new Map<number, number[]>();
  readonly #globalWrites = new Set<number>();
  #backEdges = 0;

  constructor(body: BodyDecoder) {
    this.#body = body;
  }

  analyse(loop: number): CountedLoop | undefined {
    const { op, partner } = this.#body;
    this.#loop = loop;
    this.#end = partner[loop];
    const type = this.#body.blockType(loop);
    if (type.params.length > 0 || type.results.length > 0) return undefined;
    if (!this.#scan() || this.#backEdges !== 1) return undefined;
    const found = op[this.#end - 1] === Op.brIf ? this.#testedAtBottom() : this.#testedAtTop();
    if (found === undefined) return undefined;
    const accesses = this.#accesses();
    const streams = { ...storeStreams(accesses), ...accessStreams(accesses) };
    return { ...found, ...streams, row: loop, tripCount: this.#tripCount(found) };
  }

  /** Gathers what the loop writes; false when it holds something that a strip must not. */
  #scan(): boolean {
    const { op, immediate, immediate2, labelDepth, labels } = this.#body;
    this.#localWrites.clear();
    this.#globalWrites.clear();
    this.#backEdges = 0;
    const loopLabel = labelDepth[this.#loop];
    for (let i = this.#loop + 1; i < this.#end; i++) {
      switch (op[i]) {
        case Op.loop:
        case Op.try:
        case Op.tryTable:
        case Op.throw:
        case Op.throwRef:
        case Op.rethrow:
        case Op.call:
        case Op.callIndirect:
        case Op.returnCall:
        case Op.returnCallIndirect:
        case Op.memoryGrow:
        case Op.memoryCopy:
        case Op.memoryFill:
        case Op.memoryInit:
        case Op.tableInit:
        case Op.tableCopy:
        case Op.tableFill:
        case Op.tableGrow:
          return false;
        case Op.localSet:
        case Op.localTee: {
          const writes = this.#localWrites.get(immediate[i]);
          if (writes === undefined) this.#localWrites.set(immediate[i], [i]);
          else writes.push(i);
          break;
        }
        case Op.globalSet:
          this.#globalWrites.add(immediate[i]);
          break;
        case Op.br:
        case Op.brIf:
          if (labelDepth[i] - 1 - immediate[i] === loopLabel) this.#backEdges++;
          break;
        case Op.brTable:
          for (let k = 0; k <= immediate2[i]; k++) {
            if (labelDepth[i] - 1 - labels[immediate[i] + k] === loopLabel) this.#backEdges++;
          }
      }
    }
    return true;
  }

  #testedAtBottom(): LoopShape | undefined {
    const { op, immediate, labelDepth, stack, nodeRow } = this.#body;
    const branchRow = this.#end - 1;
    this.#enterBody(this.#loop + 1, labelDepth[this.#loop] + 1);
    if (immediate[branchRow] !== 0 || labelDepth[branchRow] !== this.#level) return undefined;
    const test = nodeRow[stack[branchRow]];
    if (test <= this.#loop) return undefined;
    if (op[test] === Op.localGet || op[test] === Op.localTee) {
      const step = this.#inductionStep(test, true);
      if (step === undefined) return undefined;
      const induction = immediate[test];
      return { induction, step, condition: 'ne', testedAtTop: false, boundStart: -1, boundRow: -1, branchRow };
    }
    const compared = this.#comparison(test, true);
    return compared && { ...compared, testedAtTop: false, branchRow };
  }

  #testedAtTop(): LoopShape | undefined {
    const { op, immediate, labelDepth, elseOf, partner } = this.#body;
    let opener = this.#loop + 1;
    while (op[opener] !== Op.if && opener - this.#loop < BOUND_ROWS_MAX) opener++;
    const test = opener - 1;
    const back = this.#end - 2;
    if (op[opener] !== Op.if || partner[opener] !== this.#end - 1 || elseOf[opener] >= 0) return undefined;
    if (this.#body.blockType(opener).params.length > 0) return undefined;
    this.#enterBody(opener + 1, labelDepth[this.#loop] + 2);
    if (op[back] !== Op.br || immediate[back] !== 1 || labelDepth[back] !== this.#level) return undefined;
    const compared = this.#comparison(test, false);
    // Nothing else stands before the condition: the induction local, the bound, and the comparison.
    if (compared === undefined || compared.boundRow - compared.boundStart + 3 !== test - this.#loop) return undefined;
    return { ...compared, testedAtTop: true, branchRow: opener };
  }

  /** Finds the rows that every iteration runs: those in no arm of an `if`, and behind no branch over them. */
  #enterBody(from: number, level: number): void {
    const { op, immediate, immediate2, labelDepth, labels, partner } = this.#body;
    this.#level = level;
    const count = this.#end - this.#loop;
    if (this.#always.length < count) this.#always = new Uint8Array(2 * count);
    this.#always.fill(0, 0, count);
    const opened: number[] = [];
    let passedEnd = -1;
    const pass = (row: number, label: number): void => {
      const target = opened[labelDepth[row] - 1 - label - level];
      if (target !== undefined) passedEnd = Math.max(passedEnd, partner[target]);
    };
    for (let i = from; i < this.#end; i++) {
      if (i > passedEnd) this.#always[i - this.#loop] = 1;
      switch (op[i]) {
        case Op.if:
          passedEnd = Math.max(passedEnd, partner[i]);
          break;
        case Op.block:
          opened.length = labelDepth[i] - level;
          opened[labelDepth[i] - level] = i;
          break;
        case Op.br:
        case Op.brIf:
          pass(i, immediate[i]);
          break;
        case Op.brTable:
          for (let k = 0; k <= immediate2[i]; k++) pass(i, labels[immediate[i] + k]);
      }
    }
  }

  #isAlways(row: number): boolean {
    return this.#always[row - this.#loop] === 1;
  }

  /** `i < N`, `N > i`, `i ≠ N` at a row, with i before or after its update. */
  #comparison(test: number, updated: boolean): Comparison | undefined {
    const { op, immediate, stack, nodeRow, nodeBelow } = this.#body;
    const operator = op[test];
    const isOrdered = operator === Op.i32LtS || operator === Op.i32LtU;
    const isMirrored = operator === Op.i32GtS || operator === Op.i32GtU;
    if (operator !== Op.i32Ne && !isOrdered && !isMirrored) return undefined;
    const second = nodeRow[stack[test]];
    const first = nodeRow[nodeBelow[stack[test]]];
    if (first <= this.#loop || second <= this.#loop) return undefined;
    for (const [row, boundRow] of isOrdered
      ? [[first, second]]
      : isMirrored
        ? [[second, first]]
        : [
            [first, second],
            [second, first],
          ]) {
      const step = this.#inductionStep(row, updated);
      const boundStart = this.#boundStart(boundRow, 0);
      if (step === undefined || boundStart <= this.#loop) continue;
      if (operator === Op.i32Ne) return { induction: immediate[row], step, condition: 'ne', boundStart, boundRow };
      if (step < 0) return undefined;
      const signed = operator === Op.i32LtS || operator === Op.i32GtS;
      return { induction: immediate[row], step, condition: signed ? 'lt_s' : 'lt_u', boundStart, boundRow };
    }
    return undefined;
  }

  /**
   * The first of the rows that compute a value which is the same in every iteration, where they stand together and the row given is
   * the last of them; −1 for anything else.
   */
  #boundStart(row: number, depth: number): number {
    const { op, immediate, stack, nodeRow, nodeBelow } = this.#body;
    switch (op[row]) {
      case Op.i32Const:
        return row;
      case Op.localGet:
        return this.#localWrites.has(immediate[row]) ? -1 : row;
      case Op.globalGet:
        return this.#globalWrites.has(immediate[row]) ? -1 : row;
      case Op.i32Add:
      case Op.i32Sub:
      case Op.i32Mul:
      case Op.i32Shl:
      case Op.i32ShrU:
      case Op.i32And: {
        const second = nodeRow[stack[row]];
        if (depth > EXPRESSION_DEPTH_MAX || second !== row - 1) return -1;
        const secondStart = this.#boundStart(second, depth + 1);
        const first = nodeRow[nodeBelow[stack[row]]];
        return secondStart < 0 || first !== secondStart - 1 ? -1 : this.#boundStart(first, depth + 1);
      }
      default:
        return -1;
    }
  }

  /** The step of the induction local that row reads or has just written; `updated` says which value it must be. */
  #inductionStep(row: number, updated: boolean): number | undefined {
    const { op, immediate } = this.#body;
    if (op[row] !== Op.localGet && op[row] !== Op.localTee) return undefined;
    const local = immediate[row];
    const step = this.#stepOf(local);
    if (step === undefined || step === 0 || Math.abs(step) > INDUCTION_STEP_MAX) return undefined;
    const [update] = this.#localWrites.get(local)!;
    return row >= update === updated ? step : undefined;
  }

  /** What one iteration adds to a local: 0 when it does not write it, undefined when that is no constant. */
  #stepOf(local: number): number | undefined {
    const { op, immediate, stack, nodeRow, nodeBelow } = this.#body;
    const writes = this.#localWrites.get(local);
    if (writes === undefined) return 0;
    const [update] = writes;
    if (writes.length !== 1 || !this.#isAlways(update)) return undefined;
    const sum = nodeRow[stack[update]];
    if (sum <= this.#loop || (op[sum] !== Op.i32Add && op[sum] !== Op.i32Sub)) return undefined;
    const second = nodeRow[stack[sum]];
    const first = nodeRow[nodeBelow[stack[sum]]];
    const isSelf = (row: number): boolean => row > this.#loop && op[row] === Op.localGet && immediate[row] === local;
    if (isSelf(first) && op[second] === Op.i32Const) {
      const constant = this.#body.constant(second);
      return op[sum] === Op.i32Add ? constant : -constant;
    }
    if (isSelf(second) && op[first] === Op.i32Const && op[sum] === Op.i32Add) return this.#body.constant(first);
    return undefined;
  }

  /** Loads and stores whose address moves by a constant, as far as strips pay for it. */
  #accesses(): LoopAccess[] {
    const { op, immediate, stack, nodeBelow } = this.#body;
    const accesses: LoopAccess[] = [];
    for (let row = this.#loop + 1; row < this.#end; row++) {
      const bytes = accessBytesOf[op[row]];
      // An atomic access traps where it is not aligned: it looks after itself.
      if (bytes === 0 || op[row] >= PREFIX_ATOMIC) continue;
      const form = this.#linear(popsOf[op[row]] === 1 ? stack[row] : nodeBelow[stack[row]], 0);
      const step = this.#streamStep(form);
      if (form === undefined || step === undefined) continue;
      const first = (form.constant + immediate[row]) | 0;
      const writes = isStore[op[row]] === 1;
      accesses.push({ row, terms: termsOf(form), first, bytes, step, writes, always: this.#isAlways(row) });
    }
    return accesses;
  }

  /** By how much an address moves in one iteration; undefined where strips would not pay. */
  #streamStep(form: LinearForm | undefined): number | undefined {
    if (form === undefined) return undefined;
    let step = 0;
    for (const [key, coefficient] of form.terms) {
      if (key < GLOBAL_KEY) step = (step + Math.imul(coefficient, this.#stepOf(key)!)) | 0;
    }
    return Math.abs(step) > STREAM_STEP_MAX ? undefined : step;
  }

  /** The value of a stack node as a sum of locals and globals at the loop's head, if it is one. */
  #linear(node: number, depth: number): LinearForm | undefined {
    const { op, immediate, stack, nodeRow, nodeBelow } = this.#body;
    const row = nodeRow[node];
    if (row <= this.#loop || depth > EXPRESSION_DEPTH_MAX) return undefined;
    const operand = (below: number): LinearForm | undefined =>
      this.#linear(below === 0 ? stack[row] : nodeBelow[stack[row]], depth + 1);
    switch (op[row]) {
      case Op.i32Const:
        return { terms: new Map(), constant: this.#body.constant(row) };
      case Op.globalGet:
        if (this.#globalWrites.has(immediate[row])) return undefined;
        return { terms: new Map([[GLOBAL_KEY + immediate[row], 1]]), constant: 0 };
      case Op.localGet: {
        const local = immediate[row];
        const step = this.#stepOf(local);
        const writes = this.#localWrites.get(local) ?? [];
        if (step !== undefined) {
          const updated = writes.length > 0 && row > writes[0];
          return { terms: new Map([[local, 1]]), constant: updated ? step : 0 };
        }
        // Computed anew in each iteration: what was written last before it is read here.
        let last = -1;
        for (const write of writes) if (write < row) last = write;
        if (last < 0 || !this.#isAlways(last)) return undefined;
        return this.#linear(stack[last], depth + 1);
      }
      case Op.localTee:
        return operand(0);
      case Op.i32Add:
        return combine(operand(1), operand(0), 1);
      case Op.i32Sub:
        return combine(operand(1), operand(0), -1);
      case Op.i32Shl: {
        const by = operand(0);
        return by === undefined || by.terms.size > 0 ? undefined : scale(operand(1), 1 << (by.constant & 31));
      }
      case Op.i32Mul: {
        const by = operand(0);
        return by === undefined || by.terms.size > 0 ? undefined : scale(operand(1), by.constant);
      }
      default:
        return undefined;
    }
  }

  /**
   * Iterations of a loop that leaves from its middle, `local.get $i; i32.eqz; br_if out; …; br 0`, when they are known.
   * Such a loop cannot run in strips, but a short one needs no poll. Zero stands for a constant bound, too.
   */
  exitTestedTrips(loop: number): number | undefined {
    const { op, partner, labelDepth, immediate, stack, nodeRow, nodeBelow } = this.#body;
    this.#loop = loop;
    this.#end = partner[loop];
    const back = this.#end - 1;
    this.#enterBody(loop + 1, labelDepth[loop] + 1);
    if (op[back] !== Op.br || immediate[back] !== 0 || labelDepth[back] !== this.#level) return undefined;
    if (!this.#scan() || this.#backEdges !== 1) return undefined;
    for (let i = loop + 1; i < back; i++) {
      if (op[i] !== Op.brIf || labelDepth[i] !== this.#level) continue;
      const test = nodeRow[stack[i]];
      const against = op[test] === Op.i32Eq ? nodeRow[stack[test]] : -1;
      if (test <= loop || (op[test] !== Op.i32Eqz && op[test] !== Op.i32Eq)) continue;
      const read = nodeRow[against < 0 ? stack[test] : nodeBelow[stack[test]]];
      if (read <= loop || (op[read] !== Op.localGet && op[read] !== Op.localTee)) continue;
      if (against >= 0 && op[against] !== Op.i32Const) continue;
      const induction = immediate[read];
      const step = this.#stepOf(induction);
      const first = this.#constantBefore(induction);
      if (step === undefined || step === 0 || first === undefined) continue;
      const trips = ((against < 0 ? 0 : this.#body.constant(against)) - first) / step;
      if (Number.isInteger(trips) && trips > 0) return trips + 1;
    }
    return undefined;
  }

  /** The constant that a local holds whenever the loop is entered; the way there goes straight through the rows before. */
  #constantBefore(local: number): number | undefined {
    const { op, immediate, stack, nodeRow } = this.#body;
    for (let row = this.#loop - 1; row > 0; row--) {
      if (isJoin[op[row]] === 1) return undefined;
      if ((op[row] !== Op.localSet && op[row] !== Op.localTee) || immediate[row] !== local) continue;
      const value = nodeRow[stack[row]];
      return op[value] === Op.i32Const ? this.#body.constant(value) : undefined;
    }
    return undefined;
  }

  /** Known when the bound is a constant and the induction local is set to one just before the loop. */
  #tripCount({
    induction,
    step,
    boundRow,
    testedAtTop,
    condition,
  }: Pick<CountedLoop, 'induction' | 'step' | 'boundRow' | 'testedAtTop' | 'condition'>): number | undefined {
    if (boundRow >= 0 && this.#body.op[boundRow] !== Op.i32Const) return undefined;
    const bound = boundRow < 0 ? 0 : this.#body.constant(boundRow);
    const first = this.#constantBefore(induction);
    if (first === undefined) return undefined;
    const distance = bound - first;
    if (condition !== 'ne' && distance <= 0) return testedAtTop ? 0 : 1;
    if (condition === 'ne' && (distance % step !== 0 || distance / step <= 0)) return undefined;
    return Math.ceil(distance / step);
  }
}

/** Rows that can be reached from elsewhere than the row before. */
const isJoin = new Uint8Array(accessBytesOf.length);
for (const op of [Op.loop, Op.if, Op.else, Op.end, Op.try, Op.tryTable, Op.catch, Op.catchAll, Op.delegate]) {
  isJoin[op] = 1;
}

function combine(a: LinearForm | undefined, b: LinearForm | undefined, sign: number): LinearForm | undefined {
  if (a === undefined || b === undefined) return undefined;
  for (const [key, coefficient] of b.terms) {
    const sum = ((a.terms.get(key) ?? 0) + sign * coefficient) | 0;
    if (sum === 0) a.terms.delete(key);
    else a.terms.set(key, sum);
  }
  a.constant = (a.constant + sign * b.constant) | 0;
  return a;
}

function scale(form: LinearForm | undefined, by: number): LinearForm | undefined {
  if (form === undefined) return undefined;
  for (const [key, coefficient] of form.terms) form.terms.set(key, Math.imul(coefficient, by));
  form.constant = Math.imul(form.constant, by);
  return form;
}

function termsOf(form: LinearForm): Term[] {
  const list: Term[] = [];
  for (const [key, coefficient] of form.terms) {
    if (coefficient !== 0) list.push({ global: key >= GLOBAL_KEY, index: key % GLOBAL_KEY, coefficient });
  }
  return list.sort((a, b) => Number(a.global) - Number(b.global) || a.index - b.index);
}
