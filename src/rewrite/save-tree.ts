import { valueTypeBytes } from '../wasm/value-type.ts';

/** Bytes a value takes in a frame. A reference is held in a table; the frame has its index there. */
export function frameValueBytes(type: number): number {
  return valueTypeBytes(type) || 4;
}

/** A value that lives at safepoints: a local of the function, or the operand of a height (1 is the bottom) and type. */
export interface SavedValue {
  /** −1 for an operand. */
  readonly local: number;
  readonly height: number;
  readonly type: number;
}

/** The node that ends a frame; it saves nothing itself. */
export const ROOT = 0;

/**
 * How the safepoints of a function share the code that saves their values.
 *
 *     {a b c d}   {a b c e}            save d ─┐   save e
 *         {a b c}            ─►        save c ◄┘  ◄─┘
 *            {a}                       save b, save a   ◄─ {a}
 *                                      end the frame
 *
 * A tree: each node saves one value and goes on with its parent, so that a safepoint enters at a node and everything on
 * the way to the root is saved. Values that most safepoints have are nearest to the root. A value lies in the frame behind
 * those of the nodes below it, so its place depends on the node, and all frames of a function are as large as the largest,
 * which is about what the engine's own frame takes.
 */
export class SaveTree {
  /** Per node. A parent comes before its children. */
  readonly parents: number[] = [];
  readonly values: SavedValue[] = [];
  readonly offsets: number[] = [];
  /** Of the values of a frame, header excluded. */
  frameBytes = 0;
  readonly #firstChild: number[] = [];
  readonly #nextSibling: number[] = [];
  readonly #end: number[] = [];
  // Values by number: locals first, then operands as they come.
  readonly #known: SavedValue[] = [];
  readonly #operandNumber = new Map<number, number>();
  #uses = new Int32Array(64);
  #rank = new Int32Array(64);

  /** Number of a value, for `build`. */
  local(local: number, type: number): number {
    if (this.#known[local] === undefined) this.#known[local] = { local, height: 0, type };
    return local;
  }

  operand(height: number, type: number, localCount: number): number {
    const key = height * 256 + type;
    let number = this.#operandNumber.get(key);
    if (number === undefined) {
      number = localCount + this.#operandNumber.size;
      this.#operandNumber.set(key, number);
      this.#known[number] = { local: -1, height, type };
    }
    return number;
  }

  clear(): void {
    this.#known.length = 0;
    this.#operandNumber.clear();
    this.#reset();
  }

  /** Builds the tree of sets of numbered values; returns the node at which each is entered. */
  build(sets: readonly Int32Array[]): number[] {
    this.#rankByUse(sets);
    const byRank: number[] = [];
    for (let number = 0; number < this.#known.length; number++) {
      if (this.#known[number] !== undefined) byRank[this.#rank[number]] = number;
    }
    return sets.map((set) => {
      for (let k = 0; k < set.length; k++) set[k] = this.#rank[set[k]];
      set.sort();
      let node = ROOT;
      for (let k = 0; k < set.length; k++) node = this.#child(node, this.#known[byRank[set[k]]]);
      return node;
    });
  }

  #reset(): void {
    for (const column of [this.parents, this.values, this.offsets, this.#firstChild, this.#nextSibling, this.#end]) {
      column.length = 0;
    }
    this.frameBytes = 0;
    this.#add(-1, { local: -1, height: 0, type: 0 }, 0, 0);
  }

  #rankByUse(sets: readonly Int32Array[]): void {
    const count = this.#known.length;
    if (this.#uses.length < count) {
      this.#uses = new Int32Array(count * 2);
      this.#rank = new Int32Array(count * 2);
    }
    const uses = this.#uses.fill(0, 0, count);
    for (const set of sets) for (let k = 0; k < set.length; k++) uses[set[k]]++;
    const numbers: number[] = [];
    for (let number = 0; number < count; number++) if (this.#known[number] !== undefined) numbers.push(number);
    numbers.sort((a, b) => uses[b] - uses[a] || a - b);
    for (let k = 0; k < numbers.length; k++) this.#rank[numbers[k]] = k;
  }

  #child(parent: number, value: SavedValue): number {
    for (let node = this.#firstChild[parent]; node >= 0; node = this.#nextSibling[node]) {
      if (this.values[node] === value) return node;
    }
    const offset = this.#end[parent];
    const node = this.#add(parent, value, offset, offset + frameValueBytes(value.type));
    this.#nextSibling[node] = this.#firstChild[parent];
    this.#firstChild[parent] = node;
    return node;
  }

  #add(parent: number, value: SavedValue, offset: number, end: number): number {
    const node = this.parents.length;
    this.parents.push(parent);
    this.values.push(value);
    this.offsets.push(offset);
    this.#end.push(end);
    this.#firstChild.push(-1);
    this.#nextSibling.push(-1);
    if (end > this.frameBytes) this.frameBytes = end;
    return node;
  }
}
