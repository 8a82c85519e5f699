/** Tables, element segments and globals: changed, captured, restored on another instance. */
import { describe, expect, it } from 'vitest';
import { compareEverywhere } from '../support/differential.ts';
import type { Scenario } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

const INDEX_OUT_OF_BOUNDS = 'trapped: table index is out of bounds';

function compare(text: string, calls: Scenario['calls'], imports?: Scenario['imports']) {
  const scenario = { wasm: assemble(`(module ${text} ${busy})`), calls };
  const comparison = compareEverywhere(imports === undefined ? scenario : { ...scenario, imports }, [1, 2, 3, 4, 5]);
  expect(comparison.migrations).toBeGreaterThan(0);
  return comparison;
}

describe('tables', () => {
  const text = `
    (type $number (func (result i32)))
    (table $t 6 12 funcref) (table $u 3 funcref) (table $e 2 externref)
    (elem $active (table $t) (i32.const 1) func $one $two)
    (elem $passive func $three $one $two)
    (elem $expressions funcref (ref.func $two) (ref.null func) (ref.func $three))
    (elem declare func $four)
    (func $one (type $number) (i32.const 1)) (func $two (type $number) (i32.add (i32.const 2) (call $busy (i32.const 3))))
    (func $three (type $number) (i32.const 3)) (func $four (type $number) (i32.sub (i32.const 4) (call $busy (i32.const 3))))
    (func (export "call") (param i32) (result i32)
      (i32.add (call_indirect $t (type $number) (local.get 0)) (call $busy (i32.const 3))))
    (func (export "set four") (param i32)
      (ref.func $four) (drop (call $busy (i32.const 3))) (local.set $f) (table.set $t (local.get 0) (local.get $f)))
    (func (export "copy") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (table.copy $t $t (local.get 0) (local.get 1) (local.get 2)) (drop (call $busy (i32.const 3))))
    (func (export "copy to u") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (table.copy $u $t (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i32 i32) (drop (call $busy (i32.const 3)))
      (table.fill $t (local.get 0) (table.get $t (i32.const 2)) (local.get 1)))
    (func (export "grow") (param i32) (result i32 i32 i32)
      (table.size $t) (table.grow $t (table.get $t (i32.const 1)) (local.get 0))
      (drop (call $busy (i32.const 3))) (table.size $t))
    (func (export "grow extern") (param i32) (result i32)
      (table.grow $e (ref.null extern) (local.get 0)) (drop (call $busy (i32.const 3))))
    (func (export "init") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (table.init $t $passive (local.get 0) (local.get 1) (local.get 2)) (drop (call $busy (i32.const 3))))
    (func (export "init u") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (table.init $u $expressions (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init active") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (table.init $t $active (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (elem.drop $passive) (drop (call $busy (i32.const 3))))
    (func (export "drop expressions") (elem.drop $expressions) (drop (call $busy (i32.const 3))))`.replace(
    '(param i32)\n      (ref.func $four)',
    '(param i32) (local $f funcref)\n      (ref.func $four)',
  );
  const call = (name: string, ...args: readonly number[]) => ({ name, args });

  it('set, copied, filled, grown and initialised', () => {
    const { plain } = compare(text, [
      call('call', 1), call('call', 2), call('set four', 3), call('call', 3), call('copy', 4, 2, 2), call('call', 5),
      call('copy to u', 0, 1, 3), call('fill', 0, 2), call('call', 0), call('grow', 3), call('call', 8),
      call('grow extern', 3), call('grow', 100), call('grow', -1), call('init', 6, 0, 3), call('call', 7),
      call('init u', 0, 0, 3), call('copy', 3, 2, 4), call('copy', 2, 3, 4),
    ]); // prettier-ignore
    expect(plain.outcomes.filter((outcome) => !outcome.startsWith('returned'))).toEqual([]);
  });

  it('out of bounds, null and of another type', () => {
    const { plain } = compare(text, [
      call('call', 0), call('call', 6), call('call', -1), call('set four', 6), call('copy', 5, 0, 2),
      call('copy', 7, 0, 0), call('copy to u', 0, 5, 2), call('fill', 5, 2), call('init', 0, 2, 2), call('init', 5, 0, 2),
    ]); // prettier-ignore
    expect(plain.outcomes.filter((outcome) => outcome.startsWith('returned'))).toEqual([]);
    expect(plain.outcomes).toContain(INDEX_OUT_OF_BOUNDS);
  });

  it('element segments that were dropped, by code or by instantiation', () => {
    const { plain } = compare(text, [
      call('init', 0, 0, 3), call('drop'), call('init', 0, 0, 0), call('init', 0, 0, 1), call('init u', 0, 1, 2),
      call('drop expressions'), call('init u', 0, 0, 1), call('init active', 0, 0, 1), call('init active', 0, 0, 0),
    ]); // prettier-ignore
    expect(plain.outcomes.map((outcome) => outcome.replace(/^returned.*/, 'ok').replace(/^trapped.*/, 'trap'))).toEqual([
      'ok', 'ok', 'ok', 'trap', 'ok', 'ok', 'trap', 'trap', 'ok',
    ]); // prettier-ignore
  });

  it('a table that the program cannot change is left as instantiation makes it', () => {
    compare(
      `(table 3 funcref) (elem (i32.const 0) $busy $f $busy) (type $t (func (param i32) (result i32)))
       (func $f (type $t) (i32.const 9))
       (func (export "run") (param i32) (result i32)
         (i32.add (call_indirect (type $t) (i32.const 15) (local.get 0)) (call $busy (i32.const 3))))`,
      [call('run', 0), call('run', 1), call('run', 3)],
    );
  });

  it('a function whose address is taken by a global alone', () => {
    const { plain, captures } = compare(
      `(table 2 funcref) (type $t (func (param i32 i64) (result i32))) (global $g funcref (ref.func $hidden))
       (func $hidden (type $t) (i32.add (call $busy (local.get 0)) (i32.const 5)))
       (func (export "run") (param i32) (result i32)
         (table.set (i32.const 1) (global.get $g))
         (i32.const 100)
         (call_indirect (type $t) (local.get 0) (i64.const 1) (i32.const 1))
         i32.add)`,
      [call('run', 0xffff)],
    );
    expect(plain.outcomes).toEqual(['returned 105']);
    expect(captures).toBeGreaterThan(16);
  });

  it('more references on the stack than the tables of saved ones have room for, of one type and then the other', () => {
    const { framesMax } = compare(
      `(table 1 externref) (elem declare func $f $g) (table $t 2 funcref)
       (func $f (param $n i32) (param $a funcref) (param $b funcref) (result i32)
         (if (i32.eqz (local.get $n)) (then (return (call $g (i32.const 100) (ref.null extern)))))
         (i32.add (call $f (i32.sub (local.get $n) (i32.const 1)) (local.get $b) (local.get $a))
           (i32.add (ref.is_null (local.get $a)) (i32.mul (ref.is_null (local.get $b)) (i32.const 100)))))
       (func $g (param $n i32) (param $x externref) (result i32)
         (if (i32.eqz (local.get $n)) (then (return (call $busy (i32.const 255)))))
         (i32.add (call $g (i32.sub (local.get $n) (i32.const 1)) (local.get $x)) (ref.is_null (local.get $x))))
       (func (export "run") (result i32) (call $f (i32.const 45) (ref.func $g) (ref.null func)))`,
      [{ name: 'run', args: [] }],
    );
    expect(framesMax).toBeGreaterThan(140);
  });

  it('imported tables and tables that the host sees', () => {
    compare(
      `(import "host" "table" (table $t 4 8 funcref)) (type $f (func (result i32)))
       (table $x (export "mine") 2 funcref)
       (elem (table $t) (i32.const 1) func $two) (elem declare func $three)
       (func $two (type $f) (i32.add (i32.const 2) (call $busy (i32.const 7))))
       (func $three (type $f) (i32.add (i32.const 3) (call $busy (i32.const 7))))
       (func (export "run") (param i32) (result i32)
         (table.set $t (i32.const 2) (ref.func $three))
         (table.set $x (i32.const 1) (table.get $t (local.get 0)))
         (i32.const 10) (call_indirect $t (type $f) (local.get 0)) i32.add)`,
      [call('run', 1), call('run', 2), call('run', 3)],
      () => ({ host: { table: new WebAssembly.Table({ element: 'anyfunc', initial: 4, maximum: 8 }) } }),
    );
  });

  it('segments of references to imported functions, and null', () => {
    compare(
      `(import "host" "number" (func $number (result i32))) (type $f (func (result i32)))
       (table $t 4 funcref) (table $e 3 externref)
       (elem (table $t) (i32.const 0) funcref (ref.func $number) (ref.null func) (ref.func $own))
       (elem (table $e) (i32.const 1) externref (ref.null extern))
       (func $own (type $f) (call $busy (i32.const 7)))
       (func (export "run") (param i32) (result i32)
         (table.set $t (i32.const 3) (ref.func $number))
         (call_indirect $t (type $f) (local.get 0)))`,
      [call('run', 0), call('run', 1), call('run', 2), call('run', 3)],
      () => ({ host: { number: () => 77 } }),
    );
  });
});

describe('globals', () => {
  it('of every type, bit for bit, imported and exported ones too', () => {
    const { plain } = compare(
      `(import "host" "shared" (global $shared (mut i64))) (import "host" "fixed" (global $fixed f64))
       (global $i (mut i32) (i32.const -3)) (global $l (export "l") (mut i64) (i64.const 0x8000000000000001))
       (global $f (mut f32) (f32.const nan:0x200001)) (global $d (mut f64) (f64.const -nan:0x4000000000001))
       (global $v (mut v128) (v128.const i32x4 1 0x7fa00001 3 4)) (global $r (mut funcref) (ref.null func))
       (global $x (mut externref) (ref.null extern)) (global $constant i64 (i64.const 9)) (global $copy f64 (global.get $fixed))
       (func (export "run") (param i32) (result f64)
         (global.set $i (i32.add (global.get $i) (call $busy (local.get 0))))
         (global.set $l (i64.rotl (global.get $l) (i64.const 7)))
         (global.set $shared (i64.add (global.get $shared) (global.get $constant)))
         (drop (call $busy (local.get 0)))
         (global.set $v (i32x4.shl (global.get $v) (i32.const 1)))
         (global.set $r (ref.func $busy))
         (drop (call $busy (local.get 0)))
         (global.set $f (f32.neg (global.get $f)))
         (global.set $d (f64.neg (global.get $d)))
         (drop (call $busy (local.get 0)))
         (f64.add (global.get $fixed) (global.get $copy)))
       (elem declare func $busy)`,
      [
        { name: 'run', args: [7] },
        { name: 'run', args: [1] },
      ],
      () => ({
        host: {
          shared: new WebAssembly.Global({ value: 'i64', mutable: true }, 5n),
          fixed: new WebAssembly.Global({ value: 'f64' }, 0.75),
        },
      }),
    );
    expect(plain.outcomes).toEqual(['returned 1.5', 'returned 1.5']);
    expect(plain.globals.join(' ')).toContain('fe800004');
  });

  it('a reference in a global to an imported function', () => {
    compare(
      `(import "host" "f" (func $f (result i32))) (table 1 funcref) (type $t (func (result i32)))
       (global $g (mut funcref) (ref.func $f)) (global $h (mut funcref) (ref.null func)) (elem declare func $f)
       (func (export "run") (result i32)
         (drop (call $busy (i32.const 7)))
         (global.set $h (ref.func $f))
         (drop (call $busy (i32.const 7)))
         (table.set (i32.const 0) (global.get $g))
         (call_indirect (type $t) (i32.const 0)))`,
      [{ name: 'run' }],
      () => ({ host: { f: () => 123 } }),
    );
  });
});
