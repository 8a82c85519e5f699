import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ValueType } from '../../src/wasm/value-type.ts';
import type { Random } from './random.ts';

const { i32, i64, f32, f64, v128, funcref } = ValueType;

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
  /** Types that the exceptions of each tag carry; without tags, no exception is thrown. */
  readonly tags: readonly (readonly number[])[];
  typeIndex(signature: Signature): number;
}

/** The parts of a function that hold no other parts: locals, constants, fuel. */
export class LeafGenerator {
  protected readonly shape: ProgramShape;
  protected readonly random: Random;
  protected readonly signature: Signature;
  protected readonly code = new ByteWriter(2048);
  protected readonly locals: number[];

  constructor(shape: ProgramShape, signature: Signature) {
    this.shape = shape;
    this.random = shape.random;
    this.signature = signature;
    this.locals = [...signature.params];
  }

  protected drop(count: number): void {
    for (let k = 0; k < count; k++) this.code.u8(0x1a);
  }

  protected newLocal(type: number): number {
    this.locals.push(type);
    return this.locals.length - 1;
  }

  protected localOf(type: number): number | undefined {
    const candidates = this.locals.flatMap((candidate, k) => (candidate === type ? [k] : []));
    return candidates.length === 0 ? undefined : this.random.pick(candidates);
  }

  /** Returns from the function when the fuel is used up, else takes one. */
  protected useFuel(): void {
    const { fuel } = this.shape;
    this.code.u8(0x23).u32(fuel).u8(0x45).u8(0x04).u8(0x40);
    for (const type of this.signature.results) this.constant(type);
    this.code.u8(0x0f).u8(0x0b).u8(0x23).u32(fuel).u8(0x41).s32(1).u8(0x6b).u8(0x24).u32(fuel);
  }

  protected constant(type: number): void {
    const { random } = this.shape;
    const code = this.code;
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
    if (count === 4) view.setFloat32(0, this.random.below(4096) / 16 - 100, true);
    else view.setFloat64(0, this.random.below(1 << 20) / 64 - 1000, true);
    if (this.random.chance(0.15)) {
      if (count === 4) view.setUint32(0, 0x7f800001 + this.random.below(0x7ffff0), true);
      else view.setUint32(4, 0x7ff00001 + this.random.below(0xfffe0), true);
    }
    return new Uint8Array(view.buffer, 0, count);
  }

  protected leaf(type: number): void {
    const { globals } = this.shape;
    const local = this.localOf(type);
    if (local !== undefined && this.random.chance(0.6)) {
      this.code.u8(0x20).u32(local);
      return;
    }
    const global = globals.flatMap((candidate, k) => (candidate === type && k !== this.shape.fuel ? [k] : []));
    if (global.length > 0 && this.random.chance(0.3)) this.code.u8(0x23).u32(this.random.pick(global));
    else if (type === funcref && this.random.chance(0.6)) {
      this.code.u8(0xd2).u32(this.random.below(this.shape.functions.length));
    } else this.constant(type);
  }

  protected blockType(params: readonly number[], results: readonly number[]): void {
    if (params.length === 0 && results.length === 0) this.code.u8(0x40);
    else if (params.length === 0 && results.length === 1) this.code.u8(results[0]);
    else this.code.s32(this.shape.typeIndex({ params, results }));
  }
}
