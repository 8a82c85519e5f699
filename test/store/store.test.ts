import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Store } from '../../src/checkpoint/store.ts';
import { recover } from '../../src/checkpoint/recovery.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { recordAreaOffset } from '../../src/format/paging-format.ts';
import { Workbench } from '../../src/format/workbench.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { crash, CrashDevice, EMPTY_MEDIUM } from './crash-device.ts';
import { FakeGuest, seededRandom } from './guest.ts';
import { IDENTITY, newJob, PROGRAM, reopenJob } from './job.ts';

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
    const again = reopenJob(device);
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
        ({ store, guest } = reopenJob(device, 200));
        store.assertInvariants();
        expectSameBytes(guest.bytes, before.bytes);
        expect(store.latest).toMatchObject({ generation, trigger: `round ${round}` });
        expectSameBytes(store.latest!.state, state);
      }
    }
    store.close();
  });

  test('folds the map from time to time: every checkpoint before, at and after a fold is found again', () => {
    const device = new FileDevice(directory);
    const guest = new FakeGuest(563);
    const store = newJob(device, guest);
    const random = seededRandom(3);
    for (let page = 0; page < guest.memory.pageCount; page++) guest.fillPage(page, page + 1);
    store.commit({ state: new Uint8Array(100), trigger: 'first' });
    const reader = new FakeGuest(563);
    let folds = 0;
    let sealed = 0;
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 16 + 240 * (round % 2); i++) {
        guest.fillPage(Math.floor(random() * guest.memory.pageCount), round * 500 + i + 1);
      }
      const before = store.slotCounts().delta;
      store.commit({ state: new Uint8Array(100), trigger: 'later' });
      const { delta } = store.slotCounts();
      if (delta < before) folds += 1;
      if (delta > before) sealed += 1;
      store.assertInvariants();
      if (round % 4 !== 0 && delta >= before) continue;
      const found = Store.open(device, { readOnly: true });
      reader.clear();
      found.attach(reader.memory);
      found.loadPages();
      found.assertInvariants();
      expectSameBytes(reader.bytes, guest.bytes);
      expect(found.slotCounts()).toMatchObject({ delta, working: store.slotCounts().working });
      found.close();
    }
    expect(folds).toBeGreaterThan(0);
    expect(sealed).toBeGreaterThan(0);
    store.close();
  });

  test.each([
    { count: 16, rounds: 120 },
    { count: 256, rounds: 40 },
    { count: 2000, rounds: 6 },
  ])('writes little more than $count dirty pages, scattered over 9008', ({ count, rounds }) => {
    const guest = new FakeGuest(563);
    const store = newJob(new FileDevice(directory), guest);
    const random = seededRandom(4);
    for (let page = 0; page < guest.memory.pageCount; page++) guest.fillPage(page, page + 1);
    store.commit({ state: new Uint8Array(400), trigger: 'first' });
    let dirtyPages = 0;
    let bytesWritten = 0;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < count; i++) guest.fillPage(Math.floor(random() * guest.memory.pageCount), round + i + 1);
      const stats = store.commit({ state: new Uint8Array(400), trigger: 'later' });
      dirtyPages += stats.dirtyPages;
      bytesWritten += stats.bytesWritten;
      const { working, shadow } = store.slotCounts();
      expect(working + shadow).toBeLessThanOrEqual(2 * guest.memory.pageCount);
    }
    const ratio = bytesWritten / (dirtyPages * PAGE_BYTES);
    console.log(`${count} dirty pages a checkpoint: ${ratio.toFixed(4)} bytes written per dirty byte`);
    expect(ratio).toBeLessThanOrEqual(1.05);
    store.close();
  });

  test('invariant (5): a page that becomes all zeros gives its slot back', () => {
    const guest = new FakeGuest(1);
    const store = newJob(new FileDevice(directory), guest);
    guest.fillPage(3, 1);
    guest.fillPage(4, 1);
    store.commit({ state: new Uint8Array(0), trigger: 'a' });
    expect(store.slotCounts()).toMatchObject({ working: 2, shadow: 0 });
    guest.fillPage(3, 0);
    expect(store.commit({ state: new Uint8Array(0), trigger: 'b' })).toMatchObject({ zeroPages: 1, pagesWritten: 0 });
    expect(store.slotCounts()).toMatchObject({ working: 1, shadow: 0 });
    store.assertInvariants();
    store.close();
    const again = reopenJob(new FileDevice(directory));
    expectSameBytes(again.guest.bytes, guest.bytes);
    again.store.close();
  });

  test('invariants (1) and (2): no write of a commit touches a slot or a record that the last one needs', () => {
    const device = new CrashDevice();
    const guest = new FakeGuest(8);
    const store = newJob(device, guest);
    const random = seededRandom(6);
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 30; i++) guest.fillPage(Math.floor(random() * 128), Math.floor(random() * 5));
      const before = device.log.length;
      const durable = new CrashDevice(crash(EMPTY_MEDIUM, device.log, () => true));
      const { image, record } = recover(durable.openFile('paging', 'read'), Workbench.ofThread());
      const generation = record?.fields.generation ?? 0;
      store.commit({ state: new Uint8Array(round % 5 === 0 ? 40_000 : 50), trigger: 'a' });
      for (const operation of device.log.slice(before)) {
        if (operation.kind !== 'write') continue;
        const first = Math.floor(operation.atBytes / PAGE_BYTES);
        const last = Math.floor((operation.atBytes + operation.bytes.length - 1) / PAGE_BYTES);
        for (let slot = first; slot <= last; slot++) {
          expect(
            image.slots.slotCount > slot && slot >= 33 && image.slots.isUsed(slot),
            `slot ${slot} in round ${round}`,
          ).toBe(false);
          const area = recordAreaOffset(generation) / PAGE_BYTES;
          if (generation > 0) expect(slot < area || slot >= area + 16, `record in round ${round}`).toBe(true);
        }
      }
    }
  });
});
