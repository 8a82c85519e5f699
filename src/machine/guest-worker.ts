import { Worker } from 'node:worker_threads';

/** Room for recursion in the guest's thread: several times that of Node's own main thread. */
const GUEST_STACK_MB = 8;

let prepared: Worker | undefined;

/**
 * Starts a thread for the next guest, which loads its modules meanwhile: that is most of the time that a start takes. A
 * process that turns out not to need it ends all the same.
 */
export function prepareGuestWorker(): void {
  prepared ??= newWorker();
  prepared.unref();
}

/** A thread for a guest: it waits for its `GuestThreadData`, as a message. */
export function takeGuestWorker(): Worker {
  const worker = prepared ?? newWorker();
  prepared = undefined;
  worker.ref();
  return worker;
}

function newWorker(): Worker {
  return new Worker(new URL('./guest-thread.js', import.meta.url), {
    resourceLimits: { stackSizeMb: GUEST_STACK_MB },
    env: process.env,
    stdin: false,
  });
}
