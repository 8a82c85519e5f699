import type { Scenario } from './observation.ts';
import { Random } from './random.ts';
import { assemble } from './wat.ts';

type Type = 'f32' | 'f64' | 'v128';
const types: readonly Type[] = ['f32', 'f64', 'f64', 'v128'];
const LOCALS_OF_TYPE = 4;
const DEPTH_MAX = 4;
const MEMORY_WORDS = 64;

const scalarUnary = ['abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt', 'sqrt'];
const scalarBinary = ['add', 'sub', 'mul', 'div', 'div', 'min', 'max', 'copysign'];
const vectorUnary = ['abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt'];
const vectorBinary = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pmin', 'pmax'];
const constants = ['0', '-0', '1', '-1', '1.5', 'inf', '-inf', 'nan', '-nan', '1e38'];

/** Writes one function of floating-point arithmetic, in text. */
class FloatFunction {
  readonly #random: Random;
  readonly #callable: number;
  #counters = 0;

  constructor(random: Random, callable: number) {
    this.#random = random;
    this.#callable = callable;
  }

  generate(index: number): string {
    const body = this.#statements(2 + this.#random.below(5), 0);
    const locals = (['f32', 'f64', 'v128'] as const)
      .flatMap((type) => Array.from({ length: LOCALS_OF_TYPE }, (_, k) => `(local $${type}${k} ${type})`))
      .join(' ');
    const counters = Array.from({ length: this.#counters }, (_, k) => `(local $count${k} i32)`).join(' ');
    return `(func $f${index} (export "f${index}") (param $x f64) (param $y f32) (result f64 f32 i64)
      ${locals} ${counters} ${body}
      (local.get $f64_0) (local.get $f32_0) (i64x2.extract_lane 1 (local.get $v128_0)))`.replace(
      /\$(f32|f64|v128)_0/g,
      '$$$10',
    );
  }

  #statements(count: number, depth: number): string {
    return Array.from({ length: count }, () => this.#statement(depth)).join('\n');
  }

  #statement(depth: number): string {
    const random = this.#random;
    const type = random.pick(types);
    switch (random.below(depth < 3 ? 9 : 5)) {
      case 0:
        return `(${type}.store (i32.const ${this.#address()}) ${this.#value(type, 0)})`;
      case 1:
        return `(global.set $${type} ${this.#value(type, 0)})`;
      case 2:
      case 3:
      case 4:
        return `(local.set ${this.#local(type)} ${this.#value(type, 0)})`;
      case 5: {
        const other = random.chance(0.5) ? `(else ${this.#statements(1, depth + 1)})` : '';
        return `(if ${this.#condition()} (then ${this.#statements(2, depth + 1)}) ${other})`;
      }
      case 6:
        return `(block $out ${this.#statements(1, depth + 1)} (br_if $out ${this.#condition()}) ${this.#statements(2, depth + 1)})`;
      default: {
        const counter = `$count${this.#counters++}`;
        return `(local.set ${counter} (i32.const ${1 + random.below(4)}))
          (loop $again ${this.#statements(2, depth + 1)}
            (br_if $again (local.tee ${counter} (i32.sub (local.get ${counter}) (i32.const 1)))))`;
      }
    }
  }

  #address(): number {
    return this.#random.below(MEMORY_WORDS) * 8;
  }

  #local(type: Type): string {
    return `$${type}${this.#random.below(LOCALS_OF_TYPE)}`;
  }

  #condition(): string {
    const random = this.#random;
    const type = random.pick(['f32', 'f64'] as const);
    const bits = type === 'f32' ? 'i32' : 'i64';
    if (random.chance(0.3)) {
      // Whoever asks for the sign of a NaN sees it.
      const seen = `(${bits}.reinterpret_${type} ${this.#value(type, 2)})`;
      return `(${bits}.lt_s ${seen} (${bits}.const 0))`;
    }
    return `(${type}.${random.pick(['lt', 'eq', 'ne', 'ge'])} ${this.#value(type, 2)} ${this.#value(type, 2)})`;
  }

  #value(type: Type, depth: number): string {
    const random = this.#random;
    if (depth >= DEPTH_MAX || random.chance(0.15)) return this.#leaf(type);
    const next = depth + 1;
    const other = type === 'f32' ? 'f64' : 'f32';
    if (random.chance(0.12)) return `(local.tee ${this.#local(type)} ${this.#value(type, next)})`;
    if (random.chance(0.1))
      return `(select ${this.#value(type, next)} ${this.#value(type, next)} ${this.#condition()})`;
    if (random.chance(0.06)) return `(block (result ${type}) ${this.#value(type, next)})`;
    if (type === 'v128') return this.#vector(next);
    switch (random.below(8)) {
      case 0:
      case 1:
        return `(${type}.${random.pick(scalarUnary)} ${this.#value(type, next)})`;
      case 2:
        return type === 'f32'
          ? `(f32.demote_f64 ${this.#value('f64', next)})`
          : `(f64.promote_f32 ${this.#value(other, next)})`;
      case 3:
        return type === 'f32'
          ? `(f32x4.extract_lane ${random.below(4)} ${this.#value('v128', next)})`
          : `(f64x2.extract_lane ${random.below(2)} ${this.#value('v128', next)})`;
      case 4:
        return `(${type}.convert_i32_s (i32.trunc_sat_${type}_s ${this.#value(type, next)}))`;
      default:
        return `(${type}.${random.pick(scalarBinary)} ${this.#value(type, next)} ${this.#value(type, next)})`;
    }
  }

  #vector(depth: number): string {
    const random = this.#random;
    const [shape, lane, lanes] = random.pick([
      ['f32x4', 'f32', 4],
      ['f64x2', 'f64', 2],
    ] as const);
    switch (random.below(10)) {
      case 0:
        return `(${shape}.splat ${this.#value(lane, depth)})`;
      case 1:
        return `(${shape}.replace_lane ${random.below(lanes)} ${this.#value('v128', depth)} ${this.#value(lane, depth)})`;
      case 2:
        return `(v128.${random.pick(['and', 'or', 'xor'])} ${this.#value('v128', depth)} ${this.#value('v128', depth)})`;
      case 3:
        return random.chance(0.5)
          ? `(f64x2.promote_low_f32x4 ${this.#value('v128', depth)})`
          : `(f32x4.demote_f64x2_zero ${this.#value('v128', depth)})`;
      case 4:
        return `(v128.bitselect ${this.#value('v128', depth)} ${this.#value('v128', depth)}
          (${shape}.${random.pick(['eq', 'lt', 'ge'])} ${this.#value('v128', depth)} ${this.#value('v128', depth)}))`;
      case 5:
      case 6:
        return `(${shape}.${random.pick(vectorUnary)} ${this.#value('v128', depth)})`;
      default:
        return `(${shape}.${random.pick(vectorBinary)} ${this.#value('v128', depth)} ${this.#value('v128', depth)})`;
    }
  }

  #leaf(type: Type): string {
    const random = this.#random;
    if (random.chance(0.5)) return `(local.get ${this.#local(type)})`;
    if (random.chance(0.3)) return `(${type}.load (i32.const ${this.#address()}))`;
    if (random.chance(0.1)) return `(global.get $${type})`;
    if (type === 'v128') return `(v128.const f64x2 ${random.pick(constants)} ${random.pick(constants)})`;
    if (random.chance(0.2)) return type === 'f64' ? '(local.get $x)' : '(local.get $y)';
    if (this.#callable > 0 && random.chance(0.2))
      return `(call $only_${type} (i32.const ${random.below(this.#callable)}))`;
    return `(${type}.const ${random.pick(constants)})`;
  }
}

/** A random program of floating-point arithmetic over memory that holds NaNs of many kinds. The same seed gives the same program. */
export function generateFloatProgram(seed: number): Scenario {
  const random = new Random(seed);
  const count = 1 + random.below(3);
  const functions = Array.from({ length: count }, (_, k) => new FloatFunction(random, k).generate(k));
  const data = Array.from({ length: MEMORY_WORDS }, () => {
    const exponent = random.pick([0x7ff, 0xfff, 0x3ff, 0xbff, 0x000, random.below(0x1000)]);
    const bytes = [...random.bytes(6), ((exponent & 15) << 4) | random.below(16), exponent >>> 4];
    return bytes.map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('');
  }).join('');
  // A function that is called in turn, by number, for its one result.
  const only = (
    type: 'f32' | 'f64',
  ): string => `(func $only_${type} (param $which i32) (result ${type}) (local $f f64) (local $g f32)
    ${functions
      .map(
        (_, k) => `(if (i32.eq (local.get $which) (i32.const ${k})) (then
          (call $f${k} (f64.load (i32.const 8)) (f32.load (i32.const 16))) (drop) (local.set $g) (local.set $f)))`,
      )
      .join('\n')}
    (local.get ${type === 'f64' ? '$f' : '$g'}))`;
  const wasm = assemble(`(module (memory 1) (data (i32.const 0) "${data}")
    (global $f32 (mut f32) (f32.const 0)) (global $f64 (mut f64) (f64.const nan:0x4000000000001))
    (global $v128 (mut v128) (v128.const f64x2 0 1))
    ${functions.join('\n')} ${only('f32')} ${only('f64')})`);
  return { wasm, calls: functions.map((_, k) => ({ name: `f${k}`, args: [random.pick([0, 1.5, NaN]), 2] })) };
}
