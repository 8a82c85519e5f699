import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { instantiateKernels } from '../../src/format/page-kernels.ts';

const memory = new WebAssembly.Memory({ initial: 16, maximum: 65535, shared: true });
const kernels = instantiateKernels(memory);
const bytes = new Uint8Array(memory.buffer);
const words = new Uint32Array(memory.buffer);

function checksum(content: Uint8Array): string {
  bytes.set(content, 4096);
  return BigInt.asUintN(64, kernels.checksumBytes(4096, content.length)).toString(16);
}

/** XXH64 with seed 0, step by step after its specification, on numbers of any size. */
function reference(content: Uint8Array): string {
  const mask = 2n ** 64n - 1n;
  const primes = [
    11400714785074694791n,
    14029467366897019727n,
    1609587929392839161n,
    9650029242287828579n,
    2870177450012600261n,
  ];
  const [p1, p2, p3, p4, p5] = primes;
  const rotate = (x: bigint, by: bigint): bigint => ((x << by) | (x >> (64n - by))) & mask;
  const read = (at: number, length: number): bigint => {
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(content[at + i]);
    return value;
  };
  const round = (lane: bigint, input: bigint): bigint => (rotate((lane + input * p2) & mask, 31n) * p1) & mask;
  const lanes = [(p1 + p2) & mask, p2, 0n, -p1 & mask];
  let at = 0;
  for (; at + 32 <= content.length; at += 32) lanes.forEach((lane, i) => (lanes[i] = round(lane, read(at + 8 * i, 8))));
  let hash = p5;
  if (content.length >= 32) {
    hash = (rotate(lanes[0], 1n) + rotate(lanes[1], 7n) + rotate(lanes[2], 12n) + rotate(lanes[3], 18n)) & mask;
    for (const lane of lanes) hash = ((hash ^ round(0n, lane)) * p1 + p4) & mask;
  }
  hash = (hash + BigInt(content.length)) & mask;
  for (; at + 8 <= content.length; at += 8) hash = (rotate(hash ^ round(0n, read(at, 8)), 27n) * p1 + p4) & mask;
  for (; at + 4 <= content.length; at += 4) hash = (rotate(hash ^ ((read(at, 4) * p1) & mask), 23n) * p2 + p3) & mask;
  for (; at < content.length; at++) hash = (rotate(hash ^ ((read(at, 1) * p5) & mask), 11n) * p1) & mask;
  hash = ((hash ^ (hash >> 33n)) * p2) & mask;
  hash = ((hash ^ (hash >> 29n)) * p3) & mask;
  return (hash ^ (hash >> 32n)).toString(16);
}

describe('checksums', () => {
  test('are XXH64: published vectors', () => {
    const ascii = (value: string): Uint8Array => new TextEncoder().encode(value);
    expect(checksum(ascii(''))).toBe('ef46db3751d8e999');
    expect(checksum(ascii('a'))).toBe('d24ec4f1a98c6e5b');
    expect(checksum(ascii('abc'))).toBe('44bc2cf5ad770999');
    expect(checksum(ascii('xxhash'))).toBe('32dd38952c4bc720');
    expect(checksum(ascii('Nobody inspects the spammish repetition'))).toBe('fbcea83c8a378bf1');
  });

  test('agree with the specification for every length', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (content) => checksum(content) === reference(content)));
  });

  test('of runs are those of their pages', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        for (let i = 0; i < 4 * 1024; i++) words[16384 + i] = Math.imul(i + seed, 2654435761);
        kernels.checksumRun(65536, 4, 1024);
        for (let page = 0; page < 4; page++) {
          const expected = reference(bytes.slice(65536 + page * 4096, 65536 + (page + 1) * 4096));
          const found = (BigInt(words[256 + 2 * page + 1]) << 32n) | BigInt(words[256 + 2 * page]);
          expect(found.toString(16)).toBe(expected);
        }
      }),
      { numRuns: 5 },
    );
  });
});

describe('pages', () => {
  test('are zero exactly when no byte of them is set', () => {
    const page = bytes.subarray(65536, 65536 + 4096);
    words[0] = 0;
    for (let at = -1; at < 4096; at++) {
      page.fill(0);
      if (at >= 0) page[at] = 128;
      kernels.examinePages(0, 1, 65536, 64);
      expect(words[18], `byte ${at}`).toBe(at < 0 ? 1 : 0);
    }
  });

  test('are gathered and scattered in the order of the list', () => {
    for (let page = 0; page < 8; page++) bytes.fill(page + 1, 65536 + page * 4096, 65536 + (page + 1) * 4096);
    words.set([5, 0, 7], 0);
    kernels.gatherPages(0, 3, 65536, 262144);
    expect([0, 1, 2].map((i) => bytes[262144 + i * 4096 + 4095])).toEqual([6, 1, 8]);
    words.set([1, 0xffffffff, 3], 0);
    kernels.scatterPages(262144, 0, 3, 65536);
    expect([1, 2, 3].map((page) => bytes[65536 + page * 4096])).toEqual([6, 3, 8]);
  });

  test('whose state is set are found, in parts where the room is small', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat({ max: 699 }), { maxLength: 60 }),
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 600, max: 700 }),
        (dirty, capacity, pageCount) => {
          bytes.fill(0, 524288, 524288 + 1024);
          for (const page of dirty) bytes[524288 + page] = 1;
          const found: number[] = [];
          for (let from = 0; ;) {
            const count = kernels.scanStates(524288, from, pageCount, 0, capacity);
            found.push(...words.subarray(0, count));
            if (count < capacity) break;
            from = found[found.length - 1] + 1;
          }
          expect(found).toEqual(dirty.filter((page) => page < pageCount).sort((a, b) => a - b));
        },
      ),
    );
  });

  test('finds the pages that may be written, and not those that may only be read', () => {
    const states = fc.array(fc.constantFrom(0, 0, 0, 1, 1, 3), { maxLength: 900 });
    fc.assert(
      fc.property(states, fc.nat({ max: 300 }), fc.integer({ min: 1, max: 40 }), (content, first, capacity) => {
        bytes.fill(0, 524288, 524288 + 1024);
        bytes.set(content, 524288);
        const found: number[] = [];
        for (let from = first; ;) {
          const count = kernels.scanWritable(524288, from, content.length, 0, capacity);
          found.push(...words.subarray(0, count));
          if (count < capacity) break;
          from = found[found.length - 1] + 1;
        }
        expect(found).toEqual(content.flatMap((state, page) => (state === 3 && page >= first ? [page] : [])));
      }),
    );
  });
});
