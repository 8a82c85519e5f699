/** Pages out of one kind of job directory into another: what comes in, in any order and again, is what is read. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { POLICY_NAMES } from '../../src/checkpoint/checkpoint-store.ts';
import { ImageImport } from '../../src/checkpoint/image-import.ts';
import { openStore } from '../../src/checkpoint/policies.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { FakeGuest } from '../store/guest.ts';
import { IDENTITY, PROGRAM } from '../store/job.ts';

const PAGES = 64;

/** A page of a seed; 0 is the page of zeros. */
const pageOf = (seed: number): Uint8Array => new Uint8Array(PAGE_BYTES).fill(seed);

/** Batches of pages, ascending within each, with the seed of each page. */
const batches = fc.array(fc.dictionary(fc.nat(PAGES - 1).map(String), fc.nat(6), { maxKeys: 20 }), { maxLength: 8 });

it.each(POLICY_NAMES)('a job of the policy %s', { timeout: 240_000 }, (policy) => {
  fc.assert(
    fc.property(batches, fc.constantFrom(1, 2, 77), fc.nat(40_000), (given, generation, stateBytes) => {
      const directory = mkdtempSync(join(tmpdir(), 'continuo-image-'));
      try {
        const device = new FileDevice(directory);
        const expected = new Uint8Array(PAGES * PAGE_BYTES);
        const image = ImageImport.begin(device, IDENTITY, PROGRAM, policy);
        for (const batch of given) {
          const pages = Uint32Array.from(Object.keys(batch).map(Number)).sort();
          if (pages.length === 0) continue;
          const contents = new Uint8Array(pages.length * PAGE_BYTES);
          for (const [i, page] of pages.entries()) {
            contents.set(pageOf(batch[page]), i * PAGE_BYTES);
            expected.set(pageOf(batch[page]), page * PAGE_BYTES);
          }
          image.put(pages, contents);
        }
        const state = new Uint8Array(stateBytes).fill(3);
        image.complete({ generation, timeMs: 5, trigger: 'request', guestPageCount: PAGES, dirtyPages: 2 }, state);
        image.publish();
        image.close();

        const { store } = openStore(device, policy === 'none' ? 'none' : undefined, { readOnly: true });
        expect(store.latest).toMatchObject({ generation, timeMs: 5, trigger: 'request', guestPageCount: PAGES });
        expect(Buffer.compare(store.latest!.state, state)).toBe(0);
        const reader = store.pageReader();
        const listed = reader.list(0);
        const room = new Uint8Array(listed.length * PAGE_BYTES);
        const good = new Uint8Array(listed.length);
        reader.read(listed, room, good);
        expect(good.every((isGood) => isGood === 1)).toBe(true);
        const found = new Uint8Array(expected.length);
        for (const [i, page] of listed.entries()) {
          found.set(room.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), page * PAGE_BYTES);
        }
        expect(Buffer.compare(found, expected)).toBe(0);
        reader.close();
        store.close();

        // And it can be gone on with: loaded, changed, committed and read again.
        const guest = new FakeGuest(PAGES / 16);
        const again = openStore(device, policy === 'none' ? 'none' : undefined).store;
        again.attach(guest.memory, undefined, true);
        again.loadPages();
        expect(Buffer.compare(guest.copy(), expected)).toBe(0);
        again.close();
      } finally {
        rmSync(directory, { recursive: true });
      }
    }),
    { numRuns: 25 },
  );
});
