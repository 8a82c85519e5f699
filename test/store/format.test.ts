import fc from 'fast-check';
import { format, resolveConfig } from 'prettier';
import { describe, expect, test } from 'vitest';
import { decodeRecord, encodeRecord, isFault } from '../../src/format/commit-record.ts';
import { bytes, FieldTable, text, u32, u53, xxh64 } from '../../src/format/field-table.ts';
import { formatsDocument } from '../../src/format/formats-document.ts';
import { decodeJob, encodeJob } from '../../src/format/job-format.ts';
import { DELTAS_PER_PAGE, mapEntryTable, pagingHeaderTable, recordTable } from '../../src/format/paging-format.ts';
import { Workbench } from '../../src/format/workbench.ts';
import { IDENTITY } from './job.ts';

const u32Value = fc.integer({ min: 0, max: 0xffffffff });
const u64Value = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

describe('field tables', () => {
  const table = new FieldTable({
    name: text(12, ''),
    count: u32(''),
    size: u53(''),
    id: bytes(5, ''),
    checksum: xxh64(''),
  });

  test('decode what they encode, at any offset', () => {
    fc.assert(
      fc.property(
        fc.record({
          name: fc.string({ maxLength: 12, unit: fc.constantFrom('a', 'Z', '7', ' ', '-') }),
          count: u32Value,
          size: fc.maxSafeNat(),
          id: fc.uint8Array({ minLength: 5, maxLength: 5 }),
          checksum: u64Value,
        }),
        fc.nat({ max: 9 }),
        (values, offset) => {
          const buffer = new Uint8Array(table.lengthBytes + 9).fill(255);
          table.encode(values, buffer, offset);
          expect(table.decode(buffer, offset)).toEqual(values);
          expect(buffer.subarray(0, offset).every((byte) => byte === 255)).toBe(true);
          expect(buffer.subarray(offset + table.lengthBytes).every((byte) => byte === 255)).toBe(true);
        },
      ),
    );
  });

  test('lay out the structures of the paging file as other programs will find them', () => {
    expect(mapEntryTable.lengthBytes).toBe(16);
    expect(DELTAS_PER_PAGE).toBe(204);
    expect(pagingHeaderTable.offsetOf('checksum')).toBe(40);
    expect(recordTable.offsetOf('checksum')).toBe(8);
  });

  test('refuse a text and bytes of the wrong length', () => {
    const values = { name: 'x', count: 0, size: 0, id: new Uint8Array(5), checksum: 0n };
    const buffer = new Uint8Array(table.lengthBytes);
    expect(() => table.encode({ ...values, name: 'longer than that' }, buffer)).toThrow(RangeError);
    expect(() => table.encode({ ...values, id: new Uint8Array(4) }, buffer)).toThrow(RangeError);
  });

  test('are what docs/formats.md says', async () => {
    const target = new URL('../../docs/formats.md', import.meta.url).pathname;
    const options = await resolveConfig(target);
    const document = await format(formatsDocument(), { ...options, parser: 'markdown' });
    await expect(document).toMatchFileSnapshot(target);
  });
});

describe('commit records', () => {
  const bench = Workbench.ofThread();
  const fields = {
    generation: 7,
    timeMs: 1e12,
    previousGeneration: 6,
    previousChecksum: 5n,
    guestPageCount: 32,
    trigger: 'interval',
    dirtyPages: 3,
    pagesWritten: 2,
    stateBytes: 5,
    stateSlot: 0,
    stateChecksum: 1n,
  };
  const parts = {
    root: Uint32Array.of(1, 2, 3, 4),
    deltaPages: Uint32Array.of(5, 6, 7, 8),
    deltas: Uint32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    inlineState: Uint8Array.of(1, 2, 3, 4, 5),
  };

  test('come back as they were written', () => {
    const written = encodeRecord({ fields, ...parts }, bench);
    expect(decodeRecord(bench, written.recordBytes)).toEqual({ fields: written, ...parts });
  });

  test('are torn when any one of their bits has changed', () => {
    const { recordBytes } = encodeRecord({ fields, ...parts }, bench);
    const whole = bench.record.slice(0, recordBytes);
    for (let bit = 0; bit < 8 * recordBytes; bit++) {
      bench.record.set(whole);
      bench.record[bit >>> 3] ^= 1 << (bit & 7);
      const record = decodeRecord(bench, recordBytes);
      expect(isFault(record), `bit ${bit}`).toBe(true);
    }
  });

  test('with lengths out of bounds are torn, whatever their checksum says', () => {
    for (const name of ['recordBytes', 'guestPageCount', 'deltaPageCount', 'deltaCount', 'stateBytes'] as const) {
      for (const value of [0xffffffff, 0x7fffffff, 1_048_577, 100_000]) {
        const written = encodeRecord({ fields, ...parts }, bench);
        const changed = { ...written, [name]: value };
        recordTable.encode(changed, bench.record);
        const checksum = bench.checksumRecord(recordTable.offsetOf('recordBytes'), written.recordBytes);
        recordTable.encode({ ...changed, checksum }, bench.record);
        expect(decodeRecord(bench, 65536), `${name} ${value}`).toMatchObject({ kind: 'torn' });
      }
    }
  });
});

describe('the job file', () => {
  const bench = Workbench.ofThread();
  const job = { jobId: new Uint8Array(16).fill(3), programBytes: 9, identity: IDENTITY };

  test('comes back as it was written', () => {
    expect(decodeJob(encodeJob(job, bench), bench)).toEqual(job);
  });

  test('is refused when any byte has changed, when it is cut and when it is longer', () => {
    const file = encodeJob(job, bench);
    for (let at = 0; at < file.length; at++) {
      const changed = Uint8Array.from(file);
      changed[at] ^= 0x10;
      expect(decodeJob(changed, bench), `byte ${at}`).toHaveProperty('kind');
      expect(decodeJob(file.subarray(0, at), bench), `cut at ${at}`).toHaveProperty('kind');
    }
    expect(decodeJob(Uint8Array.of(...file, 0), bench)).toMatchObject({ kind: 'damaged' });
  });
});
