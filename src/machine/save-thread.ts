import { basename } from 'node:path';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import type { DeviceFile } from '../device/device.ts';
import { FileDevice, fileOfDescriptor } from '../device/file-device.ts';
import { assert } from '../error/errors.ts';
import { Workbench } from '../format/workbench.ts';
import { controlRegion, PollState } from '../memory/layout.ts';
import { PendingPages } from '../save/pending-pages.ts';
import { type SaveResult, saveToFile, saveToSlots } from '../save/save-work.ts';
import { type JobSeal, sealedOrPlain } from '../seal/job-seal.ts';
import { sealedFile } from '../seal/sealed-device.ts';
import { ControlWords, Request } from './control-words.ts';
import { encodeError } from './error-transport.ts';
import { type OpenFile, type SaveOrder, type SaveReply, type SaveThreadData, SaveWord } from './save-writer.ts';

/** Entry of the thread that saves checkpoints beside the guest. It ends with the guest's thread. */
function main({ seal, control, words: wordsBuffer, port }: SaveThreadData): void {
  const bench = Workbench.ofThread();
  const words = new Int32Array(wordsBuffer);
  const controlWords = new ControlWords(control);
  for (let done = 0; ; done++) {
    Atomics.wait(words, SaveWord.given, done);
    const received: { message: SaveOrder } | undefined = receiveMessageOnPort(port);
    const order = received?.message;
    assert(order !== undefined, 'the guest left no order');
    const pending = new PendingPages(order.pending);
    let reply: SaveReply;
    try {
      reply = { result: save(pending, order, seal, bench) };
    } catch (error) {
      // Whoever waits for a page to be taken must not wait for ever.
      pending.abandon();
      reply = { error: encodeError(error) };
    }
    port.postMessage(reply);
    Atomics.store(words, SaveWord.done, done + 1);
    Atomics.notify(words, SaveWord.done);
    if (!order.announced) continue;
    controlWords.request(Request.saved);
    const poll = new Int32Array(order.memory.buffer, 0, controlRegion.scratch >> 2);
    Atomics.compareExchange(poll, controlRegion.pollWord >> 2, PollState.running, PollState.requested);
  }
}

function save(pending: PendingPages, order: SaveOrder, seal: JobSeal | undefined, bench: Workbench): SaveResult {
  const { memory, work, target } = order;
  const source = { memory, pending, paging: order.paging === undefined ? undefined : fileOf(order.paging, seal) };
  if (work.kind === 'slots') {
    assert(typeof target !== 'string', 'slots are in a file');
    return saveToSlots(source, fileOf(target, seal), work, bench);
  }
  assert(typeof target === 'string', 'a file is made in a directory');
  return saveToFile(source, sealedOrPlain(new FileDevice(target), seal), work, bench);
}

function fileOf({ path, descriptor }: OpenFile, seal: JobSeal | undefined): DeviceFile {
  const file = fileOfDescriptor(path, descriptor);
  return seal === undefined ? file : sealedFile(file, seal.key, basename(path));
}

main(workerData as SaveThreadData);
