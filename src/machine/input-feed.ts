import { StandardInput } from '../device/standard-input.ts';
import { type ControlWords, INPUT_BYTES } from './control-words.ts';

/** How long to wait until standard input is looked at again when it had nothing, milliseconds: at first, and at most. */
const LOOK_AGAIN_MS = 1;
const LOOK_AGAIN_MS_MAX = 20;

/**
 * Reads the process's standard input for the guest, when the guest asks: its own thread could not be interrupted in a
 * blocking read.
 *
 * What is read must reach a checkpoint or stay in the pipe for the next run of the job. So a pipe or terminal is read
 * without waiting, as much as is handed over at once, and not any more once the run is to stop: what was handed over before
 * is part of the checkpoint that the stop takes. Elsewhere (sockets, other systems) a stream of Node.js reads ahead by
 * one piece, which a stop loses.
 */
export class InputFeed {
  readonly #control: ControlWords;
  #source: StandardInput | undefined;
  #timer: NodeJS.Timeout | undefined;
  #waitMs = LOOK_AGAIN_MS;
  readonly #room = new Uint8Array(INPUT_BYTES);
  #started = false;
  #wanted = false;
  #stopped = false;
  #ended = false;
  /** What the stream gave beyond the piece that was handed over. */
  #rest: Uint8Array = new Uint8Array(0);

  constructor(control: ControlWords) {
    this.#control = control;
  }

  /** Hands over the next piece of input as soon as there is one. */
  feed(): void {
    this.#wanted = true;
    if (!this.#started) this.#start();
    if (this.#source !== undefined) this.#look(this.#source);
    else if (this.#rest.length > 0 || this.#ended) this.#give();
    else process.stdin.resume();
  }

  /** Reads nothing from now on: the run is to stop. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    if (this.#started && this.#source === undefined) process.stdin.pause();
  }

  close(): void {
    this.stop();
    this.#source?.close();
    if (!this.#started || this.#source !== undefined) return;
    process.stdin.removeAllListeners('data');
    process.stdin.unref?.();
  }

  #look(source: StandardInput): void {
    if (this.#stopped || !this.#wanted) return;
    const count = source.read(this.#room);
    if (count === undefined) {
      this.#timer = setTimeout(() => this.#look(source), this.#waitMs);
      this.#waitMs = Math.min(LOOK_AGAIN_MS_MAX, 2 * this.#waitMs);
      return;
    }
    this.#waitMs = LOOK_AGAIN_MS;
    this.#wanted = false;
    this.#control.giveInput(this.#room.subarray(0, count));
  }

  #start(): void {
    this.#started = true;
    this.#source = StandardInput.open();
    if (this.#source !== undefined) return;
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
    if (this.#stopped || !this.#wanted || (this.#rest.length === 0 && !this.#ended)) return;
    this.#wanted = false;
    const piece = this.#rest.subarray(0, INPUT_BYTES);
    this.#rest = this.#rest.subarray(piece.length);
    this.#control.giveInput(piece);
  }
}
