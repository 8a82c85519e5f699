import type { Blocking } from '../wasi/config.ts';
import type { ControlWords } from './control-words.ts';

/** What host functions use to wait: a request for a capture ends every wait. */
export class GuestBlocking implements Blocking {
  readonly #control: ControlWords;
  /** Tells the control thread that input is wanted. */
  readonly #askForInput: () => void;
  #ahead = new Uint8Array(0);

  constructor(control: ControlWords, askForInput: () => void) {
    this.#control = control;
    this.#askForInput = askForInput;
  }

  captureRequested(): boolean {
    return this.#control.hasRequest;
  }

  waitUntil(deadlineMs: number): 'elapsed' | 'interrupted' {
    for (;;) {
      if (this.captureRequested()) return 'interrupted';
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return 'elapsed';
      this.#control.sleep(Math.min(leftMs, 0x7fffffff));
      // Input that nobody asked for in this wait must not turn the sleep into a busy loop.
      this.#takeInput();
    }
  }

  waitForInput(deadlineMs: number): 'ready' | 'elapsed' | 'interrupted' {
    for (;;) {
      this.#takeInput();
      if (this.#ahead.length > 0 || this.#control.inputEnded) return 'ready';
      if (this.captureRequested()) return 'interrupted';
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return 'elapsed';
      if (this.#control.wantInput()) this.#askForInput();
      this.#control.sleep(Math.min(leftMs, 0x7fffffff));
    }
  }

  readInput(into: Uint8Array): number | 'interrupted' {
    const outcome = this.waitForInput(Infinity);
    if (outcome === 'interrupted') return 'interrupted';
    const count = Math.min(into.length, this.#ahead.length);
    into.set(this.#ahead.subarray(0, count));
    this.#ahead = this.#ahead.subarray(count);
    return count;
  }

  peekInput(): Uint8Array {
    this.#takeInput();
    return this.#ahead;
  }

  #takeInput(): void {
    const more = this.#control.takeInput();
    if (more.length === 0) return;
    const joined = new Uint8Array(this.#ahead.length + more.length);
    joined.set(this.#ahead);
    joined.set(more, this.#ahead.length);
    this.#ahead = joined;
  }
}
