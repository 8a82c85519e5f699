import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { systemErrorCode } from './file-device.ts';

/** Where a pipe or terminal that is standard input can be opened anew. */
const STANDARD_INPUT = '/proc/self/fd/0';

/**
 * Standard input of this process, where it is a pipe or a terminal and the system lets it be opened a second time: read
 * without waiting, and never ahead of what was asked for. Whoever shares the first descriptor keeps its own mode.
 */
export class StandardInput {
  readonly #descriptor: number;

  private constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Undefined where standard input must be read in another way: a file, a socket, a system without such names. */
  static open(): StandardInput | undefined {
    if (process.platform !== 'linux') return undefined;
    try {
      const status = fstatSync(0);
      if (!status.isFIFO() && !status.isCharacterDevice()) return undefined;
      return new StandardInput(
        openSync(STANDARD_INPUT, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY),
      );
    } catch (error) {
      // A sandbox may hide the name, and a terminal of another user may not be opened again.
      if (systemErrorCode(error) === '') throw error;
      return undefined;
    }
  }

  /** Bytes read into the room; 0 at the end of input, undefined while there are none. */
  read(room: Uint8Array): number | undefined {
    try {
      return readSync(this.#descriptor, room, 0, room.length, null);
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === 'EAGAIN' || code === 'EINTR') return undefined;
      // A terminal that is gone reads as an error; to the program its input has ended.
      if (code !== '') return 0;
      throw error;
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
