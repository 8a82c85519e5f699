/**
 * What a power failure may leave of a paged job, whose pages go to the file between checkpoints too: at every operation
 * of its log, with the unsynced operations lost, kept and torn, the newest durable checkpoint is found again, as it was.
 */
import { describe, expect, test } from 'vitest';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import type { ReplacementName } from '../../src/pager/replacement.ts';
import { crash, CrashDevice, type Fate, type Medium } from '../store/crash-device.ts';
import { seededRandom } from '../store/guest.ts';
import { PagedGuest } from './paged-guest.ts';

const WASM_PAGES = 4;
const PAGES = WASM_PAGES * 16;

/** Where in the log a commit began and had returned, and what the memory was then. */
interface Commit {
  readonly begunAt: number;
  readonly returnedAt: number;
  readonly image: Uint8Array;
}

function write(paged: PagedGuest, random: () => number, model: Uint8Array): void {
  const page = Math.floor(random() * PAGES);
  if (random() < 0.15) {
    paged.fillPage(page, 0);
    model.fill(0, page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    return;
  }
  const bytes = Uint8Array.from({ length: 8 }, () => Math.floor(random() * 256));
  const at = page * PAGE_BYTES + Math.floor(random() * 4000);
  paged.store8(at, bytes);
  model.set(bytes, at);
}

/** Runs a few checkpoints with pageouts in between, and pageouts after the last; `model` is what the memory holds. */
function run(
  device: CrashDevice,
  paged: PagedGuest,
  random: () => number,
  model: Uint8Array,
  rounds: number,
): Commit[] {
  const commits: Commit[] = [];
  for (let round = 0; round <= rounds; round++) {
    const writes = 20 + Math.floor(random() * 60);
    for (let i = 0; i < writes; i++) {
      write(paged, random, model);
      if (i % 10 === 9) paged.pager.writeAhead(8);
    }
    paged.assertInvariants();
    if (round === rounds) break;
    const begunAt = device.log.length;
    paged.store.commit({ state: new Uint8Array(8).fill(round), trigger: 'test' });
    commits.push({ begunAt, returnedAt: device.log.length, image: Uint8Array.from(model) });
  }
  return commits;
}

/** A random fate for each operation of a log: most lost, or most kept, some writes torn at sectors. */
function fates(random: () => number, length: number): Fate[] {
  const keep = random();
  return Array.from({ length }, () => {
    const salt = Math.floor(random() * 1e9);
    if (random() >= 0.3) return random() < keep;
    return (sector: number) => (Math.imul(sector ^ salt, 0x9e3779b1) >>> 0) % 8 !== 0;
  });
}

/** Opens what is left and holds its memory against the checkpoints that may be found. */
function check(
  medium: Medium,
  images: readonly (Uint8Array | undefined)[],
  base: number,
  frameCount: number,
): PagedGuest {
  const paged = PagedGuest.open(new CrashDevice(medium), { frameCount }, WASM_PAGES);
  const generation = paged.store.latest?.generation ?? 0;
  const image = images[generation - base];
  expect(image, `generation ${generation}`).toBeDefined();
  expect(Buffer.compare(paged.image(), image!), `contents of generation ${generation}`).toBe(0);
  paged.assertInvariants();
  return paged;
}

describe.each<ReplacementName>(['second-chance', 'lirs'])('power failure of a paged job with %s', (replacement) => {
  test('invariant (3): the newest durable checkpoint is recovered, whatever was paged out since', () => {
    const random = seededRandom(11);
    let states = 0;
    let betweenCommits = 0;
    for (let job = 0; job < 3; job++) {
      const device = new CrashDevice();
      const paged = PagedGuest.create(device, WASM_PAGES, { frameCount: 16 + job, replacement });
      const createdAt = device.log.length;
      const commits = run(device, paged, random, new Uint8Array(PAGES * PAGE_BYTES), 6);
      expect(paged.pager.stats().pageOuts).toBeGreaterThan(100);
      const none = { begunAt: 0, returnedAt: createdAt, image: new Uint8Array(PAGES * PAGE_BYTES) };
      const history = [none, ...commits];
      for (let length = createdAt; length <= device.log.length; length++) {
        const returned = history.findLastIndex(({ returnedAt }) => returnedAt <= length);
        const begun = history.findLastIndex(({ begunAt }) => begunAt < length);
        if (begun === returned) betweenCommits += 1;
        const allowed = history.map(({ image }, i) => (i === returned || i === begun ? image : undefined));
        const log = device.log.slice(0, length);
        for (let trial = 0; trial < 3; trial++) {
          const fate = fates(random, length);
          check(
            crash(device.start, log, (_, index) => fate[index], random() < 0.2),
            allowed,
            0,
            16 + trial,
          );
          states += 1;
        }
      }
    }
    console.log(`power failure of paged jobs: ${states} states, at ${betweenCommits} places between checkpoints`);
    expect(betweenCommits).toBeGreaterThan(100);
  });

  test('a job that goes on after a failure, or after a kill, is as safe as before', () => {
    const random = seededRandom(12);
    let states = 0;
    for (let job = 0; job < 24; job++) {
      const first = new CrashDevice();
      const model = new Uint8Array(PAGES * PAGE_BYTES);
      const commits = run(
        first,
        PagedGuest.create(first, WASM_PAGES, { frameCount: 16, replacement }),
        random,
        model,
        3,
      );
      const length = commits[1].returnedAt + Math.floor(random() * (first.log.length - commits[1].returnedAt + 1));
      const fate = random() < 0.3 ? undefined : fates(random, length);
      const medium = crash(first.start, first.log.slice(0, length), (_, index) => fate?.[index] ?? true);
      // The process after it: opens, pages, commits, and loses power in turn.
      const device = new CrashDevice(medium);
      const paged = PagedGuest.open(device, { frameCount: 16, replacement }, WASM_PAGES);
      const openedAt = device.log.length;
      const found = paged.store.latest!.generation;
      const image = Uint8Array.from(commits[found - 1].image);
      const later = run(device, paged, random, Uint8Array.from(image), 2);
      const history = [{ begunAt: 0, returnedAt: openedAt, image }, ...later];
      for (let secondLength = openedAt; secondLength <= device.log.length; secondLength += 2) {
        const returned = history.findLastIndex(({ returnedAt }) => returnedAt <= secondLength);
        const begun = history.findLastIndex(({ begunAt }) => begunAt < secondLength);
        const allowed = history.map((commit, i) => (i === returned || i === begun ? commit.image : undefined));
        const secondFate = fates(random, secondLength);
        const left = crash(medium, device.log.slice(0, secondLength), (_, index) => secondFate[index], random() < 0.2);
        check(left, allowed, found, 16);
        states += 1;
      }
    }
    console.log(`power failure after a paged job went on: ${states} states`);
    expect(states).toBeGreaterThan(200);
  });
});
