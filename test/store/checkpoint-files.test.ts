/**
 * Checkpoints in files of their own, under power failures, damage and failing devices: a job always comes back to the newest
 * checkpoint whose save had returned, or to a complete one after it, with exact contents.
 */
import { describe, expect, it } from 'vitest';
import { CheckpointFiles } from '../../src/checkpoint/checkpoint-files.ts';
import { openStore } from '../../src/checkpoint/policies.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { crash, CrashDevice, type Medium } from './crash-device.ts';
import { explore } from './fates.ts';
import { FakeGuest, seededRandom } from './guest.ts';
import { IDENTITY, PROGRAM } from './job.ts';

const WASM_PAGES = 2;
const PAGES = 32;

interface Expected {
  readonly image: Uint8Array;
  readonly state: Uint8Array;
  readonly begunAt: number;
  readonly returnedAt: number;
}

function writePage(guest: FakeGuest, page: number, seed: number): void {
  const random = seededRandom(seed);
  const bytes = Uint8Array.from({ length: PAGE_BYTES }, () => (seed === 0 ? 0 : random() * 256));
  guest.memory.write(page * PAGE_BYTES, bytes);
  guest.memory.releaseHolds();
}

/** What the guest does before each checkpoint: few pages, neighbours, a page that becomes zeros, nothing at all. */
const STEPS: readonly ((guest: FakeGuest) => void)[] = [
  (guest) => [1, 2, 9].forEach((page) => writePage(guest, page, page)),
  (guest) => [2, 3, 30].forEach((page) => writePage(guest, page, 100 + page)),
  (guest) => [1, 9].forEach((page) => writePage(guest, page, page === 9 ? 0 : 7)),
  () => {},
];

function attached(store: CheckpointFiles): FakeGuest {
  const guest = new FakeGuest(WASM_PAGES);
  store.attach(guest.memory, undefined);
  if (store.latest !== undefined) store.loadPages();
  return guest;
}

function newHistory(incremental: boolean): { device: CrashDevice; createdAt: number; checkpoints: Expected[] } {
  const device = new CrashDevice();
  const store = CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental });
  const createdAt = device.log.length;
  const guest = attached(store);
  const checkpoints = [{ image: guest.copy(), state: new Uint8Array(0), begunAt: 0, returnedAt: createdAt }];
  STEPS.forEach((step, k) => {
    step(guest);
    const state = Uint8Array.of(k, 1, 2);
    const begunAt = device.log.length;
    store.commit({ state, trigger: 'test' });
    checkpoints.push({ image: guest.copy(), state, begunAt, returnedAt: device.log.length });
  });
  store.close();
  return { device, createdAt, checkpoints };
}

describe.each([
  { policy: 'sequential', incremental: false },
  { policy: 'incremental', incremental: true },
])('$policy', ({ incremental }) => {
  it('comes back from a power failure at any moment, whatever became of unsynced writes', () => {
    const { device, createdAt, checkpoints } = newHistory(incremental);
    const { log } = device;
    const reached = new Set<number>();
    for (let length = createdAt; length <= log.length; length++) {
      const newestReturned = checkpoints.findLastIndex(({ returnedAt }) => returnedAt <= length);
      const newestBegun = checkpoints.findLastIndex(({ begunAt }) => begunAt <= length);
      explore({ files: new Map(), names: new Map() }, log.slice(0, length), (medium, label) => {
        const left = new CrashDevice(medium());
        // The files say what they are: reading them needs no pager, which only writing incrementally does.
        const store = new CheckpointFiles(left, { incremental: false });
        const generation = store.latest?.generation ?? 0;
        if (generation !== newestReturned && generation !== newestBegun) {
          throw new Error(`${label()}: found ${generation}, not ${newestReturned} or ${newestBegun}`);
        }
        reached.add(generation);
        const guest = attached(store);
        expect(Buffer.compare(guest.bytes, checkpoints[generation].image), label()).toBe(0);
        if (generation > 0) expect(store.latest!.state, label()).toEqual(checkpoints[generation].state);
        store.close();
      });
    }
    expect([...reached].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
  });

  it('goes on after an unfinished save, and the next checkpoint holds', () => {
    const { device, checkpoints } = newHistory(incremental);
    const log = device.log.slice(0, checkpoints[4].begunAt + 3);
    const left = new CrashDevice(crash({ files: new Map(), names: new Map() }, log, () => true));
    const store = new CheckpointFiles(left, { incremental });
    expect(store.rejectedCheckpoint).toContain('checkpoint-0000000004');
    expect(store.latest?.generation).toBe(3);
    const guest = attached(store);
    writePage(guest, 17, 5);
    store.commit({ state: Uint8Array.of(9), trigger: 'test' });
    const image = guest.copy();
    store.close();
    const again = new CheckpointFiles(new CrashDevice(mediumOf(left)), { incremental });
    expect(again.rejectedCheckpoint).toBeUndefined();
    expect(again.latest?.generation).toBe(4);
    expect(Buffer.compare(attached(again).bytes, image)).toBe(0);
    again.close();
  });

  it('is not taken for a job of another policy', () => {
    const { device } = newHistory(incremental);
    expect(() => openStore(device, 'continuous')).toThrow(expect.objectContaining({ code: 'job-other-policy' }));
    const { store, policy } = openStore(device, undefined);
    expect(policy).toBe(incremental ? 'incremental' : 'sequential');
    expect(store.latest?.generation).toBe(4);
    store.close();
  });
});

describe('the files', () => {
  it('of sequential are one, those of incremental go back to a full one', () => {
    const names = (incremental: boolean): string[] =>
      newHistory(incremental)
        .device.list()
        .filter((name) => name.startsWith('checkpoint-'));
    expect(names(false)).toEqual(['checkpoint-0000000004']);
    expect(names(true)).toEqual([1, 2, 3, 4].map((generation) => `checkpoint-000000000${generation}`));
  });

  it('of incremental hold only what was written since', () => {
    const { device } = newHistory(true);
    const sizes = [1, 2, 3, 4].map((generation) => {
      const file = device.openFile(`checkpoint-000000000${generation}`, 'read');
      return Math.floor(file.sizeBytes() / PAGE_BYTES) - 1;
    });
    expect(sizes).toEqual([3, 3, 1, 0]);
  });

  it('of a chain that has grown too long are replaced by a full one', () => {
    const device = new CrashDevice();
    const store = CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental: true });
    const guest = attached(store);
    const counts: number[] = [];
    for (let k = 0; k < 20; k++) {
      for (let page = 0; page < PAGES; page++) writePage(guest, page, 1000 * k + page + 1);
      store.commit({ state: Uint8Array.of(k), trigger: 'test' });
      counts.push(device.list().filter((name) => name.startsWith('checkpoint-')).length);
    }
    expect(Math.max(...counts)).toBe(18);
    expect(counts.at(-1)).toBe(2);
    const image = guest.copy();
    store.close();
    const again = new CheckpointFiles(device, { incremental: true });
    expect(Buffer.compare(attached(again).bytes, image)).toBe(0);
    again.close();
  });

  it.each([
    { name: 'checkpoint-0000000001', what: 'its list', at: 4 * PAGE_BYTES + 5 },
    { name: 'checkpoint-0000000002', what: 'a page that is needed', at: 3 * PAGE_BYTES + 5 },
  ])('$name, damaged in $what, is named and nothing is guessed', ({ name, at }) => {
    const { device } = newHistory(true);
    const file = device.openFile(name, 'write');
    const byte = new Uint8Array(1);
    file.readInto(byte, at);
    file.write(Uint8Array.of(byte[0] ^ 1), at);
    expect(() => {
      const store = new CheckpointFiles(device, { incremental: true });
      try {
        attached(store);
      } finally {
        store.close();
      }
    }).toThrow(expect.objectContaining({ code: 'job-damaged', message: expect.stringContaining(name) }));
  });

  it('that the chain needs and that is gone is named', () => {
    const { device } = newHistory(true);
    device.remove('checkpoint-0000000002');
    expect(() => new CheckpointFiles(device, { incremental: true })).toThrow(
      expect.objectContaining({ code: 'job-damaged', message: expect.stringContaining('checkpoint-0000000002') }),
    );
  });
});

describe('a failing device', () => {
  it.each(['write', 'sync'] as const)(
    'fails the checkpoint at a %s; the last one stands, and no other follows',
    (kind) => {
      const device = new CrashDevice();
      const store = CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental: true });
      const guest = attached(store);
      writePage(guest, 4, 4);
      store.commit({ state: Uint8Array.of(1), trigger: 'test' });
      const image = guest.copy();
      writePage(guest, 5, 5);
      device.onOperation = (operation) => {
        if (operation.kind === kind) throw new Error('the disk is gone');
      };
      expect(() => store.commit({ state: Uint8Array.of(2), trigger: 'test' })).toThrow('the disk is gone');
      device.onOperation = () => {};
      expect(() => store.commit({ state: Uint8Array.of(3), trigger: 'test' })).toThrow(
        expect.objectContaining({ code: 'storage-failed' }),
      );
      store.close();
      const again = new CheckpointFiles(new CrashDevice(mediumOf(device)), { incremental: true });
      expect(again.latest?.generation).toBe(1);
      expect(Buffer.compare(attached(again).bytes, image)).toBe(0);
      again.close();
    },
  );
});

/** What is there when everything that was done has reached the medium. */
function mediumOf(device: CrashDevice): Medium {
  return crash(device.start, device.log, () => true);
}
