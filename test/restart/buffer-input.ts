import type { RestartInput } from '../../src/restart/chunk-reader.ts';

/** A restart file in memory. */
export class BufferInput implements RestartInput {
  readonly path = 'the file';
  readBytes = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  read(view: Uint8Array): number {
    const part = this.#bytes.subarray(this.readBytes, this.readBytes + view.length);
    view.set(part);
    this.readBytes += part.length;
    return part.length;
  }
}
