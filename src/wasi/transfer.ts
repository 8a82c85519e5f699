/**
 * Scatter and gather lists of the guest. Small transfers go through one buffer, so that many pieces cost one system
 * call and only the pages that were really filled count as written; large pieces are handed to the system as they are.
 */
import type { GuestMemory } from '../memory/guest-memory.ts';
import { Size } from './abi.ts';
import { Errno, refuse } from './errno.ts';

const BUFFER_BYTES = 65536;
const buffer = new Uint8Array(BUFFER_BYTES);

/** Pieces that one call may have, as IOV_MAX of Linux. */
const PIECE_COUNT_MAX = 1024;

/** Moves bytes between a file or stream and `view`; fewer than asked for means that no more can be moved now. */
export interface Mover {
  move(view: Uint8Array): number | 'interrupted';
}

function totalBytes(memory: GuestMemory, list: number, count: number): number {
  if (count > PIECE_COUNT_MAX) refuse(Errno.inval);
  let total = 0;
  for (let i = 0; i < count; i++) total += memory.getUint32(list + i * Size.iovec + 4);
  if (total > 0x7fff_ffff) refuse(Errno.inval);
  return total;
}

/** Writes the pieces of `list`; returns the bytes written. */
export function gather(memory: GuestMemory, list: number, count: number, mover: Mover): number | 'interrupted' {
  if (count === 1) {
    return mover.move(memory.viewForReading(memory.getUint32(list), memory.getUint32(list + 4)));
  }
  const total = totalBytes(memory, list, count);
  if (total <= BUFFER_BYTES) {
    let filled = 0;
    for (let i = 0; i < count; i++) {
      const address = memory.getUint32(list + i * Size.iovec);
      const lengthBytes = memory.getUint32(list + i * Size.iovec + 4);
      buffer.set(memory.viewForReading(address, lengthBytes), filled);
      filled += lengthBytes;
    }
    return mover.move(buffer.subarray(0, filled));
  }
  let done = 0;
  for (let i = 0; i < count; i++) {
    const address = memory.getUint32(list + i * Size.iovec);
    const lengthBytes = memory.getUint32(list + i * Size.iovec + 4);
    if (lengthBytes === 0) continue;
    const moved = mover.move(memory.viewForReading(address, lengthBytes));
    if (moved === 'interrupted') return done > 0 ? done : moved;
    done += moved;
    if (moved < lengthBytes) break;
  }
  return done;
}

/** Fills the pieces of `list`; returns the bytes read. */
export function scatter(memory: GuestMemory, list: number, count: number, mover: Mover): number | 'interrupted' {
  const total = totalBytes(memory, list, count);
  if (total <= BUFFER_BYTES) {
    // The guest's buffers are checked before any byte is taken from the source: a bad address must lose no input.
    for (let i = 0; i < count; i++) {
      memory.viewForReading(memory.getUint32(list + i * Size.iovec), memory.getUint32(list + i * Size.iovec + 4));
    }
    const moved = mover.move(buffer.subarray(0, total));
    if (moved === 'interrupted') return moved;
    let given = 0;
    for (let i = 0; given < moved; i++) {
      const address = memory.getUint32(list + i * Size.iovec);
      const lengthBytes = Math.min(memory.getUint32(list + i * Size.iovec + 4), moved - given);
      memory.write(address, buffer.subarray(given, given + lengthBytes));
      given += lengthBytes;
    }
    return moved;
  }
  let done = 0;
  for (let i = 0; i < count; i++) {
    const address = memory.getUint32(list + i * Size.iovec);
    const lengthBytes = memory.getUint32(list + i * Size.iovec + 4);
    if (lengthBytes === 0) continue;
    const moved = mover.move(memory.viewForWriting(address, lengthBytes));
    if (moved === 'interrupted') return done > 0 ? done : moved;
    done += moved;
    if (moved < lengthBytes) break;
  }
  return done;
}
