import { MessageChannel, type MessagePort, Worker, receiveMessageOnPort } from 'node:worker_threads';
import type { StartedSave } from '../checkpoint/checkpoint-store.ts';
import { assert, StorageError } from '../error/errors.ts';
import type { PendingBuffers } from '../save/pending-pages.ts';
import type { FileSave, SaveResult, SlotSave } from '../save/save-work.ts';
import type { JobSeal } from '../seal/job-seal.ts';
import { type EncodedError, decodeError } from './error-transport.ts';

/** A file that this thread has open. */
export interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
}

/** What the saving thread is given for one checkpoint. */
export interface SaveOrder {
  readonly pending: PendingBuffers;
  readonly paging: OpenFile | undefined;
  readonly work: SlotSave | FileSave;
  /** For slots: the file they are in. For a file: the directory it is made in. */
  readonly target: OpenFile | string;
  readonly memory: WebAssembly.Memory;
  /** Whether the guest is to be interrupted when it is done. */
  readonly announced: boolean;
}

export interface SaveThreadData {
  /** What the job's files are sealed with. */
  readonly seal: JobSeal | undefined;
  /** The machine's control words. */
  readonly control: SharedArrayBuffer;
  readonly words: SharedArrayBuffer;
  readonly port: MessagePort;
}

/** Words shared with the saving thread: orders given, orders done. */
export const SaveWord = { given: 0, done: 1 } as const;
const WORDS = 2;

export type SaveReply = { readonly result: SaveResult } | { readonly error: EncodedError };

/**
 * The thread that saves checkpoints beside the guest, one at a time. Orders and replies go through words and a message port that
 * both sides read without an event loop: the guest's thread has none while the guest runs.
 */
export class SaveWriter {
  readonly #words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  readonly #port: MessagePort;
  readonly #worker: Worker;
  #given = 0;

  /** Starts the thread, which takes as long as many a checkpoint: so before there is a guest. */
  constructor(control: SharedArrayBuffer, seal: JobSeal | undefined) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const data: SaveThreadData = { seal, control, words: this.#words.buffer, port: port2 };
    this.#worker = new Worker(new URL('./save-thread.js', import.meta.url), {
      workerData: data,
      transferList: [port2],
      stdin: false,
    });
    this.#worker.unref();
    port1.unref();
  }

  give({ source, work, target }: StartedSave, memory: WebAssembly.Memory, announced: boolean): void {
    const order: SaveOrder = {
      announced,
      memory,
      pending: source.pending.buffers,
      paging: source.paging === undefined ? undefined : opened(source.paging),
      work,
      target: 'openFile' in target ? target.path : opened(target),
    };
    this.#port.postMessage(order);
    this.#given += 1;
    Atomics.store(this.#words, SaveWord.given, this.#given);
    Atomics.notify(this.#words, SaveWord.given);
  }

  /** Whether what was given last is saved, or has failed. */
  get isDone(): boolean {
    return Atomics.load(this.#words, SaveWord.done) === this.#given;
  }

  /**
   * Waits until it is done.
   * @throws StorageError, CorruptionError: why it failed.
   */
  wait(): SaveResult {
    while (!this.isDone) Atomics.wait(this.#words, SaveWord.done, this.#given - 1, 1000);
    const reply: { message: SaveReply } | undefined = receiveMessageOnPort(this.#port);
    assert(reply !== undefined, 'the saving thread left no reply');
    if ('result' in reply.message) return reply.message.result;
    const error = decodeError(reply.message.error);
    if (error instanceof Error) throw error;
    throw new StorageError(String(error));
  }

  close(): void {
    this.#port.close();
    void this.#worker.terminate();
  }
}

function opened({ path, descriptor }: { readonly path: string; readonly descriptor?: number }): OpenFile {
  assert(descriptor !== undefined, `${path} cannot be shared with another thread`);
  return { path, descriptor };
}
