import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { Checkpoint, CheckpointStats, SlotCounts } from '../checkpoint/checkpoint.ts';
import { signalDescriptor } from '../device/process-descriptor.ts';
import { assert } from '../error/errors.ts';
import type { JobIdentity } from '../format/job-format.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { ReplacementName } from '../pager/replacement.ts';
import type { PendingBuffers } from '../save/pending-pages.ts';
import type { JobSeal } from '../seal/job-seal.ts';
import { type EncodedError, decodeError } from './error-transport.ts';

/**
 * What the guest's thread and the thread that serves its faults tell each other, where the kernel stops the guest: at absent pages,
 * which that thread brings, or at first writes, which it notes.
 *
 *   guest's thread                                       pager's thread
 *   page fault ──────────── the kernel ───────────────►  waits for faults and for a descriptor
 *   order: port, `given`, descriptor ─────────────────►  serves one or the other
 *   waits at `done`  ◄──────────── port, `done` ───────
 *
 * Words are in a buffer of their own: to wait at a word of the guest's memory is to wait for a page of it. The guest never
 * waits for both, so neither thread waits for the other in a circle.
 */
export const PagerWord = {
  /** Orders given, and orders done. */
  given: 0,
  done: 1,
  /** Not 0: the thread is to end. */
  stop: 2,
  /** Not 0: no fault can be served any more, and the guest has zeros instead of what it should have. */
  failed: 3,
  /** Not 0: nobody serves orders any more. */
  dead: 4,
  /** Counts beginnings and ends of faults: odd while one is served. */
  serving: 5,
  /** Descriptors of the system plus 1; 0 while there is none. */
  faults: 6,
  requests: 7,
} as const;

const WORDS = 8;
/** How long a wait lasts before the thread looks whether anybody is there to end it. */
const LOOK_MS = 1000;

/** The guest's side, before it is given to its thread. */
export interface PagerLinkData {
  readonly words: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** What the pager is to serve: the pages of a job, or of a run that keeps nothing. */
export interface AttachOrder {
  readonly kind: 'attach';
  readonly memory: WebAssembly.Memory;
  readonly guestBytesMax: number;
  readonly frameCount: number;
  readonly replacement: ReplacementName | undefined;
  /** Whether each page is asked for when it is used. */
  readonly pageByPage: boolean;
  /** Checkpoints of the job that are kept. */
  readonly keep: number | undefined;
  readonly source:
    | { readonly jobDirectory: string; readonly seal: JobSeal | undefined }
    | { readonly identity: JobIdentity; readonly program: Uint8Array };
}

/** The other first order: whose writes are to be told. */
export interface ProtectOrder {
  readonly kind: 'protect';
  readonly memory: WebAssembly.Memory;
  readonly guestBytesMax: number;
  /** See `ProtectionFigures`. */
  readonly figures: SharedArrayBuffer;
}

/** Pages that are being saved: each is kept for the save before the guest changes it. Nobody waits for a reply. */
export interface SaveOrder {
  readonly kind: 'save';
  readonly pending: PendingBuffers;
}

export interface CommitOrder {
  readonly kind: 'commit';
  readonly state: Uint8Array;
  readonly trigger: string;
  readonly excludedRanges: readonly (readonly [from: number, to: number])[] | undefined;
}

export type PagerOrder = (
  | AttachOrder
  | ProtectOrder
  | SaveOrder
  | CommitOrder
  | { readonly kind: 'load' | 'figures' | 'failure' | 'close' }
  | { readonly kind: 'writeAhead'; readonly countMax: number }
) & {
  /** The guest's size: growth is not seen by other threads at once. */
  readonly pageCount: number;
};

export interface PagerFigures {
  readonly stats: PagingStats;
  readonly residentDirtyPages: number;
  readonly continuousCount: number;
  readonly slots: SlotCounts;
}

export interface PagerReply {
  readonly error?: EncodedError;
  readonly stats?: CheckpointStats;
  /** Without its state, which the guest's thread has. */
  readonly latest?: Checkpoint;
  readonly figures?: PagerFigures;
  readonly written?: number;
}

export function pagerWords(): SharedArrayBuffer {
  return new SharedArrayBuffer(4 * WORDS);
}

/** Wakes the pager's thread, whatever it waits at. */
export function wakePager(words: Int32Array): void {
  Atomics.notify(words, PagerWord.given);
  const descriptor = Atomics.load(words, PagerWord.requests) - 1;
  if (descriptor >= 0) signalDescriptor(descriptor);
}

/** The guest's side in its thread: gives one order at a time and waits for it. */
export class PagerLink {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #port: MessagePort;

  constructor({ words, port }: PagerLinkData) {
    this.#words = new Int32Array(words);
    this.#port = port;
    port.unref();
  }

  get hasFailed(): boolean {
    return Atomics.load(this.#words, PagerWord.failed) !== 0;
  }

  /** Whether nobody does what is ordered any more. */
  get isDead(): boolean {
    return Atomics.load(this.#words, PagerWord.dead) !== 0;
  }

  /** Where a thread without this link can see that faults have failed. */
  get failedWord(): { readonly words: SharedArrayBuffer; readonly index: number } {
    return { words: this.#words.buffer, index: PagerWord.failed };
  }

  /** Of the faults that are served. */
  get faultDescriptor(): number {
    return Atomics.load(this.#words, PagerWord.faults) - 1;
  }

  /** Leaves an order without waiting; it is done before the next fault. */
  leave(order: PagerOrder): void {
    this.#port.postMessage(order);
    Atomics.add(this.#words, PagerWord.given, 1);
  }

  /** @throws what kept the pager from doing it. */
  give(order: PagerOrder): PagerReply {
    const words = this.#words;
    this.#port.postMessage(order);
    const given = Atomics.add(words, PagerWord.given, 1) + 1;
    wakePager(words);
    for (;;) {
      const done = Atomics.load(words, PagerWord.done);
      if (done === given) break;
      if (this.isDead) throw new Error('the thread that pages the program has ended');
      Atomics.wait(words, PagerWord.done, done, LOOK_MS);
    }
    const received: { message: PagerReply } | undefined = receiveMessageOnPort(this.#port);
    const reply = received?.message;
    assert(reply !== undefined, 'the pager left no reply');
    if (reply.error !== undefined) throw decodeError(reply.error);
    return reply;
  }

  close(): void {
    this.#port.close();
  }
}
