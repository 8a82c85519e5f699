import type { ByteWriter } from '../wasm/byte-writer.ts';
import { Op, PREFIX_SIMD } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';
import { Lanes } from './float-behaviour.ts';

const F32_EQ = 0x5b;
const F64_EQ = 0x61;
const F32X4_EQ = 0x41;
const F64X2_EQ = 0x47;
const V128_BITSELECT = 0x52;

const canonicalF32 = Uint8Array.of(0, 0, 0xc0, 0x7f);
const canonicalF64 = Uint8Array.of(0, 0, 0, 0, 0, 0, 0xf8, 0x7f);
const canonicalVector = new Uint8Array(16);

/** Replaces each NaN of the value on top of the stack by the canonical one. `local` is a scratch local of its type. */
export function emitCanonical(code: ByteWriter, type: number, lanes: number, local: number): void {
  const wide = lanes === Lanes.f64;
  code.u8(Op.localTee).u32(local);
  emitCanonicalConstant(code, type, wide);
  code.u8(Op.localGet).u32(local).u8(Op.localGet).u32(local);
  if (type === ValueType.v128) {
    code.pair(0xfd, wide ? F64X2_EQ : F32X4_EQ);
    code.pair(0xfd, V128_BITSELECT);
  } else {
    code.u8(wide ? F64_EQ : F32_EQ).u8(Op.select);
  }
}

function emitCanonicalConstant(code: ByteWriter, type: number, wide: boolean): void {
  const lane = wide ? canonicalF64 : canonicalF32;
  if (type !== ValueType.v128) {
    code.u8(wide ? Op.f64Const : Op.f32Const).raw(lane, 0, lane.length);
    return;
  }
  for (let at = 0; at < 16; at += lane.length) canonicalVector.set(lane, at);
  code.pair(0xfd, Op.v128Const - PREFIX_SIMD).raw(canonicalVector, 0, 16);
}
