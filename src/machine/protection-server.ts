import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { assert } from '../error/errors.ts';
import { addressOf } from '../kernel/c-library.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { BIAS_BYTES, controlRegion, PAGE_BYTES, PageState } from '../memory/layout.ts';
import { CopyOnWrite } from '../save/copy-on-write.ts';
import { PendingPages } from '../save/pending-pages.ts';
import { encodeError } from './error-transport.ts';
import { FaultLoop, type FaultService } from './fault-loop.ts';
import { replyTo, tellOfFailure } from './fault-server.ts';
import { type PagerOrder, PagerWord, type PagerReply, type ProtectOrder } from './pager-link.ts';
import { ProtectionFigures } from './protection-figures.ts';

/**
 * Serves a guest's first writes to protected pages from another thread: notes the page, gives it to the save that is under way, and
 * lets it be written, this page alone, as libckpt does in its signal handler.
 *
 * No circle of waiting: the guest stands still in its write, and nothing here waits for it or for a lock that it may hold. What
 * is waited for, where there is no room for another copy, is the thread that saves, which only reads pages.
 */
export class ProtectionServer implements FaultService {
  readonly #words: Int32Array;
  readonly #port: MessagePort;
  readonly #memory: GuestMemory;
  readonly #address: number;
  readonly #lengthBytes: number;
  readonly #states: Uint8Array;
  readonly #poll: Int32Array;
  readonly #figures: ProtectionFigures;
  readonly #loop: FaultLoop;
  #guard: CopyOnWrite | undefined;
  /** Orders taken from the port. */
  #taken = 1;

  /** @throws UsageError, Error: the system refuses. */
  constructor(words: Int32Array, port: MessagePort, { memory, guestBytesMax, figures }: ProtectOrder) {
    this.#words = words;
    this.#port = port;
    this.#memory = new GuestMemory(memory);
    this.#states = new Uint8Array(memory.buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#poll = new Int32Array(memory.buffer, controlRegion.pollWord, 1);
    this.#figures = new ProtectionFigures(figures);
    this.#loop = new FaultLoop(words, 'protection');
    const { faults } = this.#loop;
    this.#address = addressOf(this.#memory.bytes) + BIAS_BYTES;
    this.#lengthBytes = guestBytesMax;
    try {
      if (guestBytesMax > 0) faults.registerWrites(this.#address, guestBytesMax);
    } catch (error) {
      faults.close();
      throw error;
    }
    this.#loop.announce();
  }

  /** Serves until the control thread or the guest says that it is over. */
  run(): void {
    this.#loop.run(this);
  }

  serveFault(address: number): void {
    const startMs = performance.now();
    // What is to be saved was told before the guest went on.
    if (Atomics.load(this.#words, PagerWord.given) !== this.#taken) this.serveOrders();
    const offset = address - this.#address;
    assert(offset >= 0 && offset < this.#lengthBytes, 'a fault outside of the memory of the program');
    const page = Math.floor(offset / PAGE_BYTES);
    // A signal lets the guest out of its write and into it again, so that it may be told of twice.
    if (this.#states[page] === PageState.clean) {
      this.#states[page] = PageState.dirty;
      this.#guard?.beforeWrite(page);
      this.#figures.countFault();
    }
    this.#loop.faults.protect(this.#address + page * PAGE_BYTES, PAGE_BYTES, false);
    // The guest goes on and may ask for the count at once; the time is known only now.
    this.#figures.addTime(performance.now() - startMs);
  }

  serveOrders(): void {
    for (;;) {
      const received: { message: PagerOrder } | undefined = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      this.#taken += 1;
      const order = received.message;
      if (order.kind === 'save') this.#startSave(new PendingPages(order.pending));
      else replyTo(this.#words, this.#port, this.#obey(order));
    }
  }

  /** After this nothing is protected. What is being saved then is told first that writes are told no more. */
  close(): void {
    if (!this.#loop.isEnded) tellOfFailure(this.#words, this.#poll);
    this.#loop.close();
  }

  #obey({ kind }: PagerOrder): PagerReply {
    if (kind !== 'close') return { error: encodeError(new Error(`pages are only protected here: no order "${kind}"`)) };
    this.#loop.end();
    return {};
  }

  /** Pages of the one before were all taken, or are wanted no more. */
  #startSave(pending: PendingPages): void {
    const { room } = pending.buffers;
    this.#guard ??= new CopyOnWrite(
      this.#memory,
      room,
      () => assert(false, 'only the guest waits for a save'),
      // Odd as before, and another number: the watch sees that this fault is being served.
      () => void Atomics.add(this.#words, PagerWord.serving, 2),
    );
    // Growing by nothing makes this thread see how large the memory is.
    if (pending.count > 0 && pending.pages[pending.count - 1] >= this.#memory.pageCount) this.#memory.memory.grow(0);
    this.#guard.start(pending, false);
    Atomics.add(this.#words, PagerWord.done, 1);
  }
}
