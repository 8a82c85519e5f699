import { ByteWriter } from '../../src/wasm/byte-writer.ts';
import { BodyDecoder } from '../../src/wasm/function-body.ts';
import { SectionId, decodeModule } from '../../src/wasm/module.ts';
import { PREFIX_SIMD } from '../../src/wasm/opcode.ts';
import { ValueType } from '../../src/wasm/value-type.ts';

const S = PREFIX_SIMD;
const S32 = 's32';
const S64 = 's64';
const V32 = 'v32';
const V64 = 'v64';
type Shape = typeof S32 | typeof S64 | typeof V32 | typeof V64;

/** Arithmetic, by the numbers of the specification's index of instructions. */
const shapes = new Map<number, Shape>();
const add = (shape: Shape, ...ops: readonly number[]): void => ops.forEach((op) => shapes.set(op, shape));
/* ceil floor trunc nearest sqrt add sub mul div min max, demote and promote */
add(S32, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0xb6);
add(S64, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xbb);
for (const n of [0x67, 0x68, 0x69, 0x6a, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0x5e]) add(V32, S + n);
for (const n of [0x74, 0x75, 0x7a, 0x94, 0xef, 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0x5f]) add(V64, S + n);

const nan32 = [0, 0, 0xc0, 0x7f];
const nan64 = [0, 0, 0, 0, 0, 0, 0xf8, 0x7f];
const and = [0xfd, 0x4e];
const or = [0xfd, 0x50];

/**
 * The same program with every result of arithmetic made canonical on the spot: what canonical NaNs mean, without thought for
 * what it costs.
 *
 *   scalars   if (x ≠ x) NaN else x
 *   vectors   ((x ≠ x) and NaN) or ((x = x) and x)
 */
export function canonicalReference(wasm: Uint8Array): Uint8Array<ArrayBuffer> {
  const module = decodeModule(wasm);
  const body = new BodyDecoder(module);
  const code = new ByteWriter(wasm.length * 2);
  const first = module.importedFunctionCount;
  code.u32(module.functionTypes.length - first);
  for (let f = first; f < module.functionTypes.length; f++) {
    body.decode(f);
    const out = new ByteWriter(1024);
    const { localCount, localTypes, type } = body;
    out.u32(localCount - type.params.length + 3);
    for (let k = type.params.length; k < localCount; k++) out.u32(1).u8(localTypes[k]);
    for (const scratch of [ValueType.f32, ValueType.f64, ValueType.v128]) out.u32(1).u8(scratch);
    const [, end] = module.bodies.subarray(2 * (f - first), 2 * (f - first) + 2);
    let copied = body.start[0];
    for (let i = 0; i < body.count; i++) {
      const shape = shapes.get(body.op[i]);
      if (shape === undefined) continue;
      out.raw(wasm, copied, body.end[i]);
      copied = body.end[i];
      emitReference(out, shape, localCount);
    }
    out.raw(wasm, copied, end);
    code.u32(out.length).raw(out.view());
  }
  const out = new ByteWriter(wasm.length * 2).raw(wasm, 0, 8);
  for (const { id, start, end } of module.sections) {
    if (id === SectionId.code) out.u8(id).u32(code.length).raw(code.view());
    else out.u8(id).u32(end - start).raw(wasm, start, end); // prettier-ignore
  }
  return out.toBytes();
}

function emitReference(out: ByteWriter, shape: Shape, localCount: number): void {
  const get = (local: number): ByteWriter => out.u8(0x20).u32(local);
  const bytes = (values: readonly number[]): ByteWriter => out.raw(Uint8Array.from(values));
  if (shape === S32 || shape === S64) {
    const wide = shape === S64;
    const local = localCount + (wide ? 1 : 0);
    out.u8(0x21).u32(local);
    get(local);
    get(local).u8(wide ? 0x62 : 0x5c);
    out.u8(0x04).u8(wide ? ValueType.f64 : ValueType.f32);
    bytes(wide ? [0x44, ...nan64] : [0x43, ...nan32]).u8(0x05);
    get(local).u8(0x0b);
    return;
  }
  const wide = shape === V64;
  const local = localCount + 2;
  out.u8(0x21).u32(local);
  get(local);
  get(local);
  bytes([0xfd, wide ? 0x48 : 0x42, 0xfd, 0x0c, ...(wide ? [...nan64, ...nan64] : Array(4).fill(nan32).flat())]);
  bytes(and);
  get(local);
  get(local);
  bytes([0xfd, wide ? 0x47 : 0x41]);
  get(local);
  bytes(and);
  bytes(or);
}
