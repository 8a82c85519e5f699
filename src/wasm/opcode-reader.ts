import { UnsupportedModuleError } from '../error/errors.ts';
import type { ByteReader } from './byte-reader.ts';
import { Immediate, PREFIX_ATOMIC, PREFIX_MISC, PREFIX_SIMD, immediateOf } from './opcode.ts';

/**
 * Reads the opcode of an instruction, prefix included. One that the table does not know is refused here, before anything
 * is read behind it: where its immediates end is unknown, so all that follows would be a guess.
 */
export function readOpcode(reader: ByteReader): number {
  const at = reader.position;
  const byte = reader.u8();
  if (byte < 0xfb) {
    if (immediateOf[byte] === Immediate.unknown) refuse(byte, undefined, at);
    return byte;
  }
  const sub = reader.atEnd ? 0 : reader.u32();
  const [first, end] = prefixes[byte - 0xfc] ?? [0, 0];
  const op = first + sub;
  if (op >= end || immediateOf[op] === Immediate.unknown) refuse(byte, sub, at);
  return op;
}

/** Where the opcodes of the prefixes 0xfc, 0xfd and 0xfe begin and end. */
const prefixes = [
  [PREFIX_MISC, PREFIX_SIMD],
  [PREFIX_SIMD, PREFIX_ATOMIC],
  [PREFIX_ATOMIC, immediateOf.length],
] as const;

const garbageCollectionOpcodes = [0x14, 0x15, 0xd3, 0xd5, 0xd6, 0xfb];

function refuse(byte: number, sub: number | undefined, at: number): never {
  throw new UnsupportedModuleError(featureOf(byte, sub), 'code', at);
}

function featureOf(byte: number, sub: number | undefined): string {
  if (garbageCollectionOpcodes.includes(byte))
    return 'instructions of the garbage-collection or typed function reference proposal';
  const suffix = sub === undefined || byte === 0xff ? '' : ` 0x${sub.toString(16)}`;
  return `opcode 0x${byte.toString(16)}${suffix}, which it does not know,`;
}
