/**
 * Sealed job directories: a sealed file is what a plain one is, to whoever has the key; nobody else can read it or change
 * a bit of it unseen; and a power failure leaves no more and no less.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { CheckpointFiles } from '../../src/checkpoint/checkpoint-files.ts';
import type { CheckpointStore } from '../../src/checkpoint/checkpoint-store.ts';
import { Store } from '../../src/checkpoint/store.ts';
import type { Device, DeviceFile } from '../../src/device/device.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { BLOCK_BYTES, SEALED_BLOCK_BYTES } from '../../src/format/seal-format.ts';
import { SealedDevice } from '../../src/seal/sealed-device.ts';
import { crash, CrashDevice, type Medium, openOperations } from '../store/crash-device.ts';
import { explore } from '../store/fates.ts';
import { FakeGuest, seededRandom } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';

const KEY = Uint8Array.from({ length: 32 }, (_, i) => i * 7);

function sealed(device: Device): SealedDevice {
  return new SealedDevice(device, KEY);
}

function contents(file: DeviceFile): Uint8Array {
  const bytes = new Uint8Array(file.sizeBytes());
  expect(file.readInto(bytes, 0)).toBe(bytes.length);
  return bytes;
}

const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('write'), at: fc.nat(20000), length: fc.nat(14000), seed: fc.nat() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('truncate'), at: fc.nat(24000), length: fc.nat(), seed: fc.nat() }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('sync'), at: fc.nat(), length: fc.nat(), seed: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen'), at: fc.nat(), length: fc.nat(), seed: fc.nat() }) },
);

function randomBytes(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  return Uint8Array.from({ length }, () => random() * 256);
}

describe.each([
  { name: 'paging', places: 1 },
  { name: 'undo-1', places: 2 },
])('$name, with $places place(s) for each block', ({ name, places }) => {
  it('holds what a plain file would', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 25 }), (operations) => {
        const beneath = new CrashDevice();
        const plain = new CrashDevice().openFile(name, 'create');
        let file = sealed(beneath).openFile(name, 'create');
        for (const { kind, at, length, seed } of operations) {
          if (kind === 'write') {
            const bytes = randomBytes(length, seed);
            plain.write(bytes, at);
            file.write(bytes, at);
          } else if (kind === 'truncate') {
            plain.truncate(at);
            file.truncate(at);
          } else if (kind === 'sync') file.sync();
          else file = sealed(beneath).openFile(name, 'write');
          expect(Buffer.compare(contents(file), contents(plain))).toBe(0);
        }
        // A part of it, over its end.
        const part = new Uint8Array(9000);
        const wanted = new Uint8Array(9000);
        expect(file.readInto(part, 3000)).toBe(plain.readInto(wanted, 3000));
        expect(Buffer.compare(part, wanted)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('shows nothing of its contents, and a changed bit or a moved block makes other bytes of it', () => {
    const device = new CrashDevice();
    const file = sealed(device).openFile(name, 'create');
    const text = new TextEncoder().encode('a secret of sixteen'.repeat(700));
    file.write(text, 0);
    file.sync();
    const raw = device.openFile(name, 'write');
    const stored = contents(raw);
    expect(Buffer.from(stored).includes('a secret')).toBe(false);
    const random = seededRandom(5);
    for (let k = 0; k < 200; k++) {
      const block = Math.floor(random() * Math.ceil(text.length / BLOCK_BYTES));
      const place = block * places * SEALED_BLOCK_BYTES;
      // Nonce, tag, length, version and contents; zeros up to the next sector mean nothing.
      const at = place + Math.floor(random() * (12 + 16 + 8 + BLOCK_BYTES));
      const old = stored[at];
      raw.write(Uint8Array.of(old ^ (1 << (k % 8))), at);
      expect(Buffer.compare(contents(sealed(device).openFile(name, 'read')), text)).not.toBe(0);
      raw.write(Uint8Array.of(old), at);
    }
    const first = stored.slice(0, SEALED_BLOCK_BYTES);
    raw.write(first, places * SEALED_BLOCK_BYTES);
    expect(Buffer.compare(contents(sealed(device).openFile(name, 'read')), text)).not.toBe(0);
    raw.write(stored, 0);
    expect(Buffer.compare(contents(sealed(device).openFile(name, 'read')), text)).toBe(0);
  });
});

it('a journal keeps every synced byte, whatever a power failure leaves of what was appended since', () => {
  let states = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const random = seededRandom(seed);
    const device = new CrashDevice();
    let file = sealed(device).openFile('undo-0', 'create');
    device.syncDirectory();
    let at = 0;
    let synced = new Uint8Array(0);
    let all = new Uint8Array(0);
    for (let step = 0; step < 12; step++) {
      const bytes = randomBytes(1 + Math.floor(random() * 3000), seed * 100 + step);
      file.write(bytes, at);
      at += bytes.length;
      all = Uint8Array.of(...all, ...bytes);
      if (random() < 0.5) {
        file.sync();
        synced = all;
      }
      if (random() < 0.2) file = sealed(device).openFile('undo-0', 'write');
      const open = openOperations(device.log);
      for (let k = 0; k < 12; k++) {
        const fates = new Map(open.map((index) => [index, random()]));
        const medium = crash(device.start, device.log, (_, index) => {
          const fate = fates.get(index)!;
          return fate < 0.35 ? true : fate < 0.6 ? false : (sector) => ((fate * 1e9) >> (sector % 30)) % 2 === 0;
        });
        const found = contents(sealed(new CrashDevice(medium)).openFile('undo-0', 'read'));
        expect(Buffer.compare(found.subarray(0, synced.length), synced), `seed ${seed}, step ${step}`).toBe(0);
        states++;
      }
    }
  }
  console.log(`${states} states of a sealed journal after a power failure`);
});

interface Expected {
  readonly image: Uint8Array;
  readonly begunAt: number;
  readonly returnedAt: number;
}

const WASM_PAGES = 1;
const STEPS = [
  [1, 2, 9],
  [2, 14],
];

function attach(store: CheckpointStore, guest: FakeGuest): void {
  store.attach(guest.memory, undefined, true);
  if (store.latest !== undefined) store.loadPages();
}

describe.each([
  {
    policy: 'continuous',
    create: (device: Device): CheckpointStore => Store.create(device, IDENTITY, PROGRAM),
    open: (device: Device): CheckpointStore => Store.open(device),
  },
  {
    policy: 'incremental',
    create: (device: Device): CheckpointStore =>
      CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental: true }),
    open: (device: Device): CheckpointStore => new CheckpointFiles(device, { incremental: true }),
  },
])('a sealed job of the policy $policy', ({ policy, create, open }) => {
  let device: CrashDevice;
  let checkpoints: Expected[];
  let createdAt: number;

  beforeAll(() => {
    device = new CrashDevice();
    const store = create(sealed(device));
    createdAt = device.log.length;
    const guest = new FakeGuest(WASM_PAGES);
    attach(store, guest);
    checkpoints = [{ image: guest.copy(), begunAt: 0, returnedAt: createdAt }];
    STEPS.forEach((pages, k) => {
      for (const page of pages) guest.memory.write(page * PAGE_BYTES, randomBytes(PAGE_BYTES, 10 * k + page));
      const begunAt = device.log.length;
      store.commit({ state: randomBytes(300, k), trigger: 'test' });
      checkpoints.push({ image: guest.copy(), begunAt, returnedAt: device.log.length });
    });
    store.close();
  });

  it('comes back from a power failure at any moment, whatever became of unsynced writes', { timeout: 240_000 }, () => {
    const reader = new FakeGuest(WASM_PAGES);
    let states = 0;
    const check = (medium: Medium, logLength: number, label: string): void => {
      const store = open(sealed(new CrashDevice(medium)));
      const generation = store.latest?.generation ?? 0;
      const newestReturned = checkpoints.findLastIndex(({ returnedAt }) => returnedAt <= logLength);
      const newestBegun = checkpoints.findLastIndex(({ begunAt }) => begunAt <= logLength);
      expect([newestReturned, newestBegun], label).toContain(generation);
      if (generation > 0) {
        reader.clear();
        attach(store, reader);
        expect(Buffer.compare(reader.bytes, checkpoints[generation].image), label).toBe(0);
      }
      states++;
    };
    for (let length = createdAt; length <= device.log.length; length++) {
      const log = device.log.slice(0, length);
      explore(device.start, log, (medium, label) => check(medium(), length, label()), true);
    }
    console.log(`${policy}, sealed: ${states} states after a power failure`);
    expect(states).toBeGreaterThan(100);
  });

  it('opens with its key alone', () => {
    const medium = crash(device.start, device.log, () => true);
    expect(open(sealed(new CrashDevice(medium))).readProgram()).toEqual(PROGRAM);
    const other = new SealedDevice(new CrashDevice(medium), KEY.toReversed());
    expect(() => open(other)).toThrow(/job/);
    expect(() => open(new CrashDevice(medium))).toThrow(/job/);
  });
});
