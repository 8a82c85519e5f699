import wabt from 'wabt';

const features = {
  exceptions: true,
  mutable_globals: true,
  sat_float_to_int: true,
  sign_extension: true,
  simd: true,
  threads: true,
  multi_value: true,
  tail_call: true,
  bulk_memory: true,
  reference_types: true,
  extended_const: true,
  relaxed_simd: true,
  memory64: true,
};

const assembler = await wabt();

/** Assembles a module written as text. */
export function assemble(text: string): Uint8Array<ArrayBuffer> {
  const parsed = assembler.parseWat('test.wat', text, features);
  try {
    return new Uint8Array(parsed.toBinary({ write_debug_names: true }).buffer);
  } finally {
    parsed.destroy();
  }
}
