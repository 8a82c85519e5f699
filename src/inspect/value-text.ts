/** Values of a program as text that loses nothing: all 64 bits, the sign of zero, the bits of a NaN. */
import { ValueType } from '../wasm/value-type.ts';

/** The number at `at`; references, which have no bytes of their own, are not for this. */
export function numberText(type: number, view: DataView, at: number): string {
  switch (type) {
    case ValueType.i32:
      return String(view.getInt32(at, true));
    case ValueType.i64:
      return String(view.getBigInt64(at, true));
    case ValueType.f32: {
      const value = view.getFloat32(at, true);
      return Number.isNaN(value) ? nanText(BigInt(view.getUint32(at, true)), 23n) : floatText(value, Math.fround);
    }
    case ValueType.f64: {
      const value = view.getFloat64(at, true);
      return Number.isNaN(value) ? nanText(view.getBigUint64(at, true), 52n) : floatText(value, (text) => text);
    }
    default:
      return vectorText(view, at);
  }
}

/** The shortest decimals that `round` makes the value again of: of an f32 fewer than of the f64 that it also is. */
function floatText(value: number, round: (value: number) => number): string {
  if (Object.is(value, -0)) return '-0';
  if (!Number.isFinite(value)) return value < 0 ? '-inf' : 'inf';
  for (let digits = 1; digits <= 17; digits++) {
    const shorter = Number(value.toPrecision(digits));
    if (round(shorter) === value) return String(shorter);
  }
  return String(value);
}

/** `nan` is the one that most operations give; any other has its payload, as in the text format. */
function nanText(bits: bigint, payloadBits: bigint): string {
  const payload = bits & ((1n << payloadBits) - 1n);
  const sign = bits >> (payloadBits === 23n ? 31n : 63n) === 0n ? '' : '-';
  return `${sign}nan${payload === 1n << (payloadBits - 1n) ? '' : `:0x${payload.toString(16)}`}`;
}

/** As four lanes of an i32, the lowest first. */
function vectorText(view: DataView, at: number): string {
  const lanes = [0, 4, 8, 12].map((lane) => hexText(view.getUint32(at + lane, true), 8));
  return `i32x4 ${lanes.join(' ')}`;
}

export function hexText(value: number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, '0')}`;
}
