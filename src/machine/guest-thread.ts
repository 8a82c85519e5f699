import { type MessagePort, parentPort } from 'node:worker_threads';
import { assert } from '../error/errors.ts';
import { enableBranchHints, enableOneRunTier, leaveProcessorToGuest } from './compilation.ts';
import { ControlWords } from './control-words.ts';
import { encodeError } from './error-transport.ts';
import { GuestRun } from './guest-run.ts';
import type { GuestMessage, GuestThreadData } from './protocol.ts';

/** Runs one guest, reports how it ended. All of it is synchronous. */
function runGuest(data: GuestThreadData, port: MessagePort): void {
  enableBranchHints();
  enableOneRunTier();
  leaveProcessorToGuest();
  const post = (message: GuestMessage): void => port.postMessage(message);
  const run = new GuestRun(data, new ControlWords(data.control), post);
  try {
    const end = run.run();
    post({ kind: 'ended', end, figures: run.figures() });
  } catch (error) {
    post({ kind: 'failed', error: encodeError(error), figures: run.figures() });
  }
}

/** Entry of the guest's thread: waits for the guest, which is named when the command line has been read. */
function main(): void {
  const port = parentPort;
  assert(port !== null, 'the guest thread was started as a program');
  port.once('message', (data: GuestThreadData) => runGuest(data, port));
}

main();
