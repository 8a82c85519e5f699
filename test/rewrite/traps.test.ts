/** Traps stay traps, of the same kind and at the same place, before and after captures. */
import { describe, expect, it } from 'vitest';
import { uninterrupted } from '../support/capture-plan.ts';
import { compareEverywhere } from '../support/differential.ts';
import { runPlain } from '../support/plain-run.ts';
import { RewrittenProgram, RewrittenRun } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

const traps: readonly (readonly [string, string])[] = [
  ['unreachable', 'unreachable'],
  ['division by zero', '(drop (i32.div_s (i32.const 1) (call $busy (i32.const 3))))'],
  ['remainder by zero', '(drop (i64.rem_u (i64.const 1) (i64.extend_i32_u (call $busy (i32.const 3)))))'],
  ['division that overflows', '(drop (i32.div_s (i32.const 0x80000000) (i32.sub (call $busy (i32.const 3)) (i32.const 1))))'],
  ['a float that is no integer', '(drop (i32.trunc_f64_s (f64.div (f64.const 0) (f64.convert_i32_s (call $busy (i32.const 3))))))'],
  ['a float out of range', '(drop (i64.trunc_f32_u (f32.const 1e30)))'],
  ['a load out of bounds', '(drop (i32.load (i32.const 65533)))'],
  ['a store out of bounds', '(i64.store offset=65535 (i32.const 0) (i64.const 1))'],
  ['memory.fill out of bounds', '(memory.fill (i32.const 65000) (i32.const 1) (i32.const 1000))'],
  ['a null entry of a table', '(call_indirect (type $none) (i32.const 0))'],
  ['an index beyond the table', '(call_indirect (type $none) (i32.const 3))'],
  ['a function of another type', '(call_indirect (type $none) (i32.const 1))'],
  ['table.get out of bounds', '(drop (table.get (i32.const 9)))'],
  ['table.copy out of bounds', '(table.copy (i32.const 1) (i32.const 0) (i32.const 3))'],
]; // prettier-ignore

it.each(traps)('%s', (_, code) => {
  const { plain, captures } = compareEverywhere({
    wasm: assemble(`(module ${busy} (memory 1 1) (table 3 funcref) (elem (i32.const 1) $busy) (type $none (func))
      (global $g (mut i32) (i32.const 0))
      (func $inner (result i32)
        (i32.store8 (i32.const 5000) (i32.const 1)) (global.set $g (i32.const 1))
        (drop (call $busy (i32.const 15)))
        ${code}
        (i32.store8 (i32.const 9000) (i32.const 2)) (global.set $g (i32.const 2)) (i32.const 1))
      (func (export "run") (result i32)
        (i32.const 3) (call $inner) i32.add)
      (func (export "after") (result i32) (i32.add (call $busy (i32.const 7)) (global.get $g))))`),
    calls: [{ name: 'run' }, { name: 'after' }],
  });
  expect(plain.outcomes[0]).toMatch(/^trapped: /);
  expect(plain.outcomes[1]).toBe('returned 1');
  expect(captures).toBeGreaterThan(8);
});

describe('recursion without end', () => {
  const wasm = assemble(`(module (memory 1)
    (func $down (param i32) (result i32) (local i64 f64)
      (i32.store (i32.const 0) (local.get 0))
      (local.set 1 (i64.extend_i32_u (local.get 0)))
      (i32.add (call $down (i32.add (local.get 0) (i32.const 1))) (i32.wrap_i64 (local.get 1))))
    (func (export "run") (result i32) (call $down (i32.const 0))))`);
  const scenario = { wasm, calls: [{ name: 'run' }] };
  const depthOf = ({ memory }: { readonly memory: Uint8Array }): number =>
    new DataView(memory.buffer, memory.byteOffset).getUint32(0, true);

  it('overflows the stack, with frames that are not far larger', () => {
    const plain = runPlain(scenario);
    expect(plain.outcomes).toEqual(['trapped: Maximum call stack size exceeded']);
    for (const tracking of ['software', 'none', 'paged'] as const) {
      const run = new RewrittenRun(new RewrittenProgram(wasm), scenario, uninterrupted({ tracking, counting: false }));
      const found = run.run();
      expect(found.outcomes).toEqual(plain.outcomes);
      // On a stack of the same size; the machine gives its guest a larger one, to make good for the larger frames.
      expect(depthOf(found)).toBeGreaterThan(depthOf(plain) * 0.5);
    }
  });

  it('that ends after all can be captured when it is deep', () => {
    const bounded = assemble(`(module
      (func $down (param i32) (result i64)
        (if (i32.eqz (local.get 0)) (then (return (i64.const 0))))
        (i64.add (i64.extend_i32_u (local.get 0)) (call $down (i32.sub (local.get 0) (i32.const 1)))))
      (func (export "run") (result i64) (call $down (i32.const 4000))))`);
    const { plain, framesMax } = compareEverywhere({ wasm: bounded, calls: [{ name: 'run' }] }, [1]);
    expect(plain.outcomes).toEqual(['returned 8002000n']);
    expect(framesMax).toBeGreaterThan(3000);
  });
});
