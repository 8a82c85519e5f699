import { BodyDecoder } from '../wasm/function-body.ts';
import type { Module } from '../wasm/module.ts';
import { Op } from '../wasm/opcode.ts';
import { type CallGraph, analyseCalls } from './call-graph.ts';
import { type CountedLoop, LoopAnalysis } from './counted-loop.ts';
import { ExceptionNotes } from './exception-notes.ts';
import { Liveness } from './liveness.ts';
import { ROOT, SaveTree } from './save-tree.ts';

/**
 * Where a captured frame stands, in terms of the original program, by the byte offset of an instruction:
 * `before` it (at a loop, the head of an iteration), `inside` the call that it makes (the callee's frame lies above),
 * or `after` that call (its results are on the operand stack).
 */
export const PositionKind = { before: 0, inside: 1, after: 2 } as const;

/**
 * Bytes behind the values of a frame in the save area: site (i32), then function index × 4 + position kind (i32).
 * Sites are numbered per function in order of their instructions; a checkpoint names the instruction instead.
 */
export const FRAME_HEADER_BYTES = 8;

/** Loops known to end within so many iterations are not polled: some microseconds at most. */
const UNPOLLED_ITERATIONS_MAX = 1024;

/** Up to so many iterations, marking each store of a stream costs no more than the head of a strip. */
const UNSTRIPPED_ITERATIONS_MAX = 16;

/** What a stack capture saves at one position, the header last. */
export interface FrameLayout {
  readonly functionIndex: number;
  /** Byte offset of the instruction; 0 for an imported function. */
  readonly position: number;
  readonly kind: number;
  readonly site: number;
  /** Indices of the live locals, ascending. */
  readonly locals: readonly number[];
  readonly localTypes: readonly number[];
  /** Where each local lies in the frame. */
  readonly localOffsets: readonly number[];
  /** Types of the operand stack, bottom first. */
  readonly stackTypes: readonly number[];
  readonly stackOffsets: readonly number[];
  /** Header included. */
  readonly bytes: number;
}

/** Safepoints of one function and kind that save the same values. */
export interface SiteGroup {
  /** A loop head or function entry captures itself; a call saves its frame when the callee unwound, a polled call does both. */
  readonly kind: 'poll' | 'call' | 'polledCall';
  readonly locals: readonly number[];
  /** Operand stack saved in either case. */
  readonly stackTypes: readonly number[];
  /** Results of a polled call: saved in either case, part of the frame when the call was completed. */
  readonly resultTypes: readonly number[];
  /** Where the group enters the tree of saving code. */
  node: number;
}

/** Site of the poll at a function's entry; that of the first instruction that is one follows. */
export const ENTRY_SITE = 0;

/**
 * Plans the safepoints of a function: decodes its body, computes what is live, groups the sites and finds the operands
 * that must be kept in locals because they lie on the stack at a site.
 *
 * The plan depends on the original module alone, so that the rewriter, the resume copies and the reader of frames see the
 * same layouts. One plan object serves all functions in turn.
 */
export class FunctionPlan {
  readonly module: Module;
  readonly graph: CallGraph;
  readonly body: BodyDecoder;
  readonly liveness = new Liveness();
  groups: SiteGroup[] = [];
  readonly saveTree = new SaveTree();
  /** Group per instruction row, −1 where the row is no site. */
  groupOf = new Int32Array(0);
  /** Site number per instruction row that is a site. */
  siteOf = new Int32Array(0);
  /** Rows of the sites, by number. */
  siteRows: number[] = [];
  /** Group of the poll at the function's entry, −1 for none. */
  entryGroup = -1;
  /** 1 per stack node whose value is kept in a local from the instruction that makes it. */
  kept = new Uint8Array(1024);
  /** Loops that can run in strips, by their row. */
  readonly countedLoops = new Map<number, CountedLoop>();
  /** Exceptions that handlers of the function hold. */
  readonly exceptions: ExceptionNotes;
  readonly #loops: LoopAnalysis;
  readonly #groupByKey = new Map<string, number>();

  constructor(module: Module, graph: CallGraph = analyseCalls(module)) {
    this.module = module;
    this.graph = graph;
    this.body = new BodyDecoder(module);
    this.#loops = new LoopAnalysis(this.body);
    this.exceptions = new ExceptionNotes(this.body);
  }

  plan(functionIndex: number): void {
    const { body, graph } = this;
    body.decode(functionIndex);
    this.groups = [];
    this.#groupByKey.clear();
    this.saveTree.clear();
    this.countedLoops.clear();
    this.entryGroup = -1;
    this.siteRows = [0];
    if (this.groupOf.length < body.count) {
      this.groupOf = new Int32Array(body.op.length);
      this.siteOf = new Int32Array(body.op.length);
    }
    this.groupOf.fill(-1, 0, body.count);
    if (this.kept.length < body.nodeCount) this.kept = new Uint8Array(body.nodeType.length);
    else this.kept.fill(0, 0, body.nodeCount);
    this.exceptions.clear();
    if (!graph.canUnwind[functionIndex]) return;
    this.liveness.compute(body);
    this.exceptions.find();
    for (let i = 0; i < body.count; i++) {
      const op = body.op[i];
      if (op === Op.loop) this.#planLoop(i);
      else if (op === Op.call || op === Op.callIndirect) this.#planCall(i);
    }
    if (graph.tailRecursive[functionIndex] && body.op[0] !== Op.loop) this.#planEntry();
    this.#planSaving();
  }

  /** Safepoints of the function, its entry included. */
  get siteCount(): number {
    return this.siteRows.length - (this.entryGroup >= 0 ? 0 : 1);
  }

  /** The type of a local of the function, or of one of ours that notes an exception. */
  localType(local: number): number {
    const { localCount, localTypes } = this.body;
    return local < localCount ? localTypes[local] : this.exceptions.localTypes[local - localCount];
  }

  /** Row of the instruction at a byte offset of the module, −1 when no reachable instruction starts there. */
  rowAt(position: number): number {
    let low = 0;
    let high = this.body.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const start = this.body.start[middle];
      if (start === position) return middle;
      if (start < position) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The layout of a frame at a position of the planned function; undefined when that is no safepoint. */
  layoutAt(position: number, kind: number): FrameLayout | undefined {
    const row = this.rowAt(position);
    if (row < 0) return undefined;
    if (row === 0 && kind === PositionKind.before && this.entryGroup >= 0)
      return this.#layout(this.entryGroup, 0, ENTRY_SITE, kind);
    if (this.groupOf[row] < 0 || !this.#groupHas(this.groups[this.groupOf[row]], kind)) return undefined;
    return this.#layout(this.groupOf[row], row, this.siteOf[row], kind);
  }

  /** The layout of a frame that the rewritten code saved at a site. */
  layoutOfSite(site: number, kind: number): FrameLayout | undefined {
    const row = this.siteRows[site];
    return row === undefined ? undefined : this.layoutAt(this.body.start[row], kind);
  }

  #groupHas(group: SiteGroup, kind: number): boolean {
    if (group.kind === 'poll') return kind === PositionKind.before;
    return kind === PositionKind.inside || (group.kind === 'polledCall' && kind === PositionKind.after);
  }

  #layout(groupIndex: number, row: number, site: number, kind: number): FrameLayout {
    const group = this.groups[groupIndex];
    const localTypes = group.locals.map((local) => this.localType(local));
    const stackTypes = kind === PositionKind.after ? [...group.stackTypes, ...group.resultTypes] : group.stackTypes;
    const { parents, values, offsets, frameBytes } = this.saveTree;
    const localOffset = new Map<number, number>();
    const stackOffsets: number[] = stackTypes.map(() => 0);
    for (let node = group.node; node !== ROOT; node = parents[node]) {
      const { local, height } = values[node];
      if (local >= 0) localOffset.set(local, offsets[node]);
      else if (height <= stackTypes.length) stackOffsets[height - 1] = offsets[node];
    }
    const { functionIndex, start } = this.body;
    return {
      functionIndex,
      position: start[row],
      kind,
      site,
      locals: group.locals,
      localTypes,
      localOffsets: group.locals.map((local) => localOffset.get(local)!),
      stackTypes,
      stackOffsets,
      bytes: frameBytes + FRAME_HEADER_BYTES,
    };
  }

  #planSaving(): void {
    const { saveTree } = this;
    const localCount = this.body.localCount + this.exceptions.localTypes.length;
    const sets = this.groups.map(({ locals, stackTypes, resultTypes }) => {
      const operands = stackTypes.length + resultTypes.length;
      const set = new Int32Array(locals.length + operands);
      for (let k = 0; k < locals.length; k++) set[k] = saveTree.local(locals[k], this.localType(locals[k]));
      for (let k = 0; k < operands; k++) {
        const type = k < stackTypes.length ? stackTypes[k] : resultTypes[k - stackTypes.length];
        set[locals.length + k] = saveTree.operand(k + 1, type, localCount);
      }
      return set;
    });
    saveTree.build(sets).forEach((node, group) => (this.groups[group].node = node));
  }

  #planLoop(i: number): void {
    const counted = this.#loops.analyse(i);
    if (counted !== undefined) {
      this.countedLoops.set(i, counted);
      // A loop that ends soon each time is no safepoint: the loop around it, or the call, is one.
      const limit = counted.streams.length > 0 ? UNSTRIPPED_ITERATIONS_MAX : UNPOLLED_ITERATIONS_MAX;
      if (counted.tripCount !== undefined && counted.tripCount <= limit) return;
    } else {
      const trips = this.#loops.exitTestedTrips(i);
      if (trips !== undefined && trips <= UNPOLLED_ITERATIONS_MAX) return;
    }
    const inside = this.body.stack[i + 1];
    this.#keep(inside);
    this.groupOf[i] = this.#group('poll', i, inside, 0);
  }

  #planCall(i: number): void {
    const { body, graph } = this;
    const indirect = body.op[i] === Op.callIndirect;
    const target = body.immediate[i];
    const canUnwind = indirect ? graph.indirectCanUnwind[target] : graph.canUnwind[target];
    if (!canUnwind) return;
    const type = body.calleeType(i);
    let below = body.stack[i];
    for (let k = type.params.length + (indirect ? 1 : 0); k > 0; k--) below = body.nodeBelow[below];
    const component = indirect ? graph.indirectComponent[target] : graph.component[target];
    const caller = body.functionIndex;
    const polled = graph.recursive[caller] === 1 && component === graph.component[caller];
    this.#keep(polled ? body.stack[i + 1] : below);
    this.groupOf[i] = this.#group(polled ? 'polledCall' : 'call', i, below, polled ? type.results.length : 0);
  }

  #planEntry(): void {
    const { body } = this;
    this.entryGroup = this.groups.length;
    this.groups.push({
      kind: 'poll',
      locals: Array.from(body.type.params, (_, k) => k),
      stackTypes: [],
      resultTypes: [],
      node: ROOT,
    });
  }

  /** Marks a value and all below it: they lie on the operand stack at a site. */
  #keep(node: number): void {
    for (let n = node; n !== 0 && this.kept[n] === 0; n = this.body.nodeBelow[n]) this.kept[n] = 1;
  }

  #group(kind: SiteGroup['kind'], i: number, stack: number, resultCount: number): number {
    const { body, liveness } = this;
    const words = liveness.wordCount;
    const at = liveness.setOf[i];
    const site = this.siteRows.length;
    this.siteRows.push(i);
    this.siteOf[i] = site;
    let key: string = kind;
    for (let k = 0; k < words; k++) key += `,${liveness.sets[at + k]}`;
    const stackTypes: number[] = [];
    for (let n = stack; n !== 0; n = body.nodeBelow[n]) stackTypes.push(body.nodeType[n]);
    stackTypes.reverse();
    const resultTypes = resultCount > 0 ? Array.from(body.calleeType(i).results) : [];
    const notes = this.exceptions.localsAt(i);
    key += `;${stackTypes.join()};${resultTypes.join()};${notes.join()}`;
    const known = this.#groupByKey.get(key);
    if (known !== undefined) return known;
    const locals: number[] = [];
    for (let k = 0; k < words; k++) {
      let bits = liveness.sets[at + k];
      while (bits !== 0) {
        const low = 31 - Math.clz32(bits & -bits);
        locals.push(k * 32 + low);
        bits &= bits - 1;
      }
    }
    locals.push(...notes);
    const index = this.groups.length;
    this.groups.push({ kind, locals, stackTypes, resultTypes, node: ROOT });
    this.#groupByKey.set(key, index);
    return index;
  }
}
