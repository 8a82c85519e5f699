import { createHash } from 'node:crypto';
import { CorruptionError, UsageError } from '../error/errors.ts';
import { BIAS_BYTES, PAGE_BYTES, PAGES_PER_WASM_PAGE, WASM_PAGE_BYTES } from '../memory/layout.ts';
import { ByteReader } from '../wasm/byte-reader.ts';
import { ByteWriter } from '../wasm/byte-writer.ts';
import { type MachineState, decodeMachineState, encodeMachineState } from './machine-state.ts';

/**
 * An instance of `instantiate`, saved:
 *
 *   "ctni" │ version │ SHA-256 of the program │ size in 64 KiB units │ state length │ machine state │ runs of pages │ SHA-256
 *
 * A run is a number of pages, the first page and their bytes; a run of 0 pages is the last. Pages of zeros are in no run.
 * The final digest covers all before it, against damage on the way.
 */
export interface SavedInstance {
  readonly state: MachineState;
  readonly wasmPageCount: number;
  readonly runs: readonly PageRun[];
}

export interface PageRun {
  readonly firstPage: number;
  readonly bytes: Uint8Array;
}

const MAGIC = Uint8Array.of(0x63, 0x74, 0x6e, 0x69);
const FORMAT_VERSION = 1;
const DIGEST_BYTES = 32;

export function digestOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest());
}

/** @param memory all of the machine's memory, control region included. */
export function encodeSavedInstance(programDigest: Uint8Array, state: MachineState, memory: Uint8Array): Uint8Array {
  const encoded = encodeMachineState(state);
  const guestBytes = memory.length - BIAS_BYTES;
  const out = new ByteWriter(encoded.length + 4096);
  out.raw(MAGIC).u32(FORMAT_VERSION).raw(programDigest);
  out
    .u32(guestBytes / WASM_PAGE_BYTES)
    .u32(encoded.length)
    .raw(encoded);
  const pageCount = guestBytes / PAGE_BYTES;
  for (let page = 0; page < pageCount;) {
    if (isZeroPage(memory, page)) {
      page++;
      continue;
    }
    let end = page + 1;
    while (end < pageCount && !isZeroPage(memory, end)) end++;
    out.u32(end - page).u32(page);
    out.raw(memory, BIAS_BYTES + page * PAGE_BYTES, BIAS_BYTES + end * PAGE_BYTES);
    page = end;
  }
  out.u32(0);
  return out.raw(digestOf(out.view())).toBytes();
}

const zeroPage = new Uint8Array(PAGE_BYTES);

function isZeroPage(memory: Uint8Array, page: number): boolean {
  const start = BIAS_BYTES + page * PAGE_BYTES;
  return memory[start] === 0 && Buffer.compare(memory.subarray(start, start + PAGE_BYTES), zeroPage) === 0;
}

/** @throws UsageError `job-foreign` for a state of another program; CorruptionError for bytes that are not what was saved. */
export function decodeSavedInstance(programDigest: Uint8Array, bytes: Uint8Array): SavedInstance {
  const end = bytes.length - DIGEST_BYTES;
  if (end < 0 || Buffer.compare(bytes.subarray(0, MAGIC.length), MAGIC) !== 0) {
    throw new CorruptionError('these bytes are no saved instance: they do not begin with "ctni"', { byteOffset: 0 });
  }
  if (Buffer.compare(digestOf(bytes.subarray(0, end)), bytes.subarray(end)) !== 0) {
    throw new CorruptionError('the saved instance is damaged or cut off: its digest is not that of its bytes', {
      byteOffset: end,
    });
  }
  const reader = new ByteReader(bytes, MAGIC.length, end);
  try {
    const version = reader.u32();
    if (version !== FORMAT_VERSION) {
      throw new CorruptionError(
        `the saved instance has version ${version}; this Continuo reads version ${FORMAT_VERSION}`,
      );
    }
    if (Buffer.compare(take(reader, DIGEST_BYTES), programDigest) !== 0) {
      throw new UsageError(
        'job-foreign',
        'the saved instance belongs to another module: restore it with the bytes, and the choice of canonicalNan, that it was made with',
      );
    }
    const wasmPageCount = reader.u32();
    const state = decodeMachineState(take(reader, reader.u32()));
    const pageCount = wasmPageCount * PAGES_PER_WASM_PAGE;
    const runs: PageRun[] = [];
    for (let count = reader.u32(); count > 0; count = reader.u32()) {
      const firstPage = reader.u32();
      if (firstPage + count > pageCount) {
        throw new CorruptionError(`the saved instance has page ${firstPage + count - 1} of ${pageCount}`);
      }
      runs.push({ firstPage, bytes: take(reader, count * PAGE_BYTES) });
    }
    return { state, wasmPageCount, runs };
  } catch (error) {
    if (error instanceof CorruptionError || (error instanceof UsageError && error.code === 'job-foreign')) throw error;
    throw new CorruptionError('the saved instance cannot be read', { byteOffset: reader.position }, error);
  }
}

function take(reader: ByteReader, length: number): Uint8Array {
  const start = reader.position;
  reader.skip(length);
  return reader.bytes.subarray(start, start + length);
}
