import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ValueType } from '../../src/wasm/value-type.ts';
import { commonTypes, loads, operatorsOf, stores, trappingOperators } from './instruction-samples.ts';
import { LeafGenerator, type ProgramShape, type Signature } from './leaf-generator.ts';

const { i32, i64, f32, f64, v128, funcref, externref } = ValueType;

/**
 * Writes the body of one function at random: values of every type, nested constructs with parameters and results, so
 * that loops and calls come to stand above operands at any depth. All programs end: loops and entries use up fuel.
 */
export class FunctionGenerator extends LeafGenerator {
  /** Types that a branch to each label carries, innermost last; the function's own label first. */
  readonly #labels: (readonly number[])[];
  /** Per label, whether it is a handler, whose exception can be thrown again. */
  readonly #handlers: boolean[] = [false];
  /** Nodes still to be made; at zero only leaves are. */
  #budget: number;

  constructor(shape: ProgramShape, signature: Signature, budget: number) {
    super(shape, signature);
    this.#labels = [signature.results];
    this.#budget = budget;
  }

  /** The whole body. `prologue` comes first, before the function uses fuel. */
  generate(prologue: readonly number[] = []): Uint8Array {
    for (let k = this.random.below(6); k > 0; k--) this.newLocal(this.random.pick(commonTypes));
    this.code.raw(Uint8Array.from(prologue));
    this.useFuel();
    this.#statements(4);
    if (this.random.chance(0.1) && this.#tailCall(2)) this.random.next();
    else for (const type of this.signature.results) this.#value(type, 4);
    this.code.u8(0x0b);
    const body = new ByteWriter(this.code.length + 64);
    const declared = this.locals.slice(this.signature.params.length);
    body.u32(declared.length);
    for (const type of declared) body.u32(1).u8(type);
    return body.raw(this.code.view()).toBytes();
  }

  /** Emits code that pushes one value of the type. */
  #value(type: number, depth: number): void {
    const { random } = this;
    if (--this.#budget <= 0 || depth <= 0) return this.leaf(type);
    switch (random.below(12)) {
      case 0:
      case 1:
        return this.leaf(type);
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
        const local = this.localOf(type) ?? this.newLocal(type);
        this.#value(type, depth - 1);
        this.code.u8(0x22).u32(local);
        return;
      }
      case 10:
        this.#value(type, depth - 1);
        this.#value(type, depth - 1);
        this.#value(i32, depth - 1);
        this.code.u8(0x1c).u32(1).u8(type);
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
    this.leaf(type);
  }

  #operator(type: number, depth: number): void {
    const code = this.code;
    if (type === funcref || type === externref) {
      this.#value(i32, depth - 1);
      code.u8(0x41).s32(3).u8(0x71).u8(0x25);
      code.u32(type === funcref ? this.shape.funcrefTable : this.shape.externrefTable);
      return;
    }
    if (type === i32 && this.random.chance(0.08)) {
      this.#value(i32, depth - 1);
      this.#value(i32, depth - 1);
      code.u8(this.random.pick(trappingOperators));
      return;
    }
    if (type === i32 && this.random.chance(0.06)) {
      if (this.random.chance(0.3)) code.u8(0x41).s32(this.random.below(2)).u8(0x40).u8(0);
      else code.u8(0x3f).u8(0);
      return;
    }
    const { bytes, operands, mayMakeNaN } = this.random.pick(operatorsOf.get(type)!);
    for (const operand of operands) this.#value(operand, depth - 1);
    code.raw(Uint8Array.from(bytes));
    if (!mayMakeNaN) return;
    // Which NaN arithmetic makes is up to the engine, and differs between its compilers.
    const local = this.newLocal(type);
    code.u8(0x22).u32(local);
    this.constant(type);
    code.u8(0x20).u32(local).u8(0x20).u32(local);
    code
      .u8(type === f32 ? 0x5b : 0x61)
      .u8(0x1b)
      .u8(0x22)
      .u32(local);
  }

  /** An address inside the smallest memory there is, but for a few that trap. */
  #address(depth: number): number {
    this.#value(i32, depth);
    if (!this.random.chance(0.01)) this.code.u8(0x41).s32(0x7fff).u8(0x71);
    return this.random.chance(0.5) ? this.random.below(20) : this.random.below(30_000);
  }

  #load(type: number, depth: number): void {
    const among = loads.get(type);
    if (among === undefined) return this.leaf(type);
    const offset = this.#address(depth - 1);
    this.code
      .raw(Uint8Array.from(this.random.pick(among)))
      .u8(0)
      .u32(offset);
  }

  /** A call that leaves one value of the type; false when no function has one. */
  #callFor(type: number, depth: number): boolean {
    const candidates = this.shape.functions.flatMap(({ results }, f) => (results.includes(type) ? [f] : []));
    if (candidates.length === 0) return false;
    const f = this.random.pick(candidates);
    const { results } = this.shape.functions[f];
    this.#call(f, depth, false);
    this.#takeResult(results, type);
    return true;
  }

  /** Of the results on the stack, keeps one of the type: the first by dropping the others, or any through locals. */
  #takeResult(results: readonly number[], type: number): void {
    const code = this.code;
    if (results[0] === type && this.random.chance(0.5)) {
      this.drop(results.length - 1);
      return;
    }
    const locals = results.map((result) => this.newLocal(result));
    for (const local of locals.toReversed()) code.u8(0x21).u32(local);
    const matching = locals.filter((_, k) => results[k] === type);
    code.u8(0x20).u32(this.random.pick(matching));
  }

  /** Arguments and the call: direct, or through the table where the function lies in it. */
  #call(f: number, depth: number, tail: boolean): void {
    const { functions, tableFunctions, funcrefTable } = this.shape;
    const code = this.code;
    for (const type of functions[f].params) this.#value(type, depth - 1);
    const entries = tableFunctions.flatMap((entry, k) => (entry === f ? [k] : []));
    if (entries.length > 0 && this.random.chance(0.5)) {
      code.u8(0x41).s32(this.random.pick(entries));
      code
        .u8(tail ? 0x13 : 0x11)
        .u32(this.shape.typeIndex(functions[f]))
        .u32(funcrefTable);
    } else {
      code.u8(tail ? 0x12 : 0x10).u32(f);
    }
  }

  #tailCall(depth: number): boolean {
    const wanted = this.signature.results.join();
    const candidates = this.shape.functions.flatMap(({ results }, f) => (results.join() === wanted ? [f] : []));
    if (candidates.length === 0) return false;
    this.#call(this.random.pick(candidates), depth, true);
    return true;
  }

  /** A block, loop or if whose parameters lie on the stack and whose results come to lie there. */
  #construct(params: readonly number[], results: readonly number[], depth: number): void {
    const { random } = this;
    // Sometimes there is more of either than what was asked for.
    const more = random.chance(0.3) ? [random.pick(commonTypes)] : [];
    for (const type of more) this.#value(type, depth - 1);
    const inside = [...params, ...more];
    const extra = random.chance(0.25) ? [random.pick(commonTypes)] : [];
    const outside = [...results, ...extra];
    const kind = random.below(this.shape.tags.length > 0 ? 4 : 3);
    if (kind === 0) this.#block(inside, outside, depth);
    else if (kind === 3) this.#try(inside, outside, depth);
    else if (kind === 1) this.#loop(inside, outside, depth);
    else this.#if(inside, outside, depth);
    this.drop(extra.length);
  }

  #block(params: readonly number[], results: readonly number[], depth: number): void {
    this.code.u8(0x02);
    this.blockType(params, results);
    this.#openLabel(results);
    this.#arm(params, results, depth);
    this.#closeLabel();
    this.code.u8(0x0b);
  }

  #if(params: readonly number[], results: readonly number[], depth: number): void {
    const code = this.code;
    this.#value(i32, depth - 1);
    code.u8(0x04);
    this.blockType(params, results);
    this.#openLabel(results);
    this.#arm(params, results, depth);
    if (params.join() !== results.join() || this.random.chance(0.7)) {
      code.u8(0x05);
      this.#arm(params, results, depth);
    }
    this.#closeLabel();
    code.u8(0x0b);
  }

  #try(params: readonly number[], results: readonly number[], depth: number): void {
    const { code, random } = this;
    code.u8(0x06);
    this.blockType(params, results);
    this.#openLabel(results);
    this.#arm(params, results, depth);
    if (random.chance(0.15)) {
      this.#closeLabel();
      code.u8(0x18).u32(random.below(this.#labels.length));
      return;
    }
    this.#handlers[this.#handlers.length - 1] = true;
    this.shape.tags.forEach((types, tag) => {
      if (!random.chance(0.6)) return;
      code.u8(0x07).u32(tag);
      this.#handler(types, results, depth);
    });
    if (random.chance(0.5)) {
      code.u8(0x19);
      this.#handler([], results, depth);
    }
    this.#closeLabel();
    code.u8(0x0b);
  }

  #handler(params: readonly number[], results: readonly number[], depth: number): void {
    this.#arm(params, results, depth - 1);
    const held = this.#handlers.flatMap((isHandler, k) => (isHandler ? [this.#handlers.length - 1 - k] : []));
    if (!this.random.chance(0.3)) return;
    this.#condition(1);
    this.code.u8(0x04).u8(0x40);
    this.code.u8(0x09).u32(1 + this.random.pick(held));
    this.code.u8(0x0b);
  }

  /** True one time in a few. */
  #condition(depth: number): void {
    this.#value(i32, depth);
    this.code.u8(0x41).s32(3).u8(0x71).u8(0x45);
  }

  #openLabel(types: readonly number[]): void {
    this.#labels.push(types);
    this.#handlers.push(false);
  }

  #closeLabel(): void {
    this.#labels.pop();
    this.#handlers.pop();
  }

  #loop(params: readonly number[], results: readonly number[], depth: number): void {
    const code = this.code;
    code.u8(0x03);
    this.blockType(params, results);
    this.#openLabel(params);
    this.useFuel();
    this.#consume(params, depth);
    if (this.random.chance(0.8)) {
      // Once round again, with new values; what is not taken along is dropped.
      for (const type of params) this.#value(type, depth - 1);
      this.#value(i32, depth - 1);
      code.u8(0x0d).u32(0);
      this.drop(params.length);
    }
    for (const type of results) this.#value(type, depth - 1);
    this.#closeLabel();
    code.u8(0x0b);
  }

  /** The contents of a block or of an arm of an if. */
  #arm(params: readonly number[], results: readonly number[], depth: number): void {
    this.#consume(params, depth);
    for (const type of results) this.#value(type, depth - 1);
    if (this.random.chance(0.1)) this.code.u8(0x0c).u32(0);
  }

  /** Parameters go to locals at once, or lie below statements first. */
  #consume(params: readonly number[], depth: number): void {
    const before = this.random.chance(0.5);
    if (before) this.#statements(depth - 1);
    for (const type of params.toReversed()) {
      if (this.random.chance(0.7)) this.code.u8(0x21).u32(this.localOf(type) ?? this.newLocal(type));
      else this.code.u8(0x1a);
    }
    if (!before) this.#statements(depth - 1);
  }

  #statements(depth: number): void {
    for (let k = 1 + this.random.below(3); k > 0 && this.#budget > 0; k--) this.#statement(depth);
  }

  #statement(depth: number): void {
    const { random } = this;
    const code = this.code;
    this.#budget--;
    switch (random.below(14)) {
      case 0:
      case 1: {
        const type = random.pick(commonTypes);
        this.#value(type, depth);
        code.u8(0x21).u32(this.localOf(type) ?? this.newLocal(type));
        return;
      }
      case 2: {
        const global = random.below(this.shape.globals.length);
        if (global === this.shape.fuel) return;
        this.#value(this.shape.globals[global], depth);
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
        const f = random.below(this.shape.functions.length);
        this.#call(f, depth, false);
        for (const type of this.shape.functions[f].results.toReversed()) {
          if (random.chance(0.5)) code.u8(0x1a);
          else code.u8(0x21).u32(this.localOf(type) ?? this.newLocal(type));
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
    const code = this.code;
    const label = this.random.below(this.#labels.length);
    const types = this.#labels[this.#labels.length - 1 - label];
    for (const type of types) this.#value(type, depth - 1);
    this.#value(i32, depth - 1);
    if (this.random.chance(0.8)) {
      code.u8(0x0d).u32(label);
      this.drop(types.length);
      return;
    }
    // A br_table ends the code that can be reached: it stands in a block of its own that the other way falls out of.
    this.drop(types.length);
    code.u8(0x1a);
    code.u8(0x02).u8(0x40);
    this.#openLabel([]);
    const same = this.#labels.flatMap((candidate, k) =>
      candidate.join() === types.join() ? [this.#labels.length - 1 - k] : [],
    );
    this.#value(i32, depth - 1);
    code.u8(0x0d).u32(0);
    for (const type of types) this.#value(type, depth - 1);
    this.#value(i32, depth - 1);
    const targets = Array.from({ length: 1 + this.random.below(4) }, () => this.random.pick(same));
    code.u8(0x0e).u32(targets.length - 1);
    for (const target of targets) code.u32(target);
    if (this.random.chance(0.3)) this.#statement(1);
    this.#closeLabel();
    code.u8(0x0b);
  }

  #bulk(depth: number): void {
    const { passiveData } = this.shape;
    const code = this.code;
    const limited = (limit: number): void => {
      this.#value(i32, depth - 1);
      code.u8(0x41).s32(limit).u8(0x71);
    };
    const kind = this.random.below(4);
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
      code.u8(0xfc).u8(8).u32(this.random.pick(passiveData)).u8(0);
    } else {
      code.u8(0x1a);
      if (this.random.chance(0.1)) code.u8(0xfc).u8(9).u32(this.random.pick(passiveData));
    }
  }

  #tableStatement(depth: number): void {
    const { funcrefTable, externrefTable, passiveElements } = this.shape;
    const code = this.code;
    // The upper half of the table: what indirect calls name stays what it is, most of the time.
    const index = (): void => {
      this.#value(i32, depth - 1);
      code
        .u8(0x41)
        .s32(3)
        .u8(0x71)
        .u8(0x41)
        .s32(this.random.chance(0.9) ? 4 : 0)
        .u8(0x6a);
    };
    switch (this.random.below(5)) {
      case 0:
        index();
        this.#value(funcref, depth - 1);
        code.u8(0x26).u32(funcrefTable);
        return;
      case 1:
        code.u8(0x41).s32(this.random.below(3));
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
        code.u8(0xfc).u8(12).u32(this.random.pick(passiveElements)).u32(funcrefTable);
        return;
      default:
        this.#value(funcref, depth - 1);
        code.u8(0x41).s32(1).u8(0xfc).u8(15).u32(funcrefTable).u8(0x1a);
    }
  }

  /** An end of the function under a condition: return, tail call, or now and then a trap. */
  #leave(depth: number): void {
    const code = this.code;
    this.#condition(depth - 1);
    code.u8(0x04).u8(0x40);
    this.#openLabel([]);
    const kind = this.random.below(10);
    if (this.shape.tags.length > 0 && this.random.chance(0.4)) {
      const tag = this.random.below(this.shape.tags.length);
      for (const type of this.shape.tags[tag]) this.#value(type, depth - 1);
      code.u8(0x08).u32(tag);
    } else if (kind < 5 || (kind < 9 && !this.#tailCall(depth - 1))) {
      for (const type of this.signature.results) this.#value(type, depth - 1);
      code.u8(0x0f);
    } else if (kind === 9) {
      code.u8(0x00);
    }
    if (this.random.chance(0.2)) this.#statement(1);
    this.#closeLabel();
    code.u8(0x0b);
  }
}
