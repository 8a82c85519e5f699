/** Loops that run in strips: generated ones of every shape, with bounds and steps at the edges of their types. */
import { describe, expect, it } from 'vitest';
import { FunctionPlan } from '../../src/rewrite/function-plan.ts';
import { decodeModule } from '../../src/wasm/module.ts';
import { everySafepoint, migrating, uninterrupted } from '../support/capture-plan.ts';
import { compareRun } from '../support/differential.ts';
import { runPlain } from '../support/plain-run.ts';
import { Random } from '../support/random.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const SEED = Number(process.env['CONTINUO_SEED'] ?? 1);
const LOOPS = Number(process.env['CONTINUO_LOOPS'] ?? 250);
/** No generated loop runs longer: one whose bound is never met would go on for 2³² iterations. */
const ITERATIONS_MAX = 9000;

const steps = [1, 1, 1, 2, 3, 4, 4, 7, 8, 8, 16, 64, 1000, -1, -1, -3, -4, -8, -16];
const starts = [0, 0, 1, 5, 64, 4090, 60000, -1, -100, 0x7fffffc0, -0x80000000, -0x7ffffff0];
const widths = [
  { store: 'i32.store8', value: (v: string) => v },
  { store: 'i32.store16', value: (v: string) => v },
  { store: 'i32.store', value: (v: string) => v },
  { store: 'i64.store32', value: (v: string) => `(i64.extend_i32_u ${v})` },
  { store: 'i64.store', value: (v: string) => `(i64.extend_i32_u ${v})` },
  { store: 'f64.store', value: (v: string) => `(f64.convert_i32_s ${v})` },
  { store: 'v128.store', value: (v: string) => `(i32x4.splat ${v})` },
];

/** A store whose address is one of the forms that compilers emit, affine or not. */
function storeText(random: Random): string {
  const base = random.below(80_000);
  const scale = random.pick([1, 2, 4, 8, 12, 16, 24, 256, 4096]);
  const i = '(local.get $i)';
  const address = random.pick([
    `(i32.add (i32.mul ${i} (i32.const ${scale})) (i32.const ${base}))`,
    `(i32.add (i32.shl ${i} (i32.const ${random.below(5)})) (local.get $base))`,
    `(i32.sub (local.get $base) (i32.mul ${i} (i32.const ${scale})))`,
    `(local.get $p)`,
    `(i32.add (local.get $p) (i32.const ${random.below(64) * 8}))`,
    `(local.tee $t (i32.add (local.get $p) (global.get $g)))`,
    `(i32.add (local.tee $t (i32.add (local.get $t) (i32.const 8))) (i32.const 16))`,
    `(i32.and (i32.mul ${i} (i32.const 52)) (i32.const 0xfff8))`,
    `(local.get $base)`,
  ]);
  const { store, value } = random.pick(widths);
  const offset = random.chance(0.5) ? '' : ` offset=${random.pick([1, 8, 15, 16, 17, 4095, 4096, 70_000])}`;
  const text = `(${store}${offset} ${address} ${value(`(i32.xor ${i} (i32.const 0x5a5a))`)})`;
  return random.chance(0.2) ? `(if (i32.and ${i} (i32.const 3)) (then ${text}))` : text;
}

/** Changes of what a strip would take to stand still, or to move by a constant. */
const disturbances = [
  '(local.set $bound (i32.sub (local.get $bound) (i32.const 1)))',
  '(global.set $bound (i32.add (global.get $bound) (i32.const 1)))',
  '(local.set $base (i32.xor (local.get $base) (i32.const 4096)))',
  '(global.set $g (i32.add (global.get $g) (i32.const 300)))',
  '(if (i32.eq (i32.and (local.get $n) (i32.const 7)) (i32.const 5)) (then (local.set $p (i32.add (local.get $p) (i32.const 5000)))))',
  '(if (i32.eq (local.get $n) (i32.const 9)) (then (local.set $i (i32.add (local.get $i) (i32.const 3)))))',
];

/** A function that runs one generated loop and returns what its locals hold then. */
function loopText(random: Random, disturbances: readonly string[]): string {
  const step = random.pick(steps);
  const start = random.pick(starts);
  const trips = random.pick([0, 1, 2, 15, 17, 100, 600, 1500, 8200, 8193]);
  const skew = random.chance(0.15) ? random.below(Math.abs(step) + 2) - 1 : 0;
  const condition = random.pick(['ne', 'ne', 'lt_s', 'lt_u']);
  const bound = (start + step * trips + skew) | 0;
  const boundText = random.pick([
    `(i32.const ${bound})`,
    '(local.get $bound)',
    '(global.get $bound)',
    `(i32.add (i32.const ${(bound - 12) | 0}) (i32.const 12))`,
    '(i32.and (global.get $bound) (i32.const -1))',
    // 3 × bound − 2 × bound
    '(i32.sub (i32.mul (local.get $bound) (i32.const 3)) (i32.shl (local.get $bound) (i32.const 1)))',
  ]);
  const stores = Array.from({ length: random.below(4) }, () => storeText(random)).join('\n');
  const pointerStep = random.pick([1, 4, 8, 8, 16, 40, 128, -8, 600]);
  const body = `${stores} ${disturbances.join(' ')}
    (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $i)))
    (br_if $out (i32.gt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const ${ITERATIONS_MAX})))
    ${random.chance(0.8) ? `(local.set $p (i32.add (local.get $p) (i32.const ${pointerStep})))` : ''}`;
  const compare = (i: string): string =>
    condition !== 'ne' && random.chance(0.3)
      ? `(i32.${condition.replace('lt', 'gt')} ${boundText} ${i})`
      : `(i32.${condition} ${i} ${boundText})`;
  const next = random.chance(0.5)
    ? `(i32.add (local.get $i) (i32.const ${step}))`
    : `(i32.sub (local.get $i) (i32.const ${-step}))`;
  const atTop = `(loop $l (if ${compare('(local.get $i)')} (then ${body} (local.set $i ${next}) (br $l))))`;
  const atBottom = `(loop $l ${body} (br_if $l ${compare(`(local.tee $i ${next})`)}))`;
  const toZero = `(loop $l ${body} (br_if $l (local.tee $i ${next})))`;
  const loop = random.pick([atTop, atBottom, atBottom, toZero]);
  return `(func (export "run") (result i32 i32 i32 i32 i32)
    (local $i i32) (local $p i32) (local $t i32) (local $n i32) (local $sum i32) (local $base i32) (local $bound i32)
    (global.set $bound (i32.const ${bound}))
    (local.set $bound (i32.const ${bound}))
    (local.set $base (i32.const ${random.below(100_000)}))
    (local.set $p (i32.const ${random.below(60_000)}))
    (local.set $t (i32.const ${random.below(1000)}))
    (local.set $i (i32.const ${loop === toZero ? -step * trips || step : start}))
    (block $out ${loop})
    (local.get $i) (local.get $p) (local.get $t) (local.get $n) (local.get $sum))`;
}

function moduleText(random: Random, disturbances: readonly string[]): string {
  return `(module (memory 3) (global $g (mut i32) (i32.const ${random.below(5000)})) (global $bound (mut i32) (i32.const 0))
    ${loopText(random, disturbances)})`;
}

/** How much was compared. */
interface Figures {
  strips: number;
  streams: number;
  captures: number;
}

function compareLoops(firstSeed: number, count: number, disturbances: readonly string[]): Figures {
  const figures: Figures = { strips: 0, streams: 0, captures: 0 };
  for (let k = 0; k < count; k++) {
    const text = moduleText(new Random(firstSeed + k), disturbances);
    const wasm = assemble(text);
    const plan = new FunctionPlan(decodeModule(wasm));
    plan.plan(0);
    for (const loop of plan.countedLoops.values()) {
      figures.strips++;
      figures.streams += loop.streams.length;
    }
    const scenario = { wasm, calls: [{ name: 'run' }, { name: 'run' }] };
    const plain = runPlain(scenario);
    const program = new RewrittenProgram(wasm);
    try {
      compareRun(plain, program, scenario, uninterrupted({ tracking: 'software', counting: false }));
      compareRun(plain, program, scenario, uninterrupted({ tracking: 'none', counting: false }));
      compareRun(plain, program, scenario, uninterrupted({ tracking: 'paged', counting: false }));
      // Loops that are disturbed mostly run without strips, and have a safepoint in each of thousands of iterations.
      const stride = disturbances.length === 0 ? 1 + (k % 5) : 101 + k;
      figures.captures += compareRun(plain, program, scenario, everySafepoint('software', stride)).captures;
      if (k % 4 !== 0) continue;
      figures.captures += compareRun(plain, program, scenario, migrating(k, 10 * stride)).captures;
    } catch (error) {
      throw new Error(`seed ${firstSeed + k}:\n${text}`, { cause: error });
    }
  }
  return figures;
}

describe('generated counted loops give what plain V8 gives, pages marked, captured anywhere', () => {
  it(`as compilers emit them (seed ${SEED})`, () => {
    const { strips, streams, captures } = compareLoops(SEED * 100_000, LOOPS, []);
    expect(strips).toBeGreaterThan(LOOPS / 3);
    expect(streams).toBeGreaterThan(LOOPS / 5);
    expect(captures).toBeGreaterThan(LOOPS);
  }, 240_000);

  it.each(disturbances)('with %s', (disturbance) => {
    compareLoops(SEED * 100_000 + LOOPS, Math.ceil(LOOPS / 6), [disturbance]);
  });
});

describe('a bound that is computed in each iteration', () => {
  const countedLoops = (bound: string, body = ''): number => {
    const wasm = assemble(`(module (memory 1) (func (export "run") (param $n i32) (local $i i32)
      (loop $again
        (if (i32.lt_u (local.get $i) ${bound}) (then
          (i32.store (local.get $i) (i32.const 1)) ${body}
          (local.set $i (i32.add (local.get $i) (i32.const 8)))
          (br $again))))))`);
    const plan = new FunctionPlan(decodeModule(wasm));
    plan.plan(0);
    return plan.countedLoops.size;
  };

  it('counts where it is the same each time, as AssemblyScript writes `i < n << 3`', () => {
    expect(countedLoops('(i32.shl (local.get $n) (i32.const 3))')).toBe(1);
    expect(countedLoops('(i32.add (i32.mul (local.get $n) (i32.const 5)) (i32.const 7))')).toBe(1);
  });

  it('does not where the loop changes it, or reads it from memory', () => {
    const change = '(local.set $n (i32.sub (local.get $n) (i32.const 1)))';
    expect(countedLoops('(i32.shl (local.get $n) (i32.const 3))', change)).toBe(0);
    expect(countedLoops('(i32.shl (i32.load (local.get $n)) (i32.const 3))')).toBe(0);
    expect(countedLoops('(i32.shl (local.get $i) (i32.const 3))')).toBe(0);
  });
});
