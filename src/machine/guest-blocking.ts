import type { Blocking } from '../wasi/config.ts';
import { type ControlWords, Request } from './control-words.ts';

/** How long a program waits before output that is held for a checkpoint gets one, in milliseconds. */
const HELD_OUTPUT_MS = 20;

/** What host functions use to wait: a request for a capture ends every wait. */
export class GuestBlocking implements Blocking {
  readonly #control: ControlWords;
  /** Tells the control thread that input is wanted. */
  readonly #askForInput: () => void;
  readonly #holdsOutput: () => boolean;
  #ahead = new Uint8Array(0);

  constructor(control: ControlWords, askForInput: () => void, holdsOutput: () => boolean) {
    this.#control = control;
    this.#askForInput = askForInput;
    this.#holdsOutput = holdsOutput;
  }

  captureRequested(): boolean {
    return this.#control.hasRequest;
  }

  stopRequested(): boolean {
    return this.#control.stopRequested;
  }

  waitUntil(deadlineMs: number): 'elapsed' | 'interrupted' {
    const startMs = performance.now();
    for (;;) {
      if (this.captureRequested()) return 'interrupted';
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return 'elapsed';
      this.#sleep(startMs, leftMs);
      // Input that nobody asked for in this wait must not turn the sleep into a busy loop.
      this.#takeInput();
    }
  }

  waitForInput(deadlineMs: number): 'ready' | 'elapsed' | 'interrupted' {
    const startMs = performance.now();
    for (;;) {
      this.#takeInput();
      if (this.#ahead.length > 0 || this.#control.inputEnded) return 'ready';
      if (this.captureRequested()) return 'interrupted';
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) return 'elapsed';
      if (this.#control.wantInput()) this.#askForInput();
      this.#sleep(startMs, leftMs);
    }
  }

  /**
   * Sleeps at most `leftMs` of a wait that began at `startMs`. Whoever answers the program's output must see it, and may
   * be what the program waits for: held output gets its checkpoint now, whatever the timer says.
   */
  #sleep(startMs: number, leftMs: number): void {
    let sleepMs = Math.min(leftMs, 0x7fffffff);
    if (this.#holdsOutput()) {
      const patienceMs = startMs + HELD_OUTPUT_MS - performance.now();
      if (patienceMs <= 0) {
        this.#control.request(Request.checkpoint);
        return;
      }
      sleepMs = Math.min(sleepMs, patienceMs);
    }
    this.#control.sleep(sleepMs);
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
