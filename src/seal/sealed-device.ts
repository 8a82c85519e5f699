import type { Device, DeviceFile, OpenMode } from '../device/device.ts';
import { type Places, SealedFile } from './sealed-file.ts';

/** Has what the key is made with, for those who have the secret; is not sealed itself. */
export const SEAL_NAME = 'seal';

/** Files that grow by records which are durable before the next one is written. */
const GROWING = /^(undo|output)-/;

/** A job directory whose files are sealed, all but the lock and the seal. */
export class SealedDevice implements Device {
  readonly path: string;
  readonly #device: Device;
  readonly #key: Uint8Array;

  constructor(device: Device, key: Uint8Array) {
    this.path = device.path;
    this.#device = device;
    this.#key = key;
  }

  list(): string[] {
    return this.#device.list().filter((name) => name !== SEAL_NAME);
  }

  openFile(name: string, mode: OpenMode): DeviceFile {
    return sealedFile(this.#device.openFile(name, mode), this.#key, name);
  }

  rename(from: string, to: string): void {
    this.#device.rename(from, to);
  }

  remove(name: string): void {
    this.#device.remove(name);
  }

  syncDirectory(): void {
    this.#device.syncDirectory();
  }
}

/** An open file of a sealed job directory, for a thread that did not open it. */
export function sealedFile(file: DeviceFile, key: Uint8Array, name: string): DeviceFile {
  // A file that is made under another name is sealed for the one that it gets.
  const role = name.replace(/\.new$/, '');
  const places: Places = GROWING.test(name) ? 2 : 1;
  return new SealedFile(file, key, role, places);
}
