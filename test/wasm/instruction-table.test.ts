/** The instruction table and the decoder, held against V8 one opcode at a time. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { UnsupportedModuleError } from '../../src/error/errors.ts';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';
import { prepareProgram } from '../../src/machine/program.ts';
import { BodyDecoder } from '../../src/wasm/function-body.ts';
import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { decodeModule } from '../../src/wasm/module.ts';
import {
  Immediate, PREFIX_ATOMIC, PREFIX_MISC, PREFIX_SIMD, VARIES, accessBytesOf, immediateOf, isStore, popsOf, pushOf,
} from '../../src/wasm/opcode.ts'; // prettier-ignore
import { ValueType, valueTypeName } from '../../src/wasm/value-type.ts';
import { assemble } from '../support/wat.ts';

// Node 20 knows relaxed SIMD and keeps it behind a flag; the table has it for the engines that do not.
setFlagsFromString('--experimental-wasm-relaxed-simd');

const { i32, i64, f32, f64, v128, funcref, externref, exnref } = ValueType;
const END = 0x0b;

interface Opcode {
  readonly op: number;
  readonly name: string;
  readonly bytes: Uint8Array;
}

const range = (count: number): number[] => Array.from({ length: count }, (_, k) => k);
const prefixed = (prefix: number, base: number, count: number): Opcode[] =>
  range(count).map((sub) => ({
    op: base + sub,
    name: `0x${prefix.toString(16)} 0x${sub.toString(16)}`,
    bytes: new ByteWriter().u8(prefix).u32(sub).toBytes(),
  }));
const opcodes: readonly Opcode[] = [
  ...range(0xfb).map((op) => ({ op, name: `0x${op.toString(16)}`, bytes: Uint8Array.of(op) })),
  ...prefixed(0xfc, PREFIX_MISC, 32),
  ...prefixed(0xfd, PREFIX_SIMD, 0x200),
  ...prefixed(0xfe, PREFIX_ATOMIC, 0x80),
  { op: 0xff, name: '0xff', bytes: Uint8Array.of(0xff) },
];

/** A module of one function, and of everything that an index 0 may name. */
function moduleOf(params: readonly number[], results: readonly number[], body: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter().raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  const section = (id: number, write: (contents: ByteWriter) => void): void => {
    const contents = new ByteWriter();
    write(contents);
    out.u8(id).u32(contents.length).raw(contents.view());
  };
  section(1, (s) => {
    s.u32(1).u8(0x60).u32(params.length).raw(Uint8Array.from(params));
    s.u32(results.length).raw(Uint8Array.from(results));
  });
  section(3, (s) => s.u32(1).u32(0));
  section(4, (s) => s.u32(1).u8(funcref).u8(0).u32(1));
  section(5, (s) => s.u32(1).u8(0).u32(1));
  section(6, (s) =>
    s
      .u32(1)
      .u8(i32)
      .u8(1)
      .raw(Uint8Array.of(0x41, 0, END)),
  );
  section(7, (s) => s.u32(1).name('_start').u8(0).u32(0));
  section(9, (s) => s.u32(1).u8(1).u8(0).u32(1).u32(0));
  section(12, (s) => s.u32(1));
  section(10, (s) => s.u32(1).u32(body.length).raw(body));
  section(11, (s) => s.u32(1).u8(1).u32(0));
  return out.toBytes();
}

/** The instruction's immediates as the table says they are read, all zero where that is allowed. */
function immediateBytes(kind: number): number[] {
  switch (kind) {
    case Immediate.none:
      return [];
    case Immediate.index:
    case Immediate.leb:
    case Immediate.lane:
      return [0];
    case Immediate.indexPair:
    case Immediate.memory:
      return [0, 0];
    case Immediate.memoryLane:
      return [0, 0, 0];
    case Immediate.bytes4:
      return range(4).map(() => 0);
    case Immediate.bytes8:
      return range(8).map(() => 0);
    case Immediate.bytes16:
      return range(16).map(() => 0);
    default:
      throw new Error(`no immediates of kind ${kind}`);
  }
}

const operandTypes = [i32, i64, f32, f64, v128, funcref];

function* combinations(count: number): Generator<number[]> {
  if (count === 0) yield [];
  else for (const rest of combinations(count - 1)) for (const type of operandTypes) yield [...rest, type];
}

/** `local.get` of every parameter, the instruction, the end. */
function bodyOf(operands: readonly number[], instruction: readonly number[]): Uint8Array {
  return Uint8Array.from([0, ...operands.flatMap((_, k) => [0x20, k]), ...instruction, END]);
}

const known = opcodes.filter(({ op }) => immediateOf[op] !== Immediate.unknown);
const fixed = known.filter(({ op }) => popsOf[op] !== VARIES && op > 0x01);

describe.each(fixed)('instruction $name', ({ op, bytes }) => {
  const results = pushOf[op] === 0 ? [] : [pushOf[op]];
  const instruction = [...bytes, ...immediateBytes(immediateOf[op])];

  it(`takes ${popsOf[op]} operands and gives ${results.map(valueTypeName).join() || 'nothing'}`, () => {
    const operands = [...combinations(popsOf[op])].find((types) =>
      WebAssembly.validate(moduleOf(types, results, bodyOf(types, instruction))),
    );
    expect(operands, 'no types of operands make it valid').toBeDefined();
    // A wrong guess of the immediates could make the rest unreachable, and then every type would do.
    expect(WebAssembly.validate(moduleOf(operands!, [...results, i64], bodyOf(operands!, instruction)))).toBe(false);

    const decoder = new BodyDecoder(decodeModule(moduleOf(operands!, results, bodyOf(operands!, instruction))));
    decoder.decode(0);
    expect(decoder.count).toBe(operands!.length + 2);
    expect(decoder.op[operands!.length]).toBe(op);
    expect(decoder.nodeHeight[decoder.stack[decoder.count - 1]]).toBe(results.length);
  });
});

describe('memory accesses', () => {
  const accesses = known.filter(({ op }) => accessBytesOf[op] > 0);

  it('are those that have an alignment, which is at most their size', () => {
    const withAlignment = fixed.filter(({ op }) =>
      [Immediate.memory, Immediate.memoryLane].includes(immediateOf[op] as 6),
    );
    expect(withAlignment.map(({ name }) => name)).toEqual(accesses.map(({ name }) => name));
    for (const { op, bytes, name } of accesses) {
      const valid = (alignment: number): boolean => {
        const instruction = [...bytes, alignment, 0, ...(immediateOf[op] === Immediate.memoryLane ? [0] : [])];
        const results = pushOf[op] === 0 ? [] : [pushOf[op]];
        return [...combinations(popsOf[op])].some((types) =>
          WebAssembly.validate(moduleOf(types, results, bodyOf(types, instruction))),
        );
      };
      const largest = Math.log2(accessBytesOf[op]);
      expect([valid(largest), valid(largest + 1)], name).toEqual([true, false]);
    }
  });

  it('are stores when they give no value, or read, modify and write', () => {
    for (const { op, name } of known) {
      const modifies = op >= PREFIX_ATOMIC + 0x1e;
      expect(isStore[op] === 1, name).toBe(accessBytesOf[op] > 0 && (pushOf[op] === 0 || modifies));
    }
  });
});

it.each([
  ['block, with and without type', '(block) (block (result f64) (f64.const 1)) drop'],
  [
    'loop with parameters',
    '(i32.const 1) (f32.const 2) (loop (param i32 f32) (result f32 i32) (local.set $f) (local.set $i) (local.get $f) (local.get $i)) drop drop',
  ],
  [
    'if, with and without else',
    '(if (i32.const 1) (then)) (if (result i64) (i32.const 1) (then (i64.const 1)) (else (i64.const 2))) drop',
  ],
  [
    'branches',
    '(block (br 0)) (block (br_if 0 (i32.const 1))) (block (block (br_table 0 1 0 (i32.const 1)))) (block (return))',
  ],
  [
    'calls',
    '(call $f (i32.const 1) (f64.const 2)) drop (call_indirect (type $t) (i32.const 1) (f64.const 1) (i32.const 0)) drop',
  ],
  ['tail calls', '(block (return_call $none)) (block (return_call_indirect (type $n) (i32.const 0)))'],
  [
    'select',
    '(select (v128.const i64x2 1 2) (v128.const i64x2 1 2) (i32.const 1)) drop (select (result funcref) (ref.null func) (ref.func $f) (i32.const 1)) drop',
  ],
  ['locals', '(local.set $f (f32.const 1)) (local.tee $i (local.get $i)) drop (local.get $x) drop'],
  ['globals', '(global.set $g (global.get $g)) (global.get $r) drop'],
  ['tables', '(table.set $e (i32.const 0) (table.get $e (i32.const 0))) (table.get $e (i32.const 0)) drop'],
  ['null references', '(ref.null func) (ref.null extern) drop drop'],
])('the operand stack through %s', (_, code) => {
  const bytes = assemble(`(module (type $t (func (param i32 f64) (result i64))) (type $n (func))
    (table $e 1 externref) (table $ft 1 funcref)
    (global $g (mut v128) (v128.const i64x2 0 0)) (global $r funcref (ref.null func))
    (elem declare func $f) (memory 1)
    (func $f (type $t) (i64.const 1)) (func $none)
    (func (export "_start") (local $i i32) (local $f f32) (local $x externref) ${code})
    (func (result i32 f64) (local $i i32) (local $f f32) (local $x externref)
      (i32.const 1) (f64.const 2) ${code.includes('return') ? '' : code}))`.replaceAll('call_indirect (type', 'call_indirect $ft (type')); // prettier-ignore
  expect(WebAssembly.validate(bytes)).toBe(true);
  const decoder = new BodyDecoder(decodeModule(bytes));
  for (const [f, results] of [
    [2, []],
    [3, [i32, f64]],
  ] as const) {
    decoder.decode(f);
    const types: number[] = [];
    for (let n = decoder.stack[decoder.count]; n !== 0; n = decoder.nodeBelow[n]) types.unshift(decoder.nodeType[n]);
    expect(types).toEqual(results);
    // The row before the last is the end of the body's code: its stack must come to the same.
    expect(decoder.nodeHeight[decoder.stack[decoder.count - 1]]).toBe(results.length);
  }
});

describe('what the table does not know is refused', () => {
  const unknown = opcodes.filter(({ op }) => immediateOf[op] === Immediate.unknown);

  it('and some is unknown under every prefix', () => {
    for (const start of ['0x14', '0xc5', '0xfc ', '0xfd ', '0xfe ', '0xff']) {
      expect(
        unknown.some(({ name }) => name.startsWith(start)),
        start,
      ).toBe(true);
    }
  });

  it('with its feature, section and place, whatever bytes come behind it', () => {
    // What a scan that went on behind an unknown opcode would read: calls, labels and constants that do not end.
    const tails = [
        [], [0], [0, 0], [0x40, END], [0x70], [0x10, 0xff], [0x0e, 0xff, 0xff, 0x7f], [0xfd, 0x0c, 1, 2],
        [0xfc, 0x08, 0xff, 0x01, 0], [0xd2, 0xff, 0xff, 0x03],
      ]; // prettier-ignore
    for (const { name, bytes } of unknown) {
      for (const tail of tails) {
        const body = Uint8Array.from([0, 0x01, ...bytes, ...tail, END]);
        const wasm = moduleOf([], [], body);
        const byteOffset = Buffer.from(wasm).lastIndexOf(Buffer.from(body)) + 2;
        let thrown: unknown;
        try {
          prepareProgram(wasm, { tracking: 'software', counting: false });
        } catch (error) {
          thrown = error;
        }
        expect(thrown, `${name} ${tail.join()}`).toBeInstanceOf(UnsupportedModuleError);
        const { details } = thrown as UnsupportedModuleError;
        expect({ section: details.section, byteOffset: details.byteOffset }, `${name} ${tail.join()}`).toEqual({
          section: 'code',
          byteOffset,
        });
        expect(details.feature, name).toMatch(/\w/);
      }
    }
  });

  it.each([
    ['opcode 0xfe 0x4f', [0x41, 0, 0xfe, 0x4f, 2, 0, 0x1a]],
    ['instructions of the garbage-collection', [0xfb, 0x00, 0]],
    ['instructions of the garbage-collection', [0x14, 0]],
    ['instructions of the garbage-collection', [0xd5, 0]],
    ['values of a reference that cannot be null', [0x02, 0x64, 0x69, 0x0b]],
    ['values of nullexnref', [0x02, 0x74, 0x00, END, 0x1a]],
    ['references of the garbage-collection', [0xd0, 0x6e, 0x1a]],
  ])('by name: %s', (feature, code) => {
    const wasm = moduleOf([], [], Uint8Array.from([0, ...code, END]));
    expect(() => prepareProgram(wasm, { tracking: 'none', counting: false })).toThrow(feature);
  });

  it.skipIf(hasExceptionsByReference()).each([
    ['throw_ref', [0xd0, 0x69, 0x0a]],
    ['try_table', [0x1f, 0x40, 0, END]],
    ['a block', [0x02, 0x69, 0x00, END, 0x1a]],
    ['ref.as_non_null', [0xd0, 0x70, 0xd4, 0x1a]],
  ])('as missing from the engine: %s', (name, code) => {
    const wasm = moduleOf([], [], Uint8Array.from([0, ...code, END]));
    expect(() => prepareProgram(wasm, { tracking: 'none', counting: false })).toThrow(
      name === 'ref.as_non_null'
        ? /uses ref\.as_non_null \(typed function references\) \(code section, byte \d+\), which this Node.js/
        : /uses exceptions by reference \(exnref\) \(code section, byte \d+\), which this Node.js/,
    );
  });

  it.each([['memory64', '(module (memory i64 1) (func (export "_start")))']])(
    'in other sections: %s',
    (feature, text) => {
      expect(() => prepareProgram(assemble(text), { tracking: 'none', counting: false })).toThrow(feature);
    },
  );
});

/** Types that no operand search needs, named here so that a table of types that grows is noticed. */
it('knows the value types of version 2, and exnref', () => {
  expect([i32, i64, f32, f64, v128, funcref, externref, exnref].map(valueTypeName)).toEqual([
    'i32', 'i64', 'f32', 'f64', 'v128', 'funcref', 'externref', 'exnref',
  ]); // prettier-ignore
});
