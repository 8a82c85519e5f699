import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../error/errors.ts';
import { encodeError } from './error-transport.ts';
import { FaultServer, replyTo } from './fault-server.ts';
import { type PagerLinkData, type PagerOrder, PagerWord } from './pager-link.ts';

/** Entry of the thread that pages a guest by the kernel. Its first order says which. */
function main({ words: buffer, port }: PagerLinkData): void {
  const words = new Int32Array(buffer);
  while (Atomics.load(words, PagerWord.given) === 0) {
    if (Atomics.load(words, PagerWord.stop) !== 0) return;
    Atomics.wait(words, PagerWord.given, 0);
  }
  const server = attached(words, port);
  if (server === undefined) return;
  try {
    server.run();
  } finally {
    server.close();
  }
}

function attached(words: Int32Array, port: MessagePort): FaultServer | undefined {
  const received: { message: PagerOrder } | undefined = receiveMessageOnPort(port);
  const order = received?.message;
  assert(order?.kind === 'attach', 'the guest left no order to page it');
  try {
    const server = new FaultServer(words, port, order);
    replyTo(words, port, {});
    return server;
  } catch (error) {
    replyTo(words, port, { error: encodeError(error) });
    return undefined;
  }
}

main(workerData as PagerLinkData);
