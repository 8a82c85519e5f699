/**
 * Scatter and gather lists of the guest. Small transfers go through one buffer, so that many pieces cost one system
 * call and only the pages that were really filled count as written; large pieces are handed to the system as they are, or
 * in parts where the guest has few frames, so that only a part must be in memory at a time.
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
/** Bytes that one call may move. */
const LENGTH_MAX = 0x7fff_ffff;

/** Moves bytes between a file or stream and `view`; fewer than asked for means that no more can be moved now. */
export interface Mover {
  move(view: Uint8Array): number | 'interrupted';
  /** Whether it may wait for more to come: what is there is given out then rather than waited upon. */
  readonly mayWait: boolean;
  /** Whether it knows, when the call that a capture interrupted is issued again, what of it was moved before. */
  readonly goesOn: boolean;
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
  if (total > LENGTH_MAX) refuse(Errno.inval);
  return total;
}

/** Writes the pieces of `list`; returns the bytes written. */
export function gather(memory: GuestMemory, list: number, count: number, mover: Mover): number | 'interrupted' {
  if (count === 1) {
    const address = memory.getUint32(list);
    const lengthBytes = memory.getUint32(list + 4);
    if (lengthBytes <= memory.pieceBytes) return mover.move(memory.viewForReading(address, lengthBytes));
    memory.checkRange(address, lengthBytes);
    return moveEach(memory, list, count, mover, false);
  }
  const { bytes } = memory;
  const total = totalBytes(memory, bytes, list, count);
  if (total > BUFFER_BYTES) return moveEach(memory, list, count, mover, false);
  if (memory.isPaged) return mover.move(gatherPaged(memory, list, count));
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
  if (count === 1) {
    const address = memory.getUint32(list);
    const lengthBytes = memory.getUint32(list + 4);
    const view = memory.viewToFill(address, lengthBytes);
    if (view !== undefined && lengthBytes <= LENGTH_MAX) return fillOne(memory, address, view, mover);
  }
  const total = totalBytes(memory, memory.bytes, list, count);
  if (total > BUFFER_BYTES) return moveEach(memory, list, count, mover, true);
  const moved = mover.move(buffer.subarray(0, total));
  if (moved === 'interrupted') return moved;
  let given = 0;
  for (let i = 0; given < moved; i++) {
    const lengthBytes = Math.min(memory.getUint32(list + i * Size.iovec + 4), moved - given);
    memory.write(memory.getUint32(list + i * Size.iovec), buffer.subarray(given, given + lengthBytes));
    given += lengthBytes;
    memory.releaseHolds();
  }
  return moved;
}

/** Fills one piece where it lies. */
function fillOne(memory: GuestMemory, address: number, view: Uint8Array, mover: Mover): number | 'interrupted' {
  // What a read that fails has filled is not known.
  let filledBytes = view.length;
  try {
    const moved = mover.move(view);
    filledBytes = moved === 'interrupted' ? 0 : moved;
    return moved;
  } finally {
    memory.noteFilled(address, filledBytes);
  }
}

/** Copies pieces that may lie in as many pages as there are pieces, and holds those of one at a time. */
function gatherPaged(memory: GuestMemory, list: number, count: number): Uint8Array {
  let filled = 0;
  for (let i = 0; i < count; i++) {
    const address = memory.getUint32(list + i * Size.iovec);
    const lengthBytes = memory.getUint32(list + i * Size.iovec + 4);
    buffer.set(memory.viewForReading(address, lengthBytes), filled);
    filled += lengthBytes;
    memory.releaseHolds();
  }
  return buffer.subarray(0, filled);
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
    for (let offset = 0; offset < lengthBytes; offset += memory.pieceBytes) {
      const partBytes = Math.min(lengthBytes - offset, memory.pieceBytes);
      memory.releaseHolds();
      const at = address + offset;
      const view = fills ? memory.viewForWriting(at, partBytes) : memory.viewForReading(at, partBytes);
      let moved: number | 'interrupted';
      try {
        moved = mover.move(view);
      } catch (error) {
        if (done > 0 && systemCode(error) !== undefined) return done;
        throw error;
      }
      if (moved === 'interrupted') return done > 0 && !mover.goesOn ? done : moved;
      done += moved;
      if (moved < partBytes) return done;
      // The next part of one buffer must not be waited for: the guest has what one read would have given it.
      if (fills && mover.mayWait && partBytes < lengthBytes) return done;
    }
  }
  return done;
}
