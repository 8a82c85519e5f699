import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { ValueType } from '../../src/wasm/value-type.ts';

const { i32, i64, f32, f64, v128, funcref, externref } = ValueType;

export const allTypes: readonly number[] = [i32, i64, f32, f64, v128, funcref, externref];
/** Weighted: what most programs mostly hold. */
export const commonTypes: readonly number[] = [i32, i32, i32, i64, i64, f32, f64, f64, v128, funcref, externref];

/** Bytes of opcode, operand types; the result type is the key. Results that may be a fresh NaN are made a number again. */
export interface Operator {
  readonly bytes: readonly number[];
  readonly operands: readonly number[];
  readonly mayMakeNaN: boolean;
}

function operators(): Map<number, Operator[]> {
  const map = new Map<number, Operator[]>(allTypes.map((type) => [type, []]));
  const add = (result: number, operands: readonly number[], first: number, last = first, mayMakeNaN = false): void => {
    for (let op = first; op <= last; op++) map.get(result)!.push({ bytes: [op], operands, mayMakeNaN });
  };
  const addPrefixed = (
    result: number,
    operands: readonly number[],
    prefix: number,
    ...subs: readonly number[]
  ): void => {
    for (const sub of subs) {
      const bytes = [...new ByteWriter().u8(prefix).u32(sub).view()];
      map.get(result)!.push({ bytes, operands, mayMakeNaN: false });
    }
  };
  add(i32, [i32], 0x45);
  add(i32, [i32, i32], 0x46, 0x4f);
  add(i32, [i64], 0x50);
  add(i32, [i64, i64], 0x51, 0x5a);
  add(i32, [f32, f32], 0x5b, 0x60);
  add(i32, [f64, f64], 0x61, 0x66);
  add(i32, [i32], 0x67, 0x69);
  add(i32, [i32, i32], 0x6a, 0x6c);
  add(i32, [i32, i32], 0x71, 0x78);
  add(i64, [i64], 0x79, 0x7b);
  add(i64, [i64, i64], 0x7c, 0x7e);
  add(i64, [i64, i64], 0x83, 0x8a);
  add(f32, [f32], 0x8b, 0x8c);
  add(f32, [f32], 0x8d, 0x91, true);
  add(f32, [f32, f32], 0x92, 0x97, true);
  add(f32, [f32, f32], 0x98);
  add(f64, [f64], 0x99, 0x9a);
  add(f64, [f64], 0x9b, 0x9f, true);
  add(f64, [f64, f64], 0xa0, 0xa5, true);
  add(f64, [f64, f64], 0xa6);
  add(i32, [i64], 0xa7);
  add(i64, [i32], 0xac, 0xad);
  add(f32, [i32], 0xb2, 0xb3);
  add(f32, [i64], 0xb4, 0xb5);
  add(f32, [f64], 0xb6, 0xb6, true);
  add(f64, [i32], 0xb7, 0xb8);
  add(f64, [i64], 0xb9, 0xba);
  add(f64, [f32], 0xbb, 0xbb, true);
  add(i32, [f32], 0xbc);
  add(i64, [f64], 0xbd);
  add(f32, [i32], 0xbe);
  add(f64, [i64], 0xbf);
  add(i32, [i32], 0xc0, 0xc1);
  add(i64, [i64], 0xc2, 0xc4);
  add(i32, [funcref], 0xd1);
  add(i32, [externref], 0xd1);
  addPrefixed(i32, [f32], 0xfc, 0, 1);
  addPrefixed(i32, [f64], 0xfc, 2, 3);
  addPrefixed(i64, [f32], 0xfc, 4, 5);
  addPrefixed(i64, [f64], 0xfc, 6, 7);
  addPrefixed(v128, [v128, v128], 0xfd, 0x0e, 0x23, 0x4e, 0x4f, 0x50, 0x51, 0x65, 0x6e, 0x8e, 0xae, 0xb5, 0xce, 0xd5);
  addPrefixed(v128, [v128], 0xfd, 0x4d, 0x60, 0x62, 0xa0, 0xc1);
  addPrefixed(v128, [v128, v128, v128], 0xfd, 0x52);
  addPrefixed(v128, [i32], 0xfd, 0x0f, 0x10, 0x11);
  addPrefixed(v128, [i64], 0xfd, 0x12);
  addPrefixed(v128, [f32], 0xfd, 0x13);
  addPrefixed(v128, [f64], 0xfd, 0x14);
  addPrefixed(v128, [v128, i32], 0xfd, 0x6b, 0xab, 0xcb);
  addPrefixed(i32, [v128], 0xfd, 0x53, 0x63, 0x64, 0xa3);
  for (const lane of [0, 1]) {
    map.get(i32)!.push({ bytes: [0xfd, 0x1b, lane + 2], operands: [v128], mayMakeNaN: false });
    map.get(i64)!.push({ bytes: [0xfd, 0x1d, lane], operands: [v128], mayMakeNaN: false });
    map.get(v128)!.push({ bytes: [0xfd, 0x1c, lane + 1], operands: [v128, i32], mayMakeNaN: false });
    map.get(v128)!.push({ bytes: [0xfd, 0x1e, lane], operands: [v128, i64], mayMakeNaN: false });
  }
  return map;
}

/** Instructions by the type of their result, which random programs choose from. */
export const operatorsOf = operators();
/** Division and remainder, which trap now and then. */
export const trappingOperators: readonly number[] = [0x6d, 0x6e, 0x6f, 0x70];
export const loads: ReadonlyMap<number, readonly (readonly number[])[]> = new Map([
  [i32, [[0x28], [0x2c], [0x2d], [0x2e], [0x2f]]],
  [i64, [[0x29], [0x30], [0x31], [0x32], [0x33], [0x34], [0x35]]],
  [f32, [[0x2a]]],
  [f64, [[0x2b]]],
  [v128, [[0xfd, 0], [0xfd, 1], [0xfd, 7], [0xfd, 0x0a], [0xfd, 0x5c], [0xfd, 0x5d]]],
]); // prettier-ignore
export const stores: ReadonlyMap<number, readonly (readonly number[])[]> = new Map([
  [i32, [[0x36], [0x3a], [0x3b]]],
  [i64, [[0x37], [0x3c], [0x3d], [0x3e]]],
  [f32, [[0x38]]],
  [f64, [[0x39]]],
  [v128, [[0xfd, 0x0b]]],
]); // prettier-ignore
