import { UsageError } from '../error/errors.ts';
import { type FaultPurpose, UserFaults, Woken } from '../kernel/user-faults.ts';
import { PagerWord } from './pager-link.ts';

/** A wait ends by itself after so long: a thread that is to be terminated can be only when it runs JavaScript. */
const WAIT_MS = 200;
/** So long without a fault, and the threads may run where the system wants them. */
const PINNED_WAIT_MS = 10;
/** So many faults after they were put on one processor, the threads may choose another one. */
const PINNED_FAULTS_MAX = 65536;

/** What the thread does that serves a guest's faults. */
export interface FaultService {
  /** The guest stands at this address of the process. */
  serveFault(address: number, write: number): void;
  /** The guest's thread may have left orders. */
  serveOrders(): void;
}

/** The work of a thread that serves the faults of one guest: waits for them and for orders, and keeps both threads together. */
export class FaultLoop {
  readonly faults: UserFaults;
  readonly #words: Int32Array;
  /** The guest's thread, while it is kept on the processor of this one. */
  #pinnedThread = 0;
  #pinnedFaults = 0;
  #isEnded = false;

  /** @throws UsageError: the system refuses. */
  constructor(words: Int32Array, purpose: FaultPurpose) {
    this.#words = words;
    this.faults = openFaults(purpose);
  }

  /** From here on faults are served, or the guest would wait for ever. */
  announce(): void {
    Atomics.store(this.#words, PagerWord.faults, this.faults.descriptor + 1);
    Atomics.store(this.#words, PagerWord.requests, this.faults.requestDescriptor + 1);
  }

  /** Serves until the control thread or the guest says that it is over, or `end` was called. */
  run(service: FaultService): void {
    const words = this.#words;
    while (!this.#isEnded && Atomics.load(words, PagerWord.stop) === 0 && Atomics.load(words, PagerWord.dead) === 0) {
      // A guest that was woken often runs at once, and comes to its next fault before this thread goes on.
      if (this.#serveFaults(service)) continue;
      const woken = this.faults.wait(this.#pinnedThread === 0 ? WAIT_MS : PINNED_WAIT_MS);
      if (woken === 0) this.part();
      if ((woken & Woken.request) !== 0) this.faults.readRequests();
      if (woken !== Woken.fault) service.serveOrders();
    }
  }

  end(): void {
    this.#isEnded = true;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /**
   * The control thread may have closed the descriptor of the faults, to let the guest go on; that of the requests it will close.
   */
  close(): void {
    if (Atomics.exchange(this.#words, PagerWord.faults, 0) !== 0) this.faults.close(true);
  }

  /** The system may find a better processor, until the next fault. */
  part(): void {
    if (this.#pinnedThread !== 0) this.faults.unpin(this.#pinnedThread);
    this.#pinnedThread = 0;
    this.#pinnedFaults = 0;
  }

  /** Returns whether there were any. */
  #serveFaults(service: FaultService): boolean {
    const { faults } = this;
    const count = faults.readFaults();
    if (count === 0) return false;
    for (let i = 0; i < count; i++) {
      Atomics.add(this.#words, PagerWord.serving, 1);
      service.serveFault(faults.addresses[i], faults.writes[i]);
      Atomics.add(this.#words, PagerWord.serving, 1);
    }
    this.#keepTogether();
    return true;
  }

  /** A fault costs several times as much where the guest and this thread wake each other on other processors. */
  #keepTogether(): void {
    const { threadId } = this.faults;
    if (threadId === this.#pinnedThread) {
      if (++this.#pinnedFaults >= PINNED_FAULTS_MAX) this.part();
      return;
    }
    this.part();
    this.faults.pinWith(threadId);
    this.#pinnedThread = threadId;
  }
}

const REFUSED: Readonly<Record<FaultPurpose, string>> = {
  paging: 'page the program',
  protection: 'tell of first writes to pages',
};

function openFaults(purpose: FaultPurpose): UserFaults {
  try {
    return new UserFaults(purpose);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
    const text = `the kernel cannot ${REFUSED[purpose]} here (${reason}); run it with --tracker software`;
    throw new UsageError('bad-argument', text, { reason });
  }
}
