/** The ground of the core suite at small scale, in cases of our own, through the runner of the suite. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { assemble } from '../support/wat.ts';

interface Value {
  readonly type: string;
  readonly lane_type?: string;
  readonly value: string | readonly string[];
}

/** A script under construction: commands as `wast2json` writes them, modules from text. */
class Script {
  readonly commands: Record<string, unknown>[] = [];
  readonly #folder: string;
  readonly #name: string;

  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.#name = name;
  }

  #add(type: string, more: Record<string, unknown>): this {
    this.commands.push({ type, line: this.commands.length + 1, ...more });
    return this;
  }

  #file(bytes: Uint8Array): string {
    const filename = `${this.#name}.${this.commands.length}.wasm`;
    writeFileSync(join(this.#folder, filename), bytes);
    return filename;
  }

  module(text: string, name?: string): this {
    const filename = this.#file(assemble(`(module ${text})`));
    return this.#add('module', { filename, ...(name === undefined ? {} : { name }) });
  }
  register(as: string): this {
    return this.#add('register', { as });
  }
  returns(field: string, args: readonly Value[], ...expected: readonly Value[]): this {
    return this.#add('assert_return', { action: { type: 'invoke', field, args }, expected });
  }
  global(field: string, expected: Value): this {
    return this.#add('assert_return', { action: { type: 'get', field }, expected: [expected] });
  }
  traps(field: string, args: readonly Value[], ...types: readonly string[]): this {
    const expected = types.map((type) => ({ type }));
    return this.#add('assert_trap', { action: { type: 'invoke', field, args }, expected, text: '' });
  }
  exhausts(field: string, args: readonly Value[]): this {
    return this.#add('assert_exhaustion', { action: { type: 'invoke', field, args }, expected: [], text: '' });
  }
  refuses(type: 'assert_unlinkable' | 'assert_uninstantiable', text: string): this {
    return this.#add(type, { filename: this.#file(assemble(`(module ${text})`)), module_type: 'binary', text: '' });
  }
  refusesBytes(type: 'assert_invalid' | 'assert_malformed', ...bytes: readonly number[]): this {
    const filename = this.#file(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...bytes));
    return this.#add(type, { filename, module_type: 'binary', text: '' });
  }
  write(): void {
    writeFileSync(join(this.#folder, `${this.#name}.json`), JSON.stringify({ commands: this.commands }));
  }
}

const i32 = (value: number): Value => ({ type: 'i32', value: String(value >>> 0) });
const i64 = (value: bigint): Value => ({ type: 'i64', value: String(BigInt.asUintN(64, value)) });
const f32 = (bits: number | string): Value => ({ type: 'f32', value: String(bits) });
const f64 = (bits: bigint | string): Value => ({ type: 'f64', value: String(bits) });
const v32 = (...lanes: readonly number[]): Value => ({ type: 'v128', lane_type: 'i32', value: lanes.map(String) });

const fib = `(func $fib (export "fib") (param i32) (result i64)
  (if (i32.lt_u (local.get 0) (i32.const 2)) (then (return (i64.extend_i32_u (local.get 0)))))
  (i64.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))`;

function numbers(script: Script): void {
  script.module(`${fib}
    (func (export "div") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
    (func (export "rot") (param i64 i64) (result i64) (drop (call $fib (i32.const 5))) (i64.rotl (local.get 0) (local.get 1)))
    (func (export "add32") (param f32 f32) (result f32) (drop (call $fib (i32.const 5))) (f32.add (local.get 0) (local.get 1)))
    (func (export "sqrt") (param f64) (result f64) (f64.sqrt (local.get 0)))
    (func (export "same") (param f32 f64) (result f64 f32) (drop (call $fib (i32.const 5))) (local.get 1) (local.get 0))
    (func (export "trunc") (param f64) (result i32) (drop (call $fib (i32.const 5))) (i32.trunc_f64_s (local.get 0)))
    (func (export "lanes") (param v128 v128) (result v128) (drop (call $fib (i32.const 5))) (i32x4.mul (local.get 0) (local.get 1)))
    (func (export "fadd") (param v128) (result v128) (f32x4.add (local.get 0) (local.get 0)))`);
  script.returns('fib', [i32(12)], i64(144n));
  script.returns('div', [i32(-7), i32(2)], i32(-3));
  script.traps('div', [i32(1), i32(0)], 'i32').traps('div', [i32(0x80000000), i32(-1)], 'i32');
  script.returns('rot', [i64(0x0123456789abcdefn), i64(68n)], i64(0x123456789abcdef0n));
  script.returns('add32', [f32(0x7f800000), f32(0xff800000)], f32('nan:canonical'));
  script.returns('add32', [f32(0x7fa00000), f32(0x3f800000)], f32('nan:arithmetic'));
  script.returns('sqrt', [f64(0xbff0000000000000n)], f64('nan:canonical'));
  script.returns('same', [f32(0x7fa12345), f64(0xfff4123456789abcn)], f64(0xfff4123456789abcn), f32(0x7fa12345));
  script.returns('trunc', [f64(0xc1e0000000000000n)], i32(0x80000000));
  script.traps('trunc', [f64(0x41e0000000000000n)], 'i32').traps('trunc', [f64(0x7ff8000000000000n)], 'i32');
  script.returns('lanes', [v32(1, 2, 3, 0xffffffff), v32(5, 6, 7, 8)], v32(5, 12, 21, 0xfffffff8));
  script.returns('fadd', [v32(0x7f800000, 0x3f800000, 0, 0)], {
    type: 'v128', lane_type: 'f32', value: [String(0x7f800000), String(0x40000000), '0', '0'],
  }); // prettier-ignore
}

function memories(script: Script): void {
  script.module(`${fib} (memory 1 3) (data (i32.const 10) "abc") (data $p "passive")
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "far") (param i32) (result i64) (drop (call $fib (i32.const 4))) (i64.load offset=65530 (local.get 0)))
    (func (export "init") (param i32 i32 i32) (drop (call $fib (i32.const 4))) (memory.init $p (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $p))
    (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "fill") (param i32 i32 i32) (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "grow") (param i32) (result i32 i32) (memory.grow (local.get 0)) (memory.size))`);
  script
    .returns('load', [i32(11)], i32(0x62))
    .traps('load', [i32(65536)], 'i32')
    .traps('load', [i32(-1)], 'i32');
  script.traps('far', [i32(0)], 'i64').traps('far', [i32(-1)], 'i64');
  script.returns('init', [i32(100), i32(1), i32(3)]).returns('load', [i32(102)], i32(0x73));
  script.traps('init', [i32(65534), i32(0), i32(3)]).returns('load', [i32(65534)], i32(0));
  script
    .returns('drop', [])
    .returns('init', [i32(0), i32(0), i32(0)])
    .traps('init', [i32(0), i32(0), i32(1)]);
  script.returns('copy', [i32(11), i32(10), i32(3)]).returns('load', [i32(13)], i32(0x63));
  script.traps('copy', [i32(0), i32(65530), i32(7)]).traps('fill', [i32(65536), i32(0), i32(1)]);
  script.returns('fill', [i32(65536), i32(0), i32(0)]).returns('fill', [i32(65530), i32(7), i32(6)]);
  script.returns('grow', [i32(1)], i32(1), i32(2)).returns('far', [i32(0)], i64(0x070707070707n));
  script.returns('grow', [i32(2)], i32(-1), i32(2)).returns('grow', [i32(1)], i32(2), i32(3));
}

function tables(script: Script): void {
  const object: Value = { type: 'externref', value: '1' };
  const none: Value = { type: 'externref', value: 'null' };
  script.module(`${fib} (table $t (export "t") 3 8 funcref) (table $x 2 externref) (elem (table $t) (i32.const 0) func $fib)
    (elem $p func $fib $two) (type $f (func (param i32) (result i64)))
    (func $two (type $f) (i64.const 2))
    (func (export "call") (param i32 i32) (result i64) (call_indirect $t (type $f) (local.get 0) (local.get 1)))
    (func (export "wrong") (call_indirect $t (param) (result) (i32.const 0)))
    (func (export "init") (param i32 i32 i32) (drop (call $fib (i32.const 4))) (table.init $t $p (local.get 0) (local.get 1) (local.get 2)))
    (func (export "grow") (param i32) (result i32) (table.grow $t (ref.func $two) (local.get 0)))
    (func (export "put") (param i32 externref) (drop (call $fib (i32.const 4))) (table.set $x (local.get 0) (local.get 1)))
    (func (export "take") (param i32) (result externref) (drop (call $fib (i32.const 4))) (table.get $x (local.get 0)))
    (func (export "function") (param i32) (result funcref) (table.get $t (local.get 0)))`);
  script
    .returns('call', [i32(9), i32(0)], i64(34n))
    .traps('call', [i32(9), i32(1)], 'i64')
    .traps('wrong', []);
  script.traps('call', [i32(9), i32(3)], 'i64').returns('init', [i32(1), i32(0), i32(2)]);
  script.returns('call', [i32(9), i32(2)], i64(2n)).returns('call', [i32(10), i32(1)], i64(55n));
  script
    .traps('init', [i32(2), i32(0), i32(2)])
    .returns('grow', [i32(5)], i32(3))
    .returns('grow', [i32(1)], i32(-1));
  script.returns('call', [i32(9), i32(7)], i64(2n));
  script
    .returns('put', [i32(1), object])
    .returns('take', [i32(1)], object)
    .returns('take', [i32(0)], none);
  script.returns('function', [i32(0)], { type: 'funcref', value: '0' }).traps('function', [i32(8)], 'funcref');
  script.register('tables');
  script.module(`(import "tables" "t" (table 3 8 funcref)) (import "tables" "fib" (func $fib (param i32) (result i64)))
    (func $three (param i32) (result i64) (i64.add (call $fib (local.get 0)) (i64.const 1000))) (elem (i32.const 4) $three)
    (global (export "g") i32 (i32.const 42))
    (func (export "call") (param i32 i32) (result i64) (call_indirect (param i32) (result i64) (local.get 0) (local.get 1)))`);
  script.returns('call', [i32(10), i32(4)], i64(1055n)).returns('call', [i32(11), i32(0)], i64(89n));
  script.global('g', i32(42));
}

function control(script: Script): void {
  script.module(`${fib}
    (func $ack (export "ack") (param i32 i32) (result i32)
      (if (i32.eqz (local.get 0)) (then (return (i32.add (local.get 1) (i32.const 1)))))
      (if (i32.eqz (local.get 1)) (then (return_call $ack (i32.sub (local.get 0) (i32.const 1)) (i32.const 1))))
      (return_call $ack (i32.sub (local.get 0) (i32.const 1)) (call $ack (local.get 0) (i32.sub (local.get 1) (i32.const 1)))))
    (func (export "switch") (param i32) (result i32)
      (block $c (block $b (block $a (br_table $a $b $c (local.get 0))) (return (i32.const 10))) (return (i32.const 20)))
      (i32.const 30))
    (func (export "sum") (param i32) (result i64 i32)
      (i64.const 0) (i32.const 0)
      (loop $l (param i64 i32) (result i64 i32)
        (i32.const 1) i32.add
        (local.get 0) (i32.const 1) i32.sub (local.tee 0) (br_if $l)))
    (func $deep (export "deep") (call $deep))
    (func (export "stop") (drop (call $fib (i32.const 6))) unreachable)`);
  script.returns('ack', [i32(2), i32(5)], i32(13));
  script
    .returns('switch', [i32(0)], i32(10))
    .returns('switch', [i32(1)], i32(20))
    .returns('switch', [i32(9)], i32(30));
  script
    .returns('sum', [i32(50)], i64(0n), i32(50))
    .exhausts('deep', [])
    .traps('stop', []);
  script.returns('ack', [i32(1), i32(3)], i32(5));
}

function linking(script: Script): void {
  script.module(`${fib} (global (export "g") (mut i32) (i32.const 1)) (memory (export "m") 1 2)
    (func (export "peek") (result i32) (drop (call $fib (i32.const 5))) (i32.add (global.get 0) (i32.load8_u (i32.const 9))))`, '$a').register('a'); // prettier-ignore
  script.module(`(import "a" "g" (global (mut i32))) (import "a" "m" (memory 1 2)) (import "a" "peek" (func $peek (result i32)))
    (func $start (global.set 0 (i32.const 40)) (i32.store8 (i32.const 9) (i32.const 2))) (start $start)
    (func (export "peek") (result i32) (call $peek))`);
  script.returns('peek', [], i32(42));
  script.refuses('assert_unlinkable', '(import "a" "peek" (func (result i64)))');
  script.refuses('assert_unlinkable', '(import "a" "nothing" (func))');
  script.refuses('assert_unlinkable', '(import "b" "nothing" (func))');
  script.refuses('assert_unlinkable', '(import "a" "m" (memory 2))');
  script.refuses('assert_unlinkable', '(import "a" "g" (global i32))');
  script.refuses('assert_uninstantiable', '(func $f unreachable) (start $f)');
  script.refuses('assert_uninstantiable', '(memory 1) (data (i32.const 65536) "a")');
  script.refuses(
    'assert_uninstantiable',
    '(import "a" "m" (memory 1)) (data (i32.const 9) "\\05") (data (i32.const -1) "a")',
  );
  script.returns('peek', [], i32(45));
  // A function of type 1, of which there is none; a section longer than the module.
  script.refusesBytes('assert_invalid', 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 1, 10, 4, 1, 2, 0, 0x0b);
  script.refusesBytes('assert_malformed', 1, 9, 1, 0x60, 0, 0);
}

const folder = mkdtempSync(join(tmpdir(), 'continuo-spec-'));
const runner = fileURLToPath(new URL('../../scripts/test-spec.mjs', import.meta.url));

beforeAll(() => {
  mkdirSync(join(folder, 'wrong'));
  for (const [name, write] of Object.entries({ numbers, memories, tables, control, linking })) {
    const script = new Script(folder, name);
    write(script);
    script.write();
  }
  const wrong = new Script(join(folder, 'wrong'), 'wrong');
  wrong
    .module(fib)
    .returns('fib', [i32(9)], i64(35n))
    .traps('fib', [i32(9)], 'i64')
    .returns('fib', [i32(3)], i64(2n));
  wrong.write();
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: readonly string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, [runner, ...args], { encoding: 'utf8' });
  return { stdout, stderr, status };
}

it.each([[[]], [['--canonical-nan']]])(
  'every case passes on plain V8, rewritten, and captured at every k-th safepoint %j',
  (options) => {
    const { stdout, stderr, status } = run(folder, '--every', '1,2,5,13', ...options);
    expect(stderr).toBe('');
    const totals = stdout.split('\n').filter((line) => line.includes('commands passed'));
    expect(totals.map((line) => line.replace(/\d+ commands.*; /, ''))).toEqual([
      'plain V8: 0 failed',
      'rewritten: 0 failed',
      expect.stringMatching(/^captured at every 1\. safepoint: 0 failed, \d{4,} captures$/),
      expect.stringMatching(/^captured at every 2\. safepoint: 0 failed, \d{3,} captures$/),
      expect.stringMatching(/^captured at every 5\. safepoint: 0 failed, \d{3,} captures$/),
      expect.stringMatching(/^captured at every 13\. safepoint: 0 failed, \d{2,} captures$/),
    ]);
    expect(stdout).not.toContain('skipped');
    expect(status).toBe(0);
  },
);

it('what is not as expected is found in each way of running, and the exit code says so', () => {
  const { stdout, status } = run(join(folder, 'wrong'), '--every', '3');
  expect(stdout.match(/line 2, assert_return: result 0 is 0000000000000022, expected/g)).toHaveLength(3);
  expect(stdout.match(/line 3, assert_trap: nothing thrown/g)).toHaveLength(3);
  expect(stdout.match(/2 commands passed, 1 of them assertions; 2 failed/g)).toHaveLength(3);
  expect(status).toBe(1);
});

it('wrong arguments are told in one line', () => {
  for (const args of [[], [join(folder, 'missing')], [folder, '--every', '0'], [folder, '--only', 'missing']]) {
    const { stderr, status } = run(...args);
    expect(stderr).toMatch(/^test-spec: .*\n$/);
    expect(status).toBe(2);
  }
});
