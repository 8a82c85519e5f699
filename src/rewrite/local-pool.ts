import type { ByteWriter } from '../wasm/byte-writer.ts';
import { ValueType } from '../wasm/value-type.ts';

/** Scratch locals, by the key that keeps them apart from those of the operand stack, whose heights are positive. */
export const Scratch = {
  pointer: -1, site: -2, address: -3, value: -4, limit: -5, iterations: -6, left: -7, nan: -8, second: -9,
} as const; // prettier-ignore

/** The locals that an emitter adds to a function's own: one per key and type, given out when first asked for. */
export class LocalPool {
  readonly #types: number[] = [];
  readonly #locals = new Map<number, number>();
  #firstIndex = 0;

  /** Forgets all locals; the next ones are numbered from `firstIndex` on. */
  reset(firstIndex: number): void {
    this.#types.length = 0;
    this.#locals.clear();
    this.#firstIndex = firstIndex;
  }

  get types(): readonly number[] {
    return this.#types;
  }

  /** The local of a stack height (1 is the bottom) or of a scratch key. */
  local(key: number, type: number = ValueType.i32): number {
    const both = key * 256 + type;
    let local = this.#locals.get(both);
    if (local === undefined) {
      local = this.#firstIndex + this.#types.length;
      this.#types.push(type);
      this.#locals.set(both, local);
    }
    return local;
  }
}

/** Writes declarations of locals: neighbours of one type share one. */
export function writeLocals(out: ByteWriter, types: readonly number[]): void {
  let runs = 0;
  for (let k = 0; k < types.length; k++) if (k === 0 || types[k] !== types[k - 1]) runs++;
  out.u32(runs);
  for (let k = 0; k < types.length;) {
    let end = k + 1;
    while (end < types.length && types[end] === types[k]) end++;
    out.u32(end - k).u8(types[k]);
    k = end;
  }
}
