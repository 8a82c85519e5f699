/**
 * Kept checkpoints (`--keep`) under power failures: whatever became of unsynced writes, recovery finds the newest checkpoint that was
 * durable, or a complete one after it, and every checkpoint that it retains has exact contents; the slots in use are exactly
 * those that the newest and the retained ones name. Going back is one of the commits.
 */
import { describe, expect, test } from 'vitest';
import { goBack } from '../../src/checkpoint/going-back.ts';
import { accountSlots } from '../../src/checkpoint/slot-accounts.ts';
import { recover } from '../../src/checkpoint/recovery.ts';
import { PAGING_NAME } from '../../src/checkpoint/job-directory.ts';
import { CheckpointFiles } from '../../src/checkpoint/checkpoint-files.ts';
import { Store } from '../../src/checkpoint/store.ts';
import { Workbench } from '../../src/format/workbench.ts';
import { openFilesView } from '../../src/inspect/files-view.ts';
import { openPagingView } from '../../src/inspect/paging-view.ts';
import type { CheckpointView } from '../../src/inspect/checkpoint-view.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { crash, CrashDevice, EMPTY_MEDIUM, type Medium } from './crash-device.ts';
import { explore } from './fates.ts';
import { FakeGuest, seededRandom } from './guest.ts';
import { IDENTITY, newJob, PROGRAM } from './job.ts';

const WASM_PAGES = 2;

interface Expected {
  readonly image: Uint8Array;
  readonly state: Uint8Array;
  /** All that can be gone back to with it, newest first. */
  readonly kept: readonly number[];
  readonly begunAt: number;
  readonly returnedAt: number;
}

const NOTHING: Expected = {
  image: new Uint8Array(WASM_PAGES * 65536),
  state: new Uint8Array(0),
  kept: [],
  begunAt: 0,
  returnedAt: 0,
};

/** What the guest does before each checkpoint, and its state then: short ones, one that takes slots, zeros, nothing new. */
const STEPS: readonly ((guest: FakeGuest) => Uint8Array)[] = [
  (guest) => {
    for (const page of [0, 1, 2, 9]) guest.fillPage(page, page + 1);
    return new Uint8Array(700).fill(1);
  },
  (guest) => {
    guest.fillPage(1, 77);
    guest.fillPage(2, 0);
    return new Uint8Array(33_000).fill(2);
  },
  (guest) => {
    guest.fillPage(1, 79);
    guest.fillPage(31, 81);
    return new Uint8Array(600).fill(3);
  },
  (guest) => {
    guest.fillPage(9, 5);
    return new Uint8Array(500).fill(4);
  },
  (guest) => {
    guest.fillPage(1, 80);
    guest.fillPage(2, 82);
    return new Uint8Array(400).fill(5);
  },
];

function commitStep(
  device: CrashDevice,
  store: Store,
  guest: FakeGuest,
  history: Map<number, Expected>,
  k: number,
): void {
  const state = STEPS[k](guest);
  const before = history.get(store.latest?.generation ?? 0)!.kept;
  const begunAt = device.log.length;
  const { generation } = store.commit({ state, trigger: 'test' });
  store.assertInvariants();
  const kept = [generation, ...before].slice(0, store.keep);
  history.set(generation, { image: guest.copy(), state, kept, begunAt, returnedAt: device.log.length });
}

/** Holds a view of a checkpoint against what was taken. */
function checkView(view: CheckpointView, expected: Expected, label: () => string): void {
  try {
    if (Buffer.compare(view.checkpoint.state, expected.state) !== 0) throw new Error(`${label()}: wrong machine state`);
    const room = new Uint8Array(PAGE_BYTES);
    for (let page = 0; page < view.pages.pageCount; page++) {
      view.pages.read(page, room);
      const at = page * PAGE_BYTES;
      if (Buffer.compare(room, expected.image.subarray(at, at + PAGE_BYTES)) !== 0)
        throw new Error(`${label()}: wrong contents of page ${page} of ${view.checkpoint.generation}`);
    }
  } finally {
    view.close();
  }
}

/** Opens what a failure left, and holds all of it against the history; returns the generation found. */
function check(medium: Medium, history: ReadonlyMap<number, Expected>, logLength: number, label: () => string): number {
  const device = new CrashDevice(medium);
  const generations = [...history.keys()];
  const returned = generations.findLast((generation) => history.get(generation)!.returnedAt <= logLength)!;
  const begun = generations.findLast((generation) => history.get(generation)!.begunAt <= logLength)!;
  const store = Store.open(device);
  const generation = store.latest?.generation ?? 0;
  if (generation !== returned && generation !== begun) throw new Error(`${label()}: found ${generation}`);
  expect(store.keptDamage, label()).toBeUndefined();
  store.assertInvariants();
  store.close();
  if (generation === 0) return 0;
  checkAll(device, history, generation, label);
  return generation;
}

function checkAll(
  device: CrashDevice,
  history: ReadonlyMap<number, Expected>,
  generation: number,
  label: () => string,
): void {
  const bench = Workbench.ofThread();
  const file = device.openFile(PAGING_NAME, 'read');
  const { record, image } = recover(file, bench);
  const listed = record!.retained?.entries.map((entry) => entry.generation) ?? [];
  expect([generation, ...listed], label()).toEqual(history.get(generation)!.kept);
  // The used slots are the union of what the kept checkpoints name.
  const uses = accountSlots(file, record!, image, bench);
  expect(uses.usedCount(), label()).toBe(image.slots.usedCount);
  for (const at of [generation, ...listed]) {
    checkView(openPagingView(device, 'job', at), history.get(at)!, () => `${label()}, generation ${at}`);
  }
}

/** Five checkpoints with keep 3, a going back to the third, and one more. */
function newHistory(): { device: CrashDevice; createdAt: number; history: Map<number, Expected> } {
  const device = new CrashDevice();
  const guest = new FakeGuest(WASM_PAGES);
  const store = newJob(device, guest);
  store.retain(3);
  const createdAt = device.log.length;
  const history = new Map([[0, { ...NOTHING, returnedAt: createdAt }]]);
  for (let k = 0; k < 5; k++) commitStep(device, store, guest, history, k);
  store.close();
  const begunAt = device.log.length;
  goBack(device, 3, (state) => Uint8Array.of(...state.subarray(0, 300), 99));
  const third = history.get(3)!;
  const state = Uint8Array.of(...third.state.subarray(0, 300), 99);
  history.set(6, { ...third, state, kept: [6], begunAt, returnedAt: device.log.length });
  const again = Store.open(device);
  expect(again.keep).toBe(3);
  guest.clear();
  again.attach(guest.memory);
  again.loadPages();
  commitStep(device, again, guest, history, 3);
  again.close();
  return { device, createdAt, history };
}

describe('kept checkpoints', () => {
  test('invariants (R1) to (R3): every crash point, subset and tear of six commits and a going back', () => {
    const { device, createdAt, history } = newHistory();
    const { log } = device;
    let states = 0;
    const found = new Map<number, number>();
    const random = seededRandom(3);
    for (let length = createdAt; length <= log.length; length++) {
      explore(EMPTY_MEDIUM, log.slice(0, length), (medium, label) => {
        // Tears of one write among kept or lost others are many: every eighth, at random.
        if (label().includes('torn') && random() > 0.125) return;
        states += 1;
        const generation = check(medium(), history, length, label);
        found.set(generation, (found.get(generation) ?? 0) + 1);
      });
    }
    console.log(`power failure, keep 3: ${states} states, found ${JSON.stringify([...found])}`);
    expect([...found.keys()].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  test('going back refuses what is not kept, and damage of what is, before anything is written', () => {
    const { device } = newHistory();
    const before = device.log.length;
    expect(() => goBack(device, 5, (state) => state)).toThrow(expect.objectContaining({ code: 'generation-not-kept' }));
    expect(() => goBack(device, 7, (state) => state)).not.toThrow();
    const view = openPagingView(device, 'job', 6);
    view.close();
    const file = device.openFile(PAGING_NAME, 'write');
    const bench = Workbench.ofThread();
    const { image } = recover(file, bench);
    // Page 0 is shared by all of them.
    const at = image.map.slotOf(0) * PAGE_BYTES + 7;
    file.write(Uint8Array.of(250), at);
    const damagedAt = device.log.length;
    expect(() => goBack(device, 6, (state) => state)).toThrow(expect.objectContaining({ code: 'job-damaged' }));
    expect(device.log.length).toBe(damagedAt);
    expect(damagedAt).toBe(before + 1);
  });

  test('a damaged retained checkpoint is given up with those before it, and the newest goes on', () => {
    const device = new CrashDevice();
    const guest = new FakeGuest(WASM_PAGES);
    const store = newJob(device, guest);
    store.retain(4);
    const history = new Map([[0, NOTHING]]);
    for (let k = 0; k < 4; k++) commitStep(device, store, guest, history, k);
    store.close();
    const file = device.openFile(PAGING_NAME, 'write');
    const bench = Workbench.ofThread();
    const entries = recover(file, bench).record!.retained!.entries;
    expect(entries.map(({ generation }) => generation)).toEqual([3, 2, 1]);
    file.write(Uint8Array.of(1, 2, 3), entries[1].slot * PAGE_BYTES + 60);
    const again = Store.open(device);
    expect(again.keptDamage?.message).toContain('copied record of generation 2');
    again.assertInvariants();
    again.attach(guest.memory);
    guest.clear();
    again.loadPages();
    history.set(4, { ...history.get(4)!, kept: [4, 3] });
    commitStep(device, again, guest, history, 4);
    checkAll(device, history, 5, () => 'after damage');
  });

  test('larger jobs, random dirty sets, numbers to keep, goings back and fates', () => {
    const random = seededRandom(77);
    let device = new CrashDevice();
    const guest = new FakeGuest(32);
    let store = newJob(device, guest);
    const history = new Map<number, Expected>([[0, { ...NOTHING, image: guest.copy() }]]);
    let states = 0;
    let goings = 0;
    let retainedMax = 0;
    for (let round = 0; round < 60; round++) {
      if (random() < 0.15) store.retain(1 + Math.floor(random() * 5));
      const writes = random() < 0.15 ? 400 : Math.floor(random() * 20);
      for (let i = 0; i < writes; i++) {
        guest.fillPage(Math.floor(random() * 512), random() < 0.2 ? 0 : Math.floor(random() * 1e9));
      }
      const state = new Uint8Array(random() < 0.15 ? 50_000 : 900).fill(round);
      const before = history.get(store.latest?.generation ?? 0)!.kept;
      const begunAt = device.log.length;
      const { generation } = store.commit({ state, trigger: 'test' });
      store.assertInvariants();
      retainedMax = Math.max(retainedMax, store.slotCounts().retained);
      const kept = [generation, ...before].slice(0, store.keep);
      history.set(generation, { image: guest.copy(), state, kept, begunAt, returnedAt: device.log.length });
      for (let trial = 0; trial < 4; trial++) {
        const length = begunAt + 1 + Math.floor(random() * (device.log.length - begunAt));
        const log = device.log.slice(0, length);
        const keep = random();
        const fates = log.map(() => {
          const salt = Math.floor(random() * 1e9);
          return random() < 0.3
            ? (sector: number) => (Math.imul(sector ^ salt, 0x9e3779b1) >>> 0) % 8 !== 0
            : random() < keep;
        });
        const left = new CrashDevice(crash(device.start, log, (_, index) => fates[index], random() < 0.2));
        states += 1;
        const opened = Store.open(left);
        const newest = opened.latest?.generation ?? 0;
        expect([generation, generation - 1, before[0] ?? 0], `round ${round}`).toContain(newest);
        expect(opened.keptDamage).toBeUndefined();
        opened.assertInvariants();
        opened.close();
        if (newest > 0) checkAll(left, history, newest, () => `round ${round}, trial ${trial}`);
      }
      if (round % 5 !== 4) continue;
      store.close();
      device = new CrashDevice(crash(device.start, device.log, () => true));
      if (kept.length > 1 && random() < 0.7) {
        const at = kept[1 + Math.floor(random() * (kept.length - 1))];
        goBack(device, at, (old) => old);
        goings += 1;
        const back = history.get(at)!;
        const older = kept.filter((other) => other < at);
        history.set(generation + 1, { ...back, kept: [generation + 1, ...older] });
        checkAll(device, history, generation + 1, () => `back to ${at}`);
      }
      store = Store.open(device);
      guest.clear();
      store.attach(guest.memory);
      store.loadPages();
    }
    console.log(`kept checkpoints, larger jobs: ${states} states, ${goings} goings back, up to ${retainedMax} slots`);
    expect(Math.min(goings, retainedMax)).toBeGreaterThan(2);
  });

  test('keep 1 writes the same operations as before there was a choice', () => {
    const logs = [undefined, 1].map((keep) => {
      const device = new CrashDevice();
      const guest = new FakeGuest(WASM_PAGES);
      const store = newJob(device, guest);
      if (keep !== undefined) store.retain(keep);
      for (const step of STEPS) store.commit({ state: step(guest), trigger: 'test' });
      return device.log.map((operation) => [operation.kind, 'bytes' in operation ? operation.bytes.length : 0]);
    });
    expect(logs[1]).toEqual(logs[0]);
  });
});

describe.each([{ incremental: false }, { incremental: true }])(
  'kept files, incremental $incremental',
  ({ incremental }) => {
    test('every crash point of five saves with keep 3 and a going back: all kept generations have exact contents', () => {
      const device = new CrashDevice();
      const store = CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental });
      store.retain(3);
      const createdAt = device.log.length;
      const history = new Map<number, Expected>([[0, { ...NOTHING, returnedAt: createdAt }]]);
      let guest = new FakeGuest(WASM_PAGES);
      const write = (page: number, seed: number): void => {
        const bytes = new Uint8Array(PAGE_BYTES).fill(seed);
        guest.memory.write(page * PAGE_BYTES, bytes);
        guest.memory.releaseHolds();
      };
      const save = (files: CheckpointFiles, k: number): void => {
        write(k, k + 1);
        write(7, 10 + k);
        const begunAt = device.log.length;
        const state = Uint8Array.of(k, 1);
        const before = history.get(files.latest?.generation ?? 0)!.kept;
        const { generation } = files.commit({ state, trigger: 'test' });
        const kept = [generation, ...before].slice(0, files.keep);
        history.set(generation, { image: guest.copy(), state, kept, begunAt, returnedAt: device.log.length });
      };
      store.attach(guest.memory, undefined);
      for (let k = 0; k < 5; k++) save(store, k);
      store.close();
      const begunAt = device.log.length;
      goBack(device, 4, (state) => state);
      history.set(6, { ...history.get(4)!, kept: [6, 4, 3], begunAt, returnedAt: device.log.length });
      const again = new CheckpointFiles(device, { incremental });
      expect(again.keep).toBe(3);
      guest = new FakeGuest(WASM_PAGES);
      again.attach(guest.memory, undefined);
      again.loadPages();
      save(again, 5);
      again.close();
      const found = new Set<number>();
      const random = seededRandom(5);
      let states = 0;
      for (let length = createdAt; length <= device.log.length; length++) {
        const generations = [...history.keys()];
        const returned = generations.findLast((generation) => history.get(generation)!.returnedAt <= length)!;
        const begun = generations.findLast((generation) => history.get(generation)!.begunAt <= length)!;
        explore(EMPTY_MEDIUM, device.log.slice(0, length), (medium, label) => {
          if (label().includes('torn') && random() > 0.25) return;
          states += 1;
          const left = new CrashDevice(medium());
          const opened = new CheckpointFiles(left, { incremental: false });
          const generation = opened.latest?.generation ?? 0;
          if (generation !== returned && generation !== begun) throw new Error(`${label()}: found ${generation}`);
          found.add(generation);
          opened.close();
          if (generation === 0) return;
          for (const at of history.get(generation)!.kept) {
            checkView(openFilesView(left, 'job', at), history.get(at)!, () => `${label()}, generation ${at}`);
          }
          if (generation === 6) {
            expect(() => openFilesView(left, 'job', 5)).toThrow(
              expect.objectContaining({ code: 'generation-not-kept' }),
            );
          }
        });
      }
      console.log(`power failure, files of ${incremental ? 'incremental' : 'sequential'}, keep 3: ${states} states`);
      expect([...found].toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    });
  },
);
