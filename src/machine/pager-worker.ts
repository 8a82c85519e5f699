import { MessageChannel, Worker } from 'node:worker_threads';
import { closeDescriptor } from '../device/process-descriptor.ts';
import { type PagerLinkData, PagerWord, pagerWords, wakePager } from './pager-link.ts';

/** A fault that takes longer is one that nobody serves: a disk that is merely slow answers sooner, or says that it cannot. */
const STALL_MS = 60_000;
const LOOK_MS = 1000;

/**
 * The control thread's side of the thread that serves a guest's faults: starts it, sees to it that the guest does not wait for
 * ever if it dies or hangs, and ends it.
 *
 * A guest that stands at a page that nobody will bring goes on, with zeros, when the descriptor of the faults is closed; one that stands at
 * a protected page writes to it. Before that it is told that they have failed, so it is stopped at its next safepoint or call.
 */
export class PagerWorker {
  /** The guest's side, to be transferred to its thread. */
  readonly link: PagerLinkData;
  readonly #words: Int32Array;
  readonly #worker: Worker;
  readonly #watch: NodeJS.Timeout;
  /** Makes the guest look for what there is. */
  readonly #raisePoll: () => void;
  readonly #abandon = (): void => this.#giveUp();
  #serving = 0;
  #servingSinceMs = 0;
  #isStopped = false;
  #hasExited = false;

  constructor(raisePoll: () => void, onError: (error: Error) => void, stallMs = STALL_MS) {
    const words = pagerWords();
    const { port1, port2 } = new MessageChannel();
    this.link = { words, port: port1 };
    this.#words = new Int32Array(words);
    this.#raisePoll = raisePoll;
    const workerData: PagerLinkData = { words, port: port2 };
    this.#worker = new Worker(new URL('./pager-thread.js', import.meta.url), {
      workerData,
      transferList: [port2],
      stdin: false,
    });
    this.#worker.on('error', (error) => {
      onError(error);
      this.#giveUp();
    });
    this.#worker.on('exit', () => {
      this.#giveUp();
      this.#hasExited = true;
      this.#closeRequests();
    });
    this.#worker.unref();
    // When the process exits its threads are ended one by one, and this one may be the first.
    process.once('exit', this.#abandon);
    this.#watch = setInterval(() => this.#look(stallMs), LOOK_MS);
    this.#watch.unref();
  }

  /** The guest has ended, or nobody waits for it any more. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearInterval(this.#watch);
    process.off('exit', this.#abandon);
    Atomics.store(this.#words, PagerWord.stop, 1);
    wakePager(this.#words);
    this.#closeRequests();
  }

  /** When neither thread can use the descriptor any more: its number may soon be that of another file. */
  #closeRequests(): void {
    if (!this.#isStopped || !this.#hasExited) return;
    const descriptor = Atomics.exchange(this.#words, PagerWord.requests, 0) - 1;
    if (descriptor >= 0) closeDescriptor(descriptor);
  }

  #look(stallMs: number): void {
    const serving = Atomics.load(this.#words, PagerWord.serving);
    if ((serving & 1) === 0 || serving !== this.#serving) {
      this.#serving = serving;
      this.#servingSinceMs = performance.now();
    } else if (performance.now() - this.#servingSinceMs >= stallMs) this.#giveUp();
  }

  #giveUp(): void {
    const words = this.#words;
    if (Atomics.exchange(words, PagerWord.dead, 1) !== 0) return;
    Atomics.store(words, PagerWord.failed, 1);
    Atomics.notify(words, PagerWord.done);
    this.#raisePoll();
    const descriptor = Atomics.exchange(words, PagerWord.faults, 0) - 1;
    if (descriptor >= 0) closeDescriptor(descriptor);
  }
}
