/**
 * Output that waits for the checkpoint that covers it (`--output commit`), in files of the job directory: it may be
 * longer than memory, and a restart from that checkpoint must have it.
 *
 * A file holds the output of one generation as chunks in the order of writing: stream u8 (0 standard output, 1 standard
 * error), 3 zero bytes, length u32 little-endian, bytes. Files are named by generation modulo FILE_COUNT; a file is used
 * again only when its output was released after a commit. Its length and checksum are part of the captured state, and
 * it is durable before that state commits.
 */
import { crc32 } from 'node:zlib';
import type { Device, DeviceFile } from '../device/device.ts';
import { CorruptionError, assert } from '../error/errors.ts';

const FILE_COUNT = 4;
const HEAD_BYTES = 8;
const BUFFER_BYTES = 65536;

/** The finished output of one generation. */
export interface HeldPart {
  generation: number;
  lengthBytes: number;
  checksum: number;
}

export class HeldOutput {
  readonly #device: Device;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #generation: number;
  #file: DeviceFile | undefined;
  /** Files of finished parts that are not yet durable. */
  #finished: DeviceFile[] = [];
  #namesUnsynced = false;
  #lengthBytes = 0;
  #checksum = 0;
  #parts: HeldPart[];
  /** Bytes that the last `append` has taken. */
  takenBytes = 0;

  constructor(device: Device, generation: number, parts: readonly HeldPart[]) {
    this.#device = device;
    this.#generation = generation;
    this.#parts = [...parts];
  }

  /** Whether any output waits: of the current generation or of finished ones. */
  get isEmpty(): boolean {
    return this.#file === undefined && this.#parts.length === 0;
  }

  /**
   * Takes all bytes and returns their number.
   * @throws StorageError: the first `takenBytes` of them were taken.
   */
  append(stream: number, bytes: Uint8Array): number {
    this.takenBytes = 0;
    if (this.#file === undefined) {
      assert(
        this.#parts.every((part) => this.#generation - part.generation < FILE_COUNT),
        'output is held for too many generations',
      );
      const name = heldFileName(this.#generation);
      // Few names are used again and again, so that making them durable is rare.
      if (!this.#device.list().includes(name)) this.#namesUnsynced = true;
      this.#file = this.#device.openFile(name, 'create');
    }
    for (let start = 0; start < bytes.length; start += BUFFER_BYTES - HEAD_BYTES) {
      const piece = bytes.subarray(start, start + BUFFER_BYTES - HEAD_BYTES);
      this.#buffer.writeUInt32LE(stream, 0);
      this.#buffer.writeUInt32LE(piece.length, 4);
      this.#buffer.set(piece, HEAD_BYTES);
      const chunk = this.#buffer.subarray(0, HEAD_BYTES + piece.length);
      this.#file.write(chunk, this.#lengthBytes);
      this.#checksum = crc32(chunk, this.#checksum);
      this.#lengthBytes += chunk.length;
      this.takenBytes += piece.length;
    }
    return this.takenBytes;
  }

  /** Ends the current generation; the parts that the state being captured covers. */
  capture(): readonly HeldPart[] {
    if (this.#file !== undefined) {
      this.#finished.push(this.#file);
      this.#file = undefined;
      this.#parts.push({
        generation: this.#generation,
        lengthBytes: this.#lengthBytes,
        checksum: this.#checksum,
      });
      this.#lengthBytes = 0;
      this.#checksum = 0;
    }
    this.#generation++;
    return [...this.#parts];
  }

  /** Makes the finished parts durable. */
  sync(): void {
    for (const file of this.#finished) {
      file.sync();
      file.close();
    }
    this.#finished = [];
    if (this.#namesUnsynced) this.#device.syncDirectory();
    this.#namesUnsynced = false;
  }

  /**
   * Gives all finished parts to `release`, in order, and forgets them. Where `release` returns false it wants no more, and
   * all of them are kept.
   */
  releaseAll(release: (stream: number, bytes: Uint8Array) => boolean): boolean {
    if (!this.#parts.every((part) => this.#releasePart(part, release))) return false;
    this.#parts = [];
    return true;
  }

  #releasePart(part: HeldPart, release: (stream: number, bytes: Uint8Array) => boolean): boolean {
    const file = this.#device.openFile(heldFileName(part.generation), 'read');
    try {
      refuseDamaged(file, part, this.#buffer);
      let at = 0;
      while (at < part.lengthBytes) {
        file.readInto(this.#buffer.subarray(0, HEAD_BYTES), at);
        const stream = this.#buffer.readUInt32LE(0);
        const lengthBytes = this.#buffer.readUInt32LE(4);
        const piece = this.#buffer.subarray(0, Math.min(lengthBytes, BUFFER_BYTES));
        file.readInto(piece, at + HEAD_BYTES);
        if (!release(stream, piece)) return false;
        at += HEAD_BYTES + lengthBytes;
      }
      return true;
    } finally {
      file.close();
    }
  }

  close(): void {
    for (const file of this.#finished) file.close();
    this.#finished = [];
    this.#file?.close();
    this.#file = undefined;
  }
}

function refuseDamaged(file: DeviceFile, part: HeldPart, buffer: Uint8Array): void {
  const found = checksumOf(file, part.lengthBytes, buffer);
  if (found === part.checksum) return;
  throw new CorruptionError(
    `${file.path} does not hold the output that the checkpoint left to be shown; ` +
      'that output is lost: run the job again with --fresh to have it from the beginning',
    { path: file.path, byteOffset: 0, field: 'checksum', expected: part.checksum, found },
  );
}

/** Holds the output that a checkpoint left to be shown against its checksum. @throws CorruptionError; StorageError. */
export function checkHeldPart(device: Device, part: HeldPart): void {
  const file = device.openFile(heldFileName(part.generation), 'read');
  try {
    refuseDamaged(file, part, new Uint8Array(BUFFER_BYTES));
  } finally {
    file.close();
  }
}

/** The file of a generation; a later one has the same, when this one's output was released. */
export function heldFileName(generation: number): string {
  return `output-held-${generation % FILE_COUNT}`;
}

/**
 * Copies the output that a state holds back out of a job directory, part by part; false: a file does not hold it, or no longer.
 */
export function copyHeldOutput(device: Device, parts: readonly HeldPart[], take: (bytes: Uint8Array) => void): boolean {
  const names = new Set(device.list());
  for (const { generation, lengthBytes, checksum } of parts) {
    const name = heldFileName(generation);
    if (!names.has(name)) return false;
    const file = device.openFile(name, 'read');
    try {
      if (file.sizeBytes() < lengthBytes) return false;
      let found = 0;
      for (let at = 0; at < lengthBytes; at += BUFFER_BYTES) {
        const view = new Uint8Array(Math.min(BUFFER_BYTES, lengthBytes - at));
        found = crc32(view.subarray(0, file.readInto(view, at)), found);
        take(view);
      }
      if (found !== checksum) return false;
    } finally {
      file.close();
    }
  }
  return true;
}

/** Puts output that a state holds back into a new job directory, as it comes. */
export class HeldOutputImport {
  readonly #device: Device;
  readonly #parts: readonly HeldPart[];
  #part = 0;
  #atBytes = 0;
  #file: DeviceFile | undefined;

  /** @throws CorruptionError for parts that no state has. */
  constructor(device: Device, parts: readonly HeldPart[]) {
    this.#device = device;
    this.#parts = parts;
    const names = new Set(parts.map(({ generation }) => heldFileName(generation)));
    if (names.size < parts.length) throw tooManyGenerations();
  }

  /** @throws CorruptionError when there is more than the state says. */
  add(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      this.#finishParts();
      const part = this.#parts[this.#part];
      if (part === undefined) throw new CorruptionError('there is more held output than the state says');
      this.#file ??= this.#device.openFile(heldFileName(part.generation), 'create');
      const piece = rest.subarray(0, part.lengthBytes - this.#atBytes);
      this.#file.write(piece, this.#atBytes);
      this.#atBytes += piece.length;
      rest = rest.subarray(piece.length);
    }
  }

  /** @throws CorruptionError when something is missing. */
  finish(): void {
    this.#finishParts();
    if (this.#part < this.#parts.length) throw new CorruptionError('there is less held output than the state says');
  }

  #finishParts(): void {
    while (this.#part < this.#parts.length && this.#atBytes === this.#parts[this.#part].lengthBytes) {
      this.#file?.sync();
      this.close();
      this.#part += 1;
      this.#atBytes = 0;
    }
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

/**
 * Puts output that a later state holds back into a job directory beside that of the state that is there, which must stay
 * readable: as one part, in a file that the other does not use.
 */
export class HeldOutputUpdate {
  readonly #device: Device;
  readonly #wanted: readonly HeldPart[];
  readonly #generation: number;
  #file: DeviceFile | undefined;
  #part = 0;
  #partBytes = 0;
  #partChecksum = 0;
  #lengthBytes = 0;
  #checksum = 0;

  /** `generation`: the later state's own. @throws CorruptionError for parts that no state has. */
  constructor(device: Device, wanted: readonly HeldPart[], generation: number, used: readonly HeldPart[]) {
    this.#device = device;
    this.#wanted = wanted;
    const usedNames = new Set(used.map((part) => heldFileName(part.generation)));
    let free = generation - 1;
    while (free > generation - FILE_COUNT && free >= 0 && usedNames.has(heldFileName(free))) free -= 1;
    if (wanted.length > 0 && (free < 0 || free === generation - FILE_COUNT)) throw tooManyGenerations();
    this.#generation = free;
  }

  /** What the later state holds, as it is here; known when all of it came. */
  get parts(): HeldPart[] {
    if (this.#wanted.length === 0) return [];
    return [{ generation: this.#generation, lengthBytes: this.#lengthBytes, checksum: this.#checksum }];
  }

  /** @throws CorruptionError when there is more than the state says, or something else. */
  add(bytes: Uint8Array): void {
    this.#file ??= this.#device.openFile(heldFileName(this.#generation), 'create');
    this.#file.write(bytes, this.#lengthBytes);
    this.#lengthBytes += bytes.length;
    this.#checksum = crc32(bytes, this.#checksum);
    for (let rest = bytes; rest.length > 0;) {
      const part = this.#wanted[this.#part];
      if (part === undefined) throw new CorruptionError('there is more held output than the state says');
      const piece = rest.subarray(0, part.lengthBytes - this.#partBytes);
      this.#partChecksum = crc32(piece, this.#partChecksum);
      this.#partBytes += piece.length;
      rest = rest.subarray(piece.length);
      if (this.#partBytes < part.lengthBytes) continue;
      if (this.#partChecksum !== part.checksum) throw new CorruptionError('held output is not what the state says');
      this.#part += 1;
      this.#partBytes = 0;
      this.#partChecksum = 0;
    }
  }

  /** @throws CorruptionError when something is missing. */
  finish(): void {
    if (this.#part < this.#wanted.length) throw new CorruptionError('there is less held output than the state says');
    this.#file?.sync();
    if (this.#file !== undefined) this.#device.syncDirectory();
  }

  close(): void {
    this.#file?.close();
    this.#file = undefined;
  }
}

function tooManyGenerations(): CorruptionError {
  return new CorruptionError('the state holds output of too many generations');
}

export function isHeldName(name: string): boolean {
  return /^output-held-\d$/.test(name);
}

function checksumOf(file: DeviceFile, lengthBytes: number, buffer: Uint8Array): number {
  let checksum = 0;
  for (let at = 0; at < lengthBytes; at += buffer.length) {
    const view = buffer.subarray(0, Math.min(buffer.length, lengthBytes - at));
    const count = file.readInto(view, at);
    checksum = crc32(view.subarray(0, count), checksum);
  }
  return checksum;
}
