/** Damaged modules: taken because V8 takes them, or refused with an error of ours; never a crash, a hang, a flood. */
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ContinuoError } from '../../src/error/errors.ts';
import { prepareProgram } from '../../src/machine/program.ts';
import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { decodeModule } from '../../src/wasm/module.ts';
import { Random } from '../support/random.ts';
import { assemble } from '../support/wat.ts';

const SEED = 20_261_122;
const workloads = fileURLToPath(new URL('../../dist/workloads/', import.meta.url));

/** Something of every section and of most immediates, so that each flipped byte means something else. */
const everything = assemble(`(module
  (type $t (func (param i32 i64) (result f64 i32)))
  (import "wasi" "f" (func $f (param i32) (result i32))) (import "wasi" "g" (global $g i32))
  (table $table 3 9 funcref) (table $refs 2 externref) (memory (export "memory") 1 3)
  (global $i (mut i32) (global.get $g)) (global $v (mut v128) (v128.const i32x4 1 2 3 4))
  (elem (table $table) (i32.const 0) func $f $pair) (elem $passive func $pair $f) (elem declare func $f)
  (data (i32.const 8) "active") (data $p "passive") (start $start)
  (func $start (global.set $i (i32.const 1)))
  (func $pair (type $t) (local f32 v128) (f64.const 1) (call $f (local.get 0)))
  (func (export "_start") (local $n i32)
    (loop $l
      (block $b (br_table $l $b (local.get $n)))
      (i64.store32 offset=9 (local.get $n) (i64.const 0x123456789))
      (call_indirect $table (type $t) (i32.const 1) (i64.const 2) (i32.const 1)) drop drop
      (memory.init $p (i32.const 0) (i32.const 1) (i32.const 2)) (data.drop $p)
      (table.init $table $passive (i32.const 0) (i32.const 0) (i32.const 1)) (elem.drop $passive)
      (memory.copy (i32.const 0) (i32.const 1) (memory.size)) (memory.fill (i32.const 0) (i32.const 1) (i32.const 2))
      (drop (table.grow $refs (ref.null extern) (i32.const 1)))
      (drop (select (result i64) (i64.const 1) (i64.const 2) (i32.const 3)))
      (v128.store (i32.const 32) (i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 (global.get $v) (v128.load8_lane 3 (i32.const 1) (global.get $v))))
      (if (i32.eqz (local.tee $n (i32.add (local.get $n) (i32.const 1)))) (then (return_call $start)) (else (br $l))))))`);

const valid = [
  { name: 'a module with something of everything', wasm: everything },
  ...readdirSync(workloads)
    .filter((file) => file.endsWith('.wasm'))
    .map((file) => ({ name: file, wasm: new Uint8Array(readFileSync(workloads + file)) })),
];

/** Milliseconds that no module of such a size may take; a hang is far longer. */
const PATIENCE_MS = 2000;
/** Memory that no module of such a size may take while it is looked at. */
const HEAP_BYTES_MAX = 256 * 2 ** 20;

function refusalOf(wasm: Uint8Array): ContinuoError | undefined {
  try {
    const program = prepareProgram(wasm, { tracking: 'software', counting: true });
    expect(WebAssembly.validate(program.rewritten.bytes)).toBe(true);
    return undefined;
  } catch (error) {
    if (error instanceof ContinuoError) return error;
    throw error;
  }
}

/** As `refusalOf`, and what a damaged module that V8 refuses must be: refused. */
function expectSound(wasm: Uint8Array<ArrayBuffer>, what: string): ContinuoError | undefined {
  const started = performance.now();
  let refusal: ContinuoError | undefined;
  try {
    refusal = refusalOf(wasm);
  } catch (error) {
    throw new Error(`${what}: ${String(error)}`, { cause: error });
  }
  if (refusal === undefined) expect(WebAssembly.validate(wasm), what).toBe(true);
  expect(performance.now() - started, what).toBeLessThan(PATIENCE_MS);
  return refusal;
}

describe.each(valid)('$name', ({ wasm, name }) => {
  it('is taken whole', () => {
    expect(refusalOf(wasm)).toBeUndefined();
  });

  it('is refused when it is cut anywhere', () => {
    const random = new Random(SEED);
    const lengths = Array.from({ length: Math.min(wasm.length, 400) }, (_, k) =>
      wasm.length <= 400 ? k : random.below(wasm.length),
    );
    for (const length of lengths) {
      const refusal = expectSound(wasm.slice(0, length), `cut to ${length} bytes`);
      // A cut between sections leaves a shorter module, which lacks its code, its data or its _start.
      if (refusal !== undefined) {
        expect(['not-wasm', 'truncated-module', 'invalid-module', 'no-start-function']).toContain(refusal.code);
      }
    }
  });

  it(`is taken or refused with bytes changed (seed ${SEED})`, () => {
    const random = new Random(SEED + name.length);
    const codes = new Map<string, number>();
    for (let time = 0; time < 600; time++) {
      const damaged = new Uint8Array(wasm);
      // Early bytes hold the structure: they are hit as often as all the others together.
      const within = random.chance(0.5) ? Math.min(300, damaged.length) : damaged.length;
      const changes = Array.from({ length: 1 + random.below(3) }, () => [
        8 + random.below(within - 8),
        random.below(256),
      ]);
      for (const [at, value] of changes) damaged[at] = random.chance(0.3) ? damaged[at] ^ (1 << (value & 7)) : value;
      const refusal = expectSound(damaged, `bytes ${JSON.stringify(changes)} of ${name}`);
      const code = refusal?.code ?? 'taken';
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect(codes.get('invalid-module') ?? 0).toBeGreaterThan(10);
    if (wasm.length > 1000) expect(codes.get('taken') ?? 0).toBeGreaterThan(10);
  });
});

describe('numbers far too large for their file', () => {
  const header = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
  const section = (id: number, ...contents: readonly number[]): number[] => [id, contents.length, ...contents];
  const oneFunction = [...section(1, 1, 0x60, 0, 0), ...section(3, 1, 0)];
  const body = (...code: readonly number[]): number[] => [
    ...oneFunction,
    ...section(7, 1, 6, ...Buffer.from('_start'), 0, 0),
    ...section(10, 1, code.length, ...code),
  ];
  const cases: readonly (readonly [string, readonly number[]])[] = [
    ...[1, 2, 3, 4, 5, 6, 7, 9, 10, 11].map((id) => [`entries of section ${id}`, section(id, ...huge)] as const),
    ...[1, 2, 3, 4, 5, 6, 7, 9, 10, 11].map((id) => [`some entries of section ${id}`, section(id, 0x80, 0xad, 0xe2, 4)] as const),
    ['the length of a section', [1, ...huge, 0]],
    ['parameters', section(1, 1, 0x60, ...huge)],
    ['locals', body(1, ...huge, 0x7f, 0x0b)],
    ['locals that just fit into memory', body(1, 0xff, 0xff, 0xff, 0xff, 3, 0x7f, 0x0b)],
    ['locals, many declarations', body(3, 0xff, 0xff, 0xff, 0xff, 7, 0x7f, 0xff, 0xff, 0xff, 0xff, 7, 0x7e, ...huge, 0x7b, 0x0b)],
    ['labels of a br_table', body(0, 0x41, 0, 0x0e, ...huge, 0, 0x0b)],
    ['types of a select', body(0, 0x1c, ...huge, 0x7f, 0x0b)],
    ['a function called', body(0, 0x10, ...huge, 0x0b)],
    ['a type called', body(0, 0x11, ...huge, 0, 0x0b)],
    ['a label', body(0, 0x0c, ...huge, 0x0b)],
    ['a local', body(0, 0x20, ...huge, 0x0b)],
    ['a global', body(0, 0x23, ...huge, 0x0b)],
    ['a block type', body(0, 0x02, 0xff, 0xff, 0xff, 0xff, 0x07, 0x0b, 0x0b)],
    ['a data segment', body(0, 0xfc, 8, ...huge, 0, 0x0b)],
    ['an element segment', body(0, 0xfc, 12, ...huge, ...huge, 0x0b)],
    ['a name', section(2, 1, ...huge)],
    ['the length of a body', [...oneFunction, ...section(10, 1, ...huge)]],
  ]; // prettier-ignore

  it.each(cases)('%s', (_, contents) => {
    const before = process.memoryUsage();
    const refusal = expectSound(Uint8Array.from([...header, ...contents]), 'the module');
    expect(refusal).toBeInstanceOf(ContinuoError);
    const after = process.memoryUsage();
    expect(after.rss - before.rss).toBeLessThan(HEAP_BYTES_MAX);
    expect(after.external - before.external).toBeLessThan(HEAP_BYTES_MAX);
  });

  it.each([
    ['a memory of 4 GiB', '(memory 65536)'],
    ['a memory that leaves no room for the control region', '(memory 65100 65536)'],
    ['a table of ten million', '(table 10000000 funcref)'],
  ])('%s is refused or taken, by an error of ours', (_, text) => {
    expectSound(assemble(`(module ${text} (func (export "_start")))`), text);
  });

  it('many locals that every rewritten function adds to', () => {
    const out = new ByteWriter();
    out
      .u32(1)
      .u32(50_000)
      .u8(0x7f)
      .raw(Uint8Array.of(0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b, 0x0b));
    const code = [...out.toBytes()];
    const bytes = [
      ...oneFunction, ...section(7, 1, 6, ...Buffer.from('_start'), 0, 0), ...section(10, 1, code.length, ...code),
    ]; // prettier-ignore
    const wasm = Uint8Array.from([...header, ...bytes]);
    expect(WebAssembly.validate(wasm)).toBe(true);
    expectSound(wasm, '50 000 locals');
  });
});

it('a function that V8 takes as it is and no longer once it is rewritten is refused by name', () => {
  const store = [0x20, 0, 0x20, 0, 0x36, 2, 0x80, 0x20];
  const code = new Uint8Array(7_600_000 - (7_600_000 % store.length));
  for (let at = 0; at < code.length; at += store.length) code.set(store, at);
  const out = new ByteWriter(8_000_000).raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  out.raw(Uint8Array.of(1, 8, 2, 0x60, 1, 0x7f, 0, 0x60, 0, 0, 3, 3, 2, 0, 1, 5, 3, 1, 0, 1));
  out.raw(Uint8Array.of(7, 10, 1, 6, ...Buffer.from('_start'), 0, 1));
  const bodies = new ByteWriter(8_000_000).u32(2);
  bodies
    .u32(code.length + 2)
    .u8(0)
    .raw(code)
    .u8(0x0b)
    .u32(2)
    .u8(0)
    .u8(0x0b);
  out.u8(10).u32(bodies.length).raw(bodies.view());
  const wasm = out.toBytes();
  expect(WebAssembly.validate(wasm)).toBe(true);
  const refusal = refusalOf(wasm);
  expect(refusal?.code).toBe('unsupported-feature');
  expect(refusal?.message).toMatch(/a function of 7600002 bytes, \d+ once rewritten/);
});

it('decoding keeps nothing of what it refused', () => {
  expect(() => decodeModule(Uint8Array.of(1, 2, 3))).toThrow('is not a WebAssembly module');
  expect(() => decodeModule(new Uint8Array(0))).toThrow('is not a WebAssembly module');
  expect(() => decodeModule(Uint8Array.of(0, 0x61, 0x73))).toThrow('ends too early');
});
