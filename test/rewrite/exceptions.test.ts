/**
 * Exceptions of the first form (try, catch, delegate, rethrow) with safepoints in bodies and handlers. Where the engine has
 * the second form, each program is translated to it besides, and must come to the same.
 */
import binaryen from 'binaryen';
import { describe, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { compareEverywhere } from '../support/differential.ts';
import { underNewerNode } from '../support/newer-engine.ts';
import { HostRefusal, type Scenario } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

const loop = (local: string): string =>
  `(loop $halve (br_if $halve (local.tee ${local} (i32.shr_u (local.get ${local}) (i32.const 1)))))`;

function compare(text: string, calls: readonly (readonly unknown[])[], imports?: Scenario['imports']) {
  const scenario = {
    wasm: assemble(`(module ${text} ${busy})`),
    calls: calls.map((args) => ({ name: 'run', args })),
  };
  const comparison = compareEverywhere(imports === undefined ? scenario : { ...scenario, imports }, [1, 2, 3, 4]);
  expect(comparison.migrations).toBeGreaterThan(0);
  if (hasExceptionsByReference()) {
    const translated = { ...scenario, wasm: byReference(scenario.wasm), ...(imports === undefined ? {} : { imports }) };
    expect(compareEverywhere(translated, [5, 6]).plain.outcomes).toEqual(comparison.plain.outcomes);
  }
  return comparison;
}

/** The same program with exceptions of the second form, made by Binaryen. */
function byReference(wasm: Uint8Array): Uint8Array {
  const module = binaryen.readBinary(wasm);
  try {
    module.setFeatures(binaryen.Features.All & ~binaryen.Features.GC);
    module.runPasses(['translate-to-exnref']);
    expect(module.emitText()).not.toMatch(/\((try|rethrow)\b/);
    return module.emitBinary();
  } finally {
    module.dispose();
  }
}

underNewerNode(import.meta.url, 14);

const allReturn = (outcomes: readonly string[]): void => {
  expect(outcomes.filter((outcome) => !outcome.startsWith('returned'))).toEqual([]);
};

it('thrown by a callee that was captured, caught around the call, with values of all types', () => {
  const { plain, captures } = compare(
    `(tag $many (param i32 i64 f32 f64 v128 funcref externref)) (tag $none) (memory 1) (table 2 funcref)
     (elem declare func $busy)
     (func $thrower (param $n i32) (result i32)
       (drop (call $busy (i32.const 15)))
       (if (i32.eqz (local.get $n)) (then (throw $none)))
       (if (i32.eq (local.get $n) (i32.const 1)) (then (return (i32.const 50))))
       (throw $many (i32.const 1) (i64.const 2) (f32.const nan:0x200001) (f64.const 4)
         (v128.const i32x4 5 6 7 8) (ref.func $busy) (ref.null extern)))
     (func (export "run") (param $n i32) (result i32) (local $r funcref) (local $v v128) (local $d f64) (local $f f32)
       (local $l i64) (local $k i32)
       (i32.const 1000)
       (try (result i32)
         (do (call $busy (i32.const 7)) (call $thrower (local.get $n)) i32.add)
         (catch $many
           drop (local.set $r) (local.set $v) (local.set $d) (local.set $f) (local.set $l) (local.set $k)
           (drop (call $busy (i32.const 7)))
           (table.set (i32.const 1) (local.get $r)) (v128.store (i32.const 0) (local.get $v))
           (f64.store (i32.const 16) (local.get $d)) (f32.store (i32.const 24) (local.get $f))
           (i64.store (i32.const 32) (local.get $l)) (local.get $k))
         (catch_all (i32.add (i32.const 7) (call $busy (i32.const 7)))))
       i32.add)`,
    [[0], [1], [2]],
  );
  expect(plain.outcomes).toEqual(['returned 1007', 'returned 1050', 'returned 1001']);
  expect(captures).toBeGreaterThan(40);
});

it('locals that only a handler reads', () => {
  const { plain } = compare(
    `(tag $t)
     (func $maybe (param $n i32) (drop (call $busy (i32.const 7))) (if (local.get $n) (then (throw $t))))
     (func (export "run") (param $n i32) (result i32 i64) (local $a i32) (local $b i64) (local $c i32)
       (local.set $a (i32.const 5)) (local.set $b (i64.const 6)) (local.set $c (i32.const 9))
       (try
         (do
           (call $maybe (i32.const 0))
           (local.set $a (i32.add (local.get $a) (i32.const 10)))
           (call $maybe (i32.eq (local.get $n) (i32.const 1)))
           (local.set $b (i64.const 60)) (local.set $c (local.get $n))
           (call $maybe (i32.eq (local.get $n) (i32.const 2)))
           (local.set $a (i32.const 0)) (local.set $b (i64.const 0)))
         (catch $t
           (local.set $a (i32.add (local.get $a) (call $busy (i32.const 3))))))
       (i32.add (local.get $a) (local.get $c)) (local.get $b))`,
    [[0], [1], [2]],
  );
  allReturn(plain.outcomes);
});

it('across frames, through tries that do not catch it, out of recursion', () => {
  const { plain, framesMax } = compare(
    `(tag $a (param i32)) (tag $b (param i64))
     (func $down (param $n i32) (result i32)
       (try (result i32)
         (do
           (drop (call $busy (i32.const 3)))
           (if (i32.eqz (local.get $n)) (then (throw $a (i32.const 7))))
           (i32.add (call $down (i32.sub (local.get $n) (i32.const 1))) (i32.const 1)))
         (catch $b (i32.wrap_i64))))
     (func (export "run") (param $n i32) (result i32)
       (i32.const 3)
       (try (result i32)
         (do (call $down (local.get $n)))
         (catch $a (i32.mul (i32.add (call $busy (i32.const 15)) (i32.const 10)))))
       i32.add)`,
    [[9], [0]],
  );
  expect(plain.outcomes).toEqual(['returned 73', 'returned 73']);
  expect(framesMax).toBeGreaterThan(8);
});

it('a loop that throws and catches in each round', () => {
  compare(
    `(tag $t (param i32)) (memory 1)
     (func $thrower (param i32) (drop (call $busy (i32.const 3)))
       (if (i32.and (local.get 0) (i32.const 1)) (then (throw $t (local.get 0)))))
     (func (export "run") (param $n i32) (result i32) (local $sum i32)
       (i32.const 0)
       (loop $l (param i32) (result i32)
         (try (param i32) (result i32)
           (do (call $thrower (local.get $n)) (i32.const 1) i32.add)
           (catch $t (i32.const 100) i32.add)
           (catch_all (i32.const -1)))
         (local.set $sum)
         (i32.add (local.get $sum) (i32.const 1000))
         (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))))`,
    [[0b1011010], [0]],
  );
});

describe('rethrown after a capture inside the handler', () => {
  it.each([
    ['catch', '(catch $t (drop) (local.set $k (call $busy (local.get $n))) (rethrow 0))'],
    ['catch_all', `(catch_all ${loop('$n')} (local.set $k (call $busy (i32.const 7))) (rethrow 0))`],
    [
      'a catch before a catch_all',
      '(catch $u (drop (call $busy (i32.const 7))) (rethrow 0)) (catch_all (drop (call $busy (i32.const 7))) (rethrow 0))',
    ],
    ['an inner block', '(catch $t (drop) (block (loop $l (drop (call $busy (i32.const 7))) (rethrow 2))))'],
  ])('from %s', (_, handler) => {
    const { plain } = compare(
      `(tag $t (param i64)) (tag $u) (global $g (mut i32) (i32.const 0))
       (func $thrower (param i32) (drop (call $busy (i32.const 3)))
         (if (local.get 0) (then (throw $t (i64.const 0x123456789abcdef))) (else (throw $u))))
       (func $middle (param $n i32) (local $k i32)
         (try
           (do (call $thrower (local.get $n)))
           ${handler})
         (global.set $g (local.get $k)))
       (func (export "run") (param $n i32) (result i64)
         (i64.const 1)
         (try (result i64)
           (do (call $middle (local.get $n)) (i64.const 3))
           (catch $t (drop (call $busy (i32.const 3))))
           (catch $u (i64.const 44)))
         i64.add)`,
      [[0xf], [0]],
    );
    allReturn(plain.outcomes);
  });
});

it('nested handlers that each hold an exception, and throw the outer one again', () => {
  const { plain } = compare(
    `(tag $t (param i32)) (tag $u (param f64))
     (func $throw (param i32) (drop (call $busy (i32.const 3)))
       (if (local.get 0) (then (throw $t (local.get 0))) (else (throw $u (f64.const 2.5)))))
     (func $nested (param $n i32) (result i32)
       (try (result i32)
         (do (call $throw (local.get $n)) (i32.const 1))
         (catch $t
           (drop (call $busy (i32.const 7)))
           (try (param i32) (result i32)
             (do (call $throw (i32.const 0)))
             (catch_all
               (drop (call $busy (i32.const 7)))
               (if (i32.gt_u (local.get $n) (i32.const 5)) (then (rethrow 2)))
               (if (i32.gt_u (local.get $n) (i32.const 3)) (then (rethrow 1)))
               (i32.const 8))))))
     (func (export "run") (param $n i32) (result i32)
       (try (result i32)
         (do (call $nested (local.get $n)))
         (catch $t (i32.const 1000) i32.add)
         (catch $u (i32.trunc_f64_s))))`,
    [[9], [4], [2], [0]],
  );
  allReturn(plain.outcomes);
});

it('delegated to an outer try, and to the caller', () => {
  const { plain } = compare(
    `(tag $t (param i32))
     (func $throw (param i32) (drop (call $busy (i32.const 3))) (throw $t (local.get 0)))
     (func $inner (param $n i32) (result i32)
       (try $outer (result i32)
         (do
           (try (result i32)
             (do
               (i32.const 5)
               (try $delegating (param i32) (result i32)
                 (do (call $throw (local.get $n)))
                 (delegate $outer)))
             (catch_all (i32.const -1))))
         (catch $t (i32.add (call $busy (i32.const 7)) (i32.const 100)) i32.add)))
     (func $through (param $n i32) (result i32)
       (try (result i32)
         (do (try (result i32) (do (drop (call $busy (i32.const 3))) (call $throw (local.get $n)) (i32.const 4)) (delegate 1)))
         (catch_all (i32.const -2))))
     (func (export "run") (param $n i32) (result i32)
       (try (result i32)
         (do (i32.mul (call $inner (local.get $n)) (call $through (local.get $n))))
         (catch $t (i32.const 1) i32.add)))`,
    [[3], [0]],
  );
  allReturn(plain.outcomes);
});

it('delegated from a handler, to the try whose handler it is and to one further out', () => {
  const { plain } = compare(
    `(tag $t (param i32)) (tag $u)
     (func $throw (param i32) (drop (call $busy (i32.const 3)))
       (if (local.get 0) (then (throw $t (local.get 0))) (else (throw $u))))
     (func $inner (param $n i32) (result i32)
       (try $outer (result i32)
         (do
           (try $held (result i32)
             (do (call $throw (i32.const 0)) (i32.const 1))
             (catch_all
               (try (do (call $throw (i32.and (local.get $n) (i32.const 1)))) (delegate $held))
               (try (do (call $throw (i32.and (local.get $n) (i32.const 2)))) (delegate $outer))
               (drop (call $busy (i32.const 7)))
               (rethrow $held))))
         (catch $t (i32.const 100) i32.add)))
     (func (export "run") (param $n i32) (result i32)
       (try (result i32)
         (do (call $inner (local.get $n)))
         (catch $t (i32.const 1000) i32.add)
         (catch $u (i32.const 7))))`,
    [[0], [1], [2], [3]],
  );
  allReturn(plain.outcomes);
});

it('never caught: it ends the call, as an exception', () => {
  const { plain } = compare(
    `(tag $t (param i32)) (global $g (mut i32) (i32.const 0))
     (func $throw (global.set $g (i32.const 1)) (drop (call $busy (i32.const 15))) (throw $t (i32.const 1)))
     (func (export "run") (call $throw) (global.set $g (i32.const 2)))`,
    [[]],
  );
  expect(plain.outcomes).toEqual(['threw: an exception of the guest']);
});

it('traps pass all handlers', () => {
  const { plain } = compare(
    `(tag $t) (memory 1)
     (func $trap (param i32) (drop (call $busy (i32.const 7))) (drop (i32.load (local.get 0))))
     (func (export "run") (param i32) (result i32)
       (try (result i32)
         (do (call $trap (local.get 0)) (i32.const 1))
         (catch_all (i32.const 2))))`,
    [[0], [-1]],
  );
  expect(plain.outcomes).toEqual(['returned 1', 'trapped: memory access out of bounds']);
});

it('exceptions of the host go through handlers, and tags cross the border', () => {
  const { plain, interrupts } = compare(
    `(import "host" "refuse" (func $refuse (param i32))) (memory 1)
     (tag $t (export "tag") (param i32)) (global $g (mut i32) (i32.const 0))
     (func $middle (param i32)
       (try
         (do (drop (call $busy (i32.const 3))) (call $refuse (local.get 0)))
         (catch $t (global.set $g))))
     (func (export "run") (param i32) (result i32)
       (try (result i32)
         (do (call $middle (local.get 0)) (i32.add (i32.const 1) (call $busy (i32.const 7))))
         (catch_all (global.set $g (i32.const 77)) (i32.const 2))))`,
    [[0], [1]],
    () => ({
      host: {
        refuse: (value: number) => {
          if (value === 1) throw new HostRefusal('no');
        },
      },
    }),
  );
  expect(plain.outcomes).toEqual(['returned 1', 'returned 2']);
  expect(interrupts).toBeGreaterThan(0);
});
