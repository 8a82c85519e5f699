/** Restart files that are not what was exported: each byte flipped, cut anywhere, chunks moved, wrong keys. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync, brotliCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FileDevice } from '../../src/device/file-device.ts';
import { ContinuoError, CorruptionError } from '../../src/error/errors.ts';
import { ChunkKind, restartChunkTable, restartHeaderTable } from '../../src/format/restart-format.ts';
import { exportJob } from '../../src/restart/export.ts';
import { importJob } from '../../src/restart/import.ts';
import { ChunkReader } from '../../src/restart/chunk-reader.ts';
import { ChunkWriter } from '../../src/restart/chunk-writer.ts';
import { decompressed } from '../../src/restart/compression.ts';
import { SealedReader, SealedWriter } from '../../src/seal/sealed-stream.ts';
import { fileKeyOf, newFileKey, parseKey, parsePassphrase, type Secret } from '../../src/seal/sealing-key.ts';
import { SEAL_TAG_BYTES, SEALED_PIECE_BYTES, sealedPieceTable, sealTable } from '../../src/format/seal-format.ts';
import { continuo, program, scratch } from '../cli/continuo.ts';
import { exits } from '../cli/guests.ts';
import { BufferInput } from './buffer-input.ts';

const KEY: Secret = { kind: 'key', key: new Uint8Array(32).fill(7) };

/** A small job that has ended, as a restart file. */
async function smallFile(folder: string, secret?: Secret): Promise<Uint8Array> {
  const job = join(folder, 'job');
  const { exitCode } = await continuo(['run', '--job', job, program(folder, 'small', exits(3, 'a line'))]);
  expect(exitCode).toBe(3);
  const parts: Uint8Array[] = [];
  await exportJob(new FileDevice(job), (bytes) => parts.push(Uint8Array.from(bytes)), { secret });
  return Buffer.concat(parts);
}

function restart(folder: string, bytes: Uint8Array, secret?: Secret): void {
  importJob(new BufferInput(bytes), { job: join(folder, 'copy'), secret, grants: { directories: [] } });
}

/** What an attempt comes to: the name of the error's class; nothing may be left of a refused one. */
function refusal(folder: string, bytes: Uint8Array, secret?: Secret): string {
  try {
    restart(folder, bytes, secret);
  } catch (error) {
    expect(error).toBeInstanceOf(ContinuoError);
    expect(readdirSync(folder)).not.toContain('copy');
    return (error as ContinuoError).name;
  }
  rmSync(join(folder, 'copy'), { recursive: true });
  return 'accepted';
}

describe.each([
  ['plain', undefined],
  ['sealed', KEY],
] as const)('a %s file', (_, secret) => {
  it('is refused with any byte flipped, and cut anywhere', { timeout: 240_000 }, async () => {
    const folder = scratch();
    const file = await smallFile(folder, secret);
    expect(refusal(folder, file, secret)).toBe('accepted');
    const accepted: number[] = [];
    for (let at = 0; at < file.length; at++) {
      const damaged = Uint8Array.from(file);
      damaged[at] ^= 1 << (at % 8);
      if (!/^(CorruptionError|UsageError)$/.test(refusal(folder, damaged, secret))) accepted.push(at);
    }
    for (let length = 0; length < file.length; length += 7) {
      if (refusal(folder, file.subarray(0, length), secret) === 'accepted') accepted.push(length);
    }
    if (refusal(folder, Buffer.concat([file, Uint8Array.of(0)]), secret) === 'accepted') accepted.push(-1);
    expect(accepted).toEqual([]);
  });
});

it('refuses chunks in another order, left out or repeated', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const file = await smallFile(folder);
  const chunks: Uint8Array[] = [];
  let at = restartHeaderTable.lengthBytes;
  while (at < file.length) {
    const length = restartChunkTable.lengthBytes + restartChunkTable.decode(file, at).storedBytes;
    chunks.push(file.subarray(at, at + length));
    at += length;
  }
  const head = file.subarray(0, restartHeaderTable.lengthBytes);
  const build = (order: readonly number[]): Uint8Array => Buffer.concat([head, ...order.map((i) => chunks[i])]);
  const all = chunks.map((__, i) => i);
  expect(refusal(folder, build(all))).toBe('accepted');
  for (const i of all) {
    expect(refusal(folder, build(all.filter((k) => k !== i)))).toBe('CorruptionError');
    expect(refusal(folder, build([...all.slice(0, i), i, ...all.slice(i)]))).toBe('CorruptionError');
    if (i === 0) continue;
    expect(refusal(folder, build(all.map((k) => (k === i ? i - 1 : k === i - 1 ? i : k))))).toBe('CorruptionError');
  }
});

it('tells a wrong key, a missing one, and another kind', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const phrase: Secret = { kind: 'passphrase', passphrase: Buffer.from('open sesame') };
  const sealed = await smallFile(folder, KEY);
  const code = (bytes: Uint8Array, secret?: Secret): string => {
    try {
      restart(folder, bytes, secret);
      rmSync(join(folder, 'copy'), { recursive: true });
      return 'accepted';
    } catch (error) {
      return (error as ContinuoError).code;
    }
  };
  expect(code(sealed, KEY)).toBe('accepted');
  expect(code(sealed)).toBe('wrong-key');
  expect(code(sealed, { kind: 'key', key: new Uint8Array(32) })).toBe('wrong-key');
  expect(code(sealed, phrase)).toBe('wrong-key');
  rmSync(join(folder, 'job'), { recursive: true });
  const phrased = await smallFile(folder, phrase);
  expect(code(phrased, phrase)).toBe('accepted');
  expect(code(phrased, { kind: 'passphrase', passphrase: Buffer.from('open sesame!') })).toBe('wrong-key');
  rmSync(join(folder, 'job'), { recursive: true });
  expect(code(await smallFile(folder), KEY)).toBe('wrong-key');
  // A file may not ask for more than a reader agrees to spend.
  const greedy = { ...newFileKey(KEY).fields, keyKind: 2, scryptLogN: 30, scryptR: 8, scryptP: 1 };
  expect(() => fileKeyOf(phrase, greedy, 'the file')).toThrow(CorruptionError);
});

it('reads keys and pass phrases as they are written', () => {
  const bytes = new Uint8Array(32).map((__, i) => i * 8);
  expect(parseKey(bytes, 'k')).toEqual({ kind: 'key', key: bytes });
  expect(parseKey(Buffer.from(`${Buffer.from(bytes).toString('hex')}\n`), 'k')).toEqual({ kind: 'key', key: bytes });
  expect(() => parseKey(bytes.subarray(1), 'k')).toThrow('k holds no key');
  expect(parsePassphrase(Buffer.from('one\r\ntwo'), 'p')).toEqual({
    kind: 'passphrase',
    passphrase: Buffer.from('one'),
  });
  expect(() => parsePassphrase(Buffer.from('\n'), 'p')).toThrow('p holds no pass phrase');
});

describe('a sealed stream', () => {
  const before = Uint8Array.of(1, 2, 3);
  function sealedOf(contents: Uint8Array): { fileKey: ReturnType<typeof newFileKey>; pieces: Uint8Array[] } {
    const fileKey = newFileKey(KEY);
    const pieces: Uint8Array[] = [];
    const writer = new SealedWriter(fileKey, before, (bytes) => pieces.push(Uint8Array.from(bytes)));
    writer.write(contents);
    writer.end();
    return { fileKey, pieces };
  }
  function opened(
    fileKey: ReturnType<typeof newFileKey>,
    stream: Uint8Array,
    length: number,
    head = before,
  ): Uint8Array {
    const input = new BufferInput(stream);
    const reader = new SealedReader(fileKey, head, 'the stream', (view) => {
      if (input.read(view) < view.length) throw new CorruptionError('cut');
    });
    const contents = new Uint8Array(length);
    reader.readExactly(contents);
    reader.expectEnd();
    return contents;
  }

  it('gives back what was written, of any length', () => {
    const lengths = fc.oneof(
      fc.nat(300),
      fc.constantFrom(SEALED_PIECE_BYTES - 1, SEALED_PIECE_BYTES, 2 * SEALED_PIECE_BYTES),
    );
    fc.assert(
      fc.property(lengths, fc.nat(255), (length, seed) => {
        const contents = new Uint8Array(length).map((__, i) => i * 31 + seed);
        const { fileKey, pieces } = sealedOf(contents);
        const again = fileKeyOf(KEY, fileKey.fields, 'the stream');
        expect(Buffer.compare(opened(again, Buffer.concat(pieces), length), contents)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('opens with no piece moved, left out or marked as another, nor behind another head', () => {
    const length = 3 * SEALED_PIECE_BYTES + 5;
    const { fileKey, pieces } = sealedOf(new Uint8Array(length));
    expect(pieces.map(({ length: bytes }) => bytes - sealedPieceTable.lengthBytes - SEAL_TAG_BYTES)).toEqual([
      SEALED_PIECE_BYTES, SEALED_PIECE_BYTES, SEALED_PIECE_BYTES, 5,
    ]); // prettier-ignore
    const [a, b, c, d] = pieces;
    for (const [order, bytes] of [
      [[b, a, c, d], length],
      [[a, a, b, c, d], length + SEALED_PIECE_BYTES],
      [[a, b, d], length - SEALED_PIECE_BYTES],
      [[a, b, c], 3 * SEALED_PIECE_BYTES],
    ] as const) {
      expect(() => opened(fileKey, Buffer.concat(order), bytes)).toThrow(CorruptionError);
    }
    const marked = Uint8Array.from(c);
    sealedPieceTable.encode({ lengthBytes: SEALED_PIECE_BYTES, isLast: 1 }, marked);
    expect(() => opened(fileKey, Buffer.concat([a, b, marked]), 3 * SEALED_PIECE_BYTES)).toThrow(CorruptionError);
    expect(() => opened(fileKey, Buffer.concat(pieces), length, Uint8Array.of(1, 2, 4))).toThrow(CorruptionError);
    expect(sealTable.lengthBytes).toBe(72);
  });
});

describe('chunks', () => {
  it('give back what was written, sealed or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 2, max: 6 }), fc.uint8Array({ maxLength: 3000 }), fc.boolean())),
        fc.boolean(),
        async (wanted, sealed) => {
          const parts: Uint8Array[] = [];
          const writer = new ChunkWriter(
            (bytes) => parts.push(Uint8Array.from(bytes)),
            sealed ? newFileKey(KEY) : undefined,
          );
          for (const [kind, bytes, flat] of wanted) await writer.add(kind, flat ? bytes.map(() => 5) : bytes, kind);
          await writer.end();
          const reader = new ChunkReader(new BufferInput(Buffer.concat(parts)), sealed ? KEY : undefined);
          for (const [kind, bytes, flat] of wanted) {
            const chunk = reader.next();
            expect([chunk.kind, chunk.entryCount]).toEqual([kind, kind]);
            expect(Buffer.compare(chunk.contents, flat ? bytes.map(() => 5) : bytes)).toBe(0);
          }
          reader.end();
          expect(() => reader.next()).toThrow(CorruptionError);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of every method are read, and none makes more room than a chunk may have', () => {
    const plain = new Uint8Array(5000).fill(9);
    expect(decompressed(1, deflateRawSync(plain), plain.length, 'f')).toEqual(Buffer.from(plain));
    expect(decompressed(2, brotliCompressSync(plain), plain.length, 'f')).toEqual(Buffer.from(plain));
    expect(() => decompressed(1, deflateRawSync(new Uint8Array(2 ** 24)), 2 ** 24, 'f')).toThrow(CorruptionError);
    expect(() => decompressed(1, deflateRawSync(plain), 4999, 'f')).toThrow('holds 5000 bytes and should hold 4999');
    expect(() => decompressed(9, plain, 5000, 'f')).toThrow('does not know (9)');
    expect(ChunkKind.end).toBe(7);
  });
});
