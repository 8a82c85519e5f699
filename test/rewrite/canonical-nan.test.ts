/**
 * Canonical NaNs. What they mean is said by `canonicalReference`, which makes every result of arithmetic canonical on the
 * spot; the rewriter makes only those canonical that are seen, and must show the same bits everywhere.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { UnsupportedModuleError } from '../../src/error/errors.ts';
import { rewriteModule } from '../../src/rewrite/rewrite.ts';
import { decodeModule } from '../../src/wasm/module.ts';
import { BinaryenFuzzer } from '../support/binaryen-fuzzer.ts';
import { canonicalReference } from '../support/canonical-reference.ts';
import { allCanonical, everySafepoint, migrating, uninterrupted } from '../support/capture-plan.ts';
import { compareRun } from '../support/differential.ts';
import { generateFloatProgram } from '../support/float-program.ts';
import { fuzzScenario } from '../support/fuzz-module.ts';
import { type Observation, type Scenario, differences } from '../support/observation.ts';
import { runPlain } from '../support/plain-run.ts';
import { generateProgram } from '../support/program-generator.ts';
import { Random } from '../support/random.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const asked = process.env['CONTINUO_FUZZ_COUNT'];
const firstSeed = Number(process.env['CONTINUO_FUZZ_SEED'] ?? 1);
const CAPTURES_MAX = 100;

/** Runs a scenario with canonical NaNs in every way; returns what it shows, and whether that is not what plain V8 shows. */
function compareCanonical(
  scenario: Scenario,
  seed: number,
): { found: Observation; differs: boolean; captures: number } {
  const reference = runPlain({ ...scenario, wasm: canonicalReference(scenario.wasm) });
  const program = new RewrittenProgram(scenario.wasm);
  let safepoints = 0;
  for (const options of seed === 0 ? allCanonical : [allCanonical[seed % 3], allCanonical[3 + (seed % 3)]]) {
    safepoints = Math.max(safepoints, compareRun(reference, program, scenario, uninterrupted(options)).safepoints);
  }
  const stride = Math.ceil((safepoints + 1) / CAPTURES_MAX);
  const { captures } = compareRun(reference, program, scenario, everySafepoint('software', stride, true));
  compareRun(reference, program, scenario, migrating(seed, Math.max(1, safepoints / 6), 0.1, allCanonical));
  return { found: reference, differs: differences(runPlain(scenario), reference).length > 0, captures };
}

/** Bits that a function returns as i64, under all options, with NaNs canonical. */
function bitsOf(body: string, module = ''): string {
  const wasm = assemble(`(module (memory 1) (global $g (mut f64) (f64.const 0)) ${module}
    (data (i32.const 64) "\\01\\00\\00\\00\\00\\00\\f4\\ff\\03\\00\\a0\\7f")
    (func $zero (result f64) (loop $l (br_if $l (i32.const 0))) (global.get $g))
    (func (export "run") (result i64) (local $a f64) (local $b f64) (local $i i32) (local $v v128) (local $n f32)
      ${body}))`);
  const { found } = compareCanonical({ wasm, calls: [{ name: 'run' }] }, 0);
  const [, value] = /^returned (-?\d+)n?$/.exec(found.outcomes[0])!;
  return BigInt.asUintN(64, BigInt(value)).toString(16);
}

const CANONICAL = '7ff8000000000000';
/** The NaN of the data above: signalling, with its sign and a payload. */
const LOADED = 'fff4000000000001';
const invalid = '(f64.div (call $zero) (call $zero))';

describe('results of arithmetic that are seen', () => {
  it.each([
    ['reinterpreted', `(i64.reinterpret_f64 ${invalid})`],
    ['stored', `(f64.store (i32.const 0) ${invalid}) (i64.load (i32.const 0))`],
    ['through a local', `(local.set $a ${invalid}) (i64.reinterpret_f64 (local.get $a))`],
    ['through a tee', `(i64.reinterpret_f64 (local.tee $a ${invalid}))`],
    ['through a global', `(global.set $g ${invalid}) (i64.reinterpret_f64 (global.get $g))`],
    ['selected', `(i64.reinterpret_f64 (select ${invalid} (f64.const 1) (i32.const 1)))`],
    ['out of a block', `(i64.reinterpret_f64 (block (result f64) ${invalid}))`],
    ['branched with', `(i64.reinterpret_f64 (block (result f64) (br 0 ${invalid})))`],
    ['passed to a call', `(i64.reinterpret_f64 (call $same ${invalid}))`],
    ['of a loaded NaN', `(i64.reinterpret_f64 (f64.add (f64.load (i32.const 64)) (f64.const 1)))`],
    ['of the minimum with one', `(i64.reinterpret_f64 (f64.min (f64.load (i32.const 64)) (f64.const 1)))`],
    ['of a rounding', `(i64.reinterpret_f64 (f64.nearest (f64.load (i32.const 64))))`],
    ['of a promotion', `(i64.reinterpret_f64 (f64.promote_f32 (f32.load (i32.const 72))))`],
    ['without its sign', `(i64.reinterpret_f64 (f64.abs (f64.neg ${invalid})))`],
    ['in a lane', `(i64x2.extract_lane 1 (f64x2.div (v128.const f64x2 0 0) (f64x2.splat (call $zero))))`],
    ['splat', `(i64x2.extract_lane 1 (f64x2.splat ${invalid}))`],
    [
      'of a vector in a local',
      `(local.set $v (f64x2.sqrt (v128.const f64x2 -1 -1))) (i64x2.extract_lane 0 (local.get $v))`,
    ],
    [
      'gathered in a loop',
      `(local.set $i (i32.const 5))
       (loop $l
         (local.set $a (f64.add (local.get $a) ${invalid}))
         (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
       (i64.reinterpret_f64 (local.get $a))`,
    ],
  ])('%s', (_, body) => {
    expect(bitsOf(body, '(func $same (param f64) (result f64) (local.get 0))')).toBe(CANONICAL);
  });

  it('as f32, demoted and in lanes', () => {
    expect(bitsOf(`(i64.extend_i32_u (i32.reinterpret_f32 (f32.demote_f64 ${invalid})))`)).toBe('7fc00000');
    expect(bitsOf(`(i64x2.extract_lane 1 (f32x4.sub (v128.load (i32.const 64)) (v128.load (i32.const 64))))`)).toBe('7fc00000');
    expect(bitsOf(`(i64x2.extract_lane 0 (f32x4.sub (v128.load (i32.const 64)) (v128.load (i32.const 64))))`)).toBe('7fc0000000000000');
    // A vector of f64 added as f32: its lanes are seen as what they are not.
    const mixed = '(f32x4.add (f64x2.sqrt (v128.const f64x2 -1 -1)) (v128.const f32x4 0 0 0 0))';
    expect(bitsOf(`(i64x2.extract_lane 0 ${mixed})`)).toBe('7fc0000000000000');
  }); // prettier-ignore
});

describe('NaNs that the program moves keep their bits', () => {
  const load = '(f64.load (i32.const 64))';
  it.each([
    ['loaded and stored', `(f64.store (i32.const 0) ${load}) (i64.load (i32.const 0))`, LOADED],
    ['through a local', `(local.set $a ${load}) (i64.reinterpret_f64 (local.get $a))`, LOADED],
    ['made of bits', `(i64.reinterpret_f64 (f64.reinterpret_i64 (i64.const -1)))`, 'ffffffffffffffff'],
    ['negated', `(i64.reinterpret_f64 (f64.neg ${load}))`, '7ff4000000000001'],
    ['a canonical one, negated', `(i64.reinterpret_f64 (f64.neg ${invalid}))`, 'fff8000000000000'],
    ['negated in a local', `(local.set $a (f64.neg ${invalid})) (i64.reinterpret_f64 (local.get $a))`, 'fff8000000000000'],
    [
      'in a local that a loop without iterations would add to',
      `(local.set $a ${load})
       (block $done
         (loop $l
           (br_if $done (i32.eqz (local.get $i)))
           (local.set $a (f64.add (local.get $a) (f64.const 1)))
           (local.set $i (i32.sub (local.get $i) (i32.const 1)))
           (br $l)))
       (i64.reinterpret_f64 (local.get $a))`,
      LOADED,
    ],
    ['the lesser by a comparison', `(i64x2.extract_lane 0 (f64x2.pmin (v128.load (i32.const 64)) (v128.const f64x2 1 1)))`, LOADED],
  ])('%s', (_, body, bits) => expect(bitsOf(body)).toBe(bits)); // prettier-ignore

  it('and its sign is the one that copysign takes', () => {
    expect(bitsOf(`(i64.reinterpret_f64 (f64.copysign (f64.const 1) ${load}))`)).toBe('bff0000000000000');
    expect(bitsOf(`(i64.reinterpret_f64 (f64.copysign (f64.const -1) ${invalid}))`)).toBe('3ff0000000000000');
  });
});

it('only what is seen is made canonical, and a sum where it is read', () => {
  const codeOf = (body: string, canonicalNan: boolean): Buffer => {
    const wasm = assemble(
      `(module (memory 1) (func (export "run") (param $x f64) (local $a f64) (local $i i32) ${body}))`,
    );
    return Buffer.from(rewriteModule(decodeModule(wasm), { tracking: 'none', counting: false, canonicalNan }).bytes);
  };
  const sum = '(f64.add (f64.mul (local.get $x) (local.get $x)) (f64.const 1))';
  const unseen = `(drop (f64.gt ${sum} (f64.const 0))) (drop (i32.trunc_sat_f64_s ${sum}))`;
  expect(codeOf(unseen, true)).toEqual(codeOf(unseen, false));
  const seen = `(f64.store (i32.const 0) ${sum})`;
  expect(codeOf(seen, true).length).toBeGreaterThan(codeOf(seen, false).length);
  const loop = `(loop $l (local.set $a (f64.add (local.get $a) ${sum})) (br_if $l (local.get $i)))`;
  // f64.add, local.set $a
  const bare = Buffer.of(0xa0, 0x21, 1);
  expect(codeOf(`${loop} (f64.store (i32.const 0) (local.get $a))`, true).includes(bare)).toBe(true);
  const stored = `(loop $l (local.set $a (f64.add (local.get $a) ${sum})) (f64.store (i32.const 0) (local.get $a))
    (f64.store (i32.const 8) (local.get $a)) (br_if $l (local.get $i)))`;
  expect(codeOf(stored, true).includes(bare)).toBe(false);
});

it('relaxed SIMD is refused', () => {
  const wasm = assemble(`(module (func (param v128) (drop (f32x4.relaxed_min (local.get 0) (local.get 0)))))`);
  const rewrite = (canonicalNan: boolean): unknown =>
    rewriteModule(decodeModule(wasm), { tracking: 'none', counting: false, canonicalNan });
  expect(() => rewrite(false)).not.toThrow();
  expect(() => rewrite(true)).toThrow(UnsupportedModuleError);
  expect(() => rewrite(true)).toThrow(/relaxed SIMD.*canonical NaNs/);
});

const fuzzer = new BinaryenFuzzer();
afterAll(() => fuzzer.close());

describe('random programs show the bits of the reference', () => {
  const generators: Record<string, { count: number; scenarioOf: (seed: number) => Scenario | Promise<Scenario> }> = {
    'of floating-point arithmetic': { count: 60, scenarioOf: generateFloatProgram },
    'of our own generator': { count: 15, scenarioOf: generateProgram },
    'of the fuzzer of Binaryen': {
      count: 15,
      scenarioOf: async (seed) => {
        const random = new Random(seed);
        const input = random.bytes(1000 + random.below(4000));
        return fuzzScenario(await fuzzer.generate(input, { vectors: random.chance(0.5) }), seed);
      },
    },
  };
  it.each(Object.entries(generators))('%s', { timeout: 240_000 + Number(asked ?? 0) * 2000 }, async (name, { count, scenarioOf }) => {
    const total = asked === undefined ? count : Number(asked);
    const figures = { programs: 0, differing: 0, captures: 0 };
    for (let seed = firstSeed; seed < firstSeed + total; seed++) {
      const scenario = await scenarioOf(seed);
      if (!WebAssembly.validate(new Uint8Array(scenario.wasm))) continue;
      try {
        const { differs, captures } = compareCanonical(scenario, seed);
        figures.programs++;
        figures.captures += captures;
        if (differs) figures.differing++;
      } catch (error) {
        throw new Error(`${name}, seed ${seed}`, { cause: error });
      }
    }
    console.log(`${name}, from seed ${firstSeed}: ${JSON.stringify(figures)}`);
    expect(figures.programs).toBeGreaterThan(total * 0.8);
    // Programs whose NaNs nobody sees would show nothing.
    if (name === 'of floating-point arithmetic') expect(figures.differing).toBeGreaterThan(total / 3);
  }); // prettier-ignore
});
