import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { Exclusions } from '../checkpoint/exclusions.ts';
import { ScratchStore } from '../checkpoint/scratch-store.ts';
import { Store } from '../checkpoint/store.ts';
import { FileDevice } from '../device/file-device.ts';
import { UsageError, assert } from '../error/errors.ts';
import { UserFaults, Woken } from '../kernel/user-faults.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { controlRegion, NOT_PINNED, PAGE_BYTES, PINS_MAX, PollState } from '../memory/layout.ts';
import type { Pager } from '../pager/pager.ts';
import { sealedOrPlain } from '../seal/job-seal.ts';
import { encodeError } from './error-transport.ts';
import { KernelProtection } from './kernel-protection.ts';
import { type AttachOrder, type CommitOrder, type PagerOrder, PagerWord, type PagerReply } from './pager-link.ts';

const NO_STATE = new Uint8Array(0);
/** A wait ends by itself after so long: a thread that is to be terminated can be only when it runs JavaScript. */
const WAIT_MS = 200;
/** So long without a fault, and the threads may run where the system wants them. */
const PINNED_WAIT_MS = 10;
/** So many faults after they were put on one processor, the threads may choose another one. */
const PINNED_FAULTS_MAX = 65536;

/**
 * Pages one guest from another thread: waits for faults that the kernel stops the guest at, and for orders of the guest's thread.
 * Owns the paging file and everything that is known of pages.
 *
 * No circle of waiting: while a fault is served the guest stands still, and nothing here waits for it or for a lock that it
 * may hold; the guest's memory is touched only where pages are known to be (`KernelProtection`).
 */
export class FaultServer {
  readonly #words: Int32Array;
  readonly #port: MessagePort;
  readonly #faults: UserFaults;
  readonly #memory: GuestMemory;
  readonly #protection: KernelProtection;
  readonly #scratch: ScratchStore | undefined;
  readonly #store: Store;
  readonly #pager: Pager;
  readonly #poll: Int32Array;
  readonly #pins: Uint32Array;
  /** The guest's thread, while it is kept on the processor of this one. */
  #pinnedThread = 0;
  #pinnedFaults = 0;
  #isClosed = false;

  constructor(words: Int32Array, port: MessagePort, order: AttachOrder) {
    const { memory, source, frameCount, replacement, keep, guestBytesMax } = order;
    this.#words = words;
    this.#port = port;
    this.#memory = new GuestMemory(memory);
    this.#poll = new Int32Array(memory.buffer, controlRegion.pollWord, 1);
    this.#pins = new Uint32Array(memory.buffer, controlRegion.pins, PINS_MAX).fill(NOT_PINNED);
    this.#faults = openFaults();
    this.#protection = new KernelProtection(this.#faults, this.#memory, guestBytesMax);
    this.#scratch = 'jobDirectory' in source ? undefined : new ScratchStore(source.identity, source.program);
    this.#store =
      'jobDirectory' in source
        ? Store.open(sealedOrPlain(new FileDevice(source.jobDirectory), source.seal))
        : this.#scratch!.store;
    if (keep !== undefined && keep !== this.#store.keep) this.#store.retain(keep);
    this.#pager = this.#store.attach(this.#memory, {
      frameCount,
      release: this.#protection,
      protection: this.#protection,
      ...(replacement === undefined ? {} : { replacement }),
    });
    Atomics.store(words, PagerWord.faults, this.#faults.descriptor + 1);
    Atomics.store(words, PagerWord.requests, this.#faults.requestDescriptor + 1);
  }

  /** Serves until the control thread or the guest says that it is over. */
  run(): void {
    const words = this.#words;
    while (!this.#isClosed && Atomics.load(words, PagerWord.stop) === 0 && Atomics.load(words, PagerWord.dead) === 0) {
      // A guest that was woken often runs at once, and comes to its next fault before this thread goes on.
      if (this.#serveFaults()) continue;
      const woken = this.#faults.wait(this.#pinnedThread === 0 ? WAIT_MS : PINNED_WAIT_MS);
      if (woken === 0) this.#part();
      if ((woken & Woken.request) !== 0) {
        this.#faults.readRequests();
        this.serveOrders();
      }
    }
  }

  /** Does what the guest's thread has ordered, and replies. */
  serveOrders(): void {
    for (;;) {
      const received: { message: PagerOrder } | undefined = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      let reply: PagerReply;
      try {
        reply = this.#serve(received.message);
        // What was left in the middle would fail anew, and hide why.
        if (this.#pager.failure === undefined) this.#protection.settle(-1);
      } catch (error) {
        reply = { error: encodeError(error) };
      }
      replyTo(this.#words, this.#port, reply);
    }
  }

  /** After this the guest's absent pages are zeros. */
  close(): void {
    const words = this.#words;
    if (!this.#isClosed) this.#tellOfFailure();
    // The control thread may have closed the descriptor of the faults, to let the guest go on; that of the requests it will close.
    if (Atomics.exchange(words, PagerWord.faults, 0) !== 0) this.#faults.close(true);
    this.#protection.close();
    this.#scratch?.close();
    if (this.#scratch === undefined) this.#store.close();
  }

  /** Returns whether there were any. */
  #serveFaults(): boolean {
    const faults = this.#faults;
    const count = faults.readFaults();
    if (count === 0) return false;
    for (let i = 0; i < count; i++) {
      const page = this.#protection.pageAt(faults.addresses[i]);
      assert(page >= 0, 'a fault outside of the memory of the program');
      Atomics.add(this.#words, PagerWord.serving, 1);
      this.#serveFault(page, faults.writes[i]);
      Atomics.add(this.#words, PagerWord.serving, 1);
    }
    this.#keepTogether();
    return true;
  }

  #serveFault(page: number, write: number): void {
    const pager = this.#pager;
    this.#noteSize(page + 1);
    if (pager.fault(page * PAGE_BYTES, 1, write) === 0) {
      try {
        // The guest may want this page and the one before for one instruction.
        this.#pins[0] = page;
        return this.#protection.settle(page);
      } catch (error) {
        pager.fail(error);
      }
    }
    this.#tellOfFailure();
    this.#protection.giveUp(page);
  }

  /** The guest sees it at its next safepoint or call, and throws what it computes from here on away. */
  #tellOfFailure(): void {
    Atomics.store(this.#words, PagerWord.failed, 1);
    Atomics.compareExchange(this.#poll, 0, PollState.running, PollState.requested);
  }

  /** A fault costs several times as much where the guest and this thread wake each other on other processors. */
  #keepTogether(): void {
    const { threadId } = this.#faults;
    if (threadId === this.#pinnedThread) {
      if (++this.#pinnedFaults >= PINNED_FAULTS_MAX) this.#part();
      return;
    }
    this.#part();
    this.#faults.pinWith(threadId);
    this.#pinnedThread = threadId;
  }

  /** The system may find a better processor, until the next fault. */
  #part(): void {
    if (this.#pinnedThread !== 0) this.#faults.unpin(this.#pinnedThread);
    this.#pinnedThread = 0;
    this.#pinnedFaults = 0;
  }

  /** The guest has at least so many pages. Growing by nothing makes this thread see how many. */
  #noteSize(pageCount: number): void {
    if (pageCount > this.#memory.pageCount) this.#memory.memory.grow(0);
  }

  #serve(order: PagerOrder): PagerReply {
    this.#noteSize(order.pageCount);
    switch (order.kind) {
      case 'attach':
        throw new Error('the pager is attached already');
      case 'load':
        this.#store.loadPages();
        return {};
      case 'commit':
        return this.#commit(order);
      case 'writeAhead':
        return { written: this.#pager.writeAhead(order.countMax) };
      case 'figures':
        return { figures: this.#figures() };
      case 'failure':
        return this.#pager.failure === undefined ? {} : { error: encodeError(this.#pager.failure) };
      case 'close':
        this.#isClosed = true;
        return { figures: this.#figures() };
    }
  }

  #commit({ state, trigger, excludedRanges }: CommitOrder): PagerReply {
    this.#part();
    const exclusions = excludedRanges === undefined ? undefined : new Exclusions(excludedRanges);
    const stats = this.#store.commit({ state, trigger, exclusions });
    return { stats, latest: { ...this.#store.latest!, state: NO_STATE } };
  }

  #figures() {
    const pager = this.#pager;
    const residentDirtyPages = pager.failure === undefined ? pager.collect(this.#memory.pageCount) : 0;
    const { continuousCount } = pager;
    return { stats: pager.stats(), residentDirtyPages, continuousCount, slots: this.#store.slotCounts() };
  }
}

function openFaults(): UserFaults {
  try {
    return new UserFaults();
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    const text = `the kernel cannot page the program here (${reason}); run it with --tracker software`;
    throw new UsageError('bad-argument', text, { reason });
  }
}

/** Leaves a reply and says that one more order is done. */
export function replyTo(words: Int32Array, port: MessagePort, reply: PagerReply): void {
  port.postMessage(reply);
  Atomics.add(words, PagerWord.done, 1);
  Atomics.notify(words, PagerWord.done);
}
