import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ValueType } from '../../src/wasm/value-type.ts';
import type { Random } from './random.ts';

const { i32, i64, f32, f64, v128, funcref, externref } = ValueType;

export interface Signature {
  readonly params: readonly number[];
  readonly results: readonly number[];
}

/** What the functions of one generated program share. */
export interface ProgramShape {
  readonly random: Random;
  /** Signatures by function index, imported functions first. */
  readonly functions: readonly Signature[];
  readonly globals: readonly number[];
  /** Index of the i32 global that every loop and function entry counts down; at zero all of them end. */
  readonly fuel: number;
  readonly funcrefTable: number;
  readonly externrefTable: number;
  /** The function that an entry of the funcref table holds at the start. */
  readonly tableFunctions: readonly number[];
  readonly passiveData: readonly number[];
  readonly passiveElements: readonly number[];
  typeIndex(signature: Signature): number;
}

export const allTypes: readonly number[] = [i32, i64, f32, f64, v128, funcref, externref];
/** Weighted: what most programs mostly hold. */
const commonTypes: readonly number[] = [i32, i32, i32, i64, i64, f32, f64, f64, v128, funcref, externref];

/** Bytes of opcode, operand types; the result type is the key. Results that may be a fresh NaN are made a number again. */
interface Operator {
  readonly bytes: readonly number[];
  readonly operands: readonly number[];
  readonly mayMakeNaN: boolean;
}

function operators(): Map<number, Operator[]> {
  const map = new Map<number, Operator[]>(allTypes.map((type) => [type, []]));
  const add = (result: number, operands: readonly number[], first: number, last = first, mayMakeNaN = false): void => {
    for (let op = first; op <= last; op++) map.get(result)!.push({ bytes: [op], operands, mayMakeNaN });
  };
  const addPrefixed = (
    result: number,
    operands: readonly number[],
    prefix: number,
    ...subs: readonly number[]
  ): void => {
    for (const sub of subs) {
      const bytes = [...new ByteWriter().u8(prefix).u32(sub).view()];
      map.get(result)!.push({ bytes, operands, mayMakeNaN: false });
    }
  };
  add(i32, [i32], 0x45);
  add(i32, [i32, i32], 0x46, 0x4f);
  add(i32, [i64], 0x50);
  add(i32, [i64, i64], 0x51, 0x5a);
  add(i32, [f32, f32], 0x5b, 0x60);
  add(i32, [f64, f64], 0x61, 0x66);
  add(i32, [i32], 0x67, 0x69);
  add(i32, [i32, i32], 0x6a, 0x6c);
  add(i32, [i32, i32], 0x71, 0x78);
  add(i64, [i64], 0x79, 0x7b);
  add(i64, [i64, i64], 0x7c, 0x7e);
  add(i64, [i64, i64], 0x83, 0x8a);
  add(f32, [f32], 0x8b, 0x8c);
  add(f32, [f32], 0x8d, 0x91, true);
  add(f32, [f32, f32], 0x92, 0x97, true);
  add(f32, [f32, f32], 0x98);
  add(f64, [f64], 0x99, 0x9a);
  add(f64, [f64], 0x9b, 0x9f, true);
  add(f64, [f64, f64], 0xa0, 0xa5, true);
  add(f64, [f64, f64], 0xa6);
  add(i32, [i64], 0xa7);
  add(i64, [i32], 0xac, 0xad);
  add(f32, [i32], 0xb2, 0xb3);
  add(f32, [i64], 0xb4, 0xb5);
  add(f32, [f64], 0xb6, 0xb6, true);
  add(f64, [i32], 0xb7, 0xb8);
  add(f64, [i64], 0xb9, 0xba);
  add(f64, [f32], 0xbb, 0xbb, true);
  add(i32, [f32], 0xbc);
  add(i64, [f64], 0xbd);
  add(f32, [i32], 0xbe);
  add(f64, [i64], 0xbf);
  add(i32, [i32], 0xc0, 0xc1);
  add(i64, [i64], 0xc2, 0xc4);
  add(i32, [funcref], 0xd1);
  add(i32, [externref], 0xd1);
  addPrefixed(i32, [f32], 0xfc, 0, 1);
  addPrefixed(i32, [f64], 0xfc, 2, 3);
  addPrefixed(i64, [f32], 0xfc, 4, 5);
  addPrefixed(i64, [f64], 0xfc, 6, 7);
  addPrefixed(v128, [v128, v128], 0xfd, 0x0e, 0x23, 0x4e, 0x4f, 0x50, 0x51, 0x65, 0x6e, 0x8e, 0xae, 0xb5, 0xce, 0xd5);
  addPrefixed(v128, [v128], 0xfd, 0x4d, 0x60, 0x62, 0xa0, 0xc1);
  addPrefixed(v128, [v128, v128, v128], 0xfd, 0x52);
  addPrefixed(v128, [i32], 0xfd, 0x0f, 0x10, 0x11);
  addPrefixed(v128, [i64], 0xfd, 0x12);
  addPrefixed(v128, [f32], 0xfd, 0x13);
  addPrefixed(v128, [f64], 0xfd, 0x14);
  addPrefixed(v128, [v128, i32], 0xfd, 0x6b, 0xab, 0xcb);
  addPrefixed(i32, [v128], 0xfd, 0x53, 0x63, 0x64, 0xa3);
  for (const lane of [0, 1]) {
    map.get(i32)!.push({ bytes: [0xfd, 0x1b, lane + 2], operands: [v128], mayMakeNaN: false });
    map.get(i64)!.push({ bytes: [0xfd, 0x1d, lane], operands: [v128], mayMakeNaN: false });
    map.get(v128)!.push({ bytes: [0xfd, 0x1c, lane + 1], operands: [v128, i32], mayMakeNaN: false });
    map.get(v128)!.push({ bytes: [0xfd, 0x1e, lane], operands: [v128, i64], mayMakeNaN: false });
  }
  return map;
}

const operatorsOf = operators();
/** Division and remainder, which trap now and then. */
const trappingOperators: readonly number[] = [0x6d, 0x6e, 0x6f, 0x70];
const loads: ReadonlyMap<number, readonly (readonly number[])[]> = new Map([
  [i32, [[0x28], [0x2c], [0x2d], [0x2e], [0x2f]]],
  [i64, [[0x29], [0x30], [0x31], [0x32], [0x33], [0x34], [0x35]]],
  [f32, [[0x2a]]],
  [f64, [[0x2b]]],
  [v128, [[0xfd, 0], [0xfd, 1], [0xfd, 7], [0xfd, 0x0a], [0xfd, 0x5c], [0xfd, 0x5d]]],
]); // prettier-ignore
const stores: ReadonlyMap<number, readonly (readonly number[])[]> = new Map([
  [i32, [[0x36], [0x3a], [0x3b]]],
  [i64, [[0x37], [0x3c], [0x3d], [0x3e]]],
  [f32, [[0x38]]],
  [f64, [[0x39]]],
  [v128, [[0xfd, 0x0b]]],
]); // prettier-ignore

/**
 * Writes the body of one function at random: values of every type, nested constructs with parameters and results, so
 * that loops and calls come to stand above operands at any depth. All programs end: loops and entries use up fuel.
 */
export class FunctionGenerator {
  readonly #shape: ProgramShape;
  readonly #random: Random;
  readonly #signature: Signature;
  readonly #code = new ByteWriter(2048);
  readonly #locals: number[];
  /** Types that a branch to each label carries, innermost last; the function's own label first. */
  readonly #labels: (readonly number[])[];
  /** Nodes still to be made; at zero only leaves are. */
  #budget: number;

  constructor(shape: ProgramShape, signature: Signature, budget: number) {
    this.#shape = shape;
    this.#random = shape.random;
    this.#signature = signature;
    this.#locals = [...signature.params];
    this.#labels = [signature.results];
    this.#budget = budget;
  }

  /** The whole body. `prologue` comes first, before the function uses fuel. */
  generate(prologue: readonly number[] = []): Uint8Array {
    for (let k = this.#random.below(6); k > 0; k--) this.#newLocal(this.#random.pick(commonTypes));
    this.#code.raw(Uint8Array.from(prologue));
    this.#useFuel();
    this.#statements(4);
    if (this.#random.chance(0.1) && this.#tailCall(2)) this.#random.next();
    else for (const type of this.#signature.results) this.#value(type, 4);
    this.#code.u8(0x0b);
    const body = new ByteWriter(this.#code.length + 64);
    const declared = this.#locals.slice(this.#signature.params.length);
    body.u32(declared.length);
    for (const type of declared) body.u32(1).u8(type);
    return body.raw(this.#code.view()).toBytes();
  }

  #newLocal(type: number): number {
    this.#locals.push(type);
    return this.#locals.length - 1;
  }

  #localOf(type: number): number | undefined {
    const candidates = this.#locals.flatMap((candidate, k) => (candidate === type ? [k] : []));
    return candidates.length === 0 ? undefined : this.#random.pick(candidates);
  }

  /** Returns from the function when the fuel is used up, else takes one. */
  #useFuel(): void {
    const { fuel } = this.#shape;
    this.#code.u8(0x23).u32(fuel).u8(0x45).u8(0x04).u8(0x40);
    for (const type of this.#signature.results) this.#constant(type);
    this.#code.u8(0x0f).u8(0x0b).u8(0x23).u32(fuel).u8(0x41).s32(1).u8(0x6b).u8(0x24).u32(fuel);
  }

  #constant(type: number): void {
    const { random } = this.#shape;
    const code = this.#code;
    switch (type) {
      case i32:
        code.u8(0x41).s32(random.chance(0.6) ? random.below(64) - 8 : random.next());
        break;
      case i64:
        if (random.chance(0.5)) code.u8(0x42).s32(random.next());
        else code.u8(0x41).s32(random.next()).u8(0xad).u8(0x42).s32(random.below(60)).u8(0x89);
        break;
      case f32:
        code.u8(0x43).raw(this.#floatBytes(4));
        break;
      case f64:
        code.u8(0x44).raw(this.#floatBytes(8));
        break;
      case v128:
        code.u8(0xfd).u8(0x0c).raw(random.bytes(16));
        break;
      default:
        code.u8(0xd0).u8(type);
    }
  }

  /** A number, or now and then a NaN with a payload that must be carried unchanged. */
  #floatBytes(count: 4 | 8): Uint8Array {
    const view = new DataView(new ArrayBuffer(8));
    if (count === 4) view.setFloat32(0, this.#random.below(4096) / 16 - 100, true);
    else view.setFloat64(0, this.#random.below(1 << 20) / 64 - 1000, true);
    if (this.#random.chance(0.15)) {
      if (count === 4) view.setUint32(0, 0x7f800001 + this.#random.below(0x7ffff0), true);
      else view.setUint32(4, 0x7ff00001 + this.#random.below(0xfffe0), true);
    }
    return new Uint8Array(view.buffer, 0, count);
  }

  #leaf(type: number): void {
    const { globals } = this.#shape;
    const local = this.#localOf(type);
    if (local !== undefined && this.#random.chance(0.6)) {
      this.#code.u8(0x20).u32(local);
      return;
    }
    const global = globals.flatMap((candidate, k) => (candidate === type && k !== this.#shape.fuel ? [k] : []));
    if (global.length > 0 && this.#random.chance(0.3)) this.#code.u8(0x23).u32(this.#random.pick(global));
    else if (type === funcref && this.#random.chance(0.6)) {
      this.#code.u8(0xd2).u32(this.#random.below(this.#shape.functions.length));
    } else this.#constant(type);
  }

  /** Emits code that pushes one value of the type. */
  #value(type: number, depth: number): void {
    const { random } = this.#shape;
    if (--this.#budget <= 0 || depth <= 0) return this.#leaf(type);
    switch (random.below(12)) {
      case 0:
      case 1:
        return this.#leaf(type);
      case 2:
      case 3:
      case 4:
        return this.#operator(type, depth);
      case 5:
        return this.#load(type, depth);
      case 6:
      case 7:
        if (this.#callFor(type, depth)) return;
        break;
      case 8:
        return this.#construct([], [type], depth);
      case 9: {
        const local = this.#localOf(type) ?? this.#newLocal(type);
        this.#value(type, depth - 1);
        this.#code.u8(0x22).u32(local);
        return;
      }
      case 10:
        this.#value(type, depth - 1);
        this.#value(type, depth - 1);
        this.#value(i32, depth - 1);
        this.#code.u8(0x1c).u32(1).u8(type);
        return;
      default: {
        // A value that lies below statements, and through a construct as its parameter.
        const below = random.pick(commonTypes);
        this.#value(below, depth - 1);
        this.#statements(1);
        this.#construct([below], [type], depth);
        return;
      }
    }
    this.#leaf(type);
  }

  #operator(type: number, depth: number): void {
    const code = this.#code;
    if (type === funcref || type === externref) {
      this.#value(i32, depth - 1);
      code.u8(0x41).s32(3).u8(0x71).u8(0x25);
      code.u32(type === funcref ? this.#shape.funcrefTable : this.#shape.externrefTable);
      return;
    }
    if (type === i32 && this.#random.chance(0.08)) {
      this.#value(i32, depth - 1);
      this.#value(i32, depth - 1);
      code.u8(this.#random.pick(trappingOperators));
      return;
    }
    if (type === i32 && this.#random.chance(0.06)) {
      if (this.#random.chance(0.3)) code.u8(0x41).s32(this.#random.below(2)).u8(0x40).u8(0);
      else code.u8(0x3f).u8(0);
      return;
    }
    const { bytes, operands, mayMakeNaN } = this.#random.pick(operatorsOf.get(type)!);
    for (const operand of operands) this.#value(operand, depth - 1);
    code.raw(Uint8Array.from(bytes));
    if (!mayMakeNaN) return;
    // Which NaN arithmetic makes is up to the engine, and differs between its compilers.
    const local = this.#newLocal(type);
    code.u8(0x22).u32(local);
    this.#constant(type);
    code.u8(0x20).u32(local).u8(0x20).u32(local);
    code.u8(type === f32 ? 0x5b : 0x61).u8(0x1b);
  }

  /** An address inside the smallest memory there is, but for a few that trap. */
  #address(depth: number): number {
    this.#value(i32, depth);
    if (!this.#random.chance(0.01)) this.#code.u8(0x41).s32(0x7fff).u8(0x71);
    return this.#random.chance(0.5) ? this.#random.below(20) : this.#random.below(30_000);
  }

  #load(type: number, depth: number): void {
    const among = loads.get(type);
    if (among === undefined) return this.#leaf(type);
    const offset = this.#address(depth - 1);
    this.#code
      .raw(Uint8Array.from(this.#random.pick(among)))
      .u8(0)
      .u32(offset);
  }

  /** A call that leaves one value of the type; false when no function has one. */
  #callFor(type: number, depth: number): boolean {
    const candidates = this.#shape.functions.flatMap(({ results }, f) => (results.includes(type) ? [f] : []));
    if (candidates.length === 0) return false;
    const f = this.#random.pick(candidates);
    const { results } = this.#shape.functions[f];
    this.#call(f, depth, false);
    this.#takeResult(results, type);
    return true;
  }

  /** Of the results on the stack, keeps one of the type: the first by dropping the others, or any through locals. */
  #takeResult(results: readonly number[], type: number): void {
    const code = this.#code;
    if (results[0] === type && this.#random.chance(0.5)) {
      for (let k = 1; k < results.length; k++) code.u8(0x1a);
      return;
    }
    const locals = results.map((result) => this.#newLocal(result));
    for (const local of locals.toReversed()) code.u8(0x21).u32(local);
    const matching = locals.filter((_, k) => results[k] === type);
    code.u8(0x20).u32(this.#random.pick(matching));
  }

  /** Arguments and the call: direct, or through the table where the function lies in it. */
  #call(f: number, depth: number, tail: boolean): void {
    const { functions, tableFunctions, funcrefTable } = this.#shape;
    const code = this.#code;
    for (const type of functions[f].params) this.#value(type, depth - 1);
    const entries = tableFunctions.flatMap((entry, k) => (entry === f ? [k] : []));
    if (entries.length > 0 && this.#random.chance(0.5)) {
      code.u8(0x41).s32(this.#random.pick(entries));
      code
        .u8(tail ? 0x13 : 0x11)
        .u32(this.#shape.typeIndex(functions[f]))
        .u32(funcrefTable);
    } else {
      code.u8(tail ? 0x12 : 0x10).u32(f);
    }
  }

  #tailCall(depth: number): boolean {
    const wanted = this.#signature.results.join();
    const candidates = this.#shape.functions.flatMap(({ results }, f) => (results.join() === wanted ? [f] : []));
    if (candidates.length === 0) return false;
    this.#call(this.#random.pick(candidates), depth, true);
    return true;
  }

  #blockType(params: readonly number[], results: readonly number[]): void {
    if (params.length === 0 && results.length === 0) this.#code.u8(0x40);
    else if (params.length === 0 && results.length === 1) this.#code.u8(results[0]);
    else this.#code.s32(this.#shape.typeIndex({ params, results }));
  }

  /** A block, loop or if whose parameters lie on the stack and whose results come to lie there. */
  #construct(params: readonly number[], results: readonly number[], depth: number): void {
    const { random } = this.#shape;
    // Sometimes there is more of either than what was asked for.
    const more = random.chance(0.3) ? [random.pick(commonTypes)] : [];
    for (const type of more) this.#value(type, depth - 1);
    const inside = [...params, ...more];
    const extra = random.chance(0.25) ? [random.pick(commonTypes)] : [];
    const outside = [...results, ...extra];
    const kind = random.below(3);
    if (kind === 0) this.#block(inside, outside, depth);
    else if (kind === 1) this.#loop(inside, outside, depth);
    else this.#if(inside, outside, depth);
    for (const _ of extra) this.#code.u8(0x1a);
  }

  #block(params: readonly number[], results: readonly number[], depth: number): void {
    this.#code.u8(0x02);
    this.#blockType(params, results);
    this.#labels.push(results);
    this.#arm(params, results, depth);
    this.#labels.pop();
    this.#code.u8(0x0b);
  }

  #if(params: readonly number[], results: readonly number[], depth: number): void {
    const code = this.#code;
    this.#value(i32, depth - 1);
    code.u8(0x04);
    this.#blockType(params, results);
    this.#labels.push(results);
    this.#arm(params, results, depth);
    if (params.join() !== results.join() || this.#random.chance(0.7)) {
      code.u8(0x05);
      this.#arm(params, results, depth);
    }
    this.#labels.pop();
    code.u8(0x0b);
  }

  #loop(params: readonly number[], results: readonly number[], depth: number): void {
    const code = this.#code;
    code.u8(0x03);
    this.#blockType(params, results);
    this.#labels.push(params);
    this.#useFuel();
    this.#consume(params, depth);
    if (this.#random.chance(0.8)) {
      // Once round again, with new values; what is not taken along is dropped.
      for (const type of params) this.#value(type, depth - 1);
      this.#value(i32, depth - 1);
      code.u8(0x0d).u32(0);
      for (const _ of params) code.u8(0x1a);
    }
    for (const type of results) this.#value(type, depth - 1);
    this.#labels.pop();
    code.u8(0x0b);
  }

  /** The contents of a block or of an arm of an if. */
  #arm(params: readonly number[], results: readonly number[], depth: number): void {
    this.#consume(params, depth);
    for (const type of results) this.#value(type, depth - 1);
    if (this.#random.chance(0.1)) this.#code.u8(0x0c).u32(0);
  }

  /** Parameters go to locals at once, or lie below statements first. */
  #consume(params: readonly number[], depth: number): void {
    const before = this.#random.chance(0.5);
    if (before) this.#statements(depth - 1);
    for (const type of params.toReversed()) {
      if (this.#random.chance(0.7)) this.#code.u8(0x21).u32(this.#localOf(type) ?? this.#newLocal(type));
      else this.#code.u8(0x1a);
    }
    if (!before) this.#statements(depth - 1);
  }

  #statements(depth: number): void {
    for (let k = 1 + this.#random.below(3); k > 0 && this.#budget > 0; k--) this.#statement(depth);
  }

  #statement(depth: number): void {
    const { random } = this.#shape;
    const code = this.#code;
    this.#budget--;
    switch (random.below(14)) {
      case 0:
      case 1: {
        const type = random.pick(commonTypes);
        this.#value(type, depth);
        code.u8(0x21).u32(this.#localOf(type) ?? this.#newLocal(type));
        return;
      }
      case 2: {
        const global = random.below(this.#shape.globals.length);
        if (global === this.#shape.fuel) return;
        this.#value(this.#shape.globals[global], depth);
        code.u8(0x24).u32(global);
        return;
      }
      case 3:
      case 4:
      case 5: {
        const type = random.pick([i32, i64, f32, f64, v128]);
        const offset = this.#address(depth);
        this.#value(type, depth);
        code
          .raw(Uint8Array.from(random.pick(stores.get(type)!)))
          .u8(0)
          .u32(offset);
        return;
      }
      case 6: {
        const f = random.below(this.#shape.functions.length);
        this.#call(f, depth, false);
        for (const type of this.#shape.functions[f].results.toReversed()) {
          if (random.chance(0.5)) code.u8(0x1a);
          else code.u8(0x21).u32(this.#localOf(type) ?? this.#newLocal(type));
        }
        return;
      }
      case 7:
      case 8:
        if (depth > 0) this.#construct([], [], depth);
        return;
      case 9:
        return this.#branch(depth);
      case 10:
        return this.#bulk(depth);
      case 11:
        return this.#tableStatement(depth);
      case 12:
        return this.#leave(depth);
      default:
        this.#value(random.pick(commonTypes), depth);
        code.u8(0x1a);
    }
  }

  /** br_if or br_table, with the values that the label wants; those stay when it is not taken, and are dropped. */
  #branch(depth: number): void {
    const code = this.#code;
    const label = this.#random.below(this.#labels.length);
    const types = this.#labels[this.#labels.length - 1 - label];
    for (const type of types) this.#value(type, depth - 1);
    this.#value(i32, depth - 1);
    if (this.#random.chance(0.8)) {
      code.u8(0x0d).u32(label);
      for (const _ of types) code.u8(0x1a);
      return;
    }
    // A br_table ends the code that can be reached: it stands in a block of its own that the other way falls out of.
    for (const _ of types) code.u8(0x1a);
    code.u8(0x1a);
    code.u8(0x02).u8(0x40);
    this.#labels.push([]);
    const same = this.#labels.flatMap((candidate, k) =>
      candidate.join() === types.join() ? [this.#labels.length - 1 - k] : [],
    );
    this.#value(i32, depth - 1);
    code.u8(0x0d).u32(0);
    for (const type of types) this.#value(type, depth - 1);
    this.#value(i32, depth - 1);
    const targets = Array.from({ length: 1 + this.#random.below(4) }, () => this.#random.pick(same));
    code.u8(0x0e).u32(targets.length - 1);
    for (const target of targets) code.u32(target);
    if (this.#random.chance(0.3)) this.#statement(1);
    this.#labels.pop();
    code.u8(0x0b);
  }

  #bulk(depth: number): void {
    const { passiveData } = this.#shape;
    const code = this.#code;
    const limited = (limit: number): void => {
      this.#value(i32, depth - 1);
      code.u8(0x41).s32(limit).u8(0x71);
    };
    const kind = this.#random.below(4);
    limited(0x7fff);
    if (kind === 0) {
      this.#value(i32, depth - 1);
      limited(0x1fff);
      code.u8(0xfc).u8(11).u8(0);
    } else if (kind === 1) {
      limited(0x7fff);
      limited(0x1fff);
      code.u8(0xfc).u8(10).u8(0).u8(0);
    } else if (kind === 2) {
      limited(7);
      limited(7);
      code.u8(0xfc).u8(8).u32(this.#random.pick(passiveData)).u8(0);
    } else {
      code.u8(0x1a);
      if (this.#random.chance(0.1)) code.u8(0xfc).u8(9).u32(this.#random.pick(passiveData));
    }
  }

  #tableStatement(depth: number): void {
    const { funcrefTable, externrefTable, passiveElements } = this.#shape;
    const code = this.#code;
    // The upper half of the table: what indirect calls name stays what it is, most of the time.
    const index = (): void => {
      this.#value(i32, depth - 1);
      code
        .u8(0x41)
        .s32(3)
        .u8(0x71)
        .u8(0x41)
        .s32(this.#random.chance(0.9) ? 4 : 0)
        .u8(0x6a);
    };
    switch (this.#random.below(5)) {
      case 0:
        index();
        this.#value(funcref, depth - 1);
        code.u8(0x26).u32(funcrefTable);
        return;
      case 1:
        code.u8(0x41).s32(this.#random.below(3));
        this.#value(externref, depth - 1);
        code.u8(0x26).u32(externrefTable);
        return;
      case 2:
        index();
        index();
        code.u8(0x41).s32(1).u8(0xfc).u8(14).u32(funcrefTable).u32(funcrefTable);
        return;
      case 3:
        index();
        code.u8(0x41).s32(0).u8(0x41).s32(1);
        code.u8(0xfc).u8(12).u32(this.#random.pick(passiveElements)).u32(funcrefTable);
        return;
      default:
        this.#value(funcref, depth - 1);
        code.u8(0x41).s32(1).u8(0xfc).u8(15).u32(funcrefTable).u8(0x1a);
    }
  }

  /** An end of the function under a condition: return, tail call, or now and then a trap. */
  #leave(depth: number): void {
    const code = this.#code;
    this.#value(i32, depth - 1);
    code.u8(0x41).s32(7).u8(0x71).u8(0x45).u8(0x04).u8(0x40);
    this.#labels.push([]);
    const kind = this.#random.below(10);
    if (kind < 5 || (kind < 9 && !this.#tailCall(depth - 1))) {
      for (const type of this.#signature.results) this.#value(type, depth - 1);
      code.u8(0x0f);
    } else if (kind === 9) {
      code.u8(0x00);
    }
    if (this.#random.chance(0.2)) this.#statement(1);
    this.#labels.pop();
    code.u8(0x0b);
  }
}
