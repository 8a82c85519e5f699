/**
 * Updates of a copy under power failures: whatever became of unsynced writes, what is found is the checkpoint of the last update
 * that returned, or that of the one under way, each with exact contents; so too with a whole image over what was there.
 */
import { expect, test } from 'vitest';
import type { PolicyName } from '../../src/checkpoint/checkpoint-store.ts';
import { ImageImport } from '../../src/checkpoint/image-import.ts';
import { ImageUpdate } from '../../src/checkpoint/image-update.ts';
import { checkpointFileName } from '../../src/checkpoint/job-directory.ts';
import { openStore } from '../../src/checkpoint/policies.ts';
import type { Device } from '../../src/device/device.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { CrashDevice, EMPTY_MEDIUM, type Operation } from '../store/crash-device.ts';
import { explore } from '../store/fates.ts';
import { seededRandom } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';

const PAGES = 32;

interface Update {
  /** Seeds of pages, 0 for zeros, in the chunks in which they come. */
  readonly chunks: readonly Readonly<Record<number, number>>[];
  readonly stateBytes: number;
  readonly isWhole: boolean;
}

const UPDATES: readonly Update[] = [
  { chunks: [{ 0: 1, 1: 2, 2: 3, 9: 4 }], stateBytes: 700, isWhole: true },
  { chunks: [{ 1: 5, 2: 0, 12: 6 }, { 1: 7 }], stateBytes: 33_000, isWhole: false },
  { chunks: [{ 9: 0, 31: 8 }, { 9: 9 }, { 12: 0 }], stateBytes: 500, isWhole: false },
  { chunks: [{ 3: 10, 31: 8 }], stateBytes: 600, isWhole: true },
];

const checkpoint = { timeMs: 5, trigger: 'request', guestPageCount: PAGES, dirtyPages: 1 };

function putAll({ chunks }: Update, image: Uint8Array, put: (pages: Uint32Array, contents: Uint8Array) => void): void {
  for (const chunk of chunks) {
    const pages = Uint32Array.from(Object.keys(chunk).map(Number));
    const contents = new Uint8Array(pages.length * PAGE_BYTES);
    for (const [i, page] of pages.entries()) {
      contents.fill(chunk[page], i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      image.fill(chunk[page], page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    }
    put(pages, contents);
  }
}

/** Generation, machine state and pages of what is found. */
function found(device: Device): { generation: number; state: Uint8Array; image: Uint8Array } {
  const { store } = openStore(device, undefined);
  const { generation, state, guestPageCount } = store.latest!;
  const image = new Uint8Array(guestPageCount * PAGE_BYTES);
  const reader = store.pageReader();
  const pages = reader.list(0);
  const room = new Uint8Array(pages.length * PAGE_BYTES);
  const good = new Uint8Array(pages.length);
  reader.read(pages, room, good);
  if (good.includes(0)) throw new Error('a page is not what the checkpoint says');
  for (const [i, page] of pages.entries()) {
    image.set(room.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), page * PAGE_BYTES);
  }
  reader.close();
  store.close();
  return { generation, state, image };
}

test.each<[PolicyName]>([['continuous'], ['incremental'], ['sequential']])(
  'a copy of the policy %s: every crash point, subset and tear of three updates',
  { timeout: 240_000 },
  (policy) => {
    const device = new CrashDevice();
    const image = new Uint8Array(PAGES * PAGE_BYTES);
    const history: { image: Uint8Array; stateBytes: number; begunAt: number; returnedAt: number }[] = [];
    const begin = ImageImport.begin(device, IDENTITY, PROGRAM, policy);
    putAll(UPDATES[0], image, (pages, contents) => begin.put(pages, contents));
    begin.complete({ ...checkpoint, generation: 1 }, new Uint8Array(UPDATES[0].stateBytes).fill(1));
    begin.publish();
    begin.close();
    const createdAt = device.log.length;
    history.push({ image: image.slice(), stateBytes: UPDATES[0].stateBytes, begunAt: 0, returnedAt: createdAt });
    for (const [index, update] of UPDATES.slice(1).entries()) {
      const begunAt = device.log.length;
      const opened = ImageUpdate.begin(device);
      if (update.isWhole) image.fill(0);
      putAll(update, image, (pages, contents) => opened.put(pages, contents));
      const state = new Uint8Array(update.stateBytes).fill(index + 2);
      expect(opened.complete(checkpoint, state, update.isWhole)).toBe(index + 2);
      history.push({
        image: image.slice(),
        stateBytes: update.stateBytes,
        begunAt,
        returnedAt: device.log.length,
      });
      opened.close();
    }
    let states = 0;
    const seen = new Set<number>();
    const random = seededRandom(5);
    // What is in the file where pages are gathered is nobody's to read after a failure: only its name matters.
    const gathered = new Set(
      device.log.flatMap((operation) =>
        operation.kind === 'link' && operation.name === checkpointFileName(0) ? [operation.file] : [],
      ),
    );
    const matters = ({ kind, ...operation }: Operation): boolean =>
      kind === 'link' || !('file' in operation) || !gathered.has(operation.file);
    for (let length = createdAt; length <= device.log.length; length++) {
      if (!matters(device.log[length - 1])) continue;
      explore(EMPTY_MEDIUM, device.log.slice(0, length).filter(matters), (medium, label) => {
        // Tears of one write among kept or lost others are many.
        if (label().includes('torn') && random() > (policy === 'continuous' ? 0.3 : 0.03)) return;
        states += 1;
        const { generation, state, image: pages } = found(new CrashDevice(medium()));
        const returned = history.findLastIndex(({ returnedAt }) => returnedAt <= length);
        const begun = history.findLastIndex(({ begunAt }) => begunAt <= length);
        const index = generation - 1;
        if (index !== returned && index !== begun) throw new Error(`${label()}: found ${generation}`);
        const expected = history[index];
        const isRight =
          state.length === expected.stateBytes &&
          state.every((byte) => byte === generation) &&
          Buffer.compare(pages, expected.image) === 0;
        if (!isRight) throw new Error(`${label()}: wrong contents of ${generation}`);
        seen.add(generation);
      });
    }
    console.log(`power failure, updates, ${policy}: ${states} states`);
    expect([...seen].toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
  },
);
