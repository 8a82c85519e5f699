import { BounceBuffers } from './bounce-buffers.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, PAGE_SHIFT, PageState, controlRegion } from './layout.ts';

/** A guest named memory that it does not have. Host functions turn it into their own error (WASI: EFAULT). */
export class GuestAddressError extends Error {
  constructor(
    readonly address: number,
    readonly lengthBytes: number,
    readonly memoryBytes: number,
  ) {
    super(`guest address range ${address}+${lengthBytes} lies outside its memory of ${memoryBytes} bytes`);
  }
}

/** Makes the pages of a guest whose memory is paged accessible to host functions. */
export interface HostAccess {
  hold(address: number, lengthBytes: number, write: boolean): void;
  releaseHolds(): void;
}

/** Pages that a transfer in pieces holds at a time: few enough for the smallest budget. */
const PIECE_PAGES_MIN = 4;
/** … and at most so large a part of the frames. */
const PIECE_SHARE = 4;

/**
 * The guest's memory as host functions see it: guest addresses in, bounds checked, pages marked dirty on writes.
 *
 * Addresses are unsigned 32-bit numbers (pass `address >>> 0`). All multi-byte values are little-endian.
 * The memory is shared, so views must not be handed to APIs that refuse shared buffers (`TextDecoder`): `read` copies.
 */
export class GuestMemory {
  readonly memory: WebAssembly.Memory;
  #bytes: Uint8Array;
  #view: DataView;
  #pager: HostAccess | undefined;
  /** Where the kernel brings pages when they are touched: what system calls have instead of views. */
  #bounce: BounceBuffers | undefined;
  /** Bytes that a host function should move at a time: all at once, unless pages must be made resident for it. */
  pieceBytes = Infinity;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
  }

  /** Memory of a machine whose guest does not run. */
  static withoutGuest(): GuestMemory {
    const limits = { initial: BIAS_WASM_PAGES, maximum: BIAS_WASM_PAGES, shared: true };
    return new GuestMemory(new WebAssembly.Memory(limits));
  }

  /**
   * From now on pages may be absent, and are made resident when a host function names them; views of them are valid
   * until `releaseHolds`. What is written is noted by the pager.
   */
  attachPager(pager: HostAccess, frameCount: number): void {
    this.#pager = pager;
    this.#setPieces(frameCount);
  }

  /** From now on pages may be absent, and are brought by another thread when they are touched. No view is given out any more. */
  attachRemotePager(frameCount: number): void {
    this.#bounce = new BounceBuffers();
    this.#setPieces(frameCount);
  }

  #setPieces(frameCount: number): void {
    this.pieceBytes = Math.max(PIECE_PAGES_MIN, Math.floor(frameCount / PIECE_SHARE)) * PAGE_BYTES;
  }

  get isPaged(): boolean {
    return this.#pager !== undefined || this.#bounce !== undefined;
  }

  /** No view that was given out is used any more. Called when a host function returns, and between pieces of a transfer. */
  releaseHolds(): void {
    if (this.#bounce !== undefined) return this.#bounce.putBack(this.#bytes);
    this.#pager?.releaseHolds();
  }

  /** @throws GuestAddressError when the range lies outside of the memory. Makes nothing resident. */
  checkRange(address: number, lengthBytes: number): void {
    if (address + lengthBytes <= this.#bytes.byteLength - BIAS_BYTES) return;
    this.#renew();
    if (address + lengthBytes <= this.#bytes.byteLength - BIAS_BYTES) return;
    throw new GuestAddressError(address, lengthBytes, this.lengthBytes);
  }

  /** All of the machine's memory, control region included. Fetched anew after growth; do not keep it. */
  get bytes(): Uint8Array {
    if (this.#bytes.byteLength !== this.memory.buffer.byteLength) this.#renew();
    return this.#bytes;
  }

  /** The same, as far as these bytes of it at least: no growth behind them is looked for, which asks the engine and takes longer than many a use. */
  bytesUpTo(endBytes: number): Uint8Array {
    if (endBytes > this.#bytes.byteLength) this.#renew();
    return this.#bytes;
  }

  /** Bytes of guest memory now. */
  get lengthBytes(): number {
    return this.bytes.byteLength - BIAS_BYTES;
  }

  get pageCount(): number {
    return this.lengthBytes >>> PAGE_SHIFT;
  }

  getUint8(address: number): number {
    this.#check(address, 1);
    return this.#view.getUint8(BIAS_BYTES + address);
  }
  getUint16(address: number): number {
    this.#check(address, 2);
    return this.#view.getUint16(BIAS_BYTES + address, true);
  }
  getUint32(address: number): number {
    this.#check(address, 4);
    return this.#view.getUint32(BIAS_BYTES + address, true);
  }
  getBigUint64(address: number): bigint {
    this.#check(address, 8);
    return this.#view.getBigUint64(BIAS_BYTES + address, true);
  }

  setUint8(address: number, value: number): void {
    this.#checkWrite(address, 1);
    this.#view.setUint8(BIAS_BYTES + address, value);
  }
  setUint16(address: number, value: number): void {
    this.#checkWrite(address, 2);
    this.#view.setUint16(BIAS_BYTES + address, value, true);
  }
  setUint32(address: number, value: number): void {
    this.#checkWrite(address, 4);
    this.#view.setUint32(BIAS_BYTES + address, value, true);
  }
  setBigUint64(address: number, value: bigint): void {
    this.#checkWrite(address, 8);
    this.#view.setBigUint64(BIAS_BYTES + address, value, true);
  }

  /** A copy of guest bytes in memory of its own, not shared. */
  read(address: number, lengthBytes: number): Uint8Array {
    this.#check(address, lengthBytes);
    const start = BIAS_BYTES + address;
    return new Uint8Array(this.#bytes.subarray(start, start + lengthBytes));
  }

  write(address: number, bytes: Uint8Array): void {
    this.#checkWrite(address, bytes.length);
    this.#bytes.set(bytes, BIAS_BYTES + address);
  }

  /** A view of guest bytes for a system call that reads them; valid until control goes back to the guest. A copy, where pages come by faults. */
  viewForReading(address: number, lengthBytes: number): Uint8Array {
    this.#check(address, lengthBytes);
    const start = BIAS_BYTES + address;
    if (this.#bounce !== undefined) return this.#bounce.forReading(this.#bytes, start, lengthBytes);
    return this.#bytes.subarray(start, start + lengthBytes);
  }

  /** A view of guest bytes for a system call that fills them: its pages count as written from now on. */
  viewForWriting(address: number, lengthBytes: number): Uint8Array {
    this.#checkWrite(address, lengthBytes);
    const start = BIAS_BYTES + address;
    if (this.#bounce !== undefined) return this.#bounce.forWriting(this.#bytes, start, lengthBytes);
    return this.#bytes.subarray(start, start + lengthBytes);
  }

  /**
   * A view of guest bytes for a system call that may fill less than all of it: `noteFilled` says how much, and only that counts as
   * written. Undefined where pages must be made resident, or opened, before they are written.
   */
  viewToFill(address: number, lengthBytes: number): Uint8Array | undefined {
    if (this.isPaged) return undefined;
    this.checkRange(address, lengthBytes);
    const start = BIAS_BYTES + address;
    return this.#bytes.subarray(start, start + lengthBytes);
  }

  noteFilled(address: number, lengthBytes: number): void {
    this.#checkWrite(address, lengthBytes);
  }

  #renew(): void {
    this.#bytes = new Uint8Array(this.memory.buffer);
    this.#view = new DataView(this.memory.buffer);
  }

  #check(address: number, lengthBytes: number): void {
    this.checkRange(address, lengthBytes);
    if (this.#bounce !== undefined) this.#bounce.putBack(this.#bytes);
    else if (this.#pager !== undefined) this.#pager.hold(address, lengthBytes, false);
  }

  #checkWrite(address: number, lengthBytes: number): void {
    this.checkRange(address, lengthBytes);
    if (this.#bounce !== undefined) return this.#bounce.putBack(this.#bytes);
    if (this.#pager !== undefined) return this.#pager.hold(address, lengthBytes, true);
    if (lengthBytes === 0) return;
    const first = address >>> PAGE_SHIFT;
    const last = (address + lengthBytes - 1) >>> PAGE_SHIFT;
    // One at a time: to fill a few bytes by the engine's own function takes longer.
    for (let page = first; page <= last; page++) this.#bytes[controlRegion.pageStates + page] = PageState.dirty;
  }
}
