/** A machine state in the words of its program: frames with locals and operands, globals, tables, each by name and value. */
import { CorruptionError } from '../error/errors.ts';
import { FunctionNames } from '../machine/guest-stack.ts';
import type { MachineState, StateFrame } from '../machine/machine-state.ts';
import { PositionKind } from '../rewrite/function-plan.ts';
import { frameValueBytes } from '../rewrite/save-tree.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import type { Module } from '../wasm/module.ts';
import { functionType } from '../wasm/module.ts';
import { type NameSection, readNameSection } from '../wasm/name-section.ts';
import { ValueType, isReferenceType, valueTypeName } from '../wasm/value-type.ts';
import { ConstantValues } from './constant-value.ts';
import { numberText } from './value-text.ts';

export interface TypedValue {
  readonly type: string;
  /** As text, in which all bits are kept: see `value-text.ts`. References name a function or an exception's tag. */
  readonly value: string;
}

export interface NamedValue extends TypedValue {
  readonly index: number;
  /** Undefined where the program's name section has none. */
  readonly name: string | undefined;
}

/** A function of the program on the stack of a checkpoint. */
export interface ReportedFrame {
  readonly function: string;
  readonly functionIndex: number;
  /** Of the instruction in the program's file; 0 at the beginning of a function. */
  readonly byteOffset: number;
  /** Whether the function stands before that instruction, inside the call it makes, or behind it. */
  readonly stands: 'before' | 'inside' | 'after';
  /** Locals of the function, parameters included, whose values are needed from there on; the others are not kept. */
  readonly locals: readonly NamedValue[];
  readonly localCount: number;
  /** The operand stack, bottom first. */
  readonly operands: readonly TypedValue[];
}

export interface GlobalValue extends NamedValue {
  readonly mutable: boolean;
}

export interface TableValue {
  readonly index: number;
  readonly name: string | undefined;
  readonly type: string;
  readonly length: number;
  /** Entries that are not null; undefined where the program cannot change its tables, so that no checkpoint holds them. */
  readonly used: number | undefined;
}

export class ProgramValues {
  readonly #module: Module;
  readonly #names: NameSection;
  readonly #functions: FunctionNames;
  readonly #localCounts = new Map<number, number>();

  constructor(module: Module) {
    this.#module = module;
    this.#names = readNameSection(module);
    this.#functions = new FunctionNames(module);
  }

  /** The call stack, innermost first. */
  stack(state: MachineState): ReportedFrame[] {
    return state.frames.map((frame) => this.#frame(state, frame)).reverse();
  }

  globals(state: MachineState): GlobalValue[] {
    const constants = new ConstantValues(this.#module, (index) => this.#functionText(index));
    const cells = new DataView(state.globals.buffer, state.globals.byteOffset, state.globals.length);
    let cell = 0;
    let reference = 0;
    return this.#module.globals.map(({ type, mutable }, index): GlobalValue => {
      let value = '';
      if (!mutable) value = constants.ofGlobal(index);
      else if (isReferenceType(type)) value = this.#numberedText(state, type, state.referenceGlobals[reference++]);
      else value = numberText(type, cells, 16 * this.#within(cell++, state.globals.length / 16));
      return { index, name: this.#names.globals.get(index), type: valueTypeName(type), mutable, value };
    });
  }

  tables({ tables }: MachineState): TableValue[] {
    return this.#module.tables.map(({ type, limits }, index) => ({
      index,
      name: this.#names.tables.get(index),
      type: valueTypeName(type),
      length: tables?.[index]?.length ?? limits.initial,
      used: tables?.[index]?.filter((entry) => entry !== 0).length,
    }));
  }

  /** What an entry of a table holds. */
  tableEntry(state: MachineState, table: number, entry: number): string {
    const number = state.tables?.[table]?.[entry];
    return number === undefined ? 'none' : this.#numberedText(state, this.#module.tables[table].type, number);
  }

  #frame(state: MachineState, frame: StateFrame): ReportedFrame {
    const { functionIndex, position, kind, locals, localTypes, stackTypes } = state.layouts[frame.layout];
    const { values } = frame;
    const view = new DataView(values.buffer, values.byteOffset, values.length);
    let at = 0;
    const take = (type: number): TypedValue => {
      const from = at;
      at += frameValueBytes(type);
      this.#within(at, values.length + 1);
      const value = isReferenceType(type)
        ? this.#savedText(state, type, view.getInt32(from, true))
        : numberText(type, view, from);
      return { type: valueTypeName(type), value };
    };
    const names = this.#names.locals.get(functionIndex);
    return {
      function: this.#functions.nameOf(functionIndex),
      functionIndex,
      byteOffset: position,
      stands: kind === PositionKind.before ? 'before' : kind === PositionKind.inside ? 'inside' : 'after',
      locals: locals.map((index, k) => ({ index, name: names?.get(index), ...take(localTypes[k]) })),
      localCount: this.#localCount(functionIndex),
      operands: stackTypes.map(take),
    };
  }

  /** Parameters and declared locals of a function. */
  #localCount(functionIndex: number): number {
    let count = this.#localCounts.get(functionIndex);
    if (count !== undefined) return count;
    const { functionTypes, importedFunctionCount, bytes, bodies } = this.#module;
    this.#within(functionIndex, functionTypes.length);
    count = functionType(this.#module, functionIndex).params.length;
    const body = functionIndex - importedFunctionCount;
    if (body >= 0) {
      const reader = new ByteReader(bytes, bodies[2 * body], bodies[2 * body + 1]);
      for (let declarations = reader.u32(); declarations > 0; declarations--) {
        count += reader.u32();
        reader.skip(1);
      }
    }
    this.#localCounts.set(functionIndex, count);
    return count;
  }

  /** What an index of saved references stands for. */
  #savedText(state: MachineState, type: number, index: number): string {
    if (type === ValueType.exnref) return this.#numberedText(state, type, index + 1);
    const numbers = type === ValueType.funcref ? state.savedFuncrefs : state.savedExternrefs;
    return this.#numberedText(state, type, numbers[this.#within(index, numbers.length)]);
  }

  /** What a number in globals, tables and lists of saved references stands for. */
  #numberedText({ savedExceptions }: MachineState, type: number, number: number | undefined): string {
    if (number === undefined) throw unreadable();
    if (number === 0) return 'null';
    if (type !== ValueType.exnref) return this.#functionText(number - 1);
    const { tagNumber } = savedExceptions[this.#within(number - 1, savedExceptions.length)];
    return tagNumber === 0 ? 'null' : `exception of tag ${tagNumber - 1}`;
  }

  #functionText(index: number): string {
    this.#within(index, this.#module.functionTypes.length);
    const name = this.#functions.nameOf(index);
    return name === `function ${index}` ? name : `function ${index} (${name})`;
  }

  #within(index: number, count: number): number {
    if (index < 0 || index >= count) throw unreadable();
    return index;
  }
}

/** Its checksum holds, and yet it is no state of this program: `continuo verify` says where. */
function unreadable(): CorruptionError {
  return new CorruptionError(
    'the machine state of the checkpoint is not one of its program; "continuo verify" says where it differs',
  );
}
