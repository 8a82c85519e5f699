import { ByteReader } from '../wasm/byte-reader.ts';
import type { Module } from '../wasm/module.ts';
import { Op, PREFIX_SIMD } from '../wasm/opcode.ts';
import { ValueType } from '../wasm/value-type.ts';
import { numberText } from './value-text.ts';

/** Values that a module gives its globals, for those that never change. */
export class ConstantValues {
  readonly #module: Module;
  readonly #functionText: (index: number) => string;

  constructor(module: Module, functionText: (index: number) => string) {
    this.#module = module;
    this.#functionText = functionText;
  }

  /** As text; `unknown` where it is the host that gives it. */
  ofGlobal(index: number): string {
    const { initial } = this.#module.globals[index];
    if (initial === undefined) return 'unknown';
    const stack: (string | bigint)[] = [];
    const { bytes } = this.#module;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const reader = new ByteReader(bytes, initial.start, initial.end);
    // The opcodes of addition, subtraction and multiplication follow each other.
    const combine = (bits: number, operation: number): void => {
      const b = stack.pop();
      const a = stack.pop();
      if (typeof a !== 'bigint' || typeof b !== 'bigint') stack.push('unknown');
      else stack.push(BigInt.asIntN(bits, operation === 0 ? a + b : operation === 1 ? a - b : a * b));
    };
    while (!reader.atEnd) {
      const op = reader.u8();
      switch (op) {
        case Op.i32Const:
        case Op.i64Const:
          stack.push(signedLeb(reader));
          break;
        case Op.f32Const:
          stack.push(numberText(ValueType.f32, view, reader.position));
          reader.skip(4);
          break;
        case Op.f64Const:
          stack.push(numberText(ValueType.f64, view, reader.position));
          reader.skip(8);
          break;
        case Op.globalGet: {
          const value = this.ofGlobal(reader.u32());
          stack.push(/^-?\d+$/.test(value) ? BigInt(value) : value);
          break;
        }
        case Op.refNull:
          reader.skipLeb();
          stack.push('null');
          break;
        case Op.refFunc:
          stack.push(this.#functionText(reader.u32()));
          break;
        case Op.i32Add:
        case Op.i32Sub:
        case Op.i32Mul:
          combine(32, op - Op.i32Add);
          break;
        case Op.i64Add:
        case Op.i64Add + 1:
        case Op.i64Add + 2:
          combine(64, op - Op.i64Add);
          break;
        case 0xfd:
          if (reader.u32() + PREFIX_SIMD !== Op.v128Const) return 'unknown';
          stack.push(numberText(ValueType.v128, view, reader.position));
          reader.skip(16);
          break;
        default:
          return 'unknown';
      }
    }
    return String(stack.pop() ?? 'unknown');
  }
}

function signedLeb(reader: ByteReader): bigint {
  let value = 0n;
  let shift = 0n;
  for (;;) {
    const byte = reader.u8();
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte < 0x80) return BigInt.asIntN(Number(shift), value);
  }
}
