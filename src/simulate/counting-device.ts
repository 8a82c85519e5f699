import type { Device, DeviceFile, OpenMode } from '../device/device.ts';
import { StorageError } from '../error/errors.ts';
import { FIRST_FREE_SLOT, SLOT_BYTES } from '../format/paging-format.ts';

/** What is kept of a file: headers and commit records. Slots behind them are only counted. */
const KEPT_BYTES = FIRST_FREE_SLOT * SLOT_BYTES;

class CountingFile implements DeviceFile {
  readonly path: string;
  readonly #kept = new Uint8Array(KEPT_BYTES);
  #sizeBytes = 0;

  constructor(path: string) {
    this.path = path;
  }

  readInto(view: Uint8Array, positionBytes: number): number {
    const length = Math.max(0, Math.min(view.length, this.#sizeBytes - positionBytes));
    const kept = Math.max(0, Math.min(length, KEPT_BYTES - positionBytes));
    if (kept > 0) view.set(this.#kept.subarray(positionBytes, positionBytes + kept));
    return length;
  }

  write(view: Uint8Array, positionBytes: number): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, positionBytes + view.length);
    if (positionBytes >= KEPT_BYTES) return;
    this.#kept.set(view.subarray(0, KEPT_BYTES - positionBytes), positionBytes);
  }

  sync(): void {}

  sizeBytes(): number {
    return this.#sizeBytes;
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < KEPT_BYTES) this.#kept.fill(0, sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  close(): void {}
}

/** A job directory in memory whose slots have a place and no contents: for a store that is simulated. */
export class CountingDevice implements Device {
  readonly path = 'simulated';
  readonly #files = new Map<string, CountingFile>();

  list(): string[] {
    return [...this.#files.keys()].sort();
  }

  openFile(name: string, mode: OpenMode): DeviceFile {
    let file = this.#files.get(name);
    if (file === undefined) {
      if (mode !== 'create') throw new StorageError(`cannot open ${name}: there is no such file`);
      file = new CountingFile(`${this.path}/${name}`);
      this.#files.set(name, file);
    } else if (mode === 'create') file.truncate(0);
    return file;
  }

  rename(from: string, to: string): void {
    this.#files.set(to, this.#files.get(from)!);
    this.#files.delete(from);
  }

  remove(name: string): void {
    this.#files.delete(name);
  }

  syncDirectory(): void {}
}
