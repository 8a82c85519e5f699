import { UnsupportedModuleError } from '../error/errors.ts';
import type { BodyDecoder } from '../wasm/function-body.ts';
import { Op, VARIES, popsOf } from '../wasm/opcode.ts';
import { Lanes, arithmeticOf, isRelaxed, numbersOf, passesOf, readsOf, seesBits } from './float-behaviour.ts';

const { f32, f64, bits } = Lanes;
const COPYSIGN_F32 = 0x98;
const COPYSIGN_F64 = 0xa6;
const LOOP_WEIGHT = 8;
const WEIGHED_DEPTH_MAX = 6;

/**
 * Finds where a function must make NaNs canonical, so that its results are those of a machine whose arithmetic gives
 * canonical NaNs only, and nothing else is changed: what is loaded, moved and stored keeps its bits.
 *
 * Terms. A value is *seen* by an instruction that looks at the bits of its NaNs: a store, a reinterpretation, the sign operand
 * of a copysign, and all that leads out of what is looked at here: calls, globals, branches with values, ends of blocks.
 * Arithmetic, comparisons and conversions to integers see no bits, as long as they read the lanes that were computed (a
 * vector of f64 that is added as f32 is seen). What passes lanes on sees what is seen of its result.
 *
 *   (1) a result of arithmetic that is seen is made canonical where it is made, but for (2);
 *   (2) a local is *lazy* when all that it is ever given are results of arithmetic in the same lanes, and numbers: its
 *       NaNs can be told from none that the program moves. Then each value that is read from it and seen is made
 *       canonical where it is read, and nothing where it is set. That is chosen where reads are rarer: a sum that a loop
 *       gathers in a local is read after the loop.
 *
 * A changed sign makes another NaN of a canonical one, so a local that is given what abs, neg or copysign give is not lazy.
 * Locals are looked at as a whole, without regard to the order of what is done to them.
 */
export class NanAnalysis {
  /** Per row, the lanes in which the value that it left on the stack is to be made canonical; 0 for none. */
  canonicalLanes = new Uint8Array(0);
  /** Per local, the lanes of a lazy one, 0 for others. */
  lazyLanes = new Uint8Array(0);

  #functionIndex = -1;
  #body!: BodyDecoder;
  #hasArithmetic = false;
  // Per stack node: how control instructions and the like see it; how it is seen in all; what its lanes come from.
  #seenAtOnce = new Uint8Array(0);
  #seen = new Uint8Array(0);
  #origin = new Uint8Array(0);
  // Per local.
  #localSeen = new Uint8Array(0);
  #localOrigin = new Uint8Array(0);
  /** Rows of the constructs around the row that is looked at, by labels around them. */
  #openers = new Int32Array(64);

  /** @throws UnsupportedModuleError for instructions of relaxed SIMD: their numbers differ between processors, too. */
  analyse(body: BodyDecoder): void {
    if (body.functionIndex === this.#functionIndex) return;
    this.#functionIndex = -1;
    this.#body = body;
    this.#reserve();
    this.#scan();
    if (this.#hasArithmetic) {
      this.#findOrigins();
      this.#lookBackward();
      this.#chooseLazyLocals();
      this.#lookBackward();
      this.#place();
    }
    this.#functionIndex = body.functionIndex;
  }

  #reserve(): void {
    const { count, nodeCount, localCount, op, nodeType, localTypes } = this.#body;
    if (this.canonicalLanes.length < count) this.canonicalLanes = new Uint8Array(op.length);
    if (this.#seen.length < nodeCount) {
      this.#seenAtOnce = new Uint8Array(nodeType.length);
      this.#seen = new Uint8Array(nodeType.length);
      this.#origin = new Uint8Array(nodeType.length);
    }
    if (this.lazyLanes.length < localCount) {
      this.lazyLanes = new Uint8Array(localTypes.length);
      this.#localSeen = new Uint8Array(localTypes.length);
      this.#localOrigin = new Uint8Array(localTypes.length);
    }
    this.canonicalLanes.fill(0, 0, count);
    this.#seenAtOnce.fill(0, 0, nodeCount);
    this.lazyLanes.fill(0, 0, localCount);
  }

  /** Marks what is seen whatever becomes of any result. */
  #scan(): void {
    const body = this.#body;
    this.#hasArithmetic = false;
    for (let i = 0; i < body.count; i++) {
      const op = body.op[i];
      if (isRelaxed[op] === 1) {
        const feature = 'relaxed SIMD, whose results differ between processors, with canonical NaNs';
        throw new UnsupportedModuleError(feature, 'code', body.start[i]);
      }
      if (arithmeticOf[op] !== 0) this.#hasArithmetic = true;
      const pops = popsOf[op];
      if (pops === VARIES) {
        this.#scanVarying(i, op);
        continue;
      }
      const reads = readsOf[op];
      for (let k = pops, node = body.stack[i]; k > 0; k--, node = body.nodeBelow[node]) this.#seenAtOnce[node] |= reads;
      if (op === COPYSIGN_F32 || op === COPYSIGN_F64) this.#seenAtOnce[body.stack[i]] |= bits;
    }
  }

  #scanVarying(i: number, op: number): void {
    const body = this.#body;
    switch (op) {
      case Op.block:
      case Op.loop:
      case Op.if:
      case Op.try:
      case Op.tryTable:
        this.#open(i);
        return this.#see(i, body.blockType(i).params.length, op === Op.if ? 1 : 0);
      case Op.else:
      case Op.catch:
      case Op.catchAll:
      case Op.delegate:
      case Op.end: {
        const opener = body.partner[i];
        const type = opener < 0 ? body.type : body.blockType(opener);
        return this.#see(i, type.results.length);
      }
      case Op.br:
        return this.#see(i, this.#labelArity(i, body.immediate[i]));
      case Op.brIf:
        return this.#see(i, this.#labelArity(i, body.immediate[i]), 1);
      case Op.brTable:
        return this.#see(i, this.#labelArity(i, body.labels[body.immediate[i]]), 1);
      case Op.return:
        return this.#see(i, body.type.results.length);
      case Op.call:
      case Op.returnCall:
        return this.#see(i, body.calleeType(i).params.length);
      case Op.callIndirect:
      case Op.returnCallIndirect:
        return this.#see(i, body.calleeType(i).params.length, 1);
      case Op.throw:
        return this.#see(i, body.module.types[body.module.tagTypes[body.immediate[i]]].params.length);
      case Op.globalSet:
        return this.#see(i, 1);
    }
  }

  #open(i: number): void {
    const depth = this.#body.labelDepth[i];
    if (depth >= this.#openers.length) {
      const larger = new Int32Array(depth * 2);
      larger.set(this.#openers);
      this.#openers = larger;
    }
    this.#openers[depth] = i;
  }

  #labelArity(i: number, label: number): number {
    const body = this.#body;
    const depth = body.labelDepth[i] - 1 - label;
    if (depth === 0) return body.type.results.length;
    const opener = this.#openers[depth];
    const { params, results } = body.blockType(opener);
    return body.op[opener] === Op.loop ? params.length : results.length;
  }

  /** The bits of `count` operands of row `i` are seen, below others that do not matter. */
  #see(i: number, count: number, above = 0): void {
    const { stack, nodeBelow } = this.#body;
    let node = stack[i];
    for (let k = above; k > 0; k--) node = nodeBelow[node];
    for (let k = count; k > 0; k--, node = nodeBelow[node]) this.#seenAtOnce[node] |= bits;
  }

  /** What lanes come from: arithmetic in these lanes, or, with `bits`, anything. Constants and zeros that are numbers add nothing. */
  #findOrigins(): void {
    const body = this.#body;
    const locals = this.#localOrigin;
    locals.fill(0, 0, body.localCount);
    locals.fill(bits, 0, body.type.params.length);
    // Blocks' and loops' values are among those that come from anything.
    this.#origin.fill(bits, 0, body.nodeCount);
    let grows = true;
    while (grows) {
      grows = false;
      for (let i = 0; i < body.count; i++) {
        const op = body.op[i];
        if (op === Op.localSet || op === Op.localTee) {
          const local = body.immediate[i];
          const joined = locals[local] | this.#origin[body.stack[i]];
          if (joined !== locals[local]) {
            locals[local] = joined;
            grows = true;
          }
        }
        if (body.firstNode[i + 1] === body.firstNode[i] + 1) this.#origin[body.firstNode[i]] = this.#originOf(i, op);
      }
    }
  }

  #originOf(i: number, op: number): number {
    const body = this.#body;
    const origin = this.#origin;
    if (arithmeticOf[op] !== 0) return arithmeticOf[op];
    if (numbersOf[op] !== 0) return numbersOf[op];
    const top = body.stack[i];
    switch (op) {
      case Op.f32Const:
      case Op.f64Const:
      case Op.v128Const:
        return this.#originOfConstant(i, op);
      case Op.localGet:
        return this.#localOrigin[body.immediate[i]];
      case Op.localTee:
        return origin[top];
      case Op.select:
      case Op.selectTyped: {
        const second = body.nodeBelow[top];
        return origin[second] | origin[body.nodeBelow[second]];
      }
      default:
        return bits;
    }
  }

  /** A vector that is made of numbers as f64 but not as f32 belongs to lanes of f64 alone, and the other way round. */
  #originOfConstant(i: number, op: number): number {
    const { module, end } = this.#body;
    const view = new DataView(module.bytes.buffer, module.bytes.byteOffset, end[i]);
    const areNumbers = (lengthBytes: number, wide: boolean): boolean => {
      for (let at = end[i] - lengthBytes; at < end[i]; at += wide ? 8 : 4) {
        if (Number.isNaN(wide ? view.getFloat64(at, true) : view.getFloat32(at, true))) return false;
      }
      return true;
    };
    if (op !== Op.v128Const) return areNumbers(op === Op.f64Const ? 8 : 4, op === Op.f64Const) ? 0 : bits;
    const narrow = areNumbers(16, false);
    const wide = areNumbers(16, true);
    return narrow && wide ? 0 : narrow ? f32 : wide ? f64 : bits;
  }

  /** How values and locals are seen in all: once backward for values, again as long as locals are seen in more ways. */
  #lookBackward(): void {
    const body = this.#body;
    const { stack, firstNode, immediate } = body;
    const seen = this.#seen;
    const locals = this.#localSeen;
    locals.fill(0, 0, body.localCount);
    let grows = true;
    while (grows) {
      grows = false;
      seen.set(this.#seenAtOnce.subarray(0, body.nodeCount));
      for (let i = body.count - 1; i >= 0; i--) {
        const op = body.op[i];
        if (op === Op.localGet || op === Op.localTee) {
          const local = immediate[i];
          const joined = locals[local] | seen[firstNode[i]];
          if (joined !== locals[local]) {
            locals[local] = joined;
            grows = true;
          }
        }
        if (op === Op.localSet || op === Op.localTee) {
          // A lazy local sees nothing: whoever reads it does. A tee's result is read from it.
          if (this.lazyLanes[immediate[i]] === 0) seen[stack[i]] |= locals[immediate[i]];
        } else if (passesOf[op] === 1) this.#passSeen(i, op);
      }
    }
  }

  #passSeen(i: number, op: number): void {
    const { stack, nodeBelow, firstNode } = this.#body;
    const of = this.#seen[firstNode[i]];
    let node = stack[i];
    let count = popsOf[op];
    if (op === Op.select || op === Op.selectTyped) {
      node = nodeBelow[node];
      count = 2;
    } else if (op === COPYSIGN_F32 || op === COPYSIGN_F64) {
      node = nodeBelow[node];
      count = 1;
    }
    for (; count > 0; count--, node = nodeBelow[node]) this.#seen[node] |= of;
  }

  #chooseLazyLocals(): void {
    const body = this.#body;
    const locals = this.#localOrigin;
    const gain = new Float64Array(body.localCount);
    let weight = 1;
    const depths: number[] = [];
    for (let i = 0; i < body.count; i++) {
      const op = body.op[i];
      switch (op) {
        case Op.loop:
          if (depths.length < WEIGHED_DEPTH_MAX) weight *= LOOP_WEIGHT;
          depths.push(i);
          break;
        case Op.end:
          if (depths.at(-1) !== body.partner[i]) break;
          depths.pop();
          if (depths.length < WEIGHED_DEPTH_MAX) weight /= LOOP_WEIGHT;
          break;
        case Op.localSet:
          if (this.#origin[body.stack[i]] !== 0) gain[body.immediate[i]] += weight;
          break;
        case Op.localTee:
          if (this.#origin[body.stack[i]] !== 0) gain[body.immediate[i]] += weight;
          if (this.#isSeen(body.firstNode[i], locals[body.immediate[i]])) gain[body.immediate[i]] -= weight;
          break;
        case Op.localGet:
          if (this.#isSeen(body.firstNode[i], locals[body.immediate[i]])) gain[body.immediate[i]] -= weight;
          break;
      }
    }
    for (let local = 0; local < body.localCount; local++) {
      const lanes = locals[local];
      if (lanes !== f32 && lanes !== f64) continue;
      if (seesBits(this.#localSeen[local], lanes) && gain[local] >= 0) this.lazyLanes[local] = lanes;
    }
  }

  #isSeen(node: number, lanes: number): boolean {
    return seesBits(this.#seen[node], lanes);
  }

  #place(): void {
    const body = this.#body;
    for (let i = 0; i < body.count; i++) {
      const op = body.op[i];
      const lanes = op === Op.localGet || op === Op.localTee ? this.lazyLanes[body.immediate[i]] : arithmeticOf[op];
      if (lanes !== 0 && this.#isSeen(body.firstNode[i], lanes)) this.canonicalLanes[i] = lanes;
    }
  }
}
