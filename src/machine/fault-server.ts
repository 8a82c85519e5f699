import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { Exclusions } from '../checkpoint/exclusions.ts';
import { ScratchStore } from '../checkpoint/scratch-store.ts';
import { Store } from '../checkpoint/store.ts';
import { FileDevice } from '../device/file-device.ts';
import { assert } from '../error/errors.ts';
import { readAt } from '../kernel/c-library.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import { controlRegion, NOT_PINNED, PAGE_BYTES, PINS_MAX, PollState } from '../memory/layout.ts';
import type { Pager } from '../pager/pager.ts';
import { sealedOrPlain } from '../seal/job-seal.ts';
import { encodeError } from './error-transport.ts';
import { FaultLoop, type FaultService } from './fault-loop.ts';
import { KernelProtection } from './kernel-protection.ts';
import { type AttachOrder, type CommitOrder, type PagerOrder, PagerWord, type PagerReply } from './pager-link.ts';

const NO_STATE = new Uint8Array(0);
/**
 * Pages one guest from another thread: waits for faults that the kernel stops the guest at, and for orders of the guest's thread.
 * Owns the paging file and everything that is known of pages.
 *
 * No circle of waiting: while a fault is served the guest stands still, and nothing here waits for it or for a lock that it
 * may hold; the guest's memory is touched only where pages are known to be (`KernelProtection`).
 */
export class FaultServer implements FaultService {
  readonly #words: Int32Array;
  readonly #port: MessagePort;
  readonly #loop: FaultLoop;
  readonly #memory: GuestMemory;
  readonly #protection: KernelProtection;
  readonly #scratch: ScratchStore | undefined;
  readonly #store: Store;
  readonly #pager: Pager;
  readonly #poll: Int32Array;
  readonly #pins: Uint32Array;

  constructor(words: Int32Array, port: MessagePort, order: AttachOrder) {
    const { memory, source, frameCount, replacement, pageByPage, keep, guestBytesMax } = order;
    this.#words = words;
    this.#port = port;
    this.#memory = new GuestMemory(memory);
    this.#poll = new Int32Array(memory.buffer, controlRegion.pollWord, 1);
    this.#pins = new Uint32Array(memory.buffer, controlRegion.pins, PINS_MAX).fill(NOT_PINNED);
    this.#loop = new FaultLoop(words, 'paging');
    this.#protection = new KernelProtection(this.#loop.faults, this.#memory, guestBytesMax);
    this.#scratch = 'jobDirectory' in source ? undefined : new ScratchStore(source.identity, source.program, readAt);
    this.#store =
      'jobDirectory' in source
        ? Store.open(sealedOrPlain(new FileDevice(source.jobDirectory, { quickRead: readAt }), source.seal))
        : this.#scratch!.store;
    if (keep !== undefined && keep !== this.#store.keep) this.#store.retain(keep);
    this.#pager = this.#store.attach(this.#memory, {
      frameCount,
      release: this.#protection,
      protection: this.#protection,
      opensAhead: !pageByPage,
      ...(replacement === undefined ? {} : { replacement }),
    });
    this.#loop.announce();
  }

  /** Serves until the control thread or the guest says that it is over. */
  run(): void {
    this.#loop.run(this);
  }

  /** Does what the guest's thread has ordered, and replies. */
  serveOrders(): void {
    for (;;) {
      const received: { message: PagerOrder } | undefined = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      let reply: PagerReply;
      try {
        reply = this.#obey(received.message);
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
    if (!this.#loop.isEnded) tellOfFailure(this.#words, this.#poll);
    this.#loop.close();
    this.#protection.close();
    this.#scratch?.close();
    if (this.#scratch === undefined) this.#store.close();
  }

  serveFault(address: number, write: number): void {
    const page = this.#protection.pageAt(address);
    assert(page >= 0, 'a fault outside of the memory of the program');
    this.#serve(page, write);
  }

  #serve(page: number, write: number): void {
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
    tellOfFailure(this.#words, this.#poll);
    this.#protection.giveUp(page);
  }

  /** The guest has at least so many pages. Growing by nothing makes this thread see how many. */
  #noteSize(pageCount: number): void {
    if (pageCount > this.#memory.pageCount) this.#memory.memory.grow(0);
  }

  #obey(order: PagerOrder): PagerReply {
    this.#noteSize(order.pageCount);
    switch (order.kind) {
      case 'attach':
      case 'protect':
      case 'save':
        throw new Error(`the pager has no use for the order "${order.kind}" any more`);
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
        this.#loop.end();
        return { figures: this.#figures() };
    }
  }

  #commit({ state, trigger, excludedRanges }: CommitOrder): PagerReply {
    this.#loop.part();
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

/** The guest sees it at its next safepoint or call, and throws what it computes from here on away. */
export function tellOfFailure(words: Int32Array, poll: Int32Array): void {
  Atomics.store(words, PagerWord.failed, 1);
  Atomics.compareExchange(poll, 0, PollState.running, PollState.requested);
}

/** Leaves a reply and says that one more order is done. */
export function replyTo(words: Int32Array, port: MessagePort, reply: PagerReply): void {
  port.postMessage(reply);
  Atomics.add(words, PagerWord.done, 1);
  Atomics.notify(words, PagerWord.done);
}
