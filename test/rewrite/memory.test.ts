/** Guest memory behind the control region: size, growth, bulk instructions, bounds, segments. */
import { describe, expect, it } from 'vitest';
import { MAX_GUEST_WASM_PAGES } from '../../src/memory/layout.ts';
import { compareEverywhere } from '../support/differential.ts';
import type { Call } from '../support/observation.ts';
import { assemble } from '../support/wat.ts';

const busy = `
  (func $busy (param $n i32) (result i32)
    (loop $l (br_if $l (local.tee $n (i32.shr_u (local.get $n) (i32.const 1)))))
    (local.get $n))`;

const compare = (text: string, calls: readonly Call[], migrationSeeds?: readonly number[]) =>
  compareEverywhere({ wasm: assemble(`(module ${busy} ${text})`), calls }, migrationSeeds);

const returned = (outcomes: readonly string[]): readonly string[] =>
  outcomes.map((outcome) => (outcome.startsWith('returned') ? 'returned' : outcome));

const OUT_OF_BOUNDS = 'trapped: memory access out of bounds';

it('memory.size and memory.grow, with safepoints between and growth that fails', () => {
  const { plain, migrations, growths } = compare(
    `(memory 1 5)
     (func (export "grow") (param i32) (result i32 i32 i32)
       (memory.size)
       (drop (call $busy (i32.const 7)))
       (memory.grow (local.get 0))
       (drop (call $busy (i32.const 7)))
       (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (memory.size))
       (memory.size))`,
    [1, 0, 2, 2, -1, 65536, 1, 0].map((pages) => ({ name: 'grow', args: [pages] })),
  );
  expect(plain.outcomes.map((outcome) => outcome.replace('returned ', ''))).toEqual([
    '[1, 1, 2]', '[2, 2, 2]', '[2, 2, 4]', '[4, -1, 4]', '[4, -1, 4]', '[4, -1, 4]', '[4, 4, 5]', '[5, 5, 5]',
  ]); // prettier-ignore
  // One way of rewriting tells of each, of those too that give nothing.
  expect(growths).toBe(8);
  expect(migrations).toBeGreaterThan(0);
});

it('a memory without a maximum grows; a program without a memory has none', () => {
  compare(`(memory 0) (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))`, [
    { name: 'grow', args: [3] },
    { name: 'grow', args: [70_000] },
    { name: 'grow', args: [1] },
  ]);
  compare(`(func (export "run") (result i32) (call $busy (i32.const 255)))`, [{ name: 'run' }]);
});

describe('bulk instructions', () => {
  const text = `(memory 2)
    (data $passive "0123456789abcdef") (data $other "ABCD") (data (i32.const 65530) "tail")
    (func (export "copy") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (memory.copy (local.get 0) (local.get 1) (local.get 2)) (drop (call $busy (i32.const 3))))
    (func (export "fill") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (memory.fill (local.get 0) (local.get 1) (local.get 2)) (drop (call $busy (i32.const 3))))
    (func (export "init") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (memory.init $passive (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init other") (param i32 i32 i32) (memory.init $other (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init tail") (param i32 i32 i32) (drop (call $busy (i32.const 3)))
      (memory.init 2 (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $passive) (drop (call $busy (i32.const 3))))`;
  const end = 2 * 65536;

  it('copy, fill and init inside bounds, over pages, overlapping and empty', () => {
    const { plain } = compare(text, [
      { name: 'fill', args: [5, 0xab, 4090] },
      { name: 'fill', args: [8191, 0xcd, 2] },
      { name: 'fill', args: [end - 1, 0x1ff, 1] },
      { name: 'copy', args: [4097, 4000, 9000] },
      { name: 'copy', args: [3990, 4096, 9000] },
      { name: 'copy', args: [end, 0, 0] },
      { name: 'copy', args: [0, end, 0] },
      { name: 'fill', args: [end, 0, 0] },
      { name: 'init', args: [12288 - 4, 2, 14] },
      { name: 'init', args: [end, 16, 0] },
      { name: 'init other', args: [70_000, 1, 3] },
      { name: 'init tail', args: [90_000, 0, 0] },
    ]);
    expect(new Set(returned(plain.outcomes))).toEqual(new Set(['returned']));
  });

  it('trap where the range leaves the memory or the segment, also past 2³²', () => {
    const { plain } = compare(text, [
      { name: 'fill', args: [end, 1, 1] },
      { name: 'fill', args: [end + 1, 1, 0] },
      { name: 'fill', args: [end - 10, 1, 11] },
      { name: 'fill', args: [-1, 1, 1] },
      { name: 'fill', args: [-1, 1, 2] },
      { name: 'fill', args: [-16, 1, 17] },
      { name: 'fill', args: [16, 1, -1] },
      { name: 'fill', args: [0, 1, -0x2000000] },
      { name: 'fill', args: [-0x2000000, 1, 16] },
      { name: 'copy', args: [end - 3, 0, 4] },
      { name: 'copy', args: [0, end - 3, 4] },
      { name: 'copy', args: [-0x2000000, 0, 16] },
      { name: 'copy', args: [0, -0x2000000, 16] },
      { name: 'copy', args: [0, -0x1000000, 16] },
      { name: 'copy', args: [end + 1, 0, 0] },
      { name: 'copy', args: [0, end + 1, 0] },
      { name: 'copy', args: [-1, 0, -1] },
      { name: 'init', args: [end - 3, 0, 4] },
      { name: 'init', args: [0, 15, 2] },
      { name: 'init', args: [0, 17, 0] },
      { name: 'init', args: [-0x2000000, 0, 4] },
      { name: 'init', args: [0, -1, 2] },
      { name: 'init tail', args: [0, 0, 1] },
    ]);
    expect(new Set(plain.outcomes)).toEqual(new Set([OUT_OF_BOUNDS]));
  });

  it('a dropped segment stays dropped on another instance; so does an active one, dropped or not', () => {
    const { plain, migrations } = compare(text, [
      { name: 'init', args: [100, 0, 16] },
      { name: 'drop' },
      { name: 'init', args: [200, 0, 0] },
      { name: 'init', args: [300, 0, 1] },
      { name: 'drop' },
      { name: 'init other', args: [400, 0, 4] },
      { name: 'init tail', args: [500, 0, 1] },
      { name: 'init tail', args: [500, 0, 0] },
    ]);
    expect(returned(plain.outcomes)).toEqual([
      'returned', 'returned', 'returned', OUT_OF_BOUNDS, 'returned', 'returned', OUT_OF_BOUNDS, 'returned',
    ]); // prettier-ignore
    expect(migrations).toBeGreaterThan(4);
  });

  it('an active segment that no code drops is dropped on another instance', () => {
    const { plain, migrations } = compareEverywhere(
      {
        wasm: assemble(`(module ${busy} (memory 1) (data $a (i32.const 0) "active")
          (func (export "init") (drop (call $busy (i32.const 15)))
            (memory.init $a (i32.const 100) (i32.const 0) (i32.const 3))))`),
        calls: [{ name: 'init' }, { name: 'init' }],
      },
      [1, 2, 3, 4, 5, 6],
    );
    expect(plain.outcomes).toEqual([OUT_OF_BOUNDS, OUT_OF_BOUNDS]);
    expect(migrations).toBeGreaterThan(2);
  });
});

describe('loads and stores', () => {
  const accesses = [
    ['i32.load', 'i32', 4], ['i64.load', 'i64', 8], ['f32.load', 'f32', 4], ['f64.load', 'f64', 8],
    ['i32.load8_s', 'i32', 1], ['i32.load16_u', 'i32', 2], ['i64.load32_s', 'i64', 4], ['i64.load8_u', 'i64', 1],
    ['v128.load', 'v128', 16], ['v128.load8x8_s', 'v128', 8], ['v128.load32_splat', 'v128', 4],
    ['v128.load64_zero', 'v128', 8],
  ] as const; // prettier-ignore
  const stores = [
    ['i32.store', 'i32', 4], ['i64.store', 'i64', 8], ['f32.store', 'f32', 4], ['f64.store', 'f64', 8],
    ['i32.store8', 'i32', 1], ['i32.store16', 'i32', 2], ['i64.store8', 'i64', 1], ['i64.store16', 'i64', 2],
    ['i64.store32', 'i64', 4], ['v128.store', 'v128', 16],
  ] as const; // prettier-ignore
  const values: Readonly<Record<string, string>> = {
    i32: '(i32.const 0x81828384)', i64: '(i64.const 0x8182838485868788)', f32: '(f32.const nan:0x212223)',
    f64: '(f64.const -0x1.23456789abcdep+3)', v128: '(v128.const i64x2 0x8182838485868788 -2)',
  }; // prettier-ignore
  const offsets = [0, 1, 12, 13, 16, 24, 4095, 65520, 0xfdff_ffff, 0xfe00_0000, 0xffff_fff0, 0xffff_ffff];
  const end = 2 * 65536;

  /** Addresses at which accesses of a size with an offset are just in bounds, just out of them, or wrap. */
  const addressesOf = (offset: number, bytes: number): number[] =>
    [0, 4080, 4095, end - offset - bytes, end - offset - bytes + 1, end - offset, -1, -bytes, -0x200_0000, 2 ** 32 - offset]
      .map((address) => address | 0); // prettier-ignore

  it('of every size at both ends of bounds, with offsets up to 2³² − 1', () => {
    const functions = accesses.flatMap(([op, type], k) =>
      offsets.map(
        (offset) =>
          `(func (export "load ${k} ${offset}") (param i32) (local $v ${type})
            (local.set $v (${op} offset=${offset} (local.get 0)))
            (drop (call $busy (i32.const 1)))
            (${type}.store (i32.const 16) (local.get $v)))`,
      ),
    );
    const calls = accesses.flatMap(([, , bytes], k) =>
      offsets.flatMap((offset) =>
        addressesOf(offset, bytes).map((address) => ({ name: `load ${k} ${offset}`, args: [address] })),
      ),
    );
    const { plain } = compare(
      `(memory 2 2) (data (i32.const 4076) "0123456789abcdefghijklmnopqrst") (data (i32.const ${end - 20}) "tail of the memory!!")
       ${functions.join('\n')}`,
      calls,
      [1],
    );
    expect(new Set(returned(plain.outcomes))).toEqual(new Set(['returned', OUT_OF_BOUNDS]));
  });

  it.each([
    ['a constant', (type: string) => values[type], ''],
    ['a computed value', (type: string) => `(local.tee $v ${values[type]})`, ''],
    ['a value from a call', (type: string) => `(call $value.${type})`, ''],
  ])('stores of %s, each page that changes marked', (_, valueOf) => {
    const functions = stores.flatMap(([op, type], k) =>
      offsets.map(
        (offset) =>
          `(func (export "store ${k} ${offset}") (param i32) (local $v ${type})
            (${op} offset=${offset} (local.get 0) ${valueOf(type)}))`,
      ),
    );
    const calls = stores.flatMap(([, , bytes], k) =>
      offsets.flatMap((offset) =>
        addressesOf(offset, bytes).map((address) => ({ name: `store ${k} ${offset}`, args: [address] })),
      ),
    );
    const makers = Object.entries(values).map(([type, value]) => `(func $value.${type} (result ${type}) ${value})`);
    const { plain } = compare(`(memory 2 2) ${makers.join('\n')} ${functions.join('\n')}`, calls, [1]);
    expect(new Set(returned(plain.outcomes))).toEqual(new Set(['returned', OUT_OF_BOUNDS]));
  });

  it('lanes of vectors', () => {
    const lanes = [8, 16, 32, 64].flatMap((bits) =>
      [0, 1].flatMap((lane) => [
        `(v128.store${bits}_lane offset=4090 ${lane} (local.get 0) (local.get $v))`,
        `(local.set $v (v128.load${bits}_lane offset=3 ${lane} (local.get 0) (local.get $v)))`,
      ]),
    );
    const { plain } = compare(
      `(memory 2) (data (i32.const 0) "lanes of vectors")
       (func (export "run") (param i32) (local $v v128)
         (local.set $v (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16))
         ${lanes.join('\n')}
         (drop (call $busy (i32.const 3)))
         (v128.store (i32.const 256) (local.get $v)))`,
      [0, 2, 5, end - 10, -4090].map((address) => ({ name: 'run', args: [address] })),
    );
    expect(returned(plain.outcomes)).toEqual(['returned', 'returned', 'returned', OUT_OF_BOUNDS, OUT_OF_BOUNDS]);
  });
});

describe('at instantiation', () => {
  const segmentsAt = (last: string): Uint8Array<ArrayBuffer> =>
    assemble(`(module (import "host" "base" (global $base i32)) ${busy} (memory 1)
      (data (global.get $base) "first segment")
      (data (i32.const 4) "second")
      (data (offset ${last}) "across a page")
      (func (export "run") (result i32) (call $busy (i32.const 7)) (i32.load (i32.const 4)) i32.add))`);
  const importsBase = () => ({ host: { base: new WebAssembly.Global({ value: 'i32' }, 3) } });

  it('data segments with offsets of globals, in order', () => {
    const wasm = segmentsAt('(i32.const 4090)');
    const { plain } = compareEverywhere({ wasm, imports: importsBase, calls: [{ name: 'run' }] });
    expect(Buffer.from(plain.memory.subarray(3, 16)).toString()).toBe('fsecondegment');
  });

  const sum = segmentsAt('(i32.add (global.get $base) (i32.const 4090))');
  it.runIf(WebAssembly.validate(sum))('an offset that is a sum, where the engine takes it', () => {
    compareEverywhere({ wasm: sum, imports: importsBase, calls: [{ name: 'run' }] });
  });

  it('segments out of bounds fail', () => {
    for (const segment of [
      '(data (i32.const 65535) "ab")',
      '(data (i32.const -1) "a")',
      '(data (i32.const 65537) "")',
      '(data (i32.const 0xfe000000) "a")',
      '(table 2 funcref) (elem (i32.const 1) $busy $busy)',
    ]) {
      const { plain } = compare(`(memory 1) ${segment} (func (export "run"))`, [{ name: 'run' }]);
      expect(plain.outcomes, segment).toEqual(['trapped']);
    }
  });

  it('the start function runs first, and can be captured', () => {
    const { plain, captures } = compare(
      `(memory 1) (global $g (mut i64) (i64.const 1)) (start $start)
       (func $start (i32.store (i32.const 0) (call $busy (i32.const 31))) (global.set $g (i64.const 5)))
       (func (export "run") (result i64) (global.get $g))`,
      [{ name: 'run' }],
    );
    expect(plain.outcomes).toEqual(['returned undefined', 'returned 5n']);
    expect(captures).toBeGreaterThan(5);
  });
});

it('the largest memory that a guest may have is said in the layout', () => {
  expect(MAX_GUEST_WASM_PAGES).toBeGreaterThan(0.99 * 65536);
});
