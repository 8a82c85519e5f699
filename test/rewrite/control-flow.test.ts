/** Safepoints in every shape of control flow, with operands of every type below them. */
import { describe, expect, it } from 'vitest';
import { compareEverywhere } from '../support/differential.ts';
import { assemble } from '../support/wat.ts';

/**
 * A loop of `n` bits' worth of iterations that no analysis can count, as a part of an expression: it leaves nothing on
 * the stack, whatever lies below.
 */
const halvingLoop = (local: string, body = ''): string => `
  (loop $halve
    ${body}
    (br_if $halve (local.tee ${local} (i32.shr_u (local.get ${local}) (i32.const 1)))))`;

/** One value of each type, with bits that a careless copy would change, and how it is put into memory. */
const values = [
  { type: 'i32', value: '(i32.const 0x80000001)', store: 'i32.store' },
  { type: 'i64', value: '(i64.const 0x8000000180000001)', store: 'i64.store' },
  { type: 'f32', value: '(f32.const nan:0x200001)', store: 'f32.store' },
  { type: 'f64', value: '(f64.const -nan:0x4000000000001)', store: 'f64.store' },
  { type: 'v128', value: '(v128.const i32x4 1 0x7fa00001 0xffffffff 4)', store: 'v128.store' },
] as const;

/** Runs `run` of a module and expects what plain V8 does, with at least so many captures; no call may trap. */
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

describe('operands below a safepoint keep every bit', () => {
  it.each(values)('$type below a loop', ({ type, value, store }) => {
    expectSame(
      `(memory 1) (func (export "run") (param $n i32) (local $kept ${type}) (local $low i32)
        (i32.const 8) ${value} (i32.const 64) ${value}
        ${halvingLoop('$n')}
        ${store} ${store}
        (local.set $kept ${value}) (local.set $n (i32.const 255))
        ${halvingLoop('$n', `(${store} offset=128 (local.get $n) (local.get $kept))`)})`,
      [[0xffff]],
      23,
    );
  });

  it.each(values)('$type below a call', ({ value, store }) => {
    expectSame(
      `(memory 1)
       (func $busy (param $n i32) (result i32) ${halvingLoop('$n')} (local.get $n))
       (func (export "run") (param $n i32)
         (i32.const 8) ${value}
         (i32.const 64) ${value} (call $busy (local.get $n)) drop
         (call $busy (local.get $n)) drop ${store}
         (call $busy (local.get $n)) drop ${store})`,
      [[0xff]],
      24,
    );
  });

  it('all types at once, and more than one word of live locals', () => {
    const declared = Array.from({ length: 20 }, (_, k) => values.map(({ type }) => `(local $${type}.${k} ${type})`));
    const set = declared.flatMap((_, k) =>
      values.map(({ type, value }) => (k % 3 === 0 ? `(local.set $${type}.${k} ${value})` : '')),
    );
    const store = declared.flatMap((_, k) =>
      values.map(
        ({ type, store: put }) => `(${put} (i32.const ${k * 128 + type.length * 16}) (local.get $${type}.${k}))`,
      ),
    );
    expectSame(
      `(memory 1) (func (export "run") (param $n i32) ${declared.flat().join(' ')}
        ${set.join('\n')}
        ${values.map(({ value }, k) => `(i32.const ${8192 + 16 * k}) ${value}`).join(' ')}
        ${halvingLoop('$n')}
        ${values
          .map(({ store: put }) => put)
          .toReversed()
          .join(' ')}
        ${store.join('\n')})`,
      [[0xfff]],
      12,
    );
  });

  it('references: functions of the program and null', () => {
    const { plain } = expectSame(
      `(table $t 8 funcref) (table $e 4 externref) (elem declare func $a $b)
       (type $number (func (result i32)))
       (func $a (result i32) (i32.const 11)) (func $b (result i32) (i32.const 22))
       (func (export "run") (param $n i32) (result i32) (local $f funcref) (local $x externref)
         (local.set $f (ref.func $b))
         (i32.const 1) (ref.func $a)
         (i32.const 2) (ref.func $b)
         (i32.const 3) (ref.null func)
         ${halvingLoop('$n', '(table.set $e (i32.const 1) (local.get $x))')}
         (table.set $t) (table.set $t) (table.set $t)
         (table.set $t (i32.const 4) (local.get $f))
         (i32.add (call_indirect $t (type $number) (i32.const 1))
           (i32.mul (ref.is_null (local.get $x)) (call_indirect $t (type $number) (i32.const 4)))))`,
      [[0xff]],
      8,
    );
    expect(plain.outcomes).toEqual(['returned 33']);
  });
});

describe('constructs with parameters and several results', () => {
  it('a loop that carries values of all types', () => {
    expectSame(
      `(memory 1)
       (func (export "run") (param $n i32) (result i32) (local $i i32) (local $f f32) (local $l i64) (local $d f64)
         (local $v v128)
         (i32.const 7)
         (i32.const 0) (f64.const 1.5) (i64.const 3) (f32.const nan:0x300000) (v128.const i64x2 1 2)
         (loop $loop (param i32 f64 i64 f32 v128) (result i32 f64 i64 f32 v128)
           (local.set $v) (local.set $f) (local.set $l) (local.set $d)
           (i32.const 1) i32.add
           (f64.mul (local.get $d) (f64.const 1.25))
           (i64.mul (local.get $l) (i64.const 0x100000001))
           (local.get $f)
           (i64x2.add (local.get $v) (v128.const i64x2 3 5))
           (br_if $loop (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
         (local.set $v) (local.set $f) (local.set $l) (local.set $d)
         (v128.store (i32.const 0) (local.get $v)) (f32.store (i32.const 16) (local.get $f))
         (i64.store (i32.const 24) (local.get $l)) (f64.store (i32.const 32) (local.get $d))
         i32.add)`,
      [[0xffff], [1]],
      17,
    );
  });

  it('blocks and ifs with parameters and results around loops, either arm', () => {
    expectSame(
      `(memory 1)
       (func (export "run") (param $n i32) (param $way i32) (result i64 i32 f64) (local $m i32)
         (local.set $m (local.get $n))
         (i64.const 100) (i32.const 5)
         (block $out (param i64 i32) (result i64 i32 f64)
           (local.get $way)
           (if (param i64 i32) (result i64 i32)
             (then
               (loop $a (param i64 i32) (result i64 i32)
                 (i32.const 3) i32.add
                 (br_if $a (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
               (i32.const 1) i32.sub)
             (else
               i64.extend_i32_s i64.add
               (loop $b (param i64) (result i64 i32)
                 (i64.const 7) i64.mul
                 (br_if $b (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))
                 (i32.const 9))
               (br_if 0 (i32.lt_s (local.get $way) (i32.const 0)))))
           (f64.const 0.5)
           (loop $c (param i64 i32 f64) (result i64 i32 f64)
             (f64.const 0.25) f64.add
             (br_if $out (i32.eq (local.get $m) (i32.const 3)))
             (br_if $c (local.tee $m (i32.shr_u (local.get $m) (i32.const 1)))))))`,
      [
        [255, 1],
        [255, 0],
        [0x7000, 1],
        [0x7000, 0],
      ],
      20,
    );
  });

  it('an else that is missing, an if inside a loop with operands of the loop below', () => {
    expectSame(
      `(memory 1) (global $g (mut i32) (i32.const 0))
       (func $busy (param $n i32) (result i32) ${halvingLoop('$n')} (i32.const 2))
       (func (export "run") (param $n i32) (result i32)
         (i32.const 1)
         (loop $l (param i32) (result i32)
           (local.get $n)
           (if (i32.and (local.get $n) (i32.const 1))
             (then (global.set $g (i32.add (global.get $g) (call $busy (i32.const 7))))))
           i32.add
           (local.tee $n (i32.sub (i32.shr_u (local.get $n) (i32.const 1)) (i32.const 1)))
           (br_if $l (i32.gt_s (i32.const 0)))))`,
      [[0x1234567]],
      24,
    );
  });
});

describe('branches', () => {
  it('br_table to loops and blocks at every depth, with a value', () => {
    expectSame(
      `(memory 1)
       (func (export "run") (param $n i32) (result i32) (local $i i32)
         (i32.const 1000) (i32.const 5)
         (block $out (param i32) (result i32)
           (loop $outer (param i32) (result i32)
             (i32.const 1) i32.add
             (loop $middle (param i32) (result i32)
               (i32.const 10) i32.add
               (loop $inner (param i32) (result i32)
                 (i32.const 100) i32.add
                 (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 1103515245)) (i32.const 12345)))
                 (i32.store (i32.and (i32.shr_u (local.get $n) (i32.const 16)) (i32.const 0xfffc)) (local.get $n))
                 (br_if $out (i32.gt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 60)))
                 (br_table $inner $middle $outer $outer $middle $inner
                   (i32.rem_u (i32.shr_u (local.get $n) (i32.const 8)) (i32.const 7)))))))
         i32.add)`,
      [[1], [2], [3]],
      180,
    );
  });

  it('br to where a local is read that nothing else leads to', () => {
    expectSame(
      `(func (export "run") (param $n i32) (param $way i32) (result i32) (local $kept i32) (local $other i64)
         (local.set $kept (i32.const 777)) (local.set $other (i64.const 888))
         (block $y
           (block $x
             ${halvingLoop('$n')}
             (if (local.get $way) (then (br $x)) (else (br $y)))
             unreachable)
           (return (local.get $kept)))
         (i32.wrap_i64 (local.get $other)))`,
      [
        [0xff, 0],
        [0xff, 1],
      ],
      10,
    );
  });

  it.each([0, 1, 2, 3])('br_table whose label %d alone leads to where a local is read', (label) => {
    const afterLabel = (k: number): string => (k === label ? '(return (local.get $kept))' : '(return (i32.const 3))');
    expectSame(
      `(func (export "run") (param $n i32) (param $way i32) (result i32) (local $kept i32)
         (local.set $kept (i32.const 12345))
         (block $d
           (block $c
             (block $b
               (block $a
                 ${halvingLoop('$n')}
                 (br_table $a $b $c $d (local.get $way)))
               ${afterLabel(0)})
             ${afterLabel(1)})
           ${afterLabel(2)})
         ${afterLabel(3)})`,
      [0, 1, 2, 3].map((way) => [0xff, way]),
      20,
    );
  });

  it('five loops in each other, operands at each level', () => {
    const levels = [0, 1, 2, 3, 4];
    const open = levels.map(
      (k) => `
      (local.set $i${k} (i32.const 5)) (i64.const ${k + 1}) (f32.const ${k}.5)
      (loop $l${k} (param i64 f32) (result i64 f32)
        (f32.const 0.5) f32.add`,
    );
    const close = levels.map(
      (k) => `
        (local.set $f) (i64.const 3) i64.mul (local.get $f)
        (br_if $l${k} (local.tee $i${k} (i32.shr_u (local.get $i${k}) (i32.const 1)))))
      (local.set $f) (local.set $l)
      (f32.store (i32.const ${256 + k * 16}) (local.get $f)) (i64.store (i32.const ${512 + k * 16}) (local.get $l))`,
    );
    expectSame(
      `(memory 1)
       (func (export "run") (param $n i32) (local $f f32) (local $l i64) ${levels.map((k) => `(local $i${k} i32)`).join(' ')}
         ${open.join('')}
         (i32.store (i32.const 1024) (i32.add (i32.load (i32.const 1024)) (i32.const 1)))
         ${close.toReversed().join('')})`,
      [[0]],
      3 ** levels.length,
    );
  });

  it('code that cannot be reached is left out, loops in it included', () => {
    expectSame(
      `(memory 1)
       (func $f (param $n i32) (result i32)
         (loop $l (result i32)
           (if (i32.eqz (local.get $n)) (then (return (i32.const 42)) (loop $dead (br $dead))))
           (local.set $n (i32.shr_u (local.get $n) (i32.const 1)))
           (block (br 1) (drop (i32.add)) (loop (result i64) (br 0)) drop)
           (br $l) (call $f) (if (result f32) (then (f32.const 1)) (else (unreachable))) unreachable))
       (func (export "run") (param $n i32) (result i32 i32)
         (i32.const 5)
         (block $b (result i32)
           (br $b (call $f (local.get $n)))
           (loop $dead (param i32) (result i32) (br $dead))))`,
      [[0xff], [0]],
      9,
    );
  });

  it('a loop that is left at once, one that starts the function, one that ends it', () => {
    expectSame(
      `(func $first (param $n i32) (result i32)
         (loop $l (result i32)
           (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))))
           (local.get $n)))
       (func $once (param i32) (result i32) (i32.const 3) (loop (param i32) (result i32) (local.get 0) i32.add))
       (func (export "run") (param i32) (result i32)
         (i32.add (call $first (local.get 0)) (call $once (local.get 0))))`,
      [[0xff], [0]],
      10,
    );
  });

  it('return from inside loops, with results and with operands left below', () => {
    expectSame(
      `(func (export "run") (param $n i32) (result i32 i64) (local $k i32)
         (f64.const 3)
         (loop $l (param f64) (result f64)
           (local.set $k (i32.add (local.get $k) (i32.const 1)))
           (i64.const 5)
           (loop $m (param i64) (result i64)
             (i64.const 2) i64.mul
             (if (i32.eq (local.get $n) (i32.const 9)) (then (return (local.get $k) (i64.const 77))))
             (br_if $m (i32.and (local.tee $n (i32.shr_u (local.get $n) (i32.const 1))) (i32.const 1))))
           drop
           (br_if $l (local.get $n)))
         drop (local.get $k) (i64.const 1))`,
      [[0x9 << 8], [0xeeee], [9]],
      10,
    );
  });
});
