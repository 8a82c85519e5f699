import { Op, PREFIX_MISC, PREFIX_SIMD, immediateOf } from '../wasm/opcode.ts';

/**
 * What instructions do to the bits of NaNs (WebAssembly core specification, 4.3.3). Arithmetic may choose them, and processors
 * choose differently; everything else is exact, and either does not look at them or passes them on.
 */
export const Lanes = {
  none: 0,
  /** A value of f32, or a vector of them. */
  f32: 1,
  /** A value of f64, or a vector of them. */
  f64: 2,
  /** Bits, of whatever they are. */
  bits: 4,
} as const;

const TABLE_SIZE = immediateOf.length;

/** For arithmetic: the lanes of its result, whose NaNs have bits that the processor chooses. */
export const arithmeticOf = new Uint8Array(TABLE_SIZE);
/** For what never makes a NaN: the lanes of its result. */
export const numbersOf = new Uint8Array(TABLE_SIZE);
/** The lanes as which operands are looked at; `bits` wherever the bits of a NaN count. */
export const readsOf = new Uint8Array(TABLE_SIZE).fill(Lanes.bits);
/** 1 where lanes of the operands come out of the instruction as they went in, so that their bits count where those of the result do. */
export const passesOf = new Uint8Array(TABLE_SIZE);
/** 1 for instructions whose results are not the same everywhere, NaNs aside. */
export const isRelaxed = new Uint8Array(TABLE_SIZE);

const S = PREFIX_SIMD;
const { f32, f64, bits } = Lanes;

function arithmetic(lanes: number, ...ranges: readonly (readonly [number, number])[]): void {
  for (const [first, last] of ranges) {
    for (let op = first; op <= last; op++) {
      arithmeticOf[op] = lanes;
      readsOf[op] = lanes;
    }
  }
}

function reads(lanes: number, first: number, last: number = first): void {
  readsOf.fill(lanes, first, last + 1);
}

/** `alsoReads`: the lanes as which a comparison inside the instruction looks at what it passes. */
function passes(alsoReads: number, ...ops: readonly number[]): void {
  for (const op of ops) {
    passesOf[op] = 1;
    readsOf[op] = alsoReads;
  }
}

// Scalars: ceil to sqrt, add to max; between them lie abs, neg before, copysign behind.
arithmetic(f32, [0x8d, 0x97]);
arithmetic(f64, [0x9b, 0xa5]);
// Vectors: ceil to nearest, sqrt to max.
arithmetic(f32, [S + 0x67, S + 0x6a], [S + 0xe3, S + 0xe9]);
arithmetic(f64, [S + 0x74, S + 0x75], [S + 0x7a, S + 0x7a], [S + 0x94, S + 0x94], [S + 0xef, S + 0xf5]);
// Demotion and promotion read the other lanes.
for (const op of [0xb6, S + 0x5e]) {
  arithmetic(f32, [op, op]);
  readsOf[op] = f64;
}
for (const op of [0xbb, S + 0x5f]) {
  arithmetic(f64, [op, op]);
  readsOf[op] = f32;
}
// Comparisons.
reads(f32, 0x5b, 0x60);
reads(f64, 0x61, 0x66);
reads(f32, S + 0x41, S + 0x46);
reads(f64, S + 0x47, S + 0x4c);
// Conversions to integers trap at a NaN, or make it 0.
for (const op of [0xa8, 0xae, PREFIX_MISC, PREFIX_MISC + 4]) {
  reads(f32, op, op + 1);
  reads(f64, op + 2, op + 3);
}
reads(f32, S + 0xf8, S + 0xf9);
reads(f64, S + 0xfc, S + 0xfd);
// Conversions from integers.
for (const op of [0xb2, 0xb3, 0xb4, 0xb5, S + 0xfa, S + 0xfb]) numbersOf[op] = f32;
for (const op of [0xb7, 0xb8, 0xb9, 0xba, S + 0xfe, S + 0xff]) numbersOf[op] = f64;
// abs, neg and copysign change a NaN's sign alone; pmin and pmax give one operand as it is.
passes(f32, 0x8b, 0x8c, 0x98, S + 0xe0, S + 0xe1, S + 0xea, S + 0xeb);
passes(f64, 0x99, 0x9a, 0xa6, S + 0xec, S + 0xed, S + 0xf6, S + 0xf7);
// Splats; lanes taken out and put in.
passes(f32, S + 0x13, S + 0x1f, S + 0x20);
passes(f64, S + 0x14, S + 0x21, S + 0x22);
passes(Lanes.none, Op.select, Op.selectTyped);
reads(Lanes.none, Op.drop);

isRelaxed.fill(1, S + 0x100, S + 0x114);

/** How bits of `lanes` are looked at otherwise than as values of these lanes. */
export function seesBits(seen: number, lanes: number): boolean {
  return (seen & ~lanes & (f32 | f64 | bits)) !== 0;
}
