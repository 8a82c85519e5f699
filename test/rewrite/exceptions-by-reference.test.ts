/**
 * Exceptions of the second form (try_table, throw_ref, exnref) with safepoints wherever they can be. Node 20 lacks them:
 * there the tests run under the newer Node.js that CONTINUO_NEWER_NODE names, or are left out.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { compareEverywhere } from '../support/differential.ts';
import type { Scenario } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

function compare(text: string, calls: readonly (readonly unknown[])[], imports?: Scenario['imports']) {
  const scenario = {
    wasm: assemble(`(module ${text} ${busy})`),
    calls: calls.map((args) => ({ name: 'run', args })),
  };
  const comparison = compareEverywhere(imports === undefined ? scenario : { ...scenario, imports }, [1, 2, 3, 4]);
  expect(comparison.migrations).toBeGreaterThan(0);
  return comparison;
}

const newer = process.env['CONTINUO_NEWER_NODE'];

it.skipIf(hasExceptionsByReference())('under a newer Node.js', ({ skip }) => {
  if (newer === undefined) return skip('this Node.js lacks them, and CONTINUO_NEWER_NODE names no other one');
  const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
  const { status, stdout, stderr } = spawnSync(newer, [vitest, 'run', fileURLToPath(import.meta.url)], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
  });
  expect(status, stdout + stderr).toBe(0);
  expect(Number(/Tests +(\d+) passed/.exec(stdout)?.[1])).toBeGreaterThan(5);
});

describe.runIf(hasExceptionsByReference())('exceptions by reference', () => {
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
         (block $done (result i32)
           (block $others
             (block $h (result i32 i64 f32 f64 v128 funcref externref)
               (try_table (result i32) (catch $many $h) (catch_all $others)
                 (i32.add (call $busy (i32.const 7)) (call $thrower (local.get $n))))
               (br $done))
             drop (local.set $r) (local.set $v) (local.set $d) (local.set $f) (local.set $l) (local.set $k)
             (drop (call $busy (i32.const 7)))
             (table.set (i32.const 1) (local.get $r)) (v128.store (i32.const 0) (local.get $v))
             (f64.store (i32.const 16) (local.get $d)) (f32.store (i32.const 24) (local.get $f))
             (i64.store (i32.const 32) (local.get $l))
             (br $done (local.get $k)))
           (i32.add (i32.const 7) (call $busy (i32.const 7))))
         i32.add)`,
      [[0], [1], [2]],
    );
    expect(plain.outcomes).toEqual(['returned 1007', 'returned 1050', 'returned 1001']);
    expect(captures).toBeGreaterThan(40);
  });

  it('locals that only the code behind a catch reads', () => {
    const { plain } = compare(
      `(tag $t)
       (func $maybe (param $n i32) (drop (call $busy (i32.const 7))) (if (local.get $n) (then (throw $t))))
       (func (export "run") (param $n i32) (result i32 i64) (local $a i32) (local $b i64) (local $c i32)
         (local.set $a (i32.const 5)) (local.set $b (i64.const 6)) (local.set $c (i32.const 9))
         (block $done
           (block $h
             (try_table (catch $t $h)
               (call $maybe (i32.const 0))
               (local.set $a (i32.add (local.get $a) (i32.const 10)))
               (call $maybe (i32.eq (local.get $n) (i32.const 1)))
               (local.set $b (i64.const 60)) (local.set $c (local.get $n))
               (call $maybe (i32.eq (local.get $n) (i32.const 2)))
               (local.set $a (i32.const 0)) (local.set $b (i64.const 0)))
             (br $done))
           (local.set $a (i32.add (local.get $a) (call $busy (i32.const 3)))))
         (i32.add (local.get $a) (local.get $c)) (local.get $b))`,
      [[0], [1], [2]],
    );
    expect(plain.outcomes).toEqual(['returned [0, 0n]', 'returned [24, 6n]', 'returned [17, 60n]']);
  });

  it('across frames, through try_tables that do not catch it, out of recursion', () => {
    const { plain, framesMax } = compare(
      `(tag $a (param i32)) (tag $b (param i64))
       (func $down (param $n i32) (result i32)
         (block $h (result i64)
           (try_table (catch $b $h)
             (drop (call $busy (i32.const 3)))
             (if (i32.eqz (local.get $n)) (then (throw $a (i32.const 7))))
             (return (i32.add (call $down (i32.sub (local.get $n) (i32.const 1))) (i32.const 1))))
           unreachable)
         i32.wrap_i64)
       (func (export "run") (param $n i32) (result i32)
         (i32.const 3)
         (block $h (result i32)
           (br 0 (try_table (result i32) (catch $a $h) (call $down (local.get $n)))))
         (i32.mul (i32.add (call $busy (i32.const 15)) (i32.const 10)))
         i32.add)`,
      [[9], [0]],
    );
    expect(plain.outcomes).toEqual(['returned 73', 'returned 73']);
    expect(framesMax).toBeGreaterThan(8);
  });

  it('caught by a branch to a loop, and by one out of the function', () => {
    const { plain } = compare(
      `(tag $t (param i32)) (tag $out (param i32))
       (func $thrower (param i32) (result i32) (drop (call $busy (i32.const 3)))
         (if (i32.and (local.get 0) (i32.const 1)) (then (throw $t (i32.shr_u (local.get 0) (i32.const 1)))))
         (if (i32.eq (local.get 0) (i32.const 6)) (then (throw $out (i32.const 66))))
         (i32.const 5))
       (func (export "run") (param $n i32) (result i32) (local $rounds i32)
         (i32.const 1000)
         (local.get $n)
         (loop $again (param i32) (result i32)
           (local.set $n)
           (local.set $rounds (i32.add (local.get $rounds) (i32.const 1)))
           (try_table (result i32) (catch $t $again) (catch $out 1)
             (i32.add (i32.mul (local.get $rounds) (i32.const 10)) (call $thrower (local.get $n)))))
         i32.add)`,
      [[0b1011010], [0b111], [13], [6], [8]],
    );
    expect(plain.outcomes[1]).toBe('returned 1045');
    expect(plain.outcomes[2]).toBe('returned 66');
  });

  it('a loop that throws and catches in each round, operands below', () => {
    compare(
      `(tag $t (param i32)) (tag $u) (memory 1)
       (func $thrower (param i32) (drop (call $busy (i32.const 3)))
         (if (i32.and (local.get 0) (i32.const 1)) (then (throw $t (local.get 0))))
         (if (i32.and (local.get 0) (i32.const 4)) (then (throw $u))))
       (func (export "run") (param $n i32) (result i32) (local $sum i32)
         (i32.const 0)
         (loop $l (param i32) (result i32)
           (local.set $sum)
           (i64.const 77)
           (block $done (result i32)
             (block $all
               (block $h (result i32)
                 (local.get $sum)
                 (try_table (param i32) (result i32) (catch $t $h) (catch_all $all)
                   (call $thrower (local.get $n)) (i32.const 1) i32.add)
                 (br $done))
               (br $done (i32.add (i32.const 100))))
             (i32.const -1))
           (local.set $sum)
           drop
           (i32.add (local.get $sum) (i32.const 1000))
           (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))))`,
      [[0b1011010], [0]],
    );
  });

  it('nested, with an if and blocks around each, and an inner one that lets go', () => {
    const { plain } = compare(
      `(tag $t (param i32)) (tag $u (param f64))
       (func $throw (param i32) (result i32) (drop (call $busy (i32.const 3)))
         (if (i32.eq (local.get 0) (i32.const 1)) (then (throw $t (local.get 0))))
         (if (i32.eq (local.get 0) (i32.const 2)) (then (throw $u (f64.const 2.5))))
         (local.get 0))
       (func (export "run") (param $a i32) (param $b i32) (result i32)
         (block $hu (result f64)
           (block $ht (result i32)
             (if (result i32) (i32.lt_u (local.get $a) (i32.const 4))
               (then
                 (try_table (result i32) (catch $u $hu)
                   (block (result i32)
                     (i32.const 400)
                     (try_table (result i32) (catch $t $ht)
                       (i32.const 9)
                       (call $throw (local.get $a)) i32.add
                       (drop (call $busy (i32.const 7))))
                     (call $throw (local.get $b)) i32.add
                     i32.add)))
               (else (i32.const 4)))
             (return (i32.add (i32.const 10000))))
           (return (i32.add (call $busy (i32.const 7)) (i32.const 1000)) (i32.add)))
         (i32.add (i32.trunc_f64_s) (call $busy (i32.const 7))))`,
      [
        [0, 0],
        [1, 0],
        [2, 0],
        [0, 2],
        [3, 5],
        [4, 0],
        [0, 1],
      ],
    );
    expect(plain.outcomes.at(-1)).toBe('threw: an exception of the guest');
  });
});
