import { ContinuoError, CorruptionError } from '../error/errors.ts';
import { controlRegion } from '../memory/layout.ts';
import { ExceptionKey } from '../rewrite/exception-store.ts';
import { frameValueBytes } from '../rewrite/save-tree.ts';
import { globalExport, tableExport } from '../rewrite/names.ts';
import type { Module } from '../wasm/module.ts';
import { ValueType, isReferenceType } from '../wasm/value-type.ts';
import type { GuestInstance } from './guest-instance.ts';
import type { MachineState, SavedException } from './machine-state.ts';

type SavedReferences = Pick<MachineState, 'savedFuncrefs' | 'savedExternrefs' | 'savedExceptions'>;

/**
 * Finds what the references of a stopped instance stand for: functions of the program, null, exceptions by tag and values.
 *
 * Frames name entries of the tables of saved references. References to exceptions, which JavaScript can neither look at
 * nor copy, are put there too when they lie in globals and tables; what an exception refers to goes behind all of them.
 * The caller gives the space behind the frames' entries back.
 */
export class ReferenceCapture {
  readonly #instance: GuestInstance;
  readonly #numbers = new Map<number, number[]>([
    [ValueType.funcref, []],
    [ValueType.externref, []],
  ]);
  readonly #exceptions: (SavedException | undefined)[] = [];
  readonly #pending: number[] = [];

  constructor(instance: GuestInstance) {
    this.#instance = instance;
  }

  /** The number of what a global of reference type holds. */
  ofGlobal(index: number): number {
    const instance = this.#instance;
    if (instance.rewritten.module.globals[index].type === ValueType.exnref) {
      return this.#exceptionNumber(instance.runtimeFunction(ExceptionKey.saveGlobal(index))());
    }
    return referenceNumber(instance, (instance.exports[globalExport(index)] as WebAssembly.Global).value);
  }

  ofTable(index: number): number[] {
    const instance = this.#instance;
    const table = instance.exports[tableExport(index)] as WebAssembly.Table;
    if (instance.rewritten.module.tables[index].type === ValueType.exnref) {
      const save = instance.runtimeFunction(ExceptionKey.saveEntry(index));
      return Array.from({ length: table.length }, (_, k) => this.#exceptionNumber(save(k)));
    }
    return Array.from({ length: table.length }, (_, k) => referenceNumber(instance, table.get(k)));
  }

  /** Takes in the references among values that lie one after the other. */
  add(types: readonly number[], values: Uint8Array): void {
    for (const { type, index } of entriesAmong(types, values)) this.#addEntry(type, index);
  }

  #addEntry(type: number, index: number): void {
    const numbers = this.#numbers.get(type);
    if (numbers === undefined) {
      if (this.#exceptions[index] === undefined) this.#pending.push(index);
      return;
    }
    while (numbers.length <= index) numbers.push(0);
    numbers[index] = referenceNumber(this.#instance, this.#instance.savedReferences.get(type)!.get(index));
  }

  /** Index of an entry + 1. Null has the number 0, but what an entry holds is only seen by taking it apart. */
  #exceptionNumber(index: number): number {
    this.#takeApart(index);
    return this.#exceptions[index]!.tagNumber === 0 ? 0 : index + 1;
  }

  #takeApart(index: number): void {
    const instance = this.#instance;
    const { module } = instance.rewritten;
    const tagNumber = instance.runtimeFunction(ExceptionKey.note)(index, controlRegion.scratch);
    if (tagNumber < 0) throw new UnsavableReferenceError();
    const types = tagNumber === 0 ? [] : exceptionTypes(module, tagNumber);
    const end = controlRegion.scratch + bytesOf(types);
    const values = instance.guestMemory.bytes.slice(controlRegion.scratch, end);
    this.#exceptions[index] = { tagNumber, values };
    this.add(types, values);
  }

  saved(): SavedReferences {
    for (let index = this.#pending.pop(); index !== undefined; index = this.#pending.pop()) {
      if (this.#exceptions[index] === undefined) this.#takeApart(index);
    }
    return {
      savedFuncrefs: this.#numbers.get(ValueType.funcref)!,
      savedExternrefs: this.#numbers.get(ValueType.externref)!,
      savedExceptions: Array.from(this.#exceptions, (exception) => exception ?? NO_EXCEPTION),
    };
  }
}

const NO_EXCEPTION: SavedException = { tagNumber: 0, values: new Uint8Array(0) };

/** Puts what frames, globals and tables refer to into the tables of saved references of a fresh instance. */
export function restoreSavedReferences(instance: GuestInstance, saved: SavedReferences): void {
  restoreReferences(instance, ValueType.funcref, saved.savedFuncrefs);
  restoreReferences(instance, ValueType.externref, saved.savedExternrefs);
  // What an exception refers to lies behind it: it must be there first.
  for (let k = saved.savedExceptions.length - 1; k >= 0; k--) makeException(instance, k, saved.savedExceptions);
}

/** Entries that frames name: whoever saves more before they are resumed does it behind these. */
export function entryCount({ layouts, frames }: Pick<MachineState, 'layouts' | 'frames'>): number {
  const types = layouts.map(({ localTypes, stackTypes }) => [...localTypes, ...stackTypes]);
  let count = 0;
  for (const { layout, values } of frames) {
    for (const { index } of entriesAmong(types[layout], values)) count = Math.max(count, index + 1);
  }
  return count;
}

function restoreReferences(instance: GuestInstance, type: number, numbers: readonly number[]): void {
  const table = instance.savedReferences.get(type)!;
  if (numbers.length > table.length) table.grow(numbers.length - table.length);
  numbers.forEach((number, k) => table.set(k, referenceOf(instance, number)));
}

function makeException(instance: GuestInstance, index: number, saved: readonly SavedException[]): void {
  const { module, graph } = instance.rewritten;
  const { tagNumber, values } = saved[index];
  if (!graph.exceptionReferences || tagNumber > module.tagTypes.length) {
    throw new CorruptionError(`the checkpoint holds an exception of tag ${tagNumber - 1}, which the program lacks`);
  }
  const types = tagNumber === 0 ? [] : exceptionTypes(module, tagNumber);
  if (values.length !== bytesOf(types)) {
    throw new CorruptionError(`the checkpoint holds an exception of tag ${tagNumber - 1} with ${values.length} bytes`);
  }
  refuseUnknownReferences(instance, index, saved.length, types, values);
  instance.guestMemory.bytes.set(values, controlRegion.scratch);
  instance.runtimeFunction(ExceptionKey.make)(index, controlRegion.scratch, tagNumber);
}

function refuseUnknownReferences(
  instance: GuestInstance,
  index: number,
  exceptionCount: number,
  types: readonly number[],
  values: Uint8Array,
): void {
  for (const { type, index: named } of entriesAmong(types, values)) {
    const [from, to] =
      type === ValueType.exnref ? [index + 1, exceptionCount] : [0, instance.savedReferences.get(type)!.length];
    if (named < from || named >= to) {
      throw new CorruptionError(`the checkpoint holds an exception that refers to entry ${named} of ${to}`);
    }
  }
}

/** The references among values that lie one after the other: the entries that they name. */
function entriesAmong(types: readonly number[], values: Uint8Array): { type: number; index: number }[] {
  if (!types.some(isReferenceType)) return NO_ENTRIES;
  const view = new DataView(values.buffer, values.byteOffset, values.length);
  const entries: { type: number; index: number }[] = [];
  let offset = 0;
  for (const type of types) {
    if (isReferenceType(type)) entries.push({ type, index: view.getInt32(offset, true) });
    offset += frameValueBytes(type);
  }
  return entries;
}

const NO_ENTRIES: { type: number; index: number }[] = [];

/** Puts what a number stands for into a global of reference type; exceptions are among the saved ones. */
export function restoreGlobal(instance: GuestInstance, index: number, number: number): void {
  if (instance.rewritten.module.globals[index].type === ValueType.exnref) {
    instance.runtimeFunction(ExceptionKey.loadGlobal(index))(knownException(instance, number));
  } else {
    const global = instance.exports[globalExport(index)] as WebAssembly.Global;
    global.value = referenceOf(instance, number);
  }
}

export function restoreTable(instance: GuestInstance, index: number, contents: readonly number[]): void {
  const table = instance.exports[tableExport(index)] as WebAssembly.Table;
  const { type } = instance.rewritten.module.tables[index];
  if (table.length > contents.length) throw new CorruptionError(`the checkpoint's table ${index} is too short`);
  try {
    if (type === ValueType.exnref) {
      const load = instance.runtimeFunction(ExceptionKey.loadEntry(index));
      contents.forEach((number, k) => load(k, knownException(instance, number)));
      return;
    }
    table.grow(contents.length - table.length);
  } catch (error) {
    if (error instanceof CorruptionError) throw error;
    throw new CorruptionError(`the checkpoint's table ${index} of ${contents.length} entries is too long`, {}, error);
  }
  contents.forEach((number, k) => table.set(k, referenceOf(instance, number)));
}

/** Index of the saved exception that a number names, −1 for null. */
function knownException(instance: GuestInstance, number: number): number {
  const { length } = instance.savedReferences.get(ValueType.exnref)!;
  if (number <= length) return number - 1;
  throw new CorruptionError(`the checkpoint refers to exception ${number - 1}, which it does not have`);
}

function exceptionTypes(module: Module, tagNumber: number): number[] {
  return Array.from(module.types[module.tagTypes[tagNumber - 1]].params);
}

function bytesOf(types: readonly number[]): number {
  let bytes = 0;
  for (const type of types) bytes += frameValueBytes(type);
  return bytes;
}

/** 0 for null, function index + 1 for a function of the program. */
function referenceNumber(instance: GuestInstance, value: unknown): number {
  if (value === null || value === undefined) return 0;
  if (typeof value === 'function') {
    const original = instance.functionOf(value);
    if (original !== undefined) return original + 1;
  }
  throw new UnsavableReferenceError();
}

/** The program holds a reference to something of the host; a checkpoint must wait until it holds none. */
export class UnsavableReferenceError extends ContinuoError {
  readonly exitCode = 2;
  constructor() {
    super(
      'unsupported-feature',
      'the program holds a reference to an object of the host (an externref, or a function or an exception that is not its own), which no checkpoint can hold',
    );
  }
}

function referenceOf(instance: GuestInstance, number: number): unknown {
  if (number === 0) return null;
  if (number - 1 >= instance.rewritten.module.functionTypes.length) {
    throw new CorruptionError(`the checkpoint refers to function ${number - 1}, which the program does not have`);
  }
  return instance.referenceTo(number - 1);
}
