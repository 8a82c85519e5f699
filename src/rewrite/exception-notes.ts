import type { BodyDecoder } from '../wasm/function-body.ts';
import { Op } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';

/**
 * What must be known of an exception that a handler still holds, so that a resume function can throw it again.
 *
 * A handler whose try some `rethrow` names keeps its exception alive, and a frame captured inside it must bring the
 * exception back. An exception of the program's own is its tag and the values it carries: both are put into locals of
 * ours when it is caught. `catch_all` does not tell the tag, so a second try inside notes it and throws it on:
 *
 *     try                            try
 *       body                           try
 *     catch_all              →           body
 *       …                              catch $tag
 *       rethrow 0                        note $tag and its values; rethrow 0
 *     end                              end
 *                                    catch_all
 *                                      …
 *
 * An exception of the host carries nothing that could be noted: a guest that was captured while a handler held one traps
 * when it is resumed. The host functions of Continuo throw none.
 */
export interface ExceptionNote {
  readonly row: number;
  readonly hasCatchAll: boolean;
  /** Local that holds the noted tag + 1, 0 for none. */
  readonly tagLocal: number;
  /** Locals of the values that an exception carries, per tag. */
  readonly valueLocals: readonly (readonly number[])[];
}

export class ExceptionNotes {
  /** By the row of the try. */
  readonly notes = new Map<number, ExceptionNote>();
  /** Types of the locals of ours that hold notes; they follow the function's own. */
  readonly localTypes: number[] = [];
  readonly #body: BodyDecoder;
  /** Per instruction row of a site inside handlers that hold exceptions: the locals that go into its frame. */
  readonly #localsAt = new Map<number, readonly number[]>();

  constructor(body: BodyDecoder) {
    this.#body = body;
  }

  clear(): void {
    this.notes.clear();
    this.localTypes.length = 0;
    this.#localsAt.clear();
  }

  /** Finds the handlers of the decoded function that hold exceptions. */
  find(): void {
    const { op, count, immediate, labelDepth } = this.#body;
    const openers: number[] = [];
    for (let i = 0; i < count; i++) {
      if (isOpener(op[i])) openers.push(i);
      else if (op[i] === Op.end || op[i] === Op.delegate) openers.pop();
      else if (op[i] === Op.rethrow) this.#note(openers[labelDepth[i] - 2 - immediate[i]]);
    }
    if (this.notes.size > 0) this.#findSites();
  }

  /** Locals that a frame saved at row `i` holds besides those of the program. */
  localsAt(i: number): readonly number[] {
    return this.#localsAt.get(i) ?? [];
  }

  #note(row: number): void {
    if (this.notes.has(row)) return;
    const { module, elseOf, op, localCount } = this.#body;
    const add = (type: number): number => localCount + this.localTypes.push(type) - 1;
    let hasCatchAll = false;
    for (let h = elseOf[row]; h >= 0; h = elseOf[h]) if (op[h] === Op.catchAll) hasCatchAll = true;
    this.notes.set(row, {
      row,
      hasCatchAll,
      tagLocal: add(ValueType.i32),
      valueLocals: module.tagTypes.map((type) => Array.from(module.types[type].params, add)),
    });
  }

  #findSites(): void {
    const { op, count, partner } = this.#body;
    // Locals of the notes that are held where the walk stands, one entry per open construct.
    const held: (readonly number[])[] = [[]];
    for (let i = 0; i < count; i++) {
      const inner = held[held.length - 1];
      if (isOpener(op[i])) held.push(inner);
      else if (op[i] === Op.end || op[i] === Op.delegate) held.pop();
      else if (op[i] === Op.catch || op[i] === Op.catchAll) {
        const note = this.notes.get(partner[i]);
        const outer = held[held.length - 2];
        held[held.length - 1] = note === undefined ? outer : [...outer, note.tagLocal, ...note.valueLocals.flat()];
      }
      const now = held[held.length - 1] ?? [];
      if (now.length > 0 && (op[i] === Op.loop || op[i] === Op.call || op[i] === Op.callIndirect)) {
        this.#localsAt.set(i, now);
      }
    }
  }
}

function isOpener(op: number): boolean {
  return op === Op.block || op === Op.loop || op === Op.if || op === Op.try || op === Op.tryTable;
}
