import { UsageError } from '../error/errors.ts';
import { PAGE_BYTES } from '../memory/layout.ts';
import type { PageContents } from './checkpoint-view.ts';
import { hexText } from './value-text.ts';

/** A range of the guest's addresses. */
export interface AddressRange {
  readonly address: number;
  readonly lengthBytes: number;
}

/** A range as it was asked for. */
export interface WantedRange {
  readonly address: number;
  /** Undefined: so many as are usual, or as there are up to the memory's end. */
  readonly lengthBytes: number | undefined;
  readonly usualBytes: number;
}

/** The range asked for. @throws UsageError `bad-argument` for one that is not all in the memory. */
export function refuseOutside({ pageCount }: PageContents, wanted: WantedRange): AddressRange {
  const { address, usualBytes } = wanted;
  const endBytes = pageCount * PAGE_BYTES;
  const lengthBytes = wanted.lengthBytes ?? Math.max(1, Math.min(usualBytes, endBytes - address));
  if (address + lengthBytes <= endBytes) return { address, lengthBytes };
  const range = `${lengthBytes === 1 ? '1 byte' : `${lengthBytes} bytes`} from ${hexText(address)} on`;
  const bounds =
    endBytes === 0 ? 'it has none' : `it ends at ${hexText(endBytes)} (${endBytes} bytes, ${pageCount} pages)`;
  const verb = lengthBytes === 1 ? 'is not' : 'are not all';
  throw new UsageError('bad-argument', `${range} ${verb} in the program's memory: ${bounds}`, {
    address,
    lengthBytes,
    memoryBytes: endBytes,
  });
}

/** Gives the bytes of a range to `take`, page by page; each view is valid until the next. */
export function readRange(
  contents: PageContents,
  { address, lengthBytes }: AddressRange,
  take: (bytes: Uint8Array) => void,
): void {
  const room = new Uint8Array(PAGE_BYTES);
  const end = address + lengthBytes;
  for (let at = address; at < end;) {
    const page = Math.floor(at / PAGE_BYTES);
    contents.read(page, room);
    const from = at % PAGE_BYTES;
    const piece = room.subarray(from, Math.min(PAGE_BYTES, from + end - at));
    take(piece);
    at += piece.length;
  }
}
