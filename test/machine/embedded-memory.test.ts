/** What instances of `instantiate` share with each other and with their embedder, and what they save. */
import { describe, expect, it } from 'vitest';
import {
  CapturableModule,
  CorruptionError,
  EmbeddedMemory,
  UsageError,
  guestViews,
  instantiateNow,
} from '../../src/index.ts';
import { type Callable, busy, call, counted, everySafepoint, plain, thrownBy } from '../support/embedding.ts';
import { assemble } from '../support/wat.ts';

describe('several instances', () => {
  it('call each other through imports, tables and references while all are captured', () => {
    const a = assemble(`(module ${busy} (table (export "t") 4 funcref) (elem (i32.const 0) $fib)
      (func (export "f") (param i32) (result i32) (call $fib (local.get 0)))
      (func (export "through") (param i32 i32) (result i32) (call_indirect (param i32) (result i32) (local.get 0) (local.get 1))))`);
    const b = assemble(`(module (import "a" "t" (table 4 funcref)) (import "a" "f" (func $f (param i32) (result i32)))
      (import "a" "through" (func $through (param i32 i32) (result i32))) ${busy}
      (func $mine (param i32) (result i32) (i32.add (i32.const 1000) (call $through (local.get 0) (i32.const 0))))
      (elem (i32.const 2) $mine $f)
      (func (export "run") (result i32 i32 i32 i32)
        (call $f (i32.const 9)) (call $through (i32.const 8) (i32.const 2)) (call $fib (i32.const 7))
        (call_indirect (param i32) (result i32) (i32.const 7) (i32.const 3))))`);
    const expected = plain(b, { a: plain(a).exports as WebAssembly.ModuleImports });
    const first = counted(a);
    const second = counted(b, { a: first.instance.exports });
    expect(call(second.instance, 'run')).toEqual(call(expected, 'run'));
    expect(first.figures.captures).toBeGreaterThan(50);
    expect(second.figures.captures).toBeGreaterThan(20);
    expect(call(first.instance, 'through', 8, 2)).toBe(1021);
  });

  it('call functions of plain instances, bits kept, which call back', () => {
    const helper = plain(
      assemble(`(module (import "a" "fib" (func $fib (param i32) (result i32)))
        (func (export "swap") (param v128 f32) (result f32 v128) (local.get 1) (local.get 0))
        (func (export "back") (param i32) (result i32) (i32.add (i32.const 1) (call $fib (local.get 0)))))`),
      { a: { fib: (n: number) => call(user.instance, 'fib', n) } },
    );
    const wasm = assemble(`(module (import "h" "swap" (func $swap (param v128 f32) (result f32 v128)))
      (import "h" "back" (func $back (param i32) (result i32))) ${busy}
      (func (export "fib") (param i32) (result i32) (call $fib (local.get 0)))
      (func (export "run") (result i64 i32 i32 i32) (local $v v128) (local $f f32)
        (call $swap (v128.const i64x2 0x7ff4000000000001 9) (f32.reinterpret_i32 (i32.const 0x7fa12345)))
        (local.set $v) (local.set $f)
        (drop (call $fib (i32.const 5)))
        (i64x2.extract_lane 0 (local.get $v)) (i32.reinterpret_f32 (local.get $f)) (call $back (i32.const 9)) (call $fib (i32.const 8))))`);
    const user: ReturnType<typeof counted> = counted(wasm, { h: helper.exports });
    expect(call(user.instance, 'run')).toEqual([0x7ff4000000000001n, 0x7fa12345, 35, 21]);
    expect(user.figures.captures).toBeGreaterThan(30);
    const other = assemble('(module (import "h" "f" (func)) (import "h" "back" (func (result i32))))');
    const imports = { h: { f: () => undefined, back: helper.exports.back as () => void } };
    const expected = thrownBy(() => plain(other, imports));
    expect(expected).toMatch(/^LinkError/);
    expect(thrownBy(() => instantiateNow(other, imports))).toBe(expected);
  });

  it('share a memory and a global', () => {
    const a = assemble(`(module (memory (export "m") 1 4) (global (export "g") (mut i32) (i32.const 1)) ${busy}
      (func (export "work") (result i32) (i32.store (i32.const 8) (call $fib (i32.const 9))) (global.set 0 (i32.const 7)) (i32.load (i32.const 8))))`);
    const b =
      assemble(`(module (import "a" "m" (memory 1 5)) (import "a" "g" (global $g (mut i32))) (import "a" "work" (func $work (result i32)))
      ${busy} (export "m" (memory 0))
      (func (export "run") (result i32 i32 i32)
        (drop (call $fib (i32.const 6))) (call $work) (drop (call $fib (i32.const 6))) (i32.load (i32.const 8)) (global.get $g)))`);
    const first = counted(a);
    const second = counted(b, { a: first.instance.exports });
    expect(call(second.instance, 'run')).toEqual([34, 34, 7]);
    expect(second.instance.exports.m).toBe(first.instance.exports.m);
    expect(second.figures.captures).toBeGreaterThan(20);
    expect(first.figures.captures).toBeGreaterThan(20);
  });
});

describe('memory', () => {
  const wasm =
    assemble(`(module (import "e" "m" (memory 1 3)) ${busy} (func (export "sum") (result i32) (local $i i32) (local $sum i32)
    (loop $l (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $i))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536))))
    (local.get $sum)) (func (export "grow") (result i32) (memory.grow (i32.const 1))))`);

  it('is a live view of the guest', () => {
    const memory = new EmbeddedMemory({ initial: 1, maximum: 3 });
    const { instance } = counted(wasm, { e: { m: memory } });
    memory.bytes.fill(3);
    expect(call(instance, 'sum')).toBe(3 * 65536);
    expect(call(instance, 'grow')).toBe(1);
    expect(memory.bytes.length).toBe(2 * 65536);
    expect(memory.grow(1)).toBe(2);
    expect(memory.wasmPageCount).toBe(3);
    expect(() => memory.grow(1)).toThrow(RangeError);
    expect(call(instance, 'grow')).toBe(-1);
  });

  it('has a buffer that only the constructors of guests take; others are told what to use instead', () => {
    const memory = new EmbeddedMemory({ initial: 1 });
    expect(memory.buffer.byteLength).toBe(65536);
    expect(() => new Uint8Array(memory.buffer as unknown as ArrayBuffer)).toThrow(/memory\.bytes/);
    expect(() => new DataView(memory.buffer as unknown as ArrayBuffer)).toThrow(TypeError);
  });

  it('serves code written for a plain memory', () => {
    const loader = `
      const whole = new Float64Array(memory.buffer);
      whole[1] = 0.5;
      const bytes = new Uint8Array(memory.buffer, 16, 4);
      bytes.set([1, 2, 3, 4]);
      new DataView(bytes.buffer, 20).setInt32(0, -2, true);
      const grown = memory.grow(1);
      const after = new Int32Array(memory.buffer);
      after[16384] = 7;
      new Uint8Array(bytes.buffer)[30] = 9;
      const copy = new Uint8Array([5, 6]).subarray(1);
      let refused = false;
      try { new Uint8Array(memory.buffer, 2 * 65536 + 1); } catch { refused = true; }
      return [whole.length, grown, after.length, after[4], after[5], after[16384], copy[0], bytes instanceof Uint8Array,
        new DataView(memory.buffer).byteLength, new Uint8Array(memory.buffer)[30], refused].join();`;
    const run = (memory: unknown, views: object): unknown =>
      // oxlint-disable-next-line typescript/no-implied-eval -- the way in which embedders run the loaders of others
      (new Function('memory', ...Object.keys(views), loader) as Callable)(
        memory,
        ...(Object.values(views) as unknown[]),
      );
    const memory = new EmbeddedMemory({ initial: 1, maximum: 2 });
    expect(run(memory, guestViews)).toBe('8192,1,32768,67305985,-2,7,6,true,131072,9,true');
    expect(memory.guestMemory.bytes.subarray(0, 64)).toEqual(new Uint8Array(64).fill(0));
    expect(memory.bytes[18]).toBe(3);
  });

  it('of plain V8 is refused, and limits are checked in the words of V8', () => {
    expect(() => instantiateNow(wasm, { e: { m: new WebAssembly.Memory({ initial: 1, maximum: 3 }) } })).toThrow(
      /EmbeddedMemory/,
    );
    for (const limits of [
      { initial: 0, maximum: 3 },
      { initial: 1, maximum: 4 },
    ]) {
      const expected = thrownBy(() => plain(wasm, { e: { m: new WebAssembly.Memory(limits) } }));
      expect(expected).toMatch(/^LinkError/);
      expect(thrownBy(() => instantiateNow(wasm, { e: { m: new EmbeddedMemory(limits) } }))).toBe(expected);
    }
    expect(() => instantiateNow(wasm, { e: { m: new EmbeddedMemory({ initial: 1 }) } })).toThrow(WebAssembly.LinkError);
  });
});

describe('a saved state', () => {
  const wasm = assemble('(module (memory 1) (data (i32.const 0) "abc") (func (export "f")))');
  const state = instantiateNow(wasm).instance.save();

  it('of another module is refused', () => {
    const other = assemble('(module (memory 1) (func (export "f")))');
    expect(() => instantiateNow(other, {}, { restore: state })).toThrow(UsageError);
  });

  it('that is cut or changed is refused, wherever', () => {
    for (let cut = 0; cut < state.length; cut += 97) {
      expect(() => instantiateNow(wasm, {}, { restore: state.subarray(0, cut) })).toThrow(CorruptionError);
    }
    for (let at = 0; at < state.length; at += 89) {
      const changed = state.slice();
      changed[at] ^= 0x10;
      expect(() => instantiateNow(wasm, {}, { restore: changed })).toThrow(CorruptionError);
    }
  });
});

it('options that make no sense are refused', () => {
  const wasm = assemble('(module)');
  expect(() => instantiateNow(wasm, {}, { captureEverySafepoints: 0 })).toThrow(UsageError);
  expect(() => instantiateNow(new CapturableModule(wasm), {}, everySafepoint)).toThrow(/counting/);
});
