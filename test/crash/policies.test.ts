/**
 * Three checkpoints of a small job under every policy, with and without a save beside the guest, with all pages resident and with
 * pageouts between the checkpoints: at every operation of the log the power fails, and every subset of the unsynced operations,
 * every loss of sizes, and every write torn at every fifth sector, or with CONTINUO_EXHAUSTIVE at every one, is tried. Recovery finds the newest checkpoint that was reported
 * durable, or the complete one after it, as it was; and a job that goes on from there ends as one that nobody disturbed.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { openStore } from '../../src/checkpoint/policies.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { CrashDevice, EMPTY_MEDIUM, type Medium } from '../store/crash-device.ts';
import { explore, isExhaustive } from '../store/fates.ts';
import { FakeGuest } from '../store/guest.ts';
import { type JobKind, nameOf, pageOf, SavedJob } from './saved-job.ts';

const WASM_PAGES = 2;
const PAGES = 16 * WASM_PAGES;
/** A job goes on to its end from one of so many states. */
const GOES_ON_SHARE = 97;

/** What the program does before each checkpoint, and after the last: a page and the seed of its contents. */
const STEPS: readonly (readonly (readonly [page: number, seed: number])[])[] = [
  Array.from({ length: 20 }, (_, k) => [k, k + 1] as const),
  [...Array.from({ length: 18 }, (_, k) => [k + 9, 100 + k] as const), [0, 0]],
  [9, 1, 2, 3, 10].map((page) => [page, 200 + page] as const),
  Array.from({ length: 18 }, (_, k) => [k + 4, 300 + k] as const),
];
/** Where all pages are resident fewer of them make the same cases. */
const FEW = STEPS.map((step) => step.filter(([page]) => page < 3 || page % 8 < 2));

/** Long ones do not fit a record. */
const STATES = [new Uint8Array(3000).fill(1), new Uint8Array(40_000).fill(2), new Uint8Array(1500).fill(3)];

const stepsOf = (kind: JobKind): typeof STEPS => (kind.frameCount === undefined ? FEW : STEPS);

/** Memory of the job at each checkpoint; the first is that before all. */
function imagesOf(kind: JobKind): Uint8Array[] {
  const images = [new Uint8Array(PAGES * PAGE_BYTES)];
  for (const step of stepsOf(kind)) {
    const image = Uint8Array.from(images.at(-1)!);
    for (const [page, seed] of step) image.set(pageOf(seed), page * PAGE_BYTES);
    images.push(image);
  }
  return images;
}

interface History {
  readonly device: CrashDevice;
  readonly createdAt: number;
  /** By generation, lengths of the log when its checkpoint began and when it was reported durable. */
  readonly begunAt: number[];
  readonly returnedAt: number[];
}

/** Does the steps from `from` on, each followed by a checkpoint but for the last. */
function runFrom(job: SavedJob, from: number, history: History): void {
  const { device, begunAt, returnedAt } = history;
  const steps = stepsOf(job.kind);
  const note = (generation: number): void => {
    if (generation > 0 && returnedAt[generation] === undefined && (job.store.latest?.generation ?? 0) >= generation) {
      returnedAt[generation] = device.log.length;
    }
  };
  for (let k = from; k < steps.length; k++) {
    steps[k].forEach(([page, seed], i) => {
      job.write(page, seed);
      note(k);
      // While the last checkpoint is being saved some pages change.
      if (job.kind.fork && i === 2) job.finish();
      note(k);
    });
    job.finish();
    note(k);
    if (k === steps.length - 1) return;
    begunAt[k + 1] = device.log.length;
    if (job.kind.fork) job.begin(STATES[k]);
    else job.commit(STATES[k]);
    note(k + 1);
  }
}

function newHistory(kind: JobKind): History {
  const device = new CrashDevice();
  const job = SavedJob.create(device, kind, WASM_PAGES);
  const createdAt = device.log.length;
  const history = { device, createdAt, begunAt: [0], returnedAt: [createdAt] };
  runFrom(job, 0, history);
  job.close();
  return history;
}

const reader = new FakeGuest(WASM_PAGES);

/** Opens what is left, without a pager: the contents are the same. Returns the generation found. */
function check(medium: Medium, kind: JobKind, allowed: readonly number[], images: readonly Uint8Array[]): number {
  const { store } = openStore(new CrashDevice(medium), kind.policy === 'incremental' ? 'sequential' : kind.policy);
  const generation = store.latest?.generation ?? 0;
  if (!allowed.includes(generation)) throw new Error(`found ${generation} and not ${allowed.join(' or ')}`);
  if (generation > 0) {
    reader.clear();
    store.attach(reader.memory, undefined, true);
    store.loadPages();
    if (Buffer.compare(reader.bytes, images[generation]) !== 0) throw new Error(`wrong contents of ${generation}`);
    if (Buffer.compare(store.latest!.state, STATES[generation - 1]) !== 0)
      throw new Error(`wrong state of ${generation}`);
  }
  store.close();
  return generation;
}

/** Runs the job that is left to its end, and holds the end against that of an undisturbed run. */
function goOn(medium: Medium, kind: JobKind, generation: number, images: readonly Uint8Array[]): void {
  const device = new CrashDevice(medium);
  const job = SavedJob.open(device, kind, WASM_PAGES);
  runFrom(job, generation, { device, createdAt: 0, begunAt: [], returnedAt: [] });
  job.commit(Uint8Array.of(4));
  expect(Buffer.compare(job.image(), images.at(-1)!)).toBe(0);
  job.close();
  const again = SavedJob.open(device, kind, WASM_PAGES);
  expect(again.store.latest!.generation).toBe(4);
  expect(Buffer.compare(again.image(), images.at(-1)!)).toBe(0);
  again.close();
}

const kinds: JobKind[] = (['continuous', 'incremental', 'sequential', 'none'] as const).flatMap((policy) =>
  [false, true].flatMap((fork) =>
    // A run without checkpoints between start and end saves nothing beside the guest.
    policy === 'none' && fork ? [] : [undefined, 16].map((frameCount) => ({ policy, fork, frameCount })),
  ),
);
let total = 0;
afterAll(() => console.log(`power failures of small jobs under every policy: ${total} states`));

describe.each(kinds.map((kind) => ({ name: nameOf(kind), kind })))('$name', ({ kind }) => {
  it('loses no checkpoint that was reported durable, whatever a power failure leaves', () => {
    const images = imagesOf(kind);
    const history = newHistory(kind);
    const { device, createdAt, begunAt, returnedAt } = history;
    expect([begunAt.length, returnedAt.length]).toEqual([4, 4]);
    const found = [0, 0, 0, 0];
    let states = 0;
    let wentOn = 0;
    for (let length = createdAt; length <= device.log.length; length++) {
      const returned = returnedAt.findLastIndex((at) => at <= length);
      const begun = begunAt.findLastIndex((at) => at <= length);
      // Where the same may be found as without the newest operation, the fates that lose it have been tried.
      const isSame = [returnedAt, begunAt].every((all) => !all.includes(length)) && length > createdAt;
      const visit = (makeMedium: () => Medium, label: () => string): void => {
        const medium = makeMedium();
        try {
          const generation = check(medium, kind, [returned, begun], images);
          found[generation] += 1;
          if (states++ % GOES_ON_SHARE === 0) {
            goOn(medium, kind, generation, images);
            wentOn += 1;
          }
        } catch (error) {
          throw new Error(`${nameOf(kind)}, ${label()}`, { cause: error });
        }
      };
      explore(EMPTY_MEDIUM, device.log.slice(0, length), visit, isSame, isExhaustive ? 1 : 5);
    }
    total += states;
    console.log(
      `${nameOf(kind)}: ${states} states, found generations 0–3: ${found.join(', ')}; ${wentOn} ran to their end`,
    );
    expect(Math.min(...found)).toBeGreaterThan(0);
    expect(wentOn).toBeGreaterThan(1);
  }, 240_000);
});
