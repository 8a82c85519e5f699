/** Value types by their byte in the binary format. */
export const ValueType = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
  funcref: 0x70,
  externref: 0x6f,
  exnref: 0x69,
} as const;

const names: Readonly<Record<number, string>> = {
  0x7f: 'i32',
  0x7e: 'i64',
  0x7d: 'f32',
  0x7c: 'f64',
  0x7b: 'v128',
  0x70: 'funcref',
  0x6f: 'externref',
  0x69: 'exnref',
};

/** Types that are refused, by the name that people know. */
const refusedNames: Readonly<Record<number, string>> = {
  0x63: 'a reference to one type, (ref null …),',
  0x64: 'a reference that cannot be null, (ref …),',
  0x6a: 'arrayref',
  0x6b: 'structref',
  0x6c: 'i31ref',
  0x6d: 'eqref',
  0x6e: 'anyref',
  0x71: 'nullref',
  0x72: 'nullexternref',
  0x73: 'nullfuncref',
  0x74: 'nullexnref',
};

export function valueTypeName(type: number): string {
  return names[type] ?? refusedNames[type] ?? `type 0x${type.toString(16)}`;
}

export function isKnownValueType(type: number): boolean {
  return names[type] !== undefined;
}

export function isReferenceType(type: number): boolean {
  return type === ValueType.funcref || type === ValueType.externref || type === ValueType.exnref;
}

/** Bytes a value takes in memory; references have no bytes and give 0. */
export function valueTypeBytes(type: number): number {
  switch (type) {
    case ValueType.i32:
    case ValueType.f32:
      return 4;
    case ValueType.i64:
    case ValueType.f64:
      return 8;
    case ValueType.v128:
      return 16;
    default:
      return 0;
  }
}

/** Parameter and result types, in order. */
export interface FunctionType {
  readonly params: Uint8Array;
  readonly results: Uint8Array;
}

export function sameTypes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
