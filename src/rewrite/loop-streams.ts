import { STRIP_PINS_MAX } from '../memory/layout.ts';

/** A load or store of a counted loop whose address moves by a constant. Addresses are sums modulo 2³². */
export interface LoopAccess {
  readonly row: number;
  readonly terms: readonly Term[];
  /** Constant of the address of its first byte, the instruction's offset included. */
  readonly first: number;
  readonly bytes: number;
  /** Bytes by which the address moves in one iteration. */
  readonly step: number;
  readonly writes: boolean;
  /** Whether every iteration makes it. */
  readonly always: boolean;
}

/** What the head of a strip can do for the accesses of its body. */
export interface LoopStreams {
  readonly streams: readonly StoreStream[];
  /** Rows of the stores that belong to streams. */
  readonly hoistedStores: ReadonlySet<number>;
  /** Loads and stores by where they go, for strips of a guest whose pages may be absent. */
  readonly accessStreams: readonly AccessStream[];
  /** Rows of the loads and stores that belong to access streams. */
  readonly hoistedAccesses: ReadonlySet<number>;
  /**
   * Those of them that are stores which not every iteration runs, to pages that the head only asked to read: they mark
   * their page themselves, which is there and pinned.
   */
  readonly markedStores: ReadonlySet<number>;
}

/** Stores whose address is the same sum but for a constant. Offsets are bytes, modulo 2³². */
export interface StoreStream {
  readonly terms: readonly Term[];
  /** Smallest and largest constant of the addresses, instruction offsets included; less than a page apart. */
  readonly low: number;
  readonly high: number;
  /** Bytes by which the address moves in one iteration. */
  readonly step: number;
}

/** Accesses whose address is the same sum but for a constant: `high` is that of the last byte any of them reaches. */
export interface AccessStream extends StoreStream {
  readonly writes: boolean;
}

/** coefficient × local or global, as it stands at the loop's head. */
export interface Term {
  readonly global: boolean;
  readonly index: number;
  readonly coefficient: number;
}

/** Streams whose constants are not farther apart than this are one. */
const MERGE_BYTES_MAX = 1024;

export function storeStreams(accesses: readonly LoopAccess[]): Pick<LoopStreams, 'streams' | 'hoistedStores'> {
  const streams: StoreStream[] = [];
  const hoistedStores = new Set<number>();
  for (const { row, terms, first, step, writes, always } of accesses) {
    if (!writes || !always) continue;
    const same = streams.findIndex((stream) => isNear(stream, terms, first, first));
    if (same < 0) streams.push({ terms, low: first, high: first, step });
    else streams[same] = widened(streams[same], first, first);
    hoistedStores.add(row);
  }
  return { streams, hoistedStores };
}

/**
 * As many streams as a strip can pin the pages of, two each; other accesses look after themselves. Accesses that not every
 * iteration makes are no stream by themselves, since their pages may never be needed, but join one.
 */
export function accessStreams(
  accesses: readonly LoopAccess[],
): Pick<LoopStreams, 'accessStreams' | 'hoistedAccesses' | 'markedStores'> {
  const streams: AccessStream[] = [];
  const hoistedAccesses = new Set<number>();
  const markedStores = new Set<number>();
  for (const { row, terms, first, bytes, step, writes } of accesses.filter(({ always }) => always)) {
    const last = first + bytes - 1;
    const same = streams.findIndex((stream) => isNear(stream, terms, first, last));
    if (same >= 0) {
      streams[same] = { ...widened(streams[same], first, last), writes: streams[same].writes || writes };
    } else if (streams.length < STRIP_PINS_MAX / 2) {
      streams.push({ terms, low: first, high: last, step, writes });
    } else continue;
    hoistedAccesses.add(row);
  }
  for (const { row, terms, first, bytes, writes } of accesses.filter(({ always }) => !always)) {
    const last = first + bytes - 1;
    const same = streams.findIndex((stream) => isNear(stream, terms, first, last));
    if (same < 0) continue;
    streams[same] = widened(streams[same], first, last);
    if (writes && !streams[same].writes) markedStores.add(row);
    hoistedAccesses.add(row);
  }
  return { accessStreams: streams, hoistedAccesses, markedStores };
}

/** Whether addresses are those of the stream but for constants that are not far from its own. */
function isNear(stream: StoreStream, terms: readonly Term[], low: number, high: number): boolean {
  if (stream.terms.length !== terms.length) return false;
  if (Math.max(stream.high, high) - Math.min(stream.low, low) > MERGE_BYTES_MAX) return false;
  return stream.terms.every(
    (term, k) =>
      term.global === terms[k].global && term.index === terms[k].index && term.coefficient === terms[k].coefficient,
  );
}

function widened<S extends StoreStream>(stream: S, low: number, high: number): S {
  return { ...stream, low: Math.min(stream.low, low), high: Math.max(stream.high, high) };
}
