import { Store } from '../../src/checkpoint/store.ts';
import type { Device } from '../../src/device/device.ts';
import { programDigest, type JobIdentity } from '../../src/format/job-format.ts';
import { FakeGuest } from './guest.ts';

export const PROGRAM = new TextEncoder().encode('a program');
export const IDENTITY: JobIdentity = { program: 'test', digest: programDigest(PROGRAM), arguments: ['a', 'b'] };

/** A new job, attached to a guest. */
export function newJob(device: Device, guest: FakeGuest): Store {
  const store = Store.create(device, IDENTITY, PROGRAM);
  store.attach(guest.memory);
  return store;
}

/** An existing job, its newest checkpoint loaded into a guest of its size. */
export function reopenJob(device: Device, wasmPagesMax?: number): { store: Store; guest: FakeGuest } {
  const store = Store.open(device);
  const wasmPages = (store.latest?.guestPageCount ?? 0) / 16;
  const guest = new FakeGuest(wasmPages, wasmPagesMax ?? wasmPages);
  store.attach(guest.memory);
  store.loadPages();
  return { store, guest };
}
