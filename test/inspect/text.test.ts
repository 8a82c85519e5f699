/** Values and memory maps as text. */
import { describe, expect, it } from 'vitest';
import { memoryMapLines } from '../../src/cli/memory-map-text.ts';
import type { PageContents } from '../../src/inspect/checkpoint-view.ts';
import { HexDump } from '../../src/inspect/hex-dump.ts';
import { memoryMapOf } from '../../src/inspect/memory-map.ts';
import { numberText } from '../../src/inspect/value-text.ts';
import { ValueType } from '../../src/wasm/value-type.ts';

function textOf(type: number, write: (view: DataView) => void): string {
  const view = new DataView(new ArrayBuffer(16));
  write(view);
  return numberText(type, view, 0);
}

describe('a value', () => {
  it.each([
    [0, '0'],
    [-0, '-0'],
    [Infinity, 'inf'],
    [-Infinity, '-inf'],
    [0.1, '0.1'],
    [5e-324, '5e-324'],
    [Number.MAX_VALUE, '1.7976931348623157e+308'],
    [1 / 3, '0.3333333333333333'],
  ])('of f64, %d, is the shortest number that is the same', (value, text) => {
    expect(textOf(ValueType.f64, (view) => view.setFloat64(0, value, true))).toBe(text);
    if (Number.isFinite(value)) expect(Object.is(Number(text), value)).toBe(true);
  });

  it('of f32 has no more digits than an f32', () => {
    const text = (value: number): string => textOf(ValueType.f32, (view) => view.setFloat32(0, value, true));
    expect([0.1, 1 / 3, 16777216, 1e-45].map(text)).toEqual(['0.1', '0.33333334', '16777216', '1e-45']);
    for (const value of [0.1, 1 / 3, 123456.789, 3.4e38])
      expect(Math.fround(Number(text(value)))).toBe(Math.fround(value));
  });

  it('keeps the bits of a NaN', () => {
    const f64 = (bits: bigint): string => textOf(ValueType.f64, (view) => view.setBigUint64(0, bits, true));
    expect(f64(0x7ff8000000000000n)).toBe('nan');
    expect(f64(0xfff8000000000000n)).toBe('-nan');
    expect(f64(0x7ff8000000001234n)).toBe('nan:0x8000000001234');
    const f32 = (bits: number): string => textOf(ValueType.f32, (view) => view.setUint32(0, bits, true));
    expect([0x7fc00000, 0xffc00000, 0x7f800001].map(f32)).toEqual(['nan', '-nan', 'nan:0x1']);
  });

  it('of integers and vectors keeps all bits', () => {
    expect(textOf(ValueType.i32, (view) => view.setInt32(0, -1, true))).toBe('-1');
    expect(textOf(ValueType.i64, (view) => view.setBigInt64(0, -(2n ** 63n), true))).toBe('-9223372036854775808');
    expect(
      textOf(ValueType.v128, (view) => [1, 2, 3, 0xffffffff].forEach((lane, k) => view.setUint32(4 * k, lane, true))),
    ).toBe('i32x4 0x00000001 0x00000002 0x00000003 0xffffffff');
  });
});

/** Pages with contents and those written by checkpoint 2. */
function contents(pageCount: number, held: (page: number) => boolean, dirty: (page: number) => boolean): PageContents {
  return {
    pageCount,
    isZero: (page) => !held(page),
    checksumLow: () => 0,
    checksumHigh: () => 0,
    generationOf: (page) => (dirty(page) ? 2 : held(page) ? 1 : 0),
    read: () => {},
  };
}

describe('a map of memory', () => {
  const large = contents(
    65536,
    (page) => page < 1024 || page === 40_000,
    (page) => page === 3 || page === 40_000,
  );

  it('counts every page once as zero or frozen', () => {
    const map = memoryMapOf(large, 2, 100);
    expect(map).toMatchObject({ pages: 65536, zero: 64511, frozen: 1025, dirty: 2, resident: 100, rangePages: 128 });
    expect(map.ranges).toHaveLength(512);
    const sum = (field: 'pages' | 'zero' | 'frozen' | 'dirty'): number =>
      map.ranges.reduce((all, range) => all + range[field], 0);
    expect([sum('pages'), sum('zero'), sum('frozen'), sum('dirty')]).toEqual([65536, 64511, 1025, 2]);
  });

  it.each([80, 120])('fits %d columns', (columns) => {
    const lines = memoryMapLines(memoryMapOf(large, 2, undefined), columns);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(columns);
    const cells = columns === 80 ? 32 : 64;
    expect(lines.slice(1, 3)).toEqual([
      `    0x00000000  ████████${'·'.repeat(cells - 8)}  1024 frozen`,
      `    dirty       ░${' '.repeat(cells - 1)}  1 dirty`,
    ]);
    expect(lines.filter((line) => line.includes('all zeros up to'))).toHaveLength(2);
    expect(lines.at(-1)).toMatch(/ all zeros up to 0x10000000$/);
  });

  it('of no pages has no rows', () => {
    const map = memoryMapOf(
      contents(
        0,
        () => false,
        () => false,
      ),
      1,
      undefined,
    );
    expect(map).toMatchObject({ pages: 0, ranges: [] });
    expect(memoryMapLines(map, 80)).toHaveLength(1);
  });
});

it('a dump shows rows that repeat once, and where they end', () => {
  const dump = new HexDump(0x1000);
  const bytes = new Uint8Array(100);
  bytes[64] = 0x41;
  expect([...dump.lines(bytes.subarray(0, 48)), ...dump.lines(bytes.subarray(48)), dump.end()]).toEqual([
    '0x00001000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|',
    '*',
    '0x00001040  41 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |A...............|',
    '0x00001050  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|',
    '0x00001060  00 00 00 00                                       |....|',
    '0x00001064',
  ]);
});
