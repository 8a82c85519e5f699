import { closeSync, writeSync } from 'node:fs';

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** Wakes whoever waits for an eventfd(2) of this process, in any thread. */
export function signalDescriptor(descriptor: number): void {
  writeSync(descriptor, ONE);
}

/** Closes a descriptor that no file object stands for. */
export function closeDescriptor(descriptor: number): void {
  closeSync(descriptor);
}
