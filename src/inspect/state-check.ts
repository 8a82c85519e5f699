/**
 * Holds a machine state against its program: everything that a restart takes from it is what the program can have.
 *
 * Its checksum says that the bytes are those that were written. This says that what was written makes sense, in case a program
 * that wrote checkpoints was wrong, or somebody made one by hand.
 */
import { PAGES_PER_WASM_PAGE } from '../memory/layout.ts';
import { decodeHostState } from '../machine/host-state.ts';
import { type MachineState, type StateLayout, encodeMachineState } from '../machine/machine-state.ts';
import { StackArea } from '../machine/stack-area.ts';
import { frameBytesOf } from '../rewrite/frame-code.ts';
import { FunctionPlan, PositionKind } from '../rewrite/function-plan.ts';
import { frameValueBytes } from '../rewrite/save-tree.ts';
import type { Module } from '../wasm/module.ts';
import { ValueType, isReferenceType } from '../wasm/value-type.ts';

/** Takes note of the first thing that is wrong, and does not return. */
export type StateFault = (what: string, expected: string, found: string | number, offsetBytes?: number) => never;

/** The version of states whose encoding is the one of today; others are only decoded. */
const CURRENT_VERSION = 3;

export class StateCheck {
  readonly #module: Module;
  readonly #state: MachineState;
  readonly #fault: StateFault;
  readonly #plan: FunctionPlan;
  readonly #area: StackArea;

  constructor(module: Module, state: MachineState, fault: StateFault) {
    this.#module = module;
    this.#state = state;
    this.#fault = fault;
    this.#plan = new FunctionPlan(module);
    this.#area = new StackArea(module, this.#plan);
  }

  /** `bytes`: what the state was decoded from. `rootCount`: directories that locations of files may begin with. */
  run(bytes: Uint8Array, guestPageCount: number, rootCount: number): void {
    this.#checkEncoding(bytes);
    this.#checkMemory(guestPageCount);
    this.#checkShape();
    this.#checkReferences();
    this.#state.layouts.forEach((layout) => this.#checkLayout(layout));
    this.#checkFrames();
    this.#checkHost(rootCount);
  }

  #is(found: number, expected: number, what: string): void {
    if (found !== expected) this.#fault(what, String(expected), found);
  }

  #below(found: number, limit: number, what: string): void {
    if (!(found >= 0 && found < limit)) this.#fault(what, `below ${limit}`, found);
  }

  /** Nothing follows the state, and nothing in it is written in another way than ours. */
  #checkEncoding(bytes: Uint8Array): void {
    if (bytes[0] !== CURRENT_VERSION) return;
    const again = encodeMachineState(this.#state);
    const length = Math.max(again.length, bytes.length);
    for (let at = 0; at < length; at++) {
      if (again[at] === bytes[at]) continue;
      this.#fault('the byte of the machine state', printByte(again[at]), printByte(bytes[at]), at);
    }
  }

  #checkMemory(guestPageCount: number): void {
    const { memory } = this.#module;
    const wasmPages = guestPageCount / PAGES_PER_WASM_PAGE;
    const { initial, maximum = Infinity } = memory ?? { initial: 0, maximum: 0 };
    if (Number.isInteger(wasmPages) && wasmPages >= initial && wasmPages <= maximum) return;
    const upTo = maximum === Infinity ? '' : ` to ${maximum}`;
    this.#fault('the size of the memory', `${initial}${upTo} times 64 KiB`, `${guestPageCount} pages of 4096 bytes`);
  }

  #checkShape(): void {
    const { phase, globals, referenceGlobals, tables, droppedData, droppedElements } = this.#state;
    const { globals: declared, startFunction } = this.#module;
    const { graph } = this.#plan;
    const mutable = declared.filter((global) => global.mutable);
    const references = mutable.filter(({ type }) => isReferenceType(type)).length;
    this.#is(globals.length, 16 * (mutable.length - references), 'bytes of globals');
    this.#is(referenceGlobals.length, references, 'globals of reference type');
    if (tables !== undefined) this.#is(tables.length, this.#module.tables.length, 'tables');
    tables?.forEach((contents, k) => {
      const { initial, maximum = Infinity } = this.#module.tables[k].limits;
      if (contents.length >= initial && contents.length <= maximum) return;
      this.#fault(
        `entries of table ${k}`,
        maximum === Infinity ? `at least ${initial}` : `${initial} to ${maximum}`,
        contents.length,
      );
    });
    for (const [dropped, known] of [
      [droppedData, graph.dataDrops],
      [droppedElements, graph.elemDrops],
    ] as const) {
      const unknown = dropped.find((segment) => !known.has(segment));
      if (unknown !== undefined) this.#fault('a dropped segment', 'one that the program drops', unknown);
    }
    this.#below(phase.call, startFunction === undefined ? 2 : 3, 'the call that the program is in');
    if (!(phase.guestMs >= 0)) this.#fault('the time that the program ran', 'at least 0', phase.guestMs);
  }

  #checkReferences(): void {
    const { referenceGlobals, tables, savedFuncrefs, savedExternrefs, savedExceptions } = this.#state;
    const { globals, tables: declared, tagTypes, types } = this.#module;
    for (const number of savedFuncrefs) this.#checkNumber(ValueType.funcref, number, 'a saved reference');
    for (const number of savedExternrefs) this.#checkNumber(ValueType.externref, number, 'a saved reference');
    const typed = globals.filter(({ type, mutable }) => mutable && isReferenceType(type));
    referenceGlobals.forEach((number, k) => this.#checkNumber(typed[k].type, number, 'a global of reference type'));
    tables?.forEach((contents, k) => {
      for (const number of contents) this.#checkNumber(declared[k].type, number, `an entry of table ${k}`);
    });
    savedExceptions.forEach(({ tagNumber, values }, index) => {
      this.#below(tagNumber, tagTypes.length + 1, 'the tag of a saved exception');
      const params = tagNumber === 0 ? [] : Array.from(types[tagTypes[tagNumber - 1]].params);
      this.#is(values.length, frameBytesOf(params), 'bytes of a saved exception');
      this.#checkValues(params, values, 'a saved exception', index + 1);
    });
  }

  /** A number that stands for a reference: 0 for null, else an index + 1. */
  #checkNumber(type: number, number: number, what: string): void {
    const count = type === ValueType.exnref ? this.#state.savedExceptions.length : this.#module.functionTypes.length;
    this.#below(number, count + 1, what);
  }

  /** References among values name entries of the lists of saved ones. */
  #checkValues(types: readonly number[], values: Uint8Array, what: string, exceptionsFrom = 0): void {
    if (!types.some(isReferenceType)) return;
    const { savedFuncrefs, savedExternrefs, savedExceptions } = this.#state;
    const view = new DataView(values.buffer, values.byteOffset, values.length);
    let at = 0;
    for (const type of types) {
      if (isReferenceType(type)) {
        const index = view.getInt32(at, true);
        const list =
          type === ValueType.funcref ? savedFuncrefs : type === ValueType.externref ? savedExternrefs : savedExceptions;
        this.#below(index, list.length, `a reference in ${what}`);
        // What an exception refers to lies behind it.
        if (type === ValueType.exnref && index < exceptionsFrom)
          this.#fault(`a reference in ${what}`, `at least ${exceptionsFrom}`, index);
      }
      at += frameValueBytes(type);
    }
  }

  #checkLayout({ functionIndex, position, kind, locals, localTypes, stackTypes }: StateLayout): void {
    const place = `function ${functionIndex}, byte ${position}`;
    const here = this.#area.positionAt(functionIndex, position, kind);
    if (here === undefined) return this.#fault('the place of a frame', 'a safepoint of the program', place);
    const { layout } = here;
    if (stackTypes.join() !== layout.stackTypes.join()) {
      this.#fault(`operands at ${place}`, layout.stackTypes.join(), stackTypes.join());
    }
    let before = -1;
    locals.forEach((local, k) => {
      if (local <= before) this.#fault(`locals at ${place}`, 'ascending', local);
      before = local;
      const known = layout.locals.indexOf(local);
      // Another version may have known another local to be needed; its type must be one.
      const type = known < 0 ? localTypes[k] : layout.localTypes[known];
      if (localTypes[k] !== type) this.#fault(`type of local ${local} at ${place}`, String(type), localTypes[k]);
    });
  }

  /** All frames but the innermost stand inside the call that led to the next one. */
  #checkFrames(): void {
    const { layouts, frames } = this.#state;
    frames.forEach(({ layout: index, values }, k) => {
      const { functionIndex, kind, localTypes, stackTypes } = layouts[index];
      const what = `frame ${k} (function ${functionIndex})`;
      const types = [...localTypes, ...stackTypes];
      this.#is(values.length, frameBytesOf(types), `bytes of ${what}`);
      this.#checkValues(types, values, what);
      const isInside = kind === PositionKind.inside;
      if (isInside === (k === frames.length - 1)) {
        this.#fault(`the place of ${what}`, isInside ? 'not inside a call' : 'inside a call', `kind ${kind}`);
      }
    });
  }

  #checkHost(rootCount: number): void {
    const { wasi } = decodeHostState(this.#state.host);
    const numbers = new Set<number>();
    for (const descriptor of wasi.descriptors) {
      if (numbers.has(descriptor.number)) this.#fault('descriptors', 'each once', descriptor.number);
      numbers.add(descriptor.number);
      if (descriptor.kind === 'file')
        this.#below(descriptor.file, wasi.files.length, `the file of descriptor ${descriptor.number}`);
      if (descriptor.kind === 'directory')
        this.#below(descriptor.at.root, rootCount, `the place of descriptor ${descriptor.number}`);
    }
    for (const { at } of [...wasi.files, ...wasi.asides]) this.#below(at.root, rootCount, 'the place of a file');
  }
}

function printByte(byte: number | undefined): string {
  return byte === undefined ? 'none' : `0x${byte.toString(16).padStart(2, '0')}`;
}
