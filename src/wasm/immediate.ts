import type { ByteReader } from './byte-reader.ts';
import { Immediate } from './opcode.ts';

/** Passes over the immediates of an instruction, for scans that do not need them. */
export function skipImmediates(reader: ByteReader, kind: number): void {
  switch (kind) {
    case Immediate.none:
      return;
    case Immediate.index:
    case Immediate.block:
    case Immediate.leb:
    case Immediate.heapType:
      return reader.skipLeb();
    case Immediate.indexPair:
    case Immediate.memory:
      reader.skipLeb();
      return reader.skipLeb();
    case Immediate.memoryLane:
      reader.skipLeb();
      reader.skipLeb();
      return reader.skip(1);
    case Immediate.bytes4:
      return reader.skip(4);
    case Immediate.bytes8:
      return reader.skip(8);
    case Immediate.bytes16:
      return reader.skip(16);
    case Immediate.lane:
      return reader.skip(1);
    case Immediate.labelTable:
      for (let count = reader.u32(); count >= 0; count--) reader.skipLeb();
      return;
    case Immediate.selectTypes:
      for (let count = reader.u32(); count > 0; count--) reader.skip(1);
  }
}
