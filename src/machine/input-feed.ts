import { type ControlWords, INPUT_BYTES } from './control-words.ts';

/**
 * Reads the process's standard input for the guest, when the guest asks: its own thread could not be interrupted in a
 * blocking read. Nothing is read ahead of what was asked for, beyond one piece of the stream.
 */
export class InputFeed {
  readonly #control: ControlWords;
  #started = false;
  #wanted = false;
  #ended = false;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(control: ControlWords) {
    this.#control = control;
  }

  /** Hands over the next piece of input as soon as there is one. */
  feed(): void {
    this.#wanted = true;
    if (!this.#started) this.#start();
    if (this.#rest.length > 0 || this.#ended) this.#give();
    else process.stdin.resume();
  }

  close(): void {
    if (!this.#started) return;
    process.stdin.removeAllListeners('data');
    process.stdin.pause();
    process.stdin.unref?.();
  }

  #start(): void {
    this.#started = true;
    process.stdin.on('data', (piece: Buffer) => {
      process.stdin.pause();
      const joined = new Uint8Array(this.#rest.length + piece.length);
      joined.set(this.#rest);
      joined.set(piece, this.#rest.length);
      this.#rest = joined;
      this.#give();
    });
    const end = (): void => {
      this.#ended = true;
      this.#give();
    };
    process.stdin.on('end', end);
    process.stdin.on('error', end);
  }

  #give(): void {
    if (!this.#wanted || (this.#rest.length === 0 && !this.#ended)) return;
    this.#wanted = false;
    const piece = this.#rest.subarray(0, INPUT_BYTES);
    this.#rest = this.#rest.subarray(piece.length);
    this.#control.giveInput(piece);
  }
}
