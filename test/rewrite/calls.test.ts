/** Safepoints inside calls: direct, indirect, recursive, with several results, in tail position. */
import { expect, it } from 'vitest';
import { everySafepoint } from '../support/capture-plan.ts';
import { compareEverywhere } from '../support/differential.ts';
import { RewrittenProgram, RewrittenRun } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (i32.const 1))`;

function expectSame(text: string, calls: readonly (readonly unknown[])[], safepointsMin: number) {
  const comparison = compareEverywhere({
    wasm: assemble(`(module ${text})`),
    calls: calls.map((args) => ({ name: 'run', args })),
  });
  expect(comparison.plain.outcomes.filter((outcome) => !outcome.startsWith('returned'))).toEqual([]);
  expect(comparison.safepoints).toBeGreaterThanOrEqual(safepointsMin);
  expect(comparison.migrations).toBeGreaterThan(0);
  return comparison;
}

/** Stores that take the value from the stack, their address behind it. */
const put = ['i32', 'i64', 'f32', 'f64', 'v128']
  .map((type) => `(func $put.${type} (param ${type} i32) (${type}.store (local.get 1) (local.get 0)))`)
  .join('\n');

it('a call with several results of all types, below it operands of all types', () => {
  const takeResults = (address: number): string => `
    (local.set $f) (table.set (i32.const ${address / 256}) (local.get $f))
    (call $put.v128 (i32.const ${address})) (call $put.f32 (i32.const ${address + 16}))
    (call $put.i64 (i32.const ${address + 24})) (call $put.f64 (i32.const ${address + 32}))
    (call $put.i32 (i32.const ${address + 40}))`;
  expectSame(
    `${busy} ${put} (memory 1) (table 4 funcref) (elem declare func $busy $many)
     (func $many (param $n i32) (param $d f64) (result i32 f64 i64 f32 v128 funcref)
       (drop (call $busy (local.get $n)))
       (i32.const -5) (f64.mul (local.get $d) (f64.const 2)) (i64.const -7) (f32.const nan:0x200001)
       (v128.const i32x4 1 2 3 4) (ref.func $busy))
     (func (export "run") (param $n i32) (result f64 i64) (local $f funcref)
       (f64.const 9) (i64.const 3) (i32.const 17) (f64.const 18) (i64.const 19) (f32.const 20)
       (v128.const i64x2 5 6) (ref.func $many)
       (call $many (local.get $n) (f64.const 1.5))
       (call $many (local.get $n) (f64.const 2.5))
       ${takeResults(0)} ${takeResults(256)} ${takeResults(512)})`,
    [[0xff]],
    16,
  );
});

it('indirect calls, with results below them and the table changed between', () => {
  expectSame(
    `${busy} (table $t 4 funcref) (elem (table $t) (i32.const 0) func $even $odd $leaf)
     (type $f (func (param i32 i64) (result i64)))
     (func $even (type $f) (i64.add (local.get 1) (i64.extend_i32_u (call $busy (local.get 0)))))
     (func $odd (type $f) (i64.mul (local.get 1) (i64.extend_i32_u (call $busy (i32.const 30)))))
     (func $leaf (type $f) (i64.xor (local.get 1) (i64.extend_i32_u (local.get 0))))
     (func (export "run") (param $n i32) (result i64) (local $i i32)
       (i64.const 3)
       (loop $l (param i64) (result i64)
         (i32.const 5) (i64.const 12345) (local.get $i) (call_indirect $t (type $f)) i64.add
         (i64.const 7)
         (i32.const 6) (i64.const 99) (i32.const 2) (call_indirect $t (type $f))
         i64.mul i64.add
         (table.set $t (local.get $i) (table.get $t (i32.rem_u (local.get $n) (i32.const 3))))
         (local.set $i (i32.rem_u (i32.add (local.get $i) (i32.const 1)) (i32.const 2)))
         (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))))`,
    [[0x1f]],
    10,
  );
});

it('mutual recursion, deep, with operands below at each level', () => {
  const { framesMax } = expectSame(
    `(memory 1)
     (func $a (param $n i32) (param $x f64) (result i32 f64)
       (i32.store (i32.mul (local.get $n) (i32.const 4)) (local.get $n))
       (if (i32.eqz (local.get $n)) (then (return (i32.const 1) (local.get $x))))
       (i32.const 3)
       (call $b (f64.add (local.get $x) (f64.const 0.5)) (i32.sub (local.get $n) (i32.const 1)))
       (local.set $x) i32.mul (i32.add (local.get $n)) (local.get $x))
     (func $b (param $x f64) (param $n i32) (result i32 f64) (local $k i64)
       (local.set $k (i64.extend_i32_u (local.get $n)))
       (if (i32.eqz (local.get $n)) (then (return (i32.const 2) (local.get $x))))
       (call $a (i32.sub (local.get $n) (i32.const 1)) (local.get $x))
       (f64.convert_i64_s (local.get $k)) f64.add)
     (func (export "run") (param i32) (result i32 f64) (call $a (local.get 0) (f64.const 0.25)))`,
    [[60], [0], [1]],
    60,
  );
  expect(framesMax).toBeGreaterThan(50);
});

it('recursion of several calls in one expression, direct and through a table', () => {
  expectSame(
    `(table 2 funcref) (elem (i32.const 1) func $fib)
     (type $f (func (param i32) (result i32)))
     (func $fib (type $f)
       (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
         (then (local.get 0))
         (else
           (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
             (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 2)) (i32.const 1))))))
     (func (export "run") (type $f) (i32.add (i32.const 1000) (call $fib (local.get 0))))`,
    [[9], [2]],
    80,
  );
});

it('parameters of every type that are changed before a safepoint', () => {
  expectSame(
    `${busy} (memory 1)
     (func $f (param $a i32) (param $b i64) (param $c f32) (param $d f64) (param $v v128) (param $r funcref) (param $x externref) (result i32)
       (local.set $a (call $busy (i32.const 15)))
       (local.set $b (i64.add (local.get $b) (i64.const 1)))
       (local.set $a (i32.add (local.get $a) (call $busy (i32.const 15))))
       (local.set $c (f32.add (local.get $c) (f32.const 1)))
       (local.set $v (i32x4.add (local.get $v) (local.get $v)))
       (local.set $a (i32.add (local.get $a) (call $busy (i32.const 15))))
       (i64.store (i32.const 0) (local.get $b)) (f32.store (i32.const 8) (local.get $c))
       (f64.store (i32.const 16) (local.get $d)) (v128.store (i32.const 32) (local.get $v))
       (i32.add (local.get $a) (i32.add (ref.is_null (local.get $r)) (ref.is_null (local.get $x)))))
     (func (export "run") (param i32) (result i32)
       (i32.const 10)
       (call $f (local.get 0) (i64.const 2) (f32.const 3) (f64.const 4) (v128.const i32x4 1 2 3 4) (ref.func $f) (ref.null extern))
       i32.mul)
     (elem declare func $f)`,
    [[1]],
    12,
  );
});

it('tail calls, direct and indirect, between functions with loops and results', () => {
  expectSame(
    `${busy} (table 3 funcref) (elem (i32.const 0) func $a $b $c)
     (type $f (func (param i32 i64) (result i64 i32)))
     (func $a (type $f)
       (if (i32.eqz (local.get 0)) (then (return (local.get 1) (i32.const 1))))
       (return_call $b (i32.sub (local.get 0) (call $busy (i32.const 7))) (i64.add (local.get 1) (i64.const 3))))
     (func $b (type $f) (local $k f32)
       (local.set $k (f32.const 2))
       (if (i32.eqz (local.get 0)) (then (return (local.get 1) (i32.const 2))))
       (return_call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1))
         (i64.mul (local.get 1) (i64.trunc_f32_s (local.get $k))) (i32.rem_u (local.get 0) (i32.const 3))))
     (func $c (type $f)
       (loop $l (br_if $l (i32.eqz (call $busy (local.get 0)))))
       (return_call $a (local.get 0) (i64.xor (local.get 1) (i64.const 0x55))))
     (func (export "run") (param i32) (result i64 i32) (local $i i32)
       (i64.const 1000)
       (call $a (local.get 0) (i64.const 1))
       (local.set $i) i64.add (local.get $i))`,
    [[20], [7], [0]],
    40,
  );
});

it('a tail call out of nested blocks, with operands left behind', () => {
  expectSame(
    `(func $count (param $n i32) (param $sum i64) (result i64)
       (f64.const 1) (i32.const 2)
       (block (param f64 i32) (result f64)
         drop
         (if (i32.eqz (local.get $n)) (then (return (local.get $sum))))
         (loop $l (param f64) (result f64)
           (i64.const 3)
           (return_call $count (i32.sub (local.get $n) (i32.const 1)) (i64.add (local.get $sum) (i64.extend_i32_u (local.get $n))))))
       unreachable)
     (func (export "run") (param i32) (result i64) (call $count (local.get 0) (i64.const 0)))`,
    [[300]],
    300,
  );
});

it.each([
  ['itself', '(return_call $spin (i32.add (local.get 0) (i32.const 1)))'],
  ['another function', '(return_call $other (i32.add (local.get 0) (i32.const 1)))'],
  ['the table', '(return_call_indirect (type $f) (i32.add (local.get 0) (i32.const 1)) (i32.const 0))'],
])('a function that goes on for ever by tail calls to %s can be captured', (_, forever) => {
  const wasm = assemble(`(module (memory 1) (table 1 funcref) (elem (i32.const 0) func $spin)
    (type $f (func (param i32)))
    (func $spin (type $f) (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1))) ${forever})
    (func $other (type $f) (return_call $spin (local.get 0)))
    (func (export "run") (call $spin (i32.const 0))))`);
  const every = everySafepoint('software', 10);
  const after = 50;
  const run = new RewrittenRun(
    new RewrittenProgram(wasm),
    { wasm, calls: [{ name: 'run' }] },
    {
      ...every,
      next: (progress) => {
        if (progress.captures === after) throw new RangeError('captured often enough');
        return every.next(progress);
      },
    },
  );
  const { outcomes, memory } = run.run();
  expect(outcomes).toEqual(['trapped: captured often enough']);
  expect(run.figures.captures).toBe(after);
  const rounds = new DataView(memory.buffer, memory.byteOffset).getUint32(8, true);
  expect(rounds).toBeGreaterThan(after * 4);
});
