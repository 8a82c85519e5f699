import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { lockJobDirectory } from '../../src/checkpoint/job-directory.ts';
import { recover } from '../../src/checkpoint/recovery.ts';
import { Store } from '../../src/checkpoint/store.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { CorruptionError, StorageError, UsageError } from '../../src/error/errors.ts';
import { programDigest } from '../../src/format/job-format.ts';
import { jobTable } from '../../src/format/job-format.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { recordAreaOffset } from '../../src/format/paging-format.ts';
import { crash, CrashDevice, EMPTY_MEDIUM, type Medium, type Operation } from './crash-device.ts';
import { Workbench } from '../../src/format/workbench.ts';
import { FakeGuest, seededRandom } from './guest.ts';
import { IDENTITY, newJob, PROGRAM, reopenJob } from './job.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'continuo-failures-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe('a failed write or sync', () => {
  /** The kinds of operation that a commit asks for, each made to fail in turn. */
  test.each(['write', 'sync', 'size'] as const)('latches: after a failed %s the last checkpoint stands', (kind) => {
    const probe = new CrashDevice();
    const guest = new FakeGuest(40);
    const fill = (round: number): void => {
      for (let page = 0; page < 600; page += round) guest.fillPage(page, round * 1000 + page);
    };
    const store = newJob(probe, guest);
    fill(1);
    store.commit({ state: Uint8Array.of(1), trigger: 'a' });
    const image = guest.copy();
    fill(2);
    const secondFrom = probe.log.length;
    store.commit({ state: new Uint8Array(50_000), trigger: 'b' });
    const failing = probe.log.slice(secondFrom).filter((operation) => operation.kind === kind).length;
    expect(failing).toBeGreaterThan(0);

    for (let nth = 0; nth < failing; nth++) {
      const device = new CrashDevice();
      guest.clear();
      const victim = newJob(device, guest);
      fill(1);
      victim.commit({ state: Uint8Array.of(1), trigger: 'a' });
      fill(2);
      let seen = 0;
      device.onOperation = (operation: Operation) => {
        if (operation.kind === kind && seen++ === nth) throw new StorageError('no space left on device');
      };
      const request = { state: new Uint8Array(50_000), trigger: 'b' };
      expect(() => victim.commit(request)).toThrow(StorageError);
      const later = thrownBy(() => victim.commit(request));
      expect(later).toBeInstanceOf(StorageError);
      expect((later as StorageError).cause).toMatchObject({ message: 'no space left on device' });
      expect(victim.latest?.generation).toBe(1);

      device.onOperation = () => {};
      // The process is gone, the system lives: whatever was written can be read.
      const again = reopenJob(device);
      expect(again.store.latest?.generation).toBe(1);
      expect(Buffer.compare(again.guest.bytes, image)).toBe(0);
      again.guest.fillPage(3, 5);
      expect(again.store.commit({ state: new Uint8Array(9), trigger: 'c' }).generation).toBe(2);
      again.store.assertInvariants();
    }
  });

  test('on a full disk names the file, the reason and what to do', () => {
    const device = new FileDevice('/dev');
    if (!fs.existsSync('/dev/full')) return;
    const file = device.openFile('full', 'write');
    const error = thrownBy(() => file.write(Uint8Array.of(1), 0));
    expect(error).toBeInstanceOf(StorageError);
    expect((error as StorageError).message).toMatch(/cannot write \/dev\/full: ENOSPC.*free some space/);
    file.close();
  });
});

describe('a directory that is no job', () => {
  test('is refused and left as it is when it holds other files', () => {
    writeFileSync(join(directory, 'letter.txt'), 'dear');
    const device = new FileDevice(directory);
    expect(thrownBy(() => lockJobDirectory(directory, { create: true }))).toMatchObject({ code: 'job-not-a-job' });
    expect(thrownBy(() => Store.open(device))).toMatchObject({ code: 'job-not-a-job' });
    expect(thrownBy(() => Store.create(device, IDENTITY, PROGRAM))).toMatchObject({ code: 'job-not-a-job' });
    writeFileSync(join(directory, 'job'), 'not ours');
    expect(thrownBy(() => Store.open(device))).toMatchObject({ code: 'job-damaged' });
    writeFileSync(
      join(directory, 'job'),
      'not ours either, and long enough for a job file to be read from it, truly. '.repeat(2),
    );
    expect(thrownBy(() => Store.open(device))).toMatchObject({ code: 'job-not-a-job' });
    expect(fs.readdirSync(directory)).toEqual(['job', 'letter.txt']);
  });

  test('is not found when it is empty or missing', () => {
    expect(thrownBy(() => Store.open(new FileDevice(directory)))).toMatchObject({ code: 'job-not-found' });
    expect(thrownBy(() => lockJobDirectory(join(directory, 'x')))).toMatchObject({ code: 'job-not-found' });
    expect(fs.existsSync(join(directory, 'x'))).toBe(false);
    writeFileSync(join(directory, 'file'), '');
    expect(thrownBy(() => lockJobDirectory(join(directory, 'file')))).toMatchObject({ code: 'job-not-a-job' });
  });

  test('is refused when its format is newer', () => {
    Store.create(new FileDevice(directory), IDENTITY, PROGRAM).close();
    const path = join(directory, 'job');
    const file = readFileSync(path);
    file.writeUInt32LE(2, jobTable.offsetOf('formatVersion'));
    writeFileSync(path, file);
    const error = thrownBy(() => Store.open(new FileDevice(directory)));
    expect(error).toBeInstanceOf(UsageError);
    expect(error).toMatchObject({ code: 'job-newer-format', details: { formatVersion: 2 } });
  });

  test('can be given up and made anew', () => {
    const device = new FileDevice(directory);
    const store = newJob(device, new FakeGuest(1));
    store.commit({ state: new Uint8Array(3), trigger: 'a' });
    store.close();
    writeFileSync(join(directory, 'undo-1'), 'of the old job');
    Store.discard(device);
    expect(Store.exists(device)).toBe(false);
    const other = Uint8Array.of(1, 2, 3);
    const fresh = Store.create(device, { program: 'other', digest: programDigest(other) }, other);
    expect(fresh.latest).toBeUndefined();
    expect(fresh.readProgram()).toEqual(other);
    expect(fs.readdirSync(directory)).toEqual(['job', 'paging', 'program.wasm']);
    fresh.close();
  });
});

describe('damage', () => {
  /** A job with a few checkpoints, some of whose pages, map pages and delta pages are older than the newest. */
  function oldJob(): CrashDevice {
    const device = new CrashDevice();
    const guest = new FakeGuest(64);
    const store = newJob(device, guest);
    const random = seededRandom(5);
    for (let page = 0; page < 1000; page++) guest.fillPage(page, page + 1);
    for (let round = 0; round < 9; round++) {
      store.commit({ state: new Uint8Array(round === 8 ? 40_000 : 10).fill(round), trigger: 'a' });
      for (let i = 0; i < 40; i++) guest.fillPage(Math.floor(random() * 1024), i + 1);
    }
    expect(store.slotCounts().delta).toBeGreaterThan(0);
    return device;
  }

  test('of any byte of the paging file is noticed or changes nothing', () => {
    const device = oldJob();
    const medium = crash(EMPTY_MEDIUM, device.log, () => true);
    const pagingNumber = medium.names.get('paging')!;
    const paging = medium.files.get(pagingNumber)!;
    const whole = reopenJob(new CrashDevice(medium));
    const image = whole.guest.copy();
    const reader = new FakeGuest(64);
    const random = seededRandom(11);
    const outcomes = { unharmed: 0, previous: 0, reported: 0 };
    for (let trial = 0; trial < 400; trial++) {
      const damaged = Uint8Array.from(paging);
      // A third of the trials each: header and records, any byte, a whole slot.
      const at = Math.floor(random() * (trial % 3 === 0 ? 33 * 4096 : paging.length));
      if (trial % 3 === 2) damaged.fill(0xa5, at - (at % 4096), at - (at % 4096) + 4096);
      else damaged[at] ^= 1 << Math.floor(random() * 8);
      const victim = new CrashDevice({ ...medium, files: new Map([...medium.files, [pagingNumber, damaged]]) });
      try {
        const store = Store.open(victim);
        reader.clear();
        store.attach(reader.memory);
        store.loadPages();
        if (store.latest!.generation === 9) {
          outcomes.unharmed += 1;
          expect(Buffer.compare(reader.bytes, image)).toBe(0);
        } else {
          outcomes.previous += 1;
          expect(store.latest!.generation).toBe(8);
          expect(store.rejectedCheckpoint).toBeDefined();
        }
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        outcomes.reported += 1;
        expect(error.details).toMatchObject({ path: '/crash-device/paging' });
        expect(error.details['byteOffset']).toBeTypeOf('number');
      }
    }
    console.log('damaged paging files:', outcomes);
    expect(Math.min(...Object.values(outcomes))).toBeGreaterThan(0);
  });

  /** The paging file of a job whose page 0 is of generation 1, and how to damage it. */
  function jobOfGenerations(count: number): { medium: Medium; paging: Uint8Array; slotOf: (page: number) => number } {
    const device = new CrashDevice();
    const guest = new FakeGuest(1);
    const store = newJob(device, guest);
    guest.fillPage(0, 1);
    for (let generation = 1; generation <= count; generation++) {
      guest.fillPage(5, generation);
      store.commit({ state: new Uint8Array(3), trigger: 'a' });
    }
    const medium = crash(EMPTY_MEDIUM, device.log, () => true);
    const paging = medium.files.get(medium.names.get('paging')!)!;
    const { image } = recover(device.openFile('paging', 'read'), Workbench.ofThread());
    return { medium, paging, slotOf: (page) => image.map.slotOf(page) };
  }

  test('of the newest checkpoint does not bring back the one before where its slots were used again', () => {
    const { medium, paging, slotOf } = jobOfGenerations(3);
    paging[slotOf(5) * PAGE_BYTES] ^= 1;
    expect(Store.open(new CrashDevice(medium)).latest?.generation).toBe(2);
    paging[slotOf(0) * PAGE_BYTES] ^= 1;
    expect(thrownBy(() => Store.open(new CrashDevice(medium)))).toMatchObject({ code: 'job-damaged' });
  });

  test('of any page is found at the opening where the write of a record was lost', () => {
    const earlier = jobOfGenerations(1);
    const { medium, paging, slotOf } = jobOfGenerations(4);
    const area = recordAreaOffset(1);
    paging.set(earlier.paging.subarray(area, area + 4096), area);
    expect(Store.open(new CrashDevice(medium)).latest?.generation).toBe(4);
    paging[slotOf(0) * PAGE_BYTES] ^= 1;
    expect(thrownBy(() => Store.open(new CrashDevice(medium)))).toMatchObject({ code: 'job-damaged' });
  });

  test('of the program is noticed', () => {
    const device = new FileDevice(directory);
    const store = newJob(device, new FakeGuest(1));
    writeFileSync(join(directory, 'program.wasm'), 'b program');
    expect(thrownBy(() => store.readProgram())).toMatchObject({ code: 'job-damaged' });
    writeFileSync(join(directory, 'program.wasm'), 'a');
    expect(thrownBy(() => store.readProgram())).toMatchObject({ code: 'job-damaged' });
    store.close();
  });

  test("of a job's paging file by another job's is noticed", () => {
    const device = new FileDevice(directory);
    newJob(device, new FakeGuest(1)).close();
    const paging = readFileSync(join(directory, 'paging'));
    Store.discard(device);
    newJob(device, new FakeGuest(1)).close();
    writeFileSync(join(directory, 'paging'), paging);
    expect(thrownBy(() => Store.open(device))).toMatchObject({
      code: 'job-damaged',
      details: { field: 'jobId of the header', byteOffset: 24 },
    });
  });

  test('of both records is noticed', () => {
    const device = new FileDevice(directory);
    const store = newJob(device, new FakeGuest(1));
    store.commit({ state: new Uint8Array(3), trigger: 'a' });
    store.commit({ state: new Uint8Array(3), trigger: 'b' });
    store.close();
    const path = join(directory, 'paging');
    const paging = readFileSync(path);
    paging[recordAreaOffset(0) + 60] ^= 1;
    paging[recordAreaOffset(1) + 60] ^= 1;
    writeFileSync(path, paging);
    expect(thrownBy(() => Store.open(device))).toMatchObject({ code: 'job-damaged' });
  });
});

describe('a store opened for reading', () => {
  test('changes nothing and takes no checkpoint', () => {
    const device = new FileDevice(directory);
    const guest = new FakeGuest(1);
    const store = newJob(device, guest);
    guest.fillPage(1, 2);
    store.commit({ state: new Uint8Array(3), trigger: 'a' });
    const before = readFileSync(join(directory, 'paging'));
    const reader = Store.open(device, { readOnly: true });
    expect(reader.latest?.generation).toBe(1);
    expect(reader.slotCounts()).toMatchObject({ working: 1, shadow: 0, reserved: 33 });
    reader.attach(guest.memory);
    expect(() => reader.commit({ state: new Uint8Array(3), trigger: 'b' })).toThrow('opened for reading');
    reader.close();
    store.close();
    expect(readFileSync(join(directory, 'paging')).equals(before)).toBe(true);
  });

  test('looks again when the job was committing meanwhile', () => {
    const device = new CrashDevice();
    const guest = new FakeGuest(1);
    const store = newJob(device, guest);
    const commit = (): void => {
      for (let page = 0; page < 16; page++) guest.fillPage(page, Math.random() * 1e9);
      store.commit({ state: new Uint8Array(3), trigger: 'a' });
    };
    commit();
    commit();
    // Two commits happen between the reading of the records and that of the first page.
    let committing = 2;
    const reading = device.onRead;
    device.onRead = (atBytes) => {
      reading(atBytes);
      if (atBytes < 33 * PAGE_BYTES || committing === 0) return;
      committing -= 1;
      commit();
      commit();
    };
    const reader = Store.open(device, { readOnly: true });
    expect(committing).toBe(0);
    expect(reader.latest?.generation).toBe(6);
    expect(reader.rejectedCheckpoint).toBeUndefined();
  });
});
