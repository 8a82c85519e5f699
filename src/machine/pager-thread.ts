import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { assert } from '../error/errors.ts';
import { encodeError } from './error-transport.ts';
import { FaultServer, replyTo } from './fault-server.ts';
import { type PagerLinkData, type PagerOrder, PagerWord } from './pager-link.ts';
import { ProtectionServer } from './protection-server.ts';

/** Entry of the thread that serves a guest's faults. Its first order says which guest's, and whether it pages or only protects. */
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

function attached(words: Int32Array, port: MessagePort): FaultServer | ProtectionServer | undefined {
  const received: { message: PagerOrder } | undefined = receiveMessageOnPort(port);
  const order = received?.message;
  assert(order?.kind === 'attach' || order?.kind === 'protect', 'the guest left no order to serve its faults');
  try {
    const server =
      order.kind === 'attach' ? new FaultServer(words, port, order) : new ProtectionServer(words, port, order);
    replyTo(words, port, {});
    return server;
  } catch (error) {
    replyTo(words, port, { error: encodeError(error) });
    return undefined;
  }
}

main(workerData as PagerLinkData);
