import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CorruptionError, StorageError } from '../../src/error/errors.ts';
import { PAGE_BYTES, WASM_PAGE_BYTES } from '../../src/memory/layout.ts';
import { createRelease, NoRelease } from '../../src/memory/memory-release.ts';
import type { ReplacementName } from '../../src/pager/replacement.ts';
import { CrashDevice } from '../store/crash-device.ts';
import { FakeGuest, seededRandom } from '../store/guest.ts';
import { LargePageRelease, PagedGuest, type Budget } from './paged-guest.ts';

const POLICIES: readonly ReplacementName[] = ['second-chance', 'lirs'];
const WASM_PAGES = 8;
const WASM_PAGES_MAX = 10;
const PAGES = WASM_PAGES * 16;
const NO_STATE = { state: new Uint8Array(4), trigger: 'test' };

const address = fc.oneof(
  fc.record({ page: fc.nat({ max: PAGES - 1 }), offset: fc.nat({ max: PAGE_BYTES - 1 }) }),
  // Across the end of a page as often as anywhere else, and a few pages more often than others.
  fc.record({ page: fc.nat({ max: 9 }), offset: fc.integer({ min: PAGE_BYTES - 15, max: PAGE_BYTES - 1 }) }),
);
const command = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('store' as const), address, seed: fc.nat() }) },
  { weight: 12, arbitrary: fc.record({ kind: fc.constant('load' as const), address }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('sweep' as const),
      from: fc.nat({ max: PAGES - 1 }),
      count: fc.integer({ min: 1, max: 60 }),
      seed: fc.nat(),
      writes: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('zero' as const), page: fc.nat({ max: PAGES - 1 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('hold' as const),
      page: fc.nat({ max: PAGES - 50 }),
      count: fc.integer({ min: 1, max: 48 }),
      write: fc.boolean(),
      seed: fc.nat(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('pin' as const),
      pages: fc.uniqueArray(fc.nat({ max: PAGES - 1 }), { maxLength: 14 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('writeAhead' as const), countMax: fc.integer({ min: 1, max: 50 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('grow' as const) }) },
);

describe('pages written ahead', () => {
  const start = (): PagedGuest => {
    const paged = PagedGuest.create(new CrashDevice(), WASM_PAGES, { frameCount: 100, replacement: 'lirs' });
    paged.pin([]);
    for (let page = 0; page < 40; page++) paged.store8(page * PAGE_BYTES, Uint8Array.of(page + 1));
    return paged;
  };

  test('are those that the guest left alone since the last look, and need not be written at the checkpoint', () => {
    const paged = start();
    // The first look sees that all were written; then ten are written again.
    expect(paged.pager.writeAhead(100)).toBe(0);
    for (let page = 0; page < 10; page++) paged.store8(page * PAGE_BYTES, Uint8Array.of(99));
    expect(paged.pager.writeAhead(100)).toBe(30);
    const stats = paged.store.commit(NO_STATE);
    expect(stats).toMatchObject({
      dirtyPages: 40,
      residentDirtyPages: 10,
      pagesWritten: 10,
      pagesWrittenContinuous: 30,
    });
  });

  test('are not written for some checkpoints when most of them were changed again', () => {
    const paged = start();
    const writeAll = (seed: number): void => {
      for (let page = 0; page < 40; page++) paged.store8(page * PAGE_BYTES, Uint8Array.of(seed));
    };
    paged.pager.writeAhead(100);
    expect(paged.pager.writeAhead(100)).toBe(40);
    writeAll(1);
    paged.store.commit(NO_STATE);
    let rested = 0;
    for (let round = 2; ; round++) {
      writeAll(round);
      paged.pager.writeAhead(100);
      if (paged.pager.writeAhead(100) > 0) break;
      paged.store.commit(NO_STATE);
      rested += 1;
    }
    expect(rested).toBe(2);
  });
});

describe.each(POLICIES)('the pager with %s', (replacement) => {
  const releases: [how: string, release: NonNullable<Budget['release']>][] = [
    ['kept', () => new NoRelease('not asked for')],
    ['given back', createRelease],
    ['given back in large pages of zeros', (memory) => new LargePageRelease(memory, true)],
    ['given back in large pages of anything', (memory) => new LargePageRelease(memory, false)],
  ];
  const budgets = releases.flatMap(([how, release], i) =>
    (i === 0 ? [16, 17, 40, WASM_PAGES_MAX * 16] : [16, 40]).map((frameCount) => ({ frameCount, how, release })),
  );

  test.each(budgets)('$frameCount frames and memory $how shows the guest what it wrote', ({ frameCount, release }) => {
    const budget: Budget = { frameCount, replacement, release };
    fc.assert(
      fc.property(fc.array(command, { minLength: 1, maxLength: 60 }), (commands) => {
        const device = new CrashDevice();
        let paged = PagedGuest.create(device, WASM_PAGES, budget, WASM_PAGES_MAX);
        let model = new Uint8Array(WASM_PAGES * WASM_PAGE_BYTES);
        let committed: Uint8Array<ArrayBuffer> | undefined;
        for (const step of commands) {
          switch (step.kind) {
            case 'store': {
              const at = step.address.page * PAGE_BYTES + step.address.offset;
              const bytes = Uint8Array.from(
                { length: Math.min(16, model.length - at) },
                (_, i) => step.seed >>> (i % 24),
              );
              paged.store8(at, bytes);
              model.set(bytes, at);
              break;
            }
            case 'load': {
              const at = step.address.page * PAGE_BYTES + step.address.offset;
              const lengthBytes = Math.min(16, model.length - at);
              expect(paged.load(at, lengthBytes)).toEqual(model.slice(at, at + lengthBytes));
              break;
            }
            case 'sweep':
              for (let i = 0; i < step.count; i++) {
                const at = ((step.from + i) % PAGES) * PAGE_BYTES + (step.seed % 4000);
                if (step.writes) {
                  paged.store8(at, Uint8Array.of(step.seed + i));
                  model[at] = step.seed + i;
                } else expect(paged.load(at, 1)[0]).toBe(model[at]);
              }
              break;
            case 'zero':
              paged.fillPage(step.page, 0);
              model.fill(0, step.page * PAGE_BYTES, (step.page + 1) * PAGE_BYTES);
              break;
            case 'hold': {
              const from = step.page * PAGE_BYTES + (step.seed % PAGE_BYTES);
              const { memory } = paged.guest;
              const lengthBytes = step.count * PAGE_BYTES;
              const view = step.write
                ? memory.viewForWriting(from, lengthBytes)
                : memory.viewForReading(from, lengthBytes);
              // A later hold must not take the frames of an earlier one.
              memory.getUint8(((step.page + 64) % PAGES) * PAGE_BYTES);
              expect(Buffer.compare(view, model.subarray(from, from + lengthBytes))).toBe(0);
              if (step.write) {
                view.fill(step.seed);
                model.fill(step.seed, from, from + lengthBytes);
              }
              paged.pager.assertInvariants();
              memory.releaseHolds();
              break;
            }
            case 'pin':
              paged.pin(step.pages);
              for (const page of step.pages) paged.load(page * PAGE_BYTES, 1);
              // What is pinned stays accessible without asking, whatever else is touched.
              for (let page = 0; page < 40; page++) paged.load(page * PAGE_BYTES, 1);
              for (const page of step.pages) expect(paged.isAccessible(page)).toBe(true);
              break;
            case 'commit': {
              const { dirtyPages, residentDirtyPages, pagesWritten, zeroPages } = paged.store.commit(NO_STATE);
              expect(residentDirtyPages).toBeLessThanOrEqual(Math.min(dirtyPages, frameCount));
              expect(pagesWritten + zeroPages).toBe(residentDirtyPages);
              committed = Uint8Array.from(model);
              expect(paged.pager.collect(model.length / PAGE_BYTES)).toBe(0);
              break;
            }
            case 'writeAhead':
              expect(paged.pager.writeAhead(step.countMax)).toBeLessThanOrEqual(step.countMax);
              break;
            case 'reopen':
              paged.store.close();
              paged = PagedGuest.open(device, budget, WASM_PAGES, WASM_PAGES_MAX);
              model =
                committed === undefined ? new Uint8Array(WASM_PAGES * WASM_PAGE_BYTES) : Uint8Array.from(committed);
              break;
            case 'grow':
              if (model.length < WASM_PAGES_MAX * WASM_PAGE_BYTES) {
                paged.guest.memory.memory.grow(1);
                const grown = new Uint8Array(model.length + WASM_PAGE_BYTES);
                grown.set(model);
                model = grown;
                paged.store8(model.length - 1, Uint8Array.of(7));
                model[model.length - 1] = 7;
              }
          }
          paged.assertInvariants();
        }
        expect(Buffer.compare(paged.image(), model)).toBe(0);
        paged.assertInvariants();
      }),
      { numRuns: 60 },
    );
  });

  test('writes what leaves to the next checkpoint, whose record counts it', () => {
    const device = new CrashDevice();
    const paged = PagedGuest.create(device, WASM_PAGES, { frameCount: 32, replacement });
    for (let page = 0; page < 100; page++) paged.fillPage(page, page + 1);
    const first = paged.store.commit(NO_STATE);
    expect(first.dirtyPages).toBe(100);
    expect(first.residentDirtyPages).toBeLessThanOrEqual(32);
    expect(first.pagesWritten + first.pagesWrittenContinuous).toBe(100);
    expect(paged.store.latest?.pagesWritten).toBe(100);
    expect(paged.store.commit(NO_STATE).dirtyPages).toBe(0);
    for (let round = 0; round < 3; round++)
      for (let page = 0; page < 60; page++) paged.fillPage(page, round * 64 + page);
    const second = paged.store.commit(NO_STATE);
    // Each page once, however often it left.
    expect(second.dirtyPages).toBe(60);
    expect(second.pagesWrittenContinuous).toBeGreaterThan(60);
    expect(paged.store.latest).toMatchObject({ dirtyPages: 60, pagesWritten: 60 });
    expect(PagedGuest.open(device, { frameCount: 16 }, 0).image()).toEqual(paged.image());
  });

  test('a page that is not what was written is reported with its place in the file, and latches', () => {
    const device = new CrashDevice();
    const paged = PagedGuest.create(device, WASM_PAGES, { frameCount: 16, replacement });
    for (let page = 0; page < 100; page++) paged.fillPage(page, page + 1);
    paged.store.commit(NO_STATE);
    const file = device.openFile('paging', 'write');
    for (let slot = 33; slot < file.sizeBytes() / PAGE_BYTES; slot++)
      file.write(Uint8Array.of(255, 3), slot * PAGE_BYTES);
    expect(() => paged.image()).toThrow(CorruptionError);
    const failure = paged.pager.failure;
    expect(failure?.message).toMatch(/paging is damaged at byte \d+: checksum of page \d+ should be/);
    expect(paged.pager.fault(0, 1, 0)).toBe(1);
    expect(() => paged.guest.memory.getUint8(0)).toThrow(CorruptionError);
    expect(() => paged.store.commit(NO_STATE)).toThrow(StorageError);
  });

  test('a failed write latches, and the last checkpoint stands', () => {
    const device = new CrashDevice();
    const paged = PagedGuest.create(device, WASM_PAGES, { frameCount: 16, replacement });
    for (let page = 0; page < 64; page++) paged.fillPage(page, page + 1);
    paged.store.commit(NO_STATE);
    const image = paged.image();
    device.onOperation = (operation) => {
      if (operation.kind === 'write') throw new StorageError('the disk is full');
    };
    expect(() => {
      for (let page = 0; page < 64; page++) paged.fillPage(page, page + 100);
    }).toThrow('the disk is full');
    device.onOperation = () => {};
    expect(paged.pager.fault(0, 1, 0)).toBe(1);
    expect(() => paged.store.commit(NO_STATE)).toThrow(StorageError);
    expect(PagedGuest.open(device, { frameCount: 16 }, 0).image()).toEqual(image);
  });

  test('a store that never commits pages all the same, and leaves a job without a checkpoint', () => {
    const device = new CrashDevice();
    const paged = PagedGuest.create(device, WASM_PAGES, { frameCount: 16, replacement });
    const syncs = device.log.filter(({ kind }) => kind === 'sync').length;
    for (let page = 0; page < PAGES; page++) paged.fillPage(page, page + 1);
    for (let page = 0; page < PAGES; page++) expect(paged.load(page * PAGE_BYTES, 1).length).toBe(1);
    paged.assertInvariants();
    expect(device.log.filter(({ kind }) => kind === 'sync').length).toBe(syncs);
    paged.store.close();
    const again = PagedGuest.open(device, { frameCount: 16 }, WASM_PAGES);
    expect(again.store.latest).toBeUndefined();
    expect(again.image().every((byte) => byte === 0)).toBe(true);
  });

  test('asks nothing of ranges outside of the memory', () => {
    const paged = PagedGuest.create(new CrashDevice(), WASM_PAGES, { frameCount: 16, replacement });
    expect(paged.pager.fault(paged.lengthBytes - 1, 2, 1)).toBe(0);
    expect(paged.pager.fault(-1, 1, 0)).toBe(0);
    expect(paged.pager.fault(-1, 4096, 1)).toBe(0);
    expect(paged.pager.residentCount).toBe(0);
  });
});

describe('memory that is given back', () => {
  test('comes back as it was', () => {
    const device = new CrashDevice();
    const { reason } = createRelease(new FakeGuest(1).memory);
    if (reason !== '') return console.log(`left out: ${reason}`);
    const wasmPages = 512;
    const paged = PagedGuest.create(device, wasmPages, { frameCount: 64, release: createRelease });
    const random = seededRandom(4);
    const seeds = new Map<number, number>();
    for (let i = 0; i < 12_000; i++) {
      const page = Math.floor(random() * wasmPages * 16);
      const seed = random() < 0.2 ? 0 : Math.floor(random() * 1e9);
      seeds.set(page, seed);
      paged.fillPage(page, seed);
    }
    paged.assertInvariants();
    for (const [page, seed] of seeds) {
      expect(paged.load(page * PAGE_BYTES, 1)[0], `page ${page}`).toBe(
        seed === 0 ? 0 : ((Math.imul(seed, 1664525) + 1013904223) >>> 0) & 255,
      );
    }
  });
});
