import { controlRegion } from '../memory/layout.ts';
import type { ByteWriter } from '../wasm/byte-writer.ts';
import { Op } from '../wasm/opcode.ts';
import { type ReferenceStore, emitLoadWord, emitSaveValue } from './frame-code.ts';
import { type LocalPool, Scratch } from './local-pool.ts';
import { ROOT, type SaveTree, type SavedValue } from './save-tree.ts';

/**
 * Emits the part of a save tree that the sites of one function in the output need: a block per node at which code arrives
 * from elsewhere, the nodes in an order in which a child comes right before its parent where it can.
 */
export class SaveEmitter {
  readonly #code: ByteWriter;
  readonly #locals: LocalPool;
  #tree!: SaveTree;
  // Per node.
  #needed = new Uint8Array(64);
  #entered = new Uint8Array(64);
  #childCount = new Int32Array(64);
  /** Last child in the output, which needs no branch to its parent. */
  #lastChild = new Int32Array(64);
  #label = new Int32Array(64);
  #firstChild = new Int32Array(64);
  #nextSibling = new Int32Array(64);
  /** Needed nodes, children before their parents, the root last. */
  readonly #order: number[] = [];
  isUsed = false;

  constructor(code: ByteWriter, locals: LocalPool) {
    this.#code = code;
    this.#locals = locals;
  }

  begin(tree: SaveTree): void {
    this.#tree = tree;
    const count = tree.parents.length;
    if (this.#needed.length < count) {
      this.#needed = new Uint8Array(count * 2);
      this.#entered = new Uint8Array(count * 2);
      this.#childCount = new Int32Array(count * 2);
      this.#lastChild = new Int32Array(count * 2);
      this.#label = new Int32Array(count * 2);
      this.#firstChild = new Int32Array(count * 2);
      this.#nextSibling = new Int32Array(count * 2);
    }
    this.#needed.fill(0, 0, count);
    this.#entered.fill(0, 0, count);
    this.#childCount.fill(0, 0, count);
    this.#firstChild.fill(-1, 0, count);
    this.isUsed = false;
  }

  /** Notes that a site branches to a node. */
  enter(node: number): void {
    this.isUsed = true;
    this.#entered[node] = 1;
    for (let n = node; n >= 0 && this.#needed[n] === 0; n = this.#tree.parents[n]) this.#needed[n] = 1;
  }

  /** Opens the blocks, `depth` labels being open; returns how many it opened. */
  open(depth: number): number {
    if (!this.isUsed) return 0;
    this.#sort();
    let opened = 0;
    for (let k = this.#order.length - 1; k >= 0; k--) {
      const node = this.#order[k];
      if (!this.#isLabelled(node)) continue;
      this.#label[node] = depth + opened++;
      this.#code.pair(Op.block, 0x40);
    }
    return opened;
  }

  label(node: number): number {
    return this.#label[node];
  }

  /** Closes the blocks and saves, up to where the frame ends; returns how many labels are open then. */
  close(depth: number, references: ReferenceStore, localOf: (value: SavedValue) => number): number {
    const code = this.#code;
    const { parents, values, offsets } = this.#tree;
    for (const node of this.#order) {
      const arrives = this.#isLabelled(node);
      if (arrives) {
        code.u8(Op.end);
        depth--;
      }
      if (node === ROOT) break;
      const parent = parents[node];
      if (arrives) {
        emitLoadWord(code, controlRegion.saveAreaPointer);
        if (parent !== ROOT && !this.#isLabelled(parent)) code.u8(Op.localTee).u32(this.#pointer());
      } else {
        code.u8(Op.localGet).u32(this.#pointer());
      }
      emitSaveValue(code, { local: localOf(values[node]), type: values[node].type }, offsets[node], references);
      if (this.#lastChild[parent] !== node) code.u8(Op.br).u32(depth - 1 - this.#label[parent]);
    }
    return depth;
  }

  #pointer(): number {
    return this.#locals.local(Scratch.pointer);
  }

  /** Whether code arrives at a node from elsewhere than the one before it. */
  #isLabelled(node: number): boolean {
    return this.#entered[node] === 1 || this.#childCount[node] > 1;
  }

  #sort(): void {
    const { parents } = this.#tree;
    for (let node = parents.length - 1; node > ROOT; node--) {
      if (this.#needed[node] === 0) continue;
      const parent = parents[node];
      this.#childCount[parent]++;
      this.#nextSibling[node] = this.#firstChild[parent];
      this.#firstChild[parent] = node;
    }
    // Parents before children, then turned round: of two siblings the one visited first comes last.
    const order = this.#order;
    order.length = 0;
    const pending = [ROOT];
    while (pending.length > 0) {
      const node = pending.pop()!;
      order.push(node);
      for (let child = this.#firstChild[node]; child >= 0; child = this.#nextSibling[child]) {
        pending.push(child);
        this.#lastChild[node] = child;
      }
    }
    order.reverse();
  }
}
