/** Programs built for threads that start none: atomic instructions and shared memories, under all options and captures. */
import { describe, expect, it } from 'vitest';
import { EmbeddedMemory, instantiateNow } from '../../src/index.ts';
import { allOptions, uninterrupted } from '../support/capture-plan.ts';
import { compareEverywhere } from '../support/differential.ts';
import type { Scenario } from '../support/observation.ts';
import { RewrittenProgram, RewrittenRun } from '../support/rewritten-run.ts';
import { assemble } from '../support/wat.ts';

const widths = [
  ['i32', '', 4], ['i64', '', 8], ['i32', '8', 1], ['i32', '16', 2], ['i64', '8', 1], ['i64', '16', 2], ['i64', '32', 4],
] as const; // prettier-ignore

/** Every atomic access of a width, in a loop whose address moves; results are gathered and stored. */
function accesses(): string {
  return widths
    .map(([type, bits, bytes], k) => {
      const suffix = bits === '' ? '' : '_u';
      const name = (rest: string): string => `${type}.atomic.${rest}`;
      const rmw = (op: string): string => name(`rmw${bits}.${op}${suffix}`);
      const value = `(${type}.const ${0x1234 * (k + 3)})`;
      const gather = (result: string): string => `(local.set $${type} (${type}.add (local.get $${type}) ${result}))`;
      return `
        ${['add', 'sub', 'and', 'or', 'xor', 'xchg'].map((op) => gather(`(${rmw(op)} offset=64 (local.get $at) ${value})`)).join('\n')}
        ${gather(`(${rmw('cmpxchg')} (local.get $at) (${name(`load${bits}${suffix}`)} (local.get $at)) ${value})`)}
        ${gather(`(${rmw('cmpxchg')} offset=128 (local.get $at) (${type}.const 99) ${value})`)}
        (${name(`store${bits}`)} offset=4096 (local.get $at) (local.get $${type}))
        (${name(`store${bits}`)} offset=${bytes * 8} (local.get $at) ${value})`;
    })
    .join('\n');
}

const program = (memory: string, body: string): Uint8Array =>
  assemble(`(module ${memory} (data $text "guarded") (data (i32.const 512) "\\07\\01\\02\\03")
    (func $work (param $count i32) (result i64) (local $at i32) (local $i32 i32) (local $i64 i64)
      (local.set $at (i32.const 4032))
      (loop $next
        ${body}
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))
      (i64.add (local.get $i64) (i64.extend_i32_u (local.get $i32))))
    (func (export "run") (param i32) (result i64)
      ;; As linkers write it: the first thread fills the memory.
      (if (i32.eqz (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1)))
        (then (memory.init $text (i32.const 1024) (i32.const 0) (i32.const 7)) (data.drop $text)))
      (atomic.fence)
      (i64.add (call $work (local.get 0)) (i64.extend_i32_u (memory.atomic.notify (i32.const 8) (i32.const 9))))))`);

describe.each([
  ['a memory of its own', '(memory 2)'],
  ['a shared memory', '(memory 2 4 shared)'],
  ['an imported shared memory', '(import "env" "memory" (memory 2 4 shared))'],
])('%s', (_, memory) => {
  it('takes every atomic access', () => {
    const { plain, captures } = compareEverywhere({
      wasm: program(memory, accesses()),
      calls: [{ name: 'run', args: [60] }, { name: 'run', args: [2] }],
    }); // prettier-ignore
    expect(plain.outcomes[0]).toMatch(/^returned -?\d+n$/);
    expect(plain.memory.subarray(1024, 1031)).toEqual(new TextEncoder().encode('guarded'));
    expect(captures).toBeGreaterThan(5);
  });

  it.each([
    ['not aligned', '(drop (i32.atomic.rmw.add offset=2 (local.get $at) (i32.const 1)))'],
    ['not aligned, across pages', '(i64.atomic.store offset=60 (local.get $at) (i64.const 1))'],
    ['out of bounds', '(drop (i64.atomic.rmw.cmpxchg offset=131072 (local.get $at) (i64.const 1) (i64.const 2)))'],
    ['out of bounds, to notify', '(drop (memory.atomic.notify offset=262144 (local.get $at) (i32.const 2)))'],
  ])('traps where an access is %s', (__, code) => {
    const { plain } = compareEverywhere({ wasm: program(memory, code), calls: [{ name: 'run', args: [3] }] });
    expect(plain.outcomes[0]).toMatch(/^trapped: /);
  });
});

describe('waiting', () => {
  // Every wait in a function of its own, without locals: the baseline compiler of V8 11 loses those that live across one.
  const waits = (timeout: bigint, expected = 0x03020107): Scenario => ({
    wasm: assemble(`(module (memory 2 4 shared) (data (i32.const 512) "\\07\\01\\02\\03")
      (func (export "narrow") (result i32)
        (memory.atomic.wait32 offset=12 (i32.const 500) (i32.const ${expected}) (i64.const ${timeout})))
      (func (export "wide") (result i32)
        (memory.atomic.wait64 (i32.const 512) (i64.const ${expected}) (i64.const ${timeout})))
      (func (export "unaligned") (result i32) (memory.atomic.wait64 (i32.const 516) (i64.const 0) (i64.const 0))))`),
    calls: [{ name: 'narrow' }, { name: 'wide' }, { name: 'unaligned' }],
  });

  it('ends at once where the value is another one, with its time, and traps where it is not aligned', () => {
    for (const [scenario, result] of [
      [waits(-1n, 5), 1],
      [waits(1_000_000n), 2],
    ] as const) {
      const { plain } = compareEverywhere(scenario, []);
      expect(plain.outcomes).toEqual([
        `returned ${result}`,
        `returned ${result}`,
        expect.stringMatching(/^trapped: .*unaligned/),
      ]);
    }
  });

  it('traps where it would never end', () => {
    const { wasm, calls } = waits(-1n);
    const run = new RewrittenRun(new RewrittenProgram(wasm), { wasm, calls }, uninterrupted(allOptions[0]));
    expect(run.run().outcomes.slice(0, 2)).toEqual(['trapped: unreachable', 'trapped: unreachable']);
  });
});

it('an instance imports a shared memory where it says so', () => {
  const wasm = assemble(`(module (import "env" "memory" (memory 1 2 shared))
    (func (export "add") (result i32) (i32.atomic.rmw.add (i32.const 8) (i32.const 5))))`);
  const memory = new EmbeddedMemory({ initial: 1, maximum: 2, shared: true });
  const { exports } = instantiateNow(wasm, { env: { memory } }).instance;
  (exports['add'] as () => number)();
  expect((exports['add'] as () => number)()).toBe(5);
  expect(memory.read(8, 1)).toEqual(Uint8Array.of(10));
  const own = new EmbeddedMemory({ initial: 1, maximum: 2 });
  const link = (): unknown => instantiateNow(wasm, { env: { memory: own } });
  expect(link).toThrow(WebAssembly.LinkError);
  expect(link).toThrow('mismatch in shared state of memory, declared = 1, imported = 0');
});
