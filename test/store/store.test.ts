import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Store } from '../../src/checkpoint/store.ts';
import type { Device } from '../../src/device/device.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { programDigest, type JobIdentity } from '../../src/format/job-format.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { FakeGuest, seededRandom } from './guest.ts';

const PROGRAM = new TextEncoder().encode('a program');
const IDENTITY: JobIdentity = { program: 'test', digest: programDigest(PROGRAM), arguments: ['a', 'b'] };

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'continuo-store-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

function expectSameBytes(found: Uint8Array, expected: Uint8Array): void {
  // One comparison instead of a report of megabytes.
  expect(Buffer.compare(found, expected)).toBe(0);
}

function reopen(device: Device, wasmPages: number, wasmPagesMax = wasmPages): { store: Store; guest: FakeGuest } {
  const store = Store.open(device);
  const guest = new FakeGuest(wasmPages, wasmPagesMax);
  store.attach(guest.memory);
  store.loadPages();
  return { store, guest };
}

describe('a store on a real directory', () => {
  test('gives back identity, program and the first checkpoint', () => {
    const device = new FileDevice(directory);
    expect(Store.exists(device)).toBe(false);
    const store = Store.create(device, IDENTITY, PROGRAM);
    const guest = new FakeGuest(2);
    store.attach(guest.memory);
    expect(store.latest).toBeUndefined();
    guest.bytes.set([1, 2, 3], 5 * PAGE_BYTES);
    const stats = store.commit({ state: Uint8Array.of(9, 8), trigger: 'interval' });
    expect(stats).toMatchObject({ generation: 1, dirtyPages: 32, pagesWritten: 1, zeroPages: 31, pagesRead: 0 });
    store.assertInvariants();
    store.close();

    expect(Store.exists(device)).toBe(true);
    const again = reopen(device, 2);
    expect(again.store.identity).toEqual(IDENTITY);
    expect(again.store.readProgram()).toEqual(PROGRAM);
    expect(again.store.latest).toMatchObject({ generation: 1, trigger: 'interval', guestPageCount: 32 });
    expect(again.store.latest?.state).toEqual(Uint8Array.of(9, 8));
    expectSameBytes(again.guest.bytes, guest.bytes);
    again.store.assertInvariants();
    again.store.close();
  });

  test('commits, recovers and commits again through random dirty sets, growth and zero pages', () => {
    const seed = 20261122;
    const random = seededRandom(seed);
    const device = new FileDevice(directory);
    let store = Store.create(device, IDENTITY, PROGRAM);
    let guest = new FakeGuest(4, 200);
    store.attach(guest.memory);
    let generation = 0;
    for (let round = 0; round < 120; round++) {
      if (random() < 0.1 && guest.memory.pageCount < 150 * 16) guest.memory.memory.grow(Math.floor(random() * 20));
      const { pageCount } = guest.memory;
      const writes = random() < 0.2 ? pageCount : Math.floor(random() ** 3 * 200);
      for (let i = 0; i < writes; i++) {
        const seedOfPage = random() < 0.2 ? 0 : Math.floor(random() * 1e9) + 1;
        guest.fillPage(Math.floor(random() * pageCount), seedOfPage);
      }
      const state = new Uint8Array(random() < 0.1 ? 100_000 : Math.floor(random() * 3000)).fill(round);
      const stats = store.commit({ state, trigger: `round ${round}` });
      generation += 1;
      expect(stats.generation).toBe(generation);
      store.assertInvariants();
      if (random() < 0.4) {
        store.close();
        const before = guest;
        ({ store, guest } = reopen(device, before.memory.pageCount / 16, 200));
        store.assertInvariants();
        expectSameBytes(guest.bytes, before.bytes);
        expect(store.latest).toMatchObject({ generation, trigger: `round ${round}` });
        expectSameBytes(store.latest!.state, state);
      }
    }
    store.close();
  });
});
