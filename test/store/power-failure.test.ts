/**
 * What a power failure may leave of a job. A small job runs on a device that keeps a log; for every operation of the log
 * the power fails behind it, and the unsynced operations are applied, dropped, reordered (which is: any subset of them
 * applied, since they do not overlap) and torn at sectors. Recovery must find the newest checkpoint whose commit had
 * returned, or the complete one after it, with exact contents.
 */
import { describe, expect, test } from 'vitest';
import { Store } from '../../src/checkpoint/store.ts';
import { UsageError } from '../../src/error/errors.ts';
import { crash, CrashDevice, EMPTY_MEDIUM, type Medium, type Operation } from './crash-device.ts';
import { explore } from './fates.ts';
import { FakeGuest, seededRandom } from './guest.ts';
import { IDENTITY, newJob, PROGRAM } from './job.ts';

const WASM_PAGES = 2;

/** A checkpoint as it must be found again. */
interface Expected {
  readonly image: Uint8Array;
  readonly state: Uint8Array;
  /** Length of the log when its commit began and when it had returned. */
  readonly begunAt: number;
  readonly returnedAt: number;
}

interface History {
  readonly device: CrashDevice;
  /** By generation; the first element stands for a job without a checkpoint. */
  readonly checkpoints: readonly Expected[];
  /** Length of the log when the job had been made. */
  readonly createdAt: number;
}

/** Takes the checkpoints that `steps` prepare, and remembers what each must be. */
function run(
  device: CrashDevice,
  store: Store,
  guest: FakeGuest,
  steps: readonly ((guest: FakeGuest) => Uint8Array)[],
): Expected[] {
  return steps.map((step) => {
    const state = step(guest);
    const begunAt = device.log.length;
    store.commit({ state, trigger: 'test' });
    return { image: guest.copy(), state, begunAt, returnedAt: device.log.length };
  });
}

function newHistory(steps: readonly ((guest: FakeGuest) => Uint8Array)[]): History {
  const device = new CrashDevice();
  const guest = new FakeGuest(WASM_PAGES);
  const store = newJob(device, guest);
  const createdAt = device.log.length;
  const none = { image: guest.copy(), state: new Uint8Array(0), begunAt: 0, returnedAt: createdAt };
  return { device, checkpoints: [none, ...run(device, store, guest, steps)], createdAt };
}

const reader = new FakeGuest(WASM_PAGES);

/** Opens what a failure left and holds it against the checkpoints that may be found; returns the generation found. */
function check(medium: Medium, history: History, logLength: number, label: () => string): number {
  const device = new CrashDevice(medium);
  const newestReturned = history.checkpoints.findLastIndex(({ returnedAt }) => returnedAt <= logLength);
  const newestBegun = history.checkpoints.findLastIndex(({ begunAt }) => begunAt <= logLength);
  let store: Store;
  try {
    store = Store.open(device);
  } catch (error) {
    throw new Error(`${label()}: recovery failed`, { cause: error });
  }
  const generation = store.latest?.generation ?? 0;
  if (generation !== newestReturned && generation !== newestBegun) throw new Error(`${label()}: found ${generation}`);
  store.assertInvariants();
  const expected = history.checkpoints[generation];
  if (generation > 0) {
    reader.clear();
    store.attach(reader.memory);
    store.loadPages();
    if (Buffer.compare(reader.bytes, expected.image) !== 0) throw new Error(`${label()}: wrong page contents`);
    if (Buffer.compare(store.latest!.state, expected.state) !== 0) throw new Error(`${label()}: wrong machine state`);
  }
  store.close();
  return generation;
}

const threeCheckpoints = [
  (guest: FakeGuest) => {
    for (const page of [0, 1, 2, 9, 30]) guest.fillPage(page, page + 1);
    // Long enough for a record of several sectors.
    return new Uint8Array(3000).fill(1);
  },
  (guest: FakeGuest) => {
    guest.fillPage(1, 77);
    guest.fillPage(2, 0);
    guest.fillPage(9, 78);
    return new Uint8Array(40_000).fill(2);
  },
  (guest: FakeGuest) => {
    guest.fillPage(1, 79);
    guest.fillPage(2, 80);
    guest.fillPage(31, 81);
    return new Uint8Array(1500).fill(3);
  },
];

describe('power failure', () => {
  test('invariant (3): three checkpoints, every crash point, every subset and tear: the newest one is recovered', () => {
    const history = newHistory(threeCheckpoints);
    const { log } = history.device;
    const found = [0, 0, 0, 0];
    let states = 0;
    for (let length = history.createdAt; length <= log.length; length++) {
      explore(EMPTY_MEDIUM, log.slice(0, length), (medium, label) => {
        states += 1;
        found[check(medium(), history, length, label)] += 1;
      });
    }
    console.log(`power failure, three checkpoints: ${states} states, found generations 0–3: ${found.join(', ')}`);
    expect(Math.min(...found)).toBeGreaterThan(0);
  });

  test('a job is there as a whole or not at all, whatever its creation left behind', () => {
    const { device, createdAt } = newHistory([]);
    let whole = 0;
    let states = 0;
    for (let length = 0; length <= createdAt; length++) {
      explore(EMPTY_MEDIUM, device.log.slice(0, length), (medium, label) => {
        states += 1;
        const left = new CrashDevice(medium());
        if (!Store.exists(left)) {
          expect(() => Store.open(left), label()).toThrow(UsageError);
          Store.create(left, IDENTITY, PROGRAM).close();
        } else {
          whole += 1;
        }
        const store = Store.open(left);
        expect(store.latest, label()).toBeUndefined();
        expect(store.readProgram(), label()).toEqual(PROGRAM);
        store.close();
      });
    }
    console.log(`power failure during creation: ${states} states, ${whole} of them a whole job`);
    expect(whole).toBeGreaterThan(0);
    expect(whole).toBeLessThan(states);
  });

  test('larger jobs, random dirty sets and fates: folds, delta pages and long states included', () => {
    const random = seededRandom(2026);
    const guest = new FakeGuest(64);
    const large = new FakeGuest(64);
    let device = new CrashDevice();
    let store = newJob(device, guest);
    let images = [guest.copy()];
    let states = 0;
    const found = [0, 0];
    let deltaPagesMax = 0;
    let folds = 0;
    for (let generation = 1; generation <= 60; generation++) {
      const writes = random() < 0.1 ? 700 : Math.floor(random() * 40);
      for (let i = 0; i < writes; i++) {
        guest.fillPage(Math.floor(random() * 1024), random() < 0.2 ? 0 : Math.floor(random() * 1e9));
      }
      const begunAt = device.log.length;
      const deltaBefore = store.slotCounts().delta;
      store.commit({ state: new Uint8Array(random() < 0.1 ? 50_000 : 900).fill(generation), trigger: 'test' });
      const { delta } = store.slotCounts();
      deltaPagesMax = Math.max(deltaPagesMax, delta);
      if (delta < deltaBefore) folds += 1;
      images = [images[images.length - 1], guest.copy()];
      for (let trial = 0; trial < 12; trial++) {
        const length = begunAt + 1 + Math.floor(random() * (device.log.length - begunAt));
        const keep = random();
        const log = device.log.slice(0, length);
        const fates = log.map(() => {
          const salt = Math.floor(random() * 1e9);
          return random() < 0.3
            ? (sector: number) => (Math.imul(sector ^ salt, 0x9e3779b1) >>> 0) % 8 !== 0
            : random() < keep;
        });
        const medium = crash(device.start, log, (_, index) => fates[index], random() < 0.2);
        states += 1;
        const left = Store.open(new CrashDevice(medium));
        const newest = left.latest?.generation ?? 0;
        const returned = length === device.log.length ? generation : generation - 1;
        expect(
          newest === returned || newest === generation,
          `generation ${generation}, trial ${trial}: found ${newest}`,
        ).toBe(true);
        found[newest - generation + 1] += 1;
        left.assertInvariants();
        if (newest === 0) continue;
        large.clear();
        left.attach(large.memory);
        left.loadPages();
        expect(Buffer.compare(large.bytes, images[newest - generation + 1]), `trial ${trial}`).toBe(0);
        expect(left.latest!.state[0]).toBe(newest);
      }
      // The run goes on from what is durable, which keeps the log short.
      if (generation % 4 === 0) {
        device = new CrashDevice(crash(device.start, device.log, () => true));
        store = Store.open(device);
        guest.clear();
        store.attach(guest.memory);
        store.loadPages();
      }
    }
    console.log(
      `power failure, larger jobs: ${states} states, previous or new found: ${found.join(', ')}; ${folds} folds`,
    );
    expect(Math.min(...found, folds, deltaPagesMax)).toBeGreaterThan(0);
  });

  test('recovery may be cut short itself: a second failure during and after it loses nothing', () => {
    const first = newHistory(threeCheckpoints);
    let states = 0;
    const random = seededRandom(7);
    const guest = new FakeGuest(WASM_PAGES);
    for (let length = first.createdAt; length <= first.device.log.length; length++) {
      explore(EMPTY_MEDIUM, first.device.log.slice(0, length), (makeMedium, label) => {
        if (random() > 0.02) return;
        const medium = makeMedium();
        const device = new CrashDevice(medium);
        const history = goOn(device, guest, first);
        for (let secondLength = 0; secondLength <= device.log.length; secondLength++) {
          explore(medium, device.log.slice(0, secondLength), (secondMedium, secondLabel) => {
            if (random() > 0.02) return;
            states += 1;
            check(secondMedium(), history, secondLength, () => `${label()}; then ${secondLabel()}`);
          });
        }
      });
    }
    console.log(`power failure after recovery: ${states} states`);
    expect(states).toBeGreaterThan(500);
  });

  test('a killed process, then a power failure: what the system had not yet written counts for nothing', () => {
    const first = newHistory(threeCheckpoints);
    let states = 0;
    const random = seededRandom(8);
    const guest = new FakeGuest(WASM_PAGES);
    for (let length = first.createdAt; length <= first.device.log.length; length++) {
      // The system lives on: all operations took effect for whoever reads, and are as unsynced as they were.
      const device = new CrashDevice();
      replay(device, first.device.log.slice(0, length));
      const history = goOn(device, guest, first);
      for (let secondLength = length; secondLength <= device.log.length; secondLength++) {
        explore(EMPTY_MEDIUM, device.log.slice(0, secondLength), (medium, label) => {
          if (random() > 0.2) return;
          states += 1;
          check(medium(), history, secondLength, () => `killed at ${length}, ${label()}`);
        });
      }
    }
    console.log(`power failure after a kill: ${states} states`);
    expect(states).toBeGreaterThan(500);
  });
});

/** Opens the job that a first failure left, and takes the two checkpoints that come next. */
function goOn(device: CrashDevice, guest: FakeGuest, first: History): History {
  const startedAt = device.log.length;
  const store = Store.open(device);
  const found = store.latest?.generation ?? 0;
  guest.clear();
  store.attach(guest.memory);
  if (found > 0) store.loadPages();
  // Until the job is open the failure may still leave the checkpoint before; from then on it may not.
  const openedAt = device.log.length;
  const before = first.checkpoints.slice(0, found + 1).map((checkpoint, generation) => {
    const returnedAt = generation === found ? openedAt : startedAt;
    return { ...checkpoint, begunAt: 0, returnedAt: Math.min(checkpoint.returnedAt, returnedAt) };
  });
  // The same pages again, as a program does that is run again, but another machine state (a clock, say): so that a
  // rejected checkpoint that comes back to life is told from the one that was taken in its place.
  const steps = [...threeCheckpoints, ...threeCheckpoints].slice(found, found + 2).map((step) => (it: FakeGuest) => {
    const state = step(it);
    state[0] = 99;
    return state;
  });
  return { device, checkpoints: [...before, ...run(device, store, guest, steps)], createdAt: 0 };
}

function replay(device: CrashDevice, log: readonly Operation[]): void {
  const names = new Map<number, string>();
  for (const operation of log) {
    if (operation.kind === 'link') {
      names.set(operation.file, operation.name);
      device.openFile(operation.name, 'create');
    } else if (operation.kind === 'rename') {
      for (const [file, name] of names) if (name === operation.from) names.set(file, operation.to);
      device.rename(operation.from, operation.to);
    } else if (operation.kind === 'remove') device.remove(operation.name);
    else if (operation.kind === 'syncDirectory') device.syncDirectory();
    else {
      const file = device.openFile(names.get(operation.file)!, 'write');
      if (operation.kind === 'write') file.write(operation.bytes, operation.atBytes);
      else if (operation.kind === 'size') file.truncate(operation.sizeBytes);
      else file.sync();
    }
  }
}
