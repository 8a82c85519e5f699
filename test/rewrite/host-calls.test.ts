/** Calls to the host: interrupted before they did anything, unwound, and issued again after a capture. */
import { expect, it } from 'vitest';
import { compareEverywhere } from '../support/differential.ts';
import { type Host, HostRefusal, type Scenario } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

/** Seeds enough that every host call of a small program is interrupted in one run or another. */
const seeds = [1, 2, 3, 4, 5, 6, 7, 8];

function compare(text: string, calls: Scenario['calls'], imports: (host: Host) => WebAssembly.ModuleImports) {
  const comparison = compareEverywhere(
    { wasm: assemble(`(module ${text} ${busy})`), calls, imports: (host) => ({ host: imports(host) }) },
    seeds,
  );
  expect(comparison.interrupts).toBeGreaterThan(3);
  expect(comparison.migrations).toBeGreaterThan(3);
  return comparison;
}

it('called directly, with arguments and results of all types, operands below', () => {
  const { plain } = compare(
    `(import "host" "many" (func $many (param i32 i64 f32 f64 funcref externref) (result i32 f64 i64)))
     (import "host" "note" (func $note (param i32)))
     (import "host" "next" (func $next (result i32)))
     (memory 1) (elem declare func $busy)
     (func (export "run") (result i32 f64 i64) (local $d f64) (local $l i64)
       (f64.const 2.5) (v128.const i32x4 1 2 3 4)
       (call $many (call $next) (i64.const 0x8000000000000001) (f32.const 1.5) (f64.const -0) (ref.func $busy) (ref.null extern))
       (local.set $l) (local.set $d) (i32.add (call $next))
       (call $note (call $next))
       (local.get $d) (local.get $l)
       (call $note (i32.const 99))
       (local.set $l) (local.set $d)
       (i32.store (i32.const 0) (call $next))
       drop drop drop
       (i32.const 5) (local.get $d) (local.get $l))`,
    [{ name: 'run' }, { name: 'run' }],
    (host) => {
      let count = 0;
      return {
        many: (...args: readonly unknown[]) => {
          host.log('many', ...args);
          return [7, 0.5, -9n];
        },
        note: (value: number) => host.log('note', value),
        next: () => ++count,
      };
    },
  );
  expect(plain.log).toHaveLength(6);
});

it('reached through a table, by an export, by tail calls, from recursion', () => {
  const { plain } = compare(
    `(import "host" "add" (func $add (param i32 i32) (result i32)))
     (type $f (func (param i32 i32) (result i32)))
     (export "direct" (func $add))
     (table 3 funcref) (elem (i32.const 0) func $add $tail $through)
     (func $tail (type $f) (return_call $add (local.get 1) (local.get 0)))
     (func $through (type $f) (return_call_indirect (type $f) (local.get 0) (i32.const 1000) (i32.const 0)))
     (func $recurse (param i32) (result i32)
       (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
       (call $add (i32.const 3) (call $recurse (i32.sub (local.get 0) (i32.const 1))))
       (i32.mul (call $recurse (i32.shr_u (local.get 0) (i32.const 2)))))
     (func (export "run") (param i32) (result i32) (local $i i32)
       (loop $l (result i32)
         (i32.const 10)
         (call_indirect (type $f) (i32.const 5) (local.get $i) (i32.rem_u (local.get $i) (i32.const 3)))
         i32.add
         (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 7))))
       (i32.add (call $recurse (local.get 0))))`
      .replace('(br_if $l', '(local.set $k) (br_if $l')
      .replace('(i32.const 7))))\n       (i32.add', '(i32.const 7))) (local.get $k))\n       (i32.add')
      .replace('(local $i i32)\n       (loop', '(local $i i32) (local $k i32)\n       (loop'),
    [
      { name: 'run', args: [5] },
      { name: 'direct', args: [3, 4] },
      { name: 'run', args: [1] },
    ],
    (host) => ({
      add: (a: number, b: number) => {
        host.log(a, b);
        return a * 2 + b;
      },
    }),
  );
  expect(plain.outcomes.every((outcome) => outcome.startsWith('returned'))).toBe(true);
});

it('that read and write memory and globals of the guest', () => {
  compare(
    `(import "host" "fill" (func $fill (param i32 i32)))
     (import "host" "sum" (func $sum (param i32 i32) (result i32)))
     (memory (export "memory") 1)
     (func (export "run") (param $n i32) (result i32) (local $total i32)
       (loop $l
         (call $fill (i32.mul (local.get $n) (i32.const 700)) (i32.const 900))
         (i32.store8 (i32.mul (local.get $n) (i32.const 513)) (call $busy (local.get $n)))
         (local.set $total (i32.add (local.get $total)
           (call $sum (i32.mul (local.get $n) (i32.const 300)) (i32.const 5000))))
         (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
       (local.get $total))`,
    [{ name: 'run', args: [20] }],
    (host) => ({
      fill: (address: number, length: number) =>
        host.write(
          address,
          Uint8Array.from({ length }, (_, k) => (k * 7 + address) & 0xff),
        ),
      sum: (address: number, length: number) => host.read(address, length).reduce((sum, byte) => sum + byte, 0),
    }),
  );
});

it('that end the program by throwing', () => {
  const { plain } = compare(
    `(import "host" "exit" (func $exit (param i32))) (import "host" "note" (func $note (param i32)))
     (global $g (mut i32) (i32.const 0))
     (func $inner (param i32) (global.set $g (i32.const 1)) (call $note (i32.const 1)) (call $exit (local.get 0))
       (global.set $g (i32.const 2)))
     (func (export "run") (call $inner (i32.const 42)) (global.set $g (i32.const 3)))`,
    [{ name: 'run' }, { name: 'run' }],
    (host) => ({
      note: (value: number) => host.log(value),
      exit: (code: number) => {
        throw new HostRefusal(`exit ${code}`);
      },
    }),
  );
  expect(plain.outcomes).toEqual(['threw: exit 42', 'threw: exit 42']);
});

it('the start function calls the host', () => {
  compare(
    `(import "host" "next" (func $next (result i32))) (memory 1) (start $start)
     (func $start (local $n i32)
       (loop $l (i32.store (i32.mul (local.get $n) (i32.const 4)) (call $next))
         (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 9)))))
     (func (export "run") (result i32) (i32.sub (call $next) (i32.load (i32.const 8))))`,
    [{ name: 'run' }],
    () => {
      let state = 1;
      return { next: () => (state = (state * 69069 + 1) | 0) };
    },
  );
});
