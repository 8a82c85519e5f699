import type { DeviceFile } from '../device/device.ts';
import { BLOCK_BYTES, SEALED_BLOCK_BYTES } from '../format/seal-format.ts';
import { BlockCipher, contentsOf, Opened } from './block-cipher.ts';

/** Blocks that are written or read at a time: 288 KB. */
const RUN_BLOCKS = 64;
const UNKNOWN = 255;
const NONE = 254;

/** Blocks pass through it; no call leaves anything in it for the next one. */
let runOfThread: Uint8Array | undefined;

/** Where blocks lie in the file beneath: one place for each, or two that are used in turn. */
export type Places = 1 | 2;

/**
 * A file of a job directory whose blocks are sealed. It keeps what `DeviceFile` promises, and what the store assumes of a
 * medium (`device.ts`):
 *
 * - What is written and not synced may be lost or torn; a torn block reads as other bytes, which checksums tell, like a torn
 *   sector.
 * - What nobody writes keeps its contents. A sealed block is written as a whole, so a write to a part of it writes the rest anew. Where
 *   the rest may be durable and needed, as in journals, which grow by records, the file has two places for each block: the one that
 *   holds what was last synced is not touched until the other one is synced. The highest version that opens is the block.
 *   Where it may not (`places` 1), a block is written by those who own all of it: slots of the paging file, its record
 *   areas, which are used in turn, and files that are nothing before they are complete.
 *
 * Sealed blocks share no sector.
 */
export class SealedFile implements DeviceFile {
  readonly path: string;
  readonly tornIsNoise = true;
  /** Of the file beneath: whoever uses it must seal as this does. */
  readonly descriptor?: number;
  readonly #file: DeviceFile;
  readonly #cipher: BlockCipher;
  readonly #places: Places;
  readonly #run: Uint8Array;
  readonly #block: Uint8Array;
  /** With two places, by block: which place has the newest version, whether that was synced, and its number. */
  #newest = new Uint8Array(0);
  #synced = new Uint8Array(0);
  #versions = new Uint32Array(0);
  /** Whether what the file held when it was opened is durable. */
  #isOldSynced = false;
  /** The file is at least so long: nobody else makes it shorter. */
  #knownBytes = 0;

  constructor(file: DeviceFile, key: Uint8Array, role: string, places: Places) {
    this.path = file.path;
    if (file.descriptor !== undefined) this.descriptor = file.descriptor;
    this.#file = file;
    this.#cipher = new BlockCipher(key, role);
    this.#places = places;
    runOfThread ??= new Uint8Array(RUN_BLOCKS * SEALED_BLOCK_BYTES);
    this.#run = runOfThread;
    this.#block = runOfThread.subarray(0, SEALED_BLOCK_BYTES);
  }

  readInto(view: Uint8Array, positionBytes: number): number {
    let endBytes = positionBytes + view.length;
    if (endBytes > this.#knownBytes) endBytes = Math.min(endBytes, this.sizeBytes());
    let atBytes = positionBytes;
    while (atBytes < endBytes) {
      const first = Math.floor(atBytes / BLOCK_BYTES);
      const last = Math.ceil(endBytes / BLOCK_BYTES);
      const count = this.#places === 1 ? Math.min(RUN_BLOCKS, last - first) : 1;
      this.#readRun(first, count);
      for (let i = 0; i < count; i++) {
        const sealed = this.#run.subarray(i * SEALED_BLOCK_BYTES, (i + 1) * SEALED_BLOCK_BYTES);
        if (this.#places === 1) this.#cipher.open(sealed, first + i);
        const from = atBytes % BLOCK_BYTES;
        const lengthBytes = Math.min(BLOCK_BYTES - from, endBytes - atBytes);
        view.set(contentsOf(sealed).subarray(from, from + lengthBytes), atBytes - positionBytes);
        atBytes += lengthBytes;
      }
    }
    return Math.max(0, endBytes - positionBytes);
  }

  write(view: Uint8Array, positionBytes: number): void {
    const endBytes = positionBytes + view.length;
    // Bytes between the old end and the first new one read as zeros.
    if (positionBytes > this.#knownBytes && positionBytes > this.sizeBytes()) this.truncate(positionBytes);
    let atBytes = positionBytes;
    while (atBytes < endBytes) {
      const first = Math.floor(atBytes / BLOCK_BYTES);
      const isWhole = atBytes % BLOCK_BYTES === 0 && endBytes - atBytes >= BLOCK_BYTES;
      const whole = Math.floor((endBytes - atBytes) / BLOCK_BYTES);
      const count = isWhole && this.#places === 1 ? Math.min(RUN_BLOCKS, whole) : 1;
      if (isWhole) {
        for (let i = 0; i < count; i++, atBytes += BLOCK_BYTES) {
          const sealed = this.#run.subarray(i * SEALED_BLOCK_BYTES, (i + 1) * SEALED_BLOCK_BYTES);
          const start = atBytes - positionBytes;
          contentsOf(sealed).set(view.subarray(start, start + BLOCK_BYTES));
          if (this.#places === 1) this.#cipher.seal(sealed, first + i, BLOCK_BYTES, 0);
        }
        if (this.#places === 2) this.#sealInTurn(first, BLOCK_BYTES);
        else this.#file.write(this.#run.subarray(0, count * SEALED_BLOCK_BYTES), first * SEALED_BLOCK_BYTES);
        continue;
      }
      const from = atBytes % BLOCK_BYTES;
      const lengthBytes = Math.min(BLOCK_BYTES - from, endBytes - atBytes);
      const oldBytes = this.#openOrBegin(first);
      const start = atBytes - positionBytes;
      contentsOf(this.#block).set(view.subarray(start, start + lengthBytes), from);
      this.#sealBlock(first, Math.max(oldBytes, from + lengthBytes));
      atBytes += lengthBytes;
    }
    this.#knownBytes = Math.max(this.#knownBytes, endBytes);
  }

  sync(): void {
    this.#file.sync();
    this.#isOldSynced = true;
    this.#synced.fill(1);
  }

  sizeBytes(): number {
    const blockCount = this.#blockCount();
    this.#knownBytes = blockCount === 0 ? 0 : (blockCount - 1) * BLOCK_BYTES + this.#openBlock(blockCount - 1);
    return this.#knownBytes;
  }

  truncate(sizeBytes: number): void {
    const oldCount = this.#blockCount();
    const count = Math.ceil(sizeBytes / BLOCK_BYTES);
    const lastBytes = sizeBytes - (count - 1) * BLOCK_BYTES;
    // A block that was the last one is whole now.
    if (count > oldCount && oldCount > 0) this.#resizeBlock(oldCount - 1, BLOCK_BYTES);
    if (count !== oldCount) {
      this.#file.truncate(count * this.#places * SEALED_BLOCK_BYTES);
      this.#forgetFrom(Math.min(count, oldCount));
    }
    if (count > 0) this.#resizeBlock(count - 1, lastBytes);
    this.#knownBytes = sizeBytes;
  }

  close(): void {
    this.#file.close();
  }

  #blockCount(): number {
    return Math.ceil(this.#file.sizeBytes() / (this.#places * SEALED_BLOCK_BYTES));
  }

  /** Gives a block this length; its contents beyond the shorter of the two lengths are zeros. */
  #resizeBlock(block: number, lengthBytes: number): void {
    const oldBytes = this.#openOrBegin(block);
    if (oldBytes === lengthBytes) return;
    contentsOf(this.#block).fill(0, Math.min(oldBytes, lengthBytes));
    this.#sealBlock(block, lengthBytes);
  }

  /** Reads sealed blocks; what the file lacks of them is a hole. With two places, the newest version, opened. */
  #readRun(first: number, count: number): void {
    if (this.#places === 2) {
      this.#openBlock(first);
      return;
    }
    const run = this.#run.subarray(0, count * SEALED_BLOCK_BYTES);
    const readBytes = this.#file.readInto(run, first * SEALED_BLOCK_BYTES);
    run.fill(0, readBytes);
  }

  /** Opens a block into `#block`; returns the length of its contents. */
  #openBlock(block: number): number {
    if (this.#places === 1) {
      this.#readRun(block, 1);
      this.#cipher.open(this.#block, block);
      return this.#cipher.lengthBytes;
    }
    this.#findNewest(block);
    const place = this.#newest[block];
    if (place === NONE) {
      this.#block.fill(0);
      return BLOCK_BYTES;
    }
    this.#openPlace(block, place);
    return this.#cipher.lengthBytes;
  }

  /** The same; a block behind the end of the file is empty. */
  #openOrBegin(block: number): number {
    if (block < this.#blockCount()) return this.#openBlock(block);
    this.#block.fill(0);
    return 0;
  }

  #openPlace(block: number, place: number): number {
    const readBytes = this.#file.readInto(this.#block, (2 * block + place) * SEALED_BLOCK_BYTES);
    this.#block.fill(0, readBytes);
    return this.#cipher.open(this.#block, block);
  }

  #findNewest(block: number): void {
    this.#reserve(block + 1);
    if (this.#newest[block] !== UNKNOWN) return;
    let newest = NONE;
    for (let place = 0; place < 2; place++) {
      if (this.#openPlace(block, place) !== Opened.contents) continue;
      if (newest !== NONE && this.#cipher.version < this.#versions[block]) continue;
      newest = place;
      this.#versions[block] = this.#cipher.version;
    }
    this.#newest[block] = newest;
  }

  /** Seals the contents in `#block` and writes them. */
  #sealBlock(block: number, lengthBytes: number): void {
    if (this.#places === 2) return this.#sealInTurn(block, lengthBytes);
    this.#cipher.seal(this.#block, block, lengthBytes, 0);
    this.#file.write(this.#block, block * SEALED_BLOCK_BYTES);
  }

  /** To the place that does not hold the last synced version. */
  #sealInTurn(block: number, lengthBytes: number): void {
    if (!this.#isOldSynced) {
      // What another process has left may not be durable yet, and one of two places is about to be given up.
      this.sync();
    }
    if (this.#isUnknown(block)) {
      const contents = Uint8Array.from(contentsOf(this.#block));
      this.#findNewest(block);
      contentsOf(this.#block).set(contents);
    }
    const newest = this.#newest[block];
    const place = newest === NONE ? 0 : this.#synced[block] === 1 ? 1 - newest : newest;
    const version = newest === NONE ? 1 : this.#versions[block] + 1;
    this.#cipher.seal(this.#block, block, lengthBytes, version);
    this.#file.write(this.#block, (2 * block + place) * SEALED_BLOCK_BYTES);
    this.#newest[block] = place;
    this.#versions[block] = version;
    this.#synced[block] = 0;
  }

  #isUnknown(block: number): boolean {
    return block >= this.#newest.length || this.#newest[block] === UNKNOWN;
  }

  #forgetFrom(block: number): void {
    this.#newest.fill(UNKNOWN, block);
    this.#synced.fill(1, block);
  }

  #reserve(count: number): void {
    const oldCount = this.#newest.length;
    if (count <= oldCount) return;
    const newest = new Uint8Array(Math.max(count, 2 * oldCount, 16)).fill(UNKNOWN);
    newest.set(this.#newest);
    const synced = new Uint8Array(newest.length).fill(1);
    synced.set(this.#synced);
    const versions = new Uint32Array(newest.length);
    versions.set(this.#versions);
    this.#newest = newest;
    this.#synced = synced;
    this.#versions = versions;
  }
}
