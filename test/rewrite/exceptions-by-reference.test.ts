/**
 * Exceptions of the second form (try_table, throw_ref, exnref) with safepoints wherever they can be. Node 20 lacks them:
 * there the tests run under the newer Node.js that CONTINUO_NEWER_NODE names, or are left out.
 */
import { describe, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { Op } from '../../src/wasm/opcode.ts';
import { compareEverywhere } from '../support/differential.ts';
import { underNewerNode } from '../support/newer-engine.ts';
import type { Scenario } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

/** The assembler does not know `ref.as_non_null`: four nops stand for it. */
function withNonNull(wasm: Uint8Array): Uint8Array {
  const at = Buffer.from(wasm).indexOf(Buffer.of(Op.nop, Op.nop, Op.nop, Op.nop));
  if (at >= 0) wasm[at] = Op.refAsNonNull;
  return wasm;
}

function compare(text: string, calls: readonly (readonly unknown[])[], imports?: Scenario['imports']) {
  const scenario = {
    wasm: withNonNull(assemble(`(module ${text} ${busy})`)),
    calls: calls.map((args) => ({ name: 'run', args })),
  };
  const comparison = compareEverywhere(imports === undefined ? scenario : { ...scenario, imports }, [1, 2, 3, 4]);
  expect(comparison.migrations).toBeGreaterThan(0);
  return comparison;
}

underNewerNode(import.meta.url, 10);

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

  it('held in a handler over captures, and thrown again', () => {
    const { plain } = compare(
      `(tag $t (param i64)) (tag $u) (global $g (mut i32) (i32.const 0))
       (func $thrower (param i32) (drop (call $busy (i32.const 3)))
         (if (local.get 0) (then (throw $t (i64.const 0x123456789abcdef))) (else (throw $u))))
       (func $middle (param $n i32) (local $e exnref)
         (block $h (result exnref)
           (try_table (catch_all_ref $h) (call $thrower (local.get $n)))
           (return))
         (local.set $e)
         (global.set $g (call $busy (i32.const 7)))
         (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
         (throw_ref (local.get $e)))
       (func (export "run") (param $n i32) (result i64)
         (i64.const 1)
         (block $done (result i64)
           (block $none
             (block $h (result i64)
               (try_table (catch $t $h) (catch $u $none) (call $middle (local.get $n)))
               (br $done (i64.const 3)))
             (drop (call $busy (i32.const 3)))
             (br $done))
           (i64.const 44))
         i64.add)`,
      [[0xf], [0]],
    );
    expect(plain.outcomes).toEqual(['returned 81985529216486896n', 'returned 45n']);
  });

  const throwers = `
    (tag $t (param i32 v128 f64)) (tag $u (param funcref)) (elem declare func $busy)
    (func $thrower (param $n i32)
      (if (i32.eq (local.get $n) (i32.const 1))
        (then (throw $t (call $busy (i32.const 3)) (v128.const i32x4 1 2 3 4) (f64.const nan:0xabcdef))))
      (if (i32.eq (local.get $n) (i32.const 2)) (then (throw $u (ref.func $busy))))
      (if (i32.eq (local.get $n) (i32.const 3)) (then (throw $u (ref.null func)))))
    (func $catch (param $n i32) (result exnref i32)
      (block $h (result exnref)
        (drop (call $busy (i32.const 3)))
        (try_table (catch_all_ref $h) (call $thrower (local.get $n)))
        (ref.null exn))
      (call $busy (i32.const 7)))`;

  /** Throws a reference, and puts what it carried where it can be seen: 1 for null, 2 for the first tag, 3 for the other. */
  const look = `
    (table $seen 2 funcref) (memory 1)
    (func $look (param $e exnref) (result i32) (local $v v128) (local $d f64) (local $r funcref)
      (if (ref.is_null (local.get $e)) (then (return (i32.const 1))))
      (block $u (result funcref)
        (block $t (result i32 v128 f64)
          (try_table (catch $t $t) (catch $u $u)
            (drop (call $busy (i32.const 3)))
            (throw_ref (local.get $e)))
          unreachable)
        (local.set $d) (local.set $v)
        (drop (call $busy (i32.const 3)))
        (f64.store offset=16 (i32.const 0) (local.get $d)) (v128.store (i32.const 0) (local.get $v))
        (return (i32.add (i32.const 2))))
      (local.set $r) (table.set $seen (i32.const 1) (local.get $r)) (i32.const 3))`;

  it('references among operands, parameters, results, block parameters; null ones', () => {
    const { plain } = compare(
      `${throwers} ${look}
       (func $pass (param $e exnref) (param $n i32) (result exnref)
         (local.get $e)
         (loop $l (param exnref) (result exnref)
           (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
         (drop (call $busy (i32.const 3))))
       (func (export "run") (param $a i32) (param $b i32) (result i32)
         (local.get $a) (call $catch) drop
         (local.get $b) (call $catch) drop
         (i32.const 6) (call $pass)
         (block (param exnref) (result i32) (drop (call $busy (i32.const 3))) (call $look))
         (if (param exnref i32) (result i32) (i32.const 1)
           (then (i32.mul (i32.const 10)) (call $after))
           (else (call $after))))
       (func $after (param $e exnref) (param $n i32) (result i32)
         (i32.add (call $look (local.get $e)) (local.get $n)))`,
      [
        [1, 0],
        [2, 0],
        [3, 1],
        [0, 1],
        [0, 2],
        [0, 0],
        [2, 3],
      ],
    );
    expect(plain.outcomes).toEqual([12, 13, 23, 21, 31, 11, 33].map((n) => `returned ${n}`));
  });

  it('references in globals and in tables that the program changes', () => {
    const { plain } = compare(
      `${throwers} ${look}
       (global $e (mut exnref) (ref.null exn)) (global $n exnref (ref.null exn))
       (table $x 2 exnref) (table $fixed 1 exnref)
       (func (export "run") (param $a i32) (param $b i32) (result i32)
         (local.get $a) (call $catch) drop
         (global.set $e)
         (drop (call $busy (i32.const 3)))
         (table.set $x (i32.const 1) (global.get $e))
         (drop (table.grow $x (block (result exnref) (call $catch (local.get $b)) drop) (i32.const 1)))
         (drop (call $busy (i32.const 15)))
         (global.set $e (table.get $x (i32.sub (table.size $x) (i32.const 1))))
         (drop (call $busy (i32.const 3)))
         (i32.add
           (i32.mul (call $look (global.get $e)) (i32.const 10))
           (i32.add (call $look (table.get $x (i32.const 1))) (ref.is_null (table.get $x (i32.const 0)))))
         (i32.add (ref.is_null (global.get $n))) (i32.add (ref.is_null (table.get $fixed (i32.const 0)))))`,
      [
        [0, 0],
        [1, 2],
        [2, 1],
        [3, 0],
        [0, 3],
      ],
    );
    expect(plain.outcomes).toEqual([14, 35, 26, 16, 34].map((n) => `returned ${n}`));
  });

  it('exceptions that carry others, many of them', () => {
    const { plain } = compare(
      `(tag $end (param i64)) (tag $chain (param exnref i32 exnref))
       (func (export "run") (param $n i32) (result i32) (local $e exnref) (local $sum i32) (local $k i32)
         (block $h (result i64 exnref) (try_table (catch_ref $end $h) (throw $end (i64.const 100))) unreachable)
         (local.set $e) (local.set $sum (i32.wrap_i64))
         (loop $more
           (block $h (result exnref)
             (try_table (catch_all_ref $h) (throw $chain (local.get $e) (local.get $n) (ref.null exn)))
             unreachable)
           (local.set $e)
           (br_if $more (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
         (block $done (result i64)
           (loop $unpack
             (block $c (result exnref i32 exnref)
               (try_table (catch $chain $c) (catch $end $done)
                 (drop (call $busy (i32.const 3)))
                 (throw_ref (local.get $e)))
               unreachable)
             ref.is_null (local.get $sum) i32.add (local.set $sum)
             (local.get $sum) i32.add (local.set $sum)
             (local.set $e)
             (br $unpack))
           unreachable)
         i32.wrap_i64 (local.get $sum) i32.add)`,
      [[0b1000], [0]],
    );
    expect(plain.outcomes).toEqual(['returned 219', 'returned 201']);
  });

  it('traps and nulls thrown pass all handlers; what is never caught ends the call', () => {
    const { plain } = compare(
      `(tag $t) (memory 1)
       (func $trap (param $n i32) (local $e exnref)
         (drop (call $busy (i32.const 7)))
         (if (i32.eqz (local.get $n)) (then (throw_ref (local.get $e))))
         (if (i32.eq (local.get $n) (i32.const 1)) (then (drop (i32.load (i32.const -1)))))
         (if (i32.eq (local.get $n) (i32.const 2)) (then (throw $t))))
       (func (export "run") (param i32) (result i32)
         (block $h
           (try_table (catch_all $h) (call $trap (local.get 0)) (return (i32.const 1)))
           unreachable)
         (i32.const 2))`,
      [[0], [1], [2], [3]],
    );
    expect(plain.outcomes).toEqual([
      'trapped: rethrowing null value',
      'trapped: memory access out of bounds',
      'returned 2',
      'returned 1',
    ]);
  });

  it('references that must not be null, as Binaryen says it', () => {
    const { plain } = compare(
      `${throwers} ${look}
       (func (export "run") (param $n i32) (result i32) (local $e exnref)
         (local.get $n) (call $catch) drop
         (local.set $e)
         (drop (call $busy (i32.const 3)))
         (local.get $e) (call $notNull (i32.const 3)) drop
         (call $look))
       (func $notNull (param $e exnref) (param $n i32) (result exnref i32)
         (local.get $e) nop nop nop nop
         (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
         (call $busy (local.get $n)))`,
      [[0], [1], [2]],
    );
    expect(plain.outcomes).toEqual(['trapped: dereferencing a null pointer', 'returned 2', 'returned 3']);
  });
});
