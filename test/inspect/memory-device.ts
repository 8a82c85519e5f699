import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Device, DeviceFile } from '../../src/device/device.ts';
import { StorageError } from '../../src/error/errors.ts';

/** A job directory in memory, to be read; its bytes can be changed between two looks. */
export class MemoryDevice implements Device {
  readonly path = '/memory-device';
  readonly files: Map<string, Uint8Array>;

  constructor(files: ReadonlyMap<string, Uint8Array>) {
    this.files = new Map(files);
  }

  list(): string[] {
    return [...this.files.keys()].sort();
  }

  openFile(name: string, mode: string): DeviceFile {
    const bytes = this.files.get(name);
    const refuse = (): never => {
      throw new StorageError(`nothing may be written to ${name}`);
    };
    if (bytes === undefined || mode !== 'read') return refuse();
    return {
      path: `${this.path}/${name}`,
      readInto: (view, positionBytes) => {
        const source = bytes.subarray(positionBytes, positionBytes + view.length);
        view.set(source);
        return source.length;
      },
      write: refuse,
      sync: refuse,
      sizeBytes: () => bytes.length,
      truncate: refuse,
      close: () => {},
    };
  }

  rename(): never {
    throw new StorageError('nothing may be renamed');
  }

  remove(): never {
    throw new StorageError('nothing may be removed');
  }

  syncDirectory(): void {}
}

/** The files of a job directory but for claims of processes. */
export function filesOf(directory: string): Map<string, Uint8Array> {
  const names = readdirSync(directory).filter((name) => !name.startsWith('lock'));
  return new Map(names.map((name) => [name, Uint8Array.from(readFileSync(join(directory, name)))]));
}
