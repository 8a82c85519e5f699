import type { BodyDecoder } from '../wasm/function-body.ts';
import { Op } from '../wasm/opcode.ts';

/**
 * Which locals are live at the loop heads and after the calls of one function: only those are saved.
 *
 * A backward walk over the structured code. A loop is walked again until the set at its head stops growing; the set is
 * kept between walks, so that inner loops settle at once when an outer one repeats. Sets are bit sets of
 * `wordCount` 32-bit words in flat arrays.
 */
export class Liveness {
  wordCount = 0;
  /** Per instruction row, where its set starts in `sets`, or −1: loops (set at the head) and calls (set after it). */
  setOf = new Int32Array(0);
  sets = new Uint32Array(0);

  #body!: BodyDecoder;
  #live = new Uint32Array(0);
  // One row of words per open label: the set after its block, and the set at the start of its else.
  #after = new Uint32Array(0);
  #elseIn = new Uint32Array(0);
  /** Per open label of a try: the union of the sets where its handlers, or its catch clauses' branches, begin. */
  #handlersIn = new Uint32Array(0);
  /** Open labels that belong to a try. */
  readonly #openTries: number[] = [];
  #openers = new Int32Array(64);
  #depth = 0;

  isLive(row: number, local: number): boolean {
    return (this.sets[this.setOf[row] + (local >>> 5)] >>> (local & 31)) % 2 === 1;
  }

  compute(body: BodyDecoder): void {
    this.#body = body;
    const words = (body.localCount + 31) >>> 5;
    this.wordCount = words;
    this.#assignSets(words);
    if (this.#live.length < words) this.#live = new Uint32Array(words);
    this.#live.fill(0);
    this.#depth = 0;
    this.#openTries.length = 0;
    for (let i = body.count - 1; i >= 0; i--) i = this.#step(i);
  }

  #assignSets(words: number): void {
    const body = this.#body;
    if (this.setOf.length < body.count) this.setOf = new Int32Array(body.op.length);
    let used = 0;
    for (let i = 0; i < body.count; i++) {
      const op = body.op[i];
      const wanted = op === Op.loop || op === Op.call || op === Op.callIndirect;
      this.setOf[i] = wanted ? used : -1;
      if (wanted) used += words;
    }
    if (this.sets.length < used) this.sets = new Uint32Array(used * 2);
    else this.sets.fill(0, 0, used);
  }

  /** Handles row `i`; returns the row to go on below, which is another one when a loop must be walked again. */
  #step(i: number): number {
    const body = this.#body;
    const live = this.#live;
    const words = this.wordCount;
    switch (body.op[i]) {
      case Op.localGet: {
        const local = body.immediate[i];
        live[local >>> 5] |= 1 << (local & 31);
        break;
      }
      case Op.localSet:
      case Op.localTee: {
        const local = body.immediate[i];
        live[local >>> 5] &= ~(1 << (local & 31));
        break;
      }
      case Op.call:
      case Op.callIndirect:
        this.#joinHandlers();
        for (let k = 0, at = this.setOf[i]; k < words; k++) this.sets[at + k] = live[k];
        break;
      case Op.end:
      case Op.delegate:
        this.#pushLabel(body.partner[i]);
        break;
      case Op.catch:
      case Op.catchAll: {
        const at = (this.#depth - 1) * words;
        for (let k = 0; k < words; k++) {
          this.#handlersIn[at + k] |= live[k];
          live[k] = this.#after[at + k];
        }
        break;
      }
      case Op.try:
      case Op.tryTable:
        this.#depth--;
        this.#openTries.pop();
        break;
      case Op.throw:
      case Op.throwRef:
      case Op.rethrow:
        live.fill(0, 0, words);
        this.#joinHandlers();
        break;
      case Op.else: {
        const at = (this.#depth - 1) * words;
        for (let k = 0; k < words; k++) {
          this.#elseIn[at + k] = live[k];
          live[k] = this.#after[at + k];
        }
        break;
      }
      case Op.if: {
        const at = --this.#depth * words;
        const other = body.elseOf[i] >= 0 ? this.#elseIn : this.#after;
        for (let k = 0; k < words; k++) live[k] |= other[at + k];
        break;
      }
      case Op.block:
        this.#depth--;
        break;
      case Op.loop:
        return this.#closeLoop(i);
      case Op.br:
        live.fill(0, 0, words);
        this.#joinLabel(i, body.immediate[i]);
        break;
      case Op.brIf:
        this.#joinLabel(i, body.immediate[i]);
        break;
      case Op.brTable: {
        live.fill(0, 0, words);
        const first = body.immediate[i];
        for (let k = 0; k <= body.immediate2[i]; k++) this.#joinLabel(i, body.labels[first + k]);
        break;
      }
      case Op.return:
      case Op.unreachable:
      case Op.returnCall:
      case Op.returnCallIndirect:
        live.fill(0, 0, words);
        break;
    }
    return i;
  }

  #pushLabel(opener: number): void {
    const words = this.wordCount;
    const row = this.#depth++;
    if (row === this.#openers.length) {
      const larger = new Int32Array(row * 2);
      larger.set(this.#openers);
      this.#openers = larger;
    }
    this.#openers[row] = opener;
    if (this.#after.length < this.#depth * words) {
      const size = Math.max(this.#depth * words, this.#after.length * 2);
      const after = new Uint32Array(size);
      after.set(this.#after);
      this.#after = after;
      const elseIn = new Uint32Array(size);
      elseIn.set(this.#elseIn);
      this.#elseIn = elseIn;
      const handlersIn = new Uint32Array(size);
      handlersIn.set(this.#handlersIn);
      this.#handlersIn = handlersIn;
    }
    for (let k = 0; k < words; k++) this.#after[row * words + k] = this.#live[k];
    if (opener < 0 || (this.#body.op[opener] !== Op.try && this.#body.op[opener] !== Op.tryTable)) return;
    this.#openTries.push(row);
    this.#handlersIn.fill(0, row * words, (row + 1) * words);
    if (this.#body.op[opener] !== Op.tryTable) return;
    for (const { label } of this.#body.catchClauses(opener)) {
      this.#joinLabelInto(this.#handlersIn, row * words, opener, label);
    }
  }

  /** An exception may go to any handler around: what they read is live wherever one can be thrown. */
  #joinHandlers(): void {
    const words = this.wordCount;
    for (const row of this.#openTries) {
      for (let k = 0; k < words; k++) this.#live[k] |= this.#handlersIn[row * words + k];
    }
  }

  #joinLabel(i: number, label: number): void {
    this.#joinLabelInto(this.#live, 0, i, label);
  }

  /** Adds what is live where a branch of row `i` to a label goes. */
  #joinLabelInto(target: Uint32Array, targetAt: number, i: number, label: number): void {
    const words = this.wordCount;
    const row = this.#body.labelDepth[i] - 1 - label;
    const opener = this.#openers[row];
    const toLoop = opener >= 0 && this.#body.op[opener] === Op.loop;
    const source = toLoop ? this.sets : this.#after;
    const at = toLoop ? this.setOf[opener] : row * words;
    for (let k = 0; k < words; k++) target[targetAt + k] |= source[at + k];
  }

  #closeLoop(i: number): number {
    const words = this.wordCount;
    const at = this.setOf[i];
    const row = this.#depth - 1;
    let grew = false;
    for (let k = 0; k < words; k++) {
      const joined = (this.sets[at + k] | this.#live[k]) >>> 0;
      if (joined !== this.sets[at + k]) {
        this.sets[at + k] = joined;
        grew = true;
      }
    }
    if (grew) {
      for (let k = 0; k < words; k++) this.#live[k] = this.#after[row * words + k];
      return this.#body.partner[i];
    }
    this.#depth--;
    for (let k = 0; k < words; k++) this.#live[k] = this.sets[at + k];
    return i;
  }
}
