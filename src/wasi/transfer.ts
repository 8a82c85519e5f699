/**
 * Scatter and gather lists of the guest. Small transfers go through one buffer, so that many pieces cost one system
 * call and only the pages that were really filled count as written; large pieces are handed to the system as they are.
 */
import type { GuestMemory } from '../memory/guest-memory.ts';
import { GuestAddressError } from '../memory/guest-memory.ts';
import { Size } from './abi.ts';
import { BIAS_BYTES } from '../memory/layout.ts';
import { Errno, refuse, systemCode } from './errno.ts';

const BUFFER_BYTES = 65536;
const buffer = new Uint8Array(BUFFER_BYTES);

/** Pieces that one call may have, as IOV_MAX of Linux. */
const PIECE_COUNT_MAX = 1024;

/** Moves bytes between a file or stream and `view`; fewer than asked for means that no more can be moved now. */
export interface Mover {
  move(view: Uint8Array): number | 'interrupted';
}

/** Below this many bytes a loop is faster than making a view to copy from. */
const SHORT_BYTES = 48;

/** A u32 of the guest, unaligned; `at` is an index of the machine's memory. */
function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

/** Checks the list and each of its pieces, and adds up their lengths. `bytes` are those of the memory now. */
function totalBytes(memory: GuestMemory, bytes: Uint8Array, list: number, count: number): number {
  if (count > PIECE_COUNT_MAX) refuse(Errno.inval);
  memory.viewForReading(list, count * Size.iovec);
  const guestBytes = bytes.length - BIAS_BYTES;
  let total = 0;
  for (let i = 0, at = BIAS_BYTES + list; i < count; i++, at += Size.iovec) {
    const address = word(bytes, at);
    const lengthBytes = word(bytes, at + 4);
    if (address + lengthBytes > guestBytes) throw new GuestAddressError(address, lengthBytes, guestBytes);
    total += lengthBytes;
  }
  if (total > 0x7fff_ffff) refuse(Errno.inval);
  return total;
}

/** Writes the pieces of `list`; returns the bytes written. */
export function gather(memory: GuestMemory, list: number, count: number, mover: Mover): number | 'interrupted' {
  if (count === 1) {
    return mover.move(memory.viewForReading(memory.getUint32(list), memory.getUint32(list + 4)));
  }
  const { bytes } = memory;
  const total = totalBytes(memory, bytes, list, count);
  if (total > BUFFER_BYTES) return moveEach(memory, list, count, mover, false);
  let filled = 0;
  for (let i = 0, at = BIAS_BYTES + list; i < count; i++, at += Size.iovec) {
    const from = BIAS_BYTES + word(bytes, at);
    const lengthBytes = word(bytes, at + 4);
    if (lengthBytes > SHORT_BYTES) buffer.set(bytes.subarray(from, from + lengthBytes), filled);
    else for (let k = 0; k < lengthBytes; k++) buffer[filled + k] = bytes[from + k]!;
    filled += lengthBytes;
  }
  return mover.move(buffer.subarray(0, filled));
}

/** Fills the pieces of `list`; returns the bytes read. A bad address in it takes nothing from the source. */
export function scatter(memory: GuestMemory, list: number, count: number, mover: Mover): number | 'interrupted' {
  const total = totalBytes(memory, memory.bytes, list, count);
  if (total > BUFFER_BYTES) return moveEach(memory, list, count, mover, true);
  const moved = mover.move(buffer.subarray(0, total));
  if (moved === 'interrupted') return moved;
  let given = 0;
  for (let i = 0; given < moved; i++) {
    const lengthBytes = Math.min(memory.getUint32(list + i * Size.iovec + 4), moved - given);
    memory.write(memory.getUint32(list + i * Size.iovec), buffer.subarray(given, given + lengthBytes));
    given += lengthBytes;
  }
  return moved;
}

/** Moves large pieces one by one. What was moved counts, even when a later piece fails or would have to wait. */
function moveEach(
  memory: GuestMemory,
  list: number,
  count: number,
  mover: Mover,
  fills: boolean,
): number | 'interrupted' {
  let done = 0;
  for (let i = 0; i < count; i++) {
    const address = memory.getUint32(list + i * Size.iovec);
    const lengthBytes = memory.getUint32(list + i * Size.iovec + 4);
    if (lengthBytes === 0) continue;
    const view = fills ? memory.viewForWriting(address, lengthBytes) : memory.viewForReading(address, lengthBytes);
    let moved: number | 'interrupted';
    try {
      moved = mover.move(view);
    } catch (error) {
      if (done > 0 && systemCode(error) !== undefined) return done;
      throw error;
    }
    if (moved === 'interrupted') return done > 0 ? done : moved;
    done += moved;
    if (moved < lengthBytes) break;
  }
  return done;
}
