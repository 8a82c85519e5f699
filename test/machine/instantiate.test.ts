/** `instantiate` beside `WebAssembly.instantiate`: same exports, results, errors; captured, saved and restored besides. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import {
  CapturableModule,
  type EmbeddedImports,
  type EmbeddedInstance,
  EmbeddedMemory,
  type InstantiateOptions,
  Interrupted,
  instantiate,
  instantiateNow,
} from '../../src/index.ts';
import { type Callable, busy, call, counted, everySafepoint, plain, thrownBy } from '../support/embedding.ts';
import { assemble } from '../support/wat.ts';

describe('results', () => {
  const wasm = assemble(`(module ${busy}
    (func (export "i32") (result i32) (call $fib (i32.const 8)))
    (func (export "i64") (param i64) (result i64) (i64.sub (local.get 0) (i64.extend_i32_u (call $fib (i32.const 7)))))
    (func (export "many") (param f32 f64) (result f64 i64 i32 f32)
      (local.get 1) (i64.const -9) (call $fib (i32.const 5)) (local.get 0))
    (func (export "nothing") (drop (call $fib (i32.const 4))))
    (func (export "funcref") (result funcref) (drop (call $fib (i32.const 4))) (ref.func $fib))
    (func (export "externref") (param externref) (result externref) (drop (call $busy (i32.const 1))) (local.get 0))
    (func (export "leaf") (param i32) (result i32) (local.get 0))
    (elem declare func $fib) (func (export "v128") (param v128) (result v128) (drop (call $fib (i32.const 4))) (local.get 0)))`);

  it('are those of plain V8 in number, type and value', () => {
    const expected = plain(wasm);
    const { instance, figures } = counted(wasm);
    for (const [name, ...args] of [
      ['i32'],
      ['i64', 2n ** 63n - 1n],
      ['i64', -(2n ** 63n)],
      ['many', 1.5, -0],
      ['many', NaN, Infinity],
      ['nothing'],
      ['leaf', '7'],
    ] as const) {
      expect(call(instance, name, ...args), name).toEqual(call(expected, name, ...args));
    }
    expect(figures.captures).toBeGreaterThan(100);
  });

  it('references pass as they are, and a function that was handed out can be called and captured', () => {
    const { instance, figures } = counted(wasm);
    const object = {};
    expect(call(instance, 'externref', object)).toBe(object);
    expect(call(instance, 'externref', null)).toBe(null);
    const fib = call(instance, 'funcref') as Callable;
    const before = figures.captures;
    expect(fib(10)).toBe(55);
    expect(figures.captures).toBeGreaterThan(before + 50);
    expect(call(instance, 'funcref')).toBe(fib);
  });

  it('vectors do not cross to JavaScript, in the words of V8', () => {
    const { instance } = counted(wasm);
    const expected = thrownBy(() => call(plain(wasm), 'v128', 1));
    expect(expected).toMatch(/^TypeError/);
    expect(thrownBy(() => call(instance, 'v128', 1))).toBe(expected);
  });

  it('bits of NaNs and vectors are kept between instances, through captures', () => {
    const signature = '(param f32 f64 v128) (result f32 f64 v128)';
    const from = assemble(`(module ${busy} (func (export "f") ${signature}
      (drop (call $fib (i32.const 6))) (local.get 0) (local.get 1) (local.get 2)))`);
    const to = assemble(`(module (import "m" "f" (func $f ${signature})) (memory (export "m") 1)
      (func (export "run") (local f32 f64 v128)
        (call $f (f32.reinterpret_i32 (i32.const 0x7fa12345)) (f64.reinterpret_i64 (i64.const 0xfff4123456789abc))
          (v128.const i64x2 0x7ff4000000000001 0x7fa0000100000002))
        (local.set 2) (local.set 1) (local.set 0)
        (f32.store (i32.const 0) (local.get 0)) (f64.store (i32.const 8) (local.get 1)) (v128.store (i32.const 16) (local.get 2))))`);
    const { instance, figures } = counted(from);
    const user = plain(to, { m: { f: instance.exports.f as () => void } });
    call(user, 'run');
    expect(figures.captures).toBeGreaterThan(10);
    const view = new DataView((user.exports.m as WebAssembly.Memory).buffer);
    expect(view.getUint32(0, true)).toBe(0x7fa12345);
    expect(view.getBigUint64(8, true)).toBe(0xfff4123456789abcn);
    expect([view.getBigUint64(16, true), view.getBigUint64(24, true)]).toEqual([
      0x7ff4000000000001n,
      0x7fa0000100000002n,
    ]);
  });
});

it('exports are named, ordered and frozen as those of plain V8, tables hold the exported functions', () => {
  const wasm = assemble(`(module ${busy} (memory (export "memory") 1) (global (export "g") (mut i64) (i64.const 3))
    (table (export "t") 2 funcref) (elem (i32.const 0) $fib) (export "fib" (func $fib)) (export "again" (func $fib))
    (global (export "ref") funcref (ref.func $fib)))`);
  const { exports } = instantiateNow(wasm).instance;
  expect(Object.keys(exports)).toEqual(Object.keys(plain(wasm).exports));
  expect(Object.isFrozen(exports)).toBe(true);
  expect(Object.getPrototypeOf(exports)).toBe(null);
  expect(exports.again).toBe(exports.fib);
  expect((exports.t as WebAssembly.Table).get(0)).toBe(exports.fib);
  expect((exports.ref as WebAssembly.Global).value).toBe(exports.fib);
  expect((exports.g as WebAssembly.Global).value).toBe(3n);
  expect(exports.memory).toBeInstanceOf(EmbeddedMemory);
});

describe('errors', () => {
  const trapping = assemble(`(module ${busy} (memory 1) (table 1 funcref) (type $t (func))
    (func (export "unreachable") (drop (call $fib (i32.const 5))) unreachable)
    (func (export "memory") (result i32) (drop (call $fib (i32.const 5))) (i32.load (i32.const -4)))
    (func (export "divide") (result i32) (i32.div_s (i32.const 1) (i32.sub (call $busy (i32.const 3)) (i32.const 1))))
    (func (export "null") (call_indirect (type $t) (i32.sub (call $busy (i32.const 3)) (i32.const 1))))
    (func (export "beyond") (call_indirect (type $t) (call $busy (i32.const 3))))
    (func $deep (export "deep") (param i32) (result i32) (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (call $busy (i32.const 2))))
    (func (export "fine") (result i32) (call $fib (i32.const 10))))`);

  it.each(['unreachable', 'memory', 'divide', 'null', 'beyond'])(
    'a trap (%s) has the class and words of V8, and the instance goes on',
    (name) => {
      const expected = thrownBy(() => call(plain(trapping), name));
      expect(expected).toMatch(/^RuntimeError/);
      const { instance } = counted(trapping);
      expect(thrownBy(() => call(instance, name))).toBe(expected);
      expect(call(instance, 'fine')).toBe(55);
      expect(thrownBy(() => call(instance, name))).toBe(expected);
    },
  );

  it('names of functions are on the stack of a trap, as in plain V8', () => {
    const wasm = assemble(`(module ${busy}
      (func $divide (param i32) (result i32) (i32.div_u (call $fib (i32.const 5)) (local.get 0)))
      (func $average (result i32) (i32.add (i32.const 1) (call $divide (i32.const 0))))
      (func $run (export "run") (result i32) (call $average)))`);
    const namesOf = (instance: Parameters<typeof call>[0]): string[] => {
      try {
        call(instance, 'run');
      } catch (error) {
        expect(error).toBeInstanceOf(WebAssembly.RuntimeError);
        return Array.from((error as Error).stack!.matchAll(/^ {4}at (?:\S+\.)?(\S+) \(wasm:/gm), ([, name]) => name);
      }
      throw new Error('it did not trap');
    };
    expect(namesOf(plain(wasm))).toEqual(['divide', 'average', 'run']);
    expect(namesOf(instantiateNow(wasm).instance)).toEqual(['divide', 'average', 'run']);
  });

  it('endless recursion overflows the stack, and the instance goes on', () => {
    const { instance } = instantiateNow(trapping);
    expect(() => call(instance, 'deep', 0)).toThrow(RangeError);
    expect(() => call(instance, 'deep', 0)).toThrow(RangeError);
    expect(call(instance, 'fine')).toBe(55);
    expect(instance.canResume).toBe(false);
  });

  it.each([
    ['a module that is missing', '(import "a" "b" (func))', {}],
    ['a function that is missing', '(import "a" "b" (func))', { a: {} }],
    ['a function behind a memory', '(import "a" "m" (memory 1)) (import "a" "b" (func))', { a: { m: 1 } }],
    ['a global of another type', '(import "a" "b" (global i64))', { a: { b: 1 } }],
    ['no imports at all', '(import "a" "b" (func))', undefined],
    ['a memory that is missing', '(import "a" "b" (memory 1))', {}],
    ['something else for a memory', '(import "a" "b" (memory 1))', { a: { b: 3 } }],
    ['a table segment out of bounds', '(table 1 funcref) (func $f) (elem (i32.const 1) $f)', {}],
    ['a data segment out of bounds', '(memory 1) (data (i32.const 65535) "ab")', {}],
    ['a start function that traps', '(func $f unreachable) (start $f)', {}],
    [
      'a start function that traps after some work',
      `${busy} (func $f (drop (call $fib (i32.const 5))) unreachable) (start $f)`,
      {},
    ],
  ])('%s is refused in the words of V8', async (_, text, imports) => {
    const wasm = assemble(`(module ${text})`);
    const expected = thrownBy(() => plain(wasm, imports as WebAssembly.Imports));
    expect(expected).not.toBe('nothing thrown');
    expect(thrownBy(() => instantiateNow(wasm, imports as EmbeddedImports, everySafepoint))).toBe(expected);
    const error = await instantiate(wasm, imports as EmbeddedImports).catch((reason: unknown) => reason);
    const expectedError = await WebAssembly.instantiate(wasm, imports as WebAssembly.Imports).catch(
      (reason: unknown) => reason,
    );
    expect(thrownBy(() => { throw error; })).toBe(thrownBy(() => { throw expectedError; })); // prettier-ignore
  });

  it('bytes that are no module are refused with a CompileError', async () => {
    await expect(instantiate(Uint8Array.of(0, 1, 2, 3))).rejects.toThrow(WebAssembly.CompileError);
  });

  it('segments before the one that does not fit have been applied', () => {
    const wasm = assemble(`(module (import "m" "m" (memory 1)) (import "m" "t" (table 4 funcref)) (func $f)
      (elem (i32.const 2) $f) (data (i32.const 5) "abc") (data (i32.const 65534) "xyz"))`);
    const memory = new EmbeddedMemory({ initial: 1 });
    const table = new WebAssembly.Table({ element: 'anyfunc', initial: 4 });
    expect(() => instantiateNow(wasm, { m: { m: memory, t: table } })).toThrow(WebAssembly.RuntimeError);
    expect(typeof table.get(2)).toBe('function');
    expect(Buffer.from(memory.read(5, 3)).toString()).toBe('abc');
    expect(memory.bytes.subarray(65530)).toEqual(new Uint8Array(6));
  });

  it('what a host function throws reaches the caller, and the instance goes on', () => {
    const wasm = assemble(`(module (import "e" "f" (func $f (param i32))) ${busy}
      (func (export "run") (param i32) (result i32) (call $f (call $fib (local.get 0))) (call $fib (i32.const 6))))`);
    const refusal = new Error('no');
    const { instance } = counted(wasm, {
      e: { f: (n: number) => { if (n === 13) throw refusal; } },
    }); // prettier-ignore
    expect(() => call(instance, 'run', 7)).toThrow(refusal);
    expect(call(instance, 'run', 6)).toBe(8);
    expect(instance.canResume).toBe(false);
  });
});

describe('captures', () => {
  const worker = assemble(`(module ${busy} (memory (export "memory") 1 3) (global $g (mut i32) (i32.const 5))
    (table $t 2 funcref) (elem declare func $fib) (data $d "data") (type $f (func (param i32) (result i32)))
    (func (export "run") (param $n i32) (result i64 f32) (local $sum i64)
      (drop (memory.grow (i32.const 1)))
      (memory.init $d (i32.const 65600) (i32.const 0) (i32.const 4)) (data.drop $d)
      (table.set $t (i32.const 1) (ref.func $fib))
      (loop $l
        (global.set $g (i32.add (global.get $g) (i32.const 1)))
        (local.set $sum (i64.add (local.get $sum)
          (i64.extend_i32_u (call_indirect $t (type $f) (i32.rem_u (local.get $n) (i32.const 7)) (i32.const 1)))))
        (i32.store (i32.mul (local.get $n) (i32.const 4)) (global.get $g))
        (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (i64.add (local.get $sum) (i64.load32_u (i32.const 65600))) (f32.convert_i32_u (global.get $g)))
    (func (export "g") (result i32) (global.get $g)))`);

  it('a state saved anywhere goes on in a fresh instance to the same result, memory and globals', () => {
    const states: Uint8Array[] = [];
    const expected = plain(worker);
    const result = call(expected, 'run', 20);
    const { instance, figures } = counted(worker, {}, { onCapture: (captured) => void states.push(captured.save()) });
    expect(call(instance, 'run', 20)).toEqual(result);
    expect(figures.captures).toBeGreaterThan(150);
    const memory = Buffer.from((expected.exports.memory as WebAssembly.Memory).buffer);
    const module = new CapturableModule(worker);
    for (const state of states.filter((_, k) => k % 9 === 0)) {
      const { instance: restored } = instantiateNow(module, {}, { restore: state });
      expect(restored.canResume).toBe(true);
      expect(restored.resume()).toEqual(result);
      expect(Buffer.compare(restored.memory!.bytes, memory)).toBe(0);
      expect(call(restored, 'g')).toBe(call(expected, 'g'));
      expect(thrownBy(() => restored.resume())).toMatch(/^UsageError: there is no interrupted call/);
    }
  });

  it('pages of zeros are left out of a saved state', () => {
    const wasm = assemble('(module (memory (export "memory") 1000) (data (i32.const 40000000) "x"))');
    const { instance } = instantiateNow(wasm);
    const state = instance.save();
    expect(state.length).toBeGreaterThan(4096);
    expect(state.length).toBeLessThan(2 * 4096);
    const restored = instantiateNow(wasm, {}, { restore: state }).instance;
    expect(restored.canResume).toBe(false);
    expect(restored.memory!.bytes[40_000_000]).toBe(0x78);
    expect(restored.memory!.wasmPageCount).toBe(1000);
  });

  it('a request from a host function is met at the next safepoint, once', () => {
    const wasm = assemble(`(module (import "e" "f" (func $f)) ${busy}
      (func (export "run") (result i32) (drop (call $fib (i32.const 8))) (call $f) (call $fib (i32.const 10))))`);
    let captures = 0;
    const imports = { e: { f: () => handle.requestCapture() } };
    const { instance } = instantiateNow(wasm, imports, { onCapture: () => void captures++ });
    const handle: EmbeddedInstance = instance;
    expect(call(instance, 'run')).toBe(55);
    expect(captures).toBe(1);
    instance.requestCapture();
    expect(captures).toBe(1);
    expect(call(instance, 'run')).toBe(55);
    expect(captures).toBe(3);
  });

  it('a request from another thread stops an endless loop, which can be given up', async () => {
    const wasm = assemble(`(module (memory 1) ${busy} (func (export "spin") (loop $l
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br $l)))
      (func (export "fine") (result i32) (call $fib (i32.const 10))))`);
    const stop = new Error('stopped');
    let state: Uint8Array | undefined;
    const { instance } = instantiateNow(wasm, {}, {
      onCapture: (captured) => {
        state = captured.save();
        throw stop;
      },
    }); // prettier-ignore
    const thread = new Worker(
      `const { requests, words, pollIndex } = require('node:worker_threads').workerData;
       setTimeout(() => { Atomics.store(requests, 0, 1); Atomics.compareExchange(words, pollIndex, 0, 1); }, 50);`,
      { eval: true, workerData: instance.captureHandle },
    );
    await once(thread, 'online');
    expect(() => call(instance, 'spin')).toThrow(stop);
    expect(state!.length).toBeGreaterThan(4096);
    expect(instance.canResume).toBe(false);
    expect(call(instance, 'fine')).toBe(55);
    await thread.terminate();
  });

  it('a host function that is interrupted is called again when the guest goes on', () => {
    const wasm = assemble(`(module (import "e" "wait" (func $wait (param i32 f64) (result i64))) ${busy}
      (func (export "run") (result i64) (i64.add (call $wait (i32.const 7) (f64.const 0.5)) (i64.extend_i32_u (call $fib (i32.const 5))))))`);
    const calls: unknown[] = [];
    let interrupts = 2;
    const wait = (a: number, b: number): bigint | typeof Interrupted => {
      calls.push([a, b]);
      return interrupts-- > 0 ? Interrupted : 100n;
    };
    const states: Uint8Array[] = [];
    const options: InstantiateOptions = {
      interruptible: ['e.wait'],
      onCapture: (captured) => void states.push(captured.save()),
    };
    const { instance } = instantiateNow(wasm, { e: { wait } }, options);
    expect(call(instance, 'run')).toBe(105n);
    expect(calls).toEqual([[7, 0.5], [7, 0.5], [7, 0.5]]); // prettier-ignore
    expect(states.length).toBe(2);
    interrupts = 0;
    expect(instantiateNow(wasm, { e: { wait } }, { ...options, restore: states[0] }).instance.resume()).toBe(105n);
    expect(() => instantiateNow(wasm, { e: { wait } }, { interruptible: ['e.sleep'] })).toThrow(/e\.sleep/);
  });

  it('a guest called by a host function that a guest called goes on at once; the outer one is captured', () => {
    const wasm = assemble(`(module (import "e" "f" (func $f (param i32) (result i32))) ${busy}
      (func (export "fib") (param i32) (result i32) (call $fib (local.get 0)))
      (func (export "run") (result i32) (i32.add (call $f (i32.const 9)) (call $fib (i32.const 8)))))`);
    const seen: string[] = [];
    let handle: EmbeddedInstance;
    const f = (n: number): unknown => {
      handle.requestCapture();
      expect(handle.canCapture).toBe(true);
      expect(thrownBy(() => handle.save())).toMatch(/^UsageError: the instance is running/);
      const result = call(handle, 'fib', n);
      seen.push('inner done');
      return result;
    };
    const onCapture = (captured: EmbeddedInstance): void => {
      seen.push('captured');
      expect(thrownBy(() => call(captured, 'fib', 3))).toMatch(/^UsageError: the instance cannot be called now/);
      states.push(captured.save());
    };
    const states: Uint8Array[] = [];
    handle = instantiateNow(wasm, { e: { f } }, { onCapture }).instance;
    expect(call(handle, 'run')).toBe(34 + 21);
    expect(seen).toEqual(['inner done', 'captured']);
    const restored = instantiateNow(wasm, { e: { f } }, { restore: states[0] }).instance;
    expect(thrownBy(() => call(restored, 'fib', 3))).toMatch(/call resume\(\) first/);
    expect(restored.resume()).toBe(55);

    seen.length = 0;
    handle = counted(
      wasm,
      { e: { f: (n: number) => call(handle, 'fib', n) } },
      { onCapture: () => void seen.push('captured') },
    ).instance;
    expect(call(handle, 'run')).toBe(55);
    expect(seen.length).toBeGreaterThan(30);
  });

  it('a nested host function may not be interrupted', () => {
    const wasm = assemble(
      `(module (import "e" "f" (func $f (param i32))) (func (export "run") (param i32) (call $f (local.get 0))))`,
    );
    const f = (n: number): unknown => (n > 0 ? call(handle, 'run', n - 1) : Interrupted);
    const handle: EmbeddedInstance = instantiateNow(wasm, { e: { f } }, { interruptible: ['e.f'] }).instance;
    expect(thrownBy(() => call(handle, 'run', 1))).toMatch(/^UsageError: e\.f returned Interrupted while/);
  });

  it('a long wait for a frame of the host is told', () => {
    const wasm =
      assemble(`(module (import "e" "f" (func $f)) ${busy} (func (export "fib") (param i32) (result i32) (call $fib (local.get 0)))
      (func (export "run") (call $f)))`);
    const notices: string[] = [];
    const f = (): void => {
      const end = performance.now() + 1200;
      while (performance.now() < end) call(handle, 'fib', 10);
    };
    const handle: EmbeddedInstance = counted(
      wasm,
      { e: { f } },
      { captureEverySafepoints: 50, onNotice: (text) => void notices.push(text) },
    ).instance;
    call(handle, 'run');
    expect(notices).toEqual([expect.stringMatching(/a capture is waiting/)]);
  });
});
