/** How chunks are compressed: with the best that this Node.js has to write, with any that a version had to read. */
import * as zlib from 'node:zlib';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { CHUNK_BYTES_MAX, ChunkMethod } from '../format/restart-format.ts';

type Compress = (bytes: Uint8Array, done: (error: Error | null, result: Buffer) => void) => void;
type Decompress = (bytes: Uint8Array) => Buffer;

interface ZstdOfZlib {
  readonly zstdCompress: (
    bytes: Uint8Array,
    options: { readonly params: Readonly<Record<number, number>> },
    done: (error: Error | null, result: Buffer) => void,
  ) => void;
  readonly zstdDecompressSync: (bytes: Uint8Array, options: { readonly maxOutputLength: number }) => Buffer;
  readonly constants: { readonly ZSTD_c_compressionLevel: number };
}

/** The oldest Node.js with zstd; the types know only the oldest Node.js that is supported. */
const ZSTD_NODE = '22.15';

function zstdOf(library: object): ZstdOfZlib | undefined {
  return 'zstdDecompressSync' in library ? (library as ZstdOfZlib) : undefined;
}

const zstd = zstdOf(zlib);

/** By far the fastest levels; higher ones make pages a little smaller. */
const DEFLATE_LEVEL = 1;
const ZSTD_LEVEL = 1;

const compressions: { readonly method: number; readonly compress: Compress } =
  zstd === undefined
    ? {
        method: ChunkMethod.deflate,
        compress: (bytes, done) => zlib.deflateRaw(bytes, { level: DEFLATE_LEVEL }, done),
      }
    : {
        method: ChunkMethod.zstd,
        compress: (bytes, done) => {
          zstd.zstdCompress(bytes, { params: { [zstd.constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }, done);
        },
      };

export interface Compressed {
  readonly method: number;
  readonly stored: Uint8Array;
}

/** Compresses in another thread; what does not become shorter is stored as it is. */
export function compressed(plain: Uint8Array): Promise<Compressed> {
  const { method, compress } = compressions;
  return new Promise((settle, fail) => {
    compress(plain, (error, stored) => {
      if (error !== null) fail(error);
      else settle(stored.length < plain.length ? { method, stored } : { method: ChunkMethod.stored, stored: plain });
    });
  });
}

/**
 * The contents of a chunk, whose checksum holds.
 * @throws UsageError `restart-file-newer`: this Node.js lacks the method; CorruptionError.
 */
export function decompressed(method: number, stored: Uint8Array, plainBytes: number, path: string): Uint8Array {
  if (method === ChunkMethod.stored) return checkedLength(stored, plainBytes, path);
  const decompress = decompressorOf(method, path);
  let plain: Uint8Array;
  try {
    plain = decompress(stored);
  } catch (error) {
    throw new CorruptionError(`${path} is damaged: a chunk cannot be decompressed`, { path }, error, 'file-damaged');
  }
  return checkedLength(plain, plainBytes, path);
}

function decompressorOf(method: number, path: string): Decompress {
  // Not more than was announced is ever made room for.
  const limit = { maxOutputLength: CHUNK_BYTES_MAX };
  switch (method) {
    case ChunkMethod.deflate:
      return (bytes) => zlib.inflateRawSync(bytes, limit);
    case ChunkMethod.brotli:
      return (bytes) => zlib.brotliDecompressSync(bytes, limit);
    case ChunkMethod.zstd:
      if (zstd !== undefined) return (bytes) => zstd.zstdDecompressSync(bytes, limit);
      throw new UsageError(
        'restart-file-newer',
        `${path} is compressed with zstd, which Node.js has from ${ZSTD_NODE} on, and this is ${process.versions.node}: ` +
          `restart it with Node.js ${ZSTD_NODE} or newer`,
        { path },
      );
    default:
      throw new UsageError(
        'restart-file-newer',
        `${path} is compressed in a way that this version of Continuo does not know (${method}); use a newer one`,
        { path },
      );
  }
}

function checkedLength(plain: Uint8Array, plainBytes: number, path: string): Uint8Array {
  if (plain.length === plainBytes) return plain;
  throw new CorruptionError(
    `${path} is damaged: a chunk holds ${plain.length} bytes and should hold ${plainBytes}`,
    { path, expected: plainBytes, found: plain.length },
    undefined,
    'file-damaged',
  );
}
