import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '../error/errors.ts';
import { enableBranchHints } from './compilation.ts';
import { ControlWords } from './control-words.ts';
import { encodeError } from './error-transport.ts';
import { GuestRun } from './guest-run.ts';
import type { GuestMessage, GuestThreadData } from './protocol.ts';

/** Entry of the guest's thread: runs one guest, reports how it ended. All of it is synchronous. */
function main(): void {
  const port = parentPort;
  assert(port !== null, 'the guest thread was started as a program');
  const data = workerData as GuestThreadData;
  enableBranchHints();
  const post = (message: GuestMessage): void => port.postMessage(message);
  const run = new GuestRun(data, new ControlWords(data.control), post);
  try {
    const end = run.run();
    post({ kind: 'ended', end, figures: run.figures() });
  } catch (error) {
    post({ kind: 'failed', error: encodeError(error), figures: run.figures() });
  }
}

main();
