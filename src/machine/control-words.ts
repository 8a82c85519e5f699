/**
 * Words shared by the control thread and the guest's thread, in a buffer of their own: `Atomics.wait` on words of the
 * guest's memory would fault on pages that a pager took away.
 *
 * A request is noted here first, then the poll word in the guest's memory is raised, then sleepers are woken.
 */
export const Request = {
  checkpoint: 1,
  /** Checkpoint, then leave. */
  stop: 2,
  /** Capture and resume without any I/O: out of baseline code into optimised resume functions. */
  hop: 4,
  /** Write dirty pages ahead of the next checkpoint. */
  writeAhead: 8,
  /** A checkpoint that was saved beside the guest is done. */
  saved: 16,
  /** The program has reported as many steps as a checkpoint is wanted after. */
  steps: 32,
  /** A checkpoint, unless the last one has held the guest up for longer than it ran since: the timer asks again. */
  timer: 64,
} as const;

export const CHECKPOINT_REQUESTS = Request.checkpoint | Request.timer;

const REQUESTS = 0;
const WAKE = 1;
const INPUT_STATE = 2;
const INPUT_LENGTH = 3;
const WORD_COUNT = 16;
const HEAD_BYTES = WORD_COUNT * 4;

const InputState = { idle: 0, wanted: 1, filled: 2, ended: 3 } as const;

/** Most bytes of standard input that are handed over at once. */
export const INPUT_BYTES = 65536;

export class ControlWords {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #input: Uint8Array;

  constructor(buffer = new SharedArrayBuffer(HEAD_BYTES + INPUT_BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORD_COUNT);
    this.#input = new Uint8Array(buffer, HEAD_BYTES, INPUT_BYTES);
  }

  /** Notes a request and wakes the guest's thread if it sleeps in a host function. */
  request(bits: number): void {
    Atomics.or(this.#words, REQUESTS, bits);
    this.#wake();
  }

  /** The requests made since the last take. */
  takeRequests(): number {
    return Atomics.exchange(this.#words, REQUESTS, 0);
  }

  get hasRequest(): boolean {
    return Atomics.load(this.#words, REQUESTS) !== 0;
  }

  get stopRequested(): boolean {
    return (Atomics.load(this.#words, REQUESTS) & Request.stop) !== 0;
  }

  /** Sleeps until a request, input, or the time-out; may return early. Only for the guest's thread. */
  sleep(timeoutMs: number): void {
    const seen = Atomics.load(this.#words, WAKE);
    if (this.hasRequest || this.inputReady) return;
    Atomics.wait(this.#words, WAKE, seen, timeoutMs);
  }

  /** Asks the control thread for standard input; returns whether it must be told. */
  wantInput(): boolean {
    return Atomics.compareExchange(this.#words, INPUT_STATE, InputState.idle, InputState.wanted) === InputState.idle;
  }

  get inputReady(): boolean {
    return Atomics.load(this.#words, INPUT_STATE) >= InputState.filled;
  }

  get inputEnded(): boolean {
    return Atomics.load(this.#words, INPUT_STATE) === InputState.ended;
  }

  /** Hands over input that was asked for: at most `INPUT_BYTES`; none means the input has ended. */
  giveInput(bytes: Uint8Array): void {
    this.#input.set(bytes);
    this.#words[INPUT_LENGTH] = bytes.length;
    Atomics.store(this.#words, INPUT_STATE, bytes.length === 0 ? InputState.ended : InputState.filled);
    this.#wake();
  }

  /** Takes the input handed over, none when there is none. */
  takeInput(): Uint8Array {
    if (Atomics.load(this.#words, INPUT_STATE) !== InputState.filled) return new Uint8Array(0);
    const bytes = new Uint8Array(this.#input.subarray(0, this.#words[INPUT_LENGTH]));
    Atomics.store(this.#words, INPUT_STATE, InputState.idle);
    return bytes;
  }

  #wake(): void {
    Atomics.add(this.#words, WAKE, 1);
    Atomics.notify(this.#words, WAKE);
  }
}
