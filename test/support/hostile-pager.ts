import type { GuestMemory } from '../../src/memory/guest-memory.ts';
import {
  BIAS_BYTES,
  FRAMES_MIN,
  PAGE_BYTES,
  PAGE_SHIFT,
  PINS_MAX,
  PageAccess,
  controlRegion,
} from '../../src/memory/layout.ts';
import { Random } from './random.ts';

const GARBAGE = 0xa5;
const garbagePage = new Uint8Array(PAGE_BYTES).fill(GARBAGE);
/** A guest that uses far more than its frames again and again is left alone after so many: it would take minutes. */
const EVICTIONS_MAX = 20_000;

/**
 * A pager that makes the most of what a pager may do, to find accesses that nobody asked for: the fewest frames, victims
 * at random, and where an absent page lies there is garbage, which reads show and which writes change.
 */
export class HostilePager {
  faults = 0;
  evictions = 0;
  readonly #memory: GuestMemory;
  readonly #random: Random;
  /** Contents of absent pages, and of resident ones as they came in. */
  #contents: Uint8Array;
  readonly #resident = new Set<number>();
  readonly #held = new Set<number>();

  constructor(memory: GuestMemory, seed: number) {
    this.#memory = memory;
    this.#random = new Random(seed);
    this.#contents = memory.bytes.slice(BIAS_BYTES);
    memory.bytes.fill(GARBAGE, BIAS_BYTES);
  }

  readonly fault = (address: number, lengthBytes: number, write: number): number => {
    this.faults++;
    this.#held.clear();
    this.#admit(address >>> 0, lengthBytes, write !== 0);
    return 0;
  };

  /** For the host, which names a range before it uses it; the pages stay until the guest's next fault. */
  hold(address: number, lengthBytes: number, write: boolean): void {
    if (lengthBytes > 0) this.#admit(address, lengthBytes, write);
  }

  /** All contents in their places, for whoever looks at the memory as a whole; the guest runs no more. */
  settle(): void {
    this.#grow();
    for (const page of this.#resident) this.#check(page);
    this.#memory.bytes.set(this.#contents, BIAS_BYTES);
  }

  #admit(address: number, lengthBytes: number, write: boolean): void {
    this.#grow();
    if (address + lengthBytes > this.#contents.length) return;
    const first = address >>> PAGE_SHIFT;
    const last = (address + lengthBytes - 1) >>> PAGE_SHIFT;
    for (let page = first; page <= last; page++) this.#held.add(page);
    for (let page = first; page <= last; page++) this.#bringIn(page, write);
    this.#evict();
  }

  #bringIn(page: number, write: boolean): void {
    const { bytes } = this.#memory;
    if (!this.#resident.has(page)) {
      const place = BIAS_BYTES + page * PAGE_BYTES;
      this.#expectGarbage(page);
      bytes.set(this.#contents.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), place);
      this.#resident.add(page);
    }
    const state = controlRegion.pageStates + page;
    bytes[state] = Math.max(bytes[state], write ? PageAccess.writable : PageAccess.readable);
  }

  #evict(): void {
    if (this.evictions >= EVICTIONS_MAX || this.#resident.size <= FRAMES_MIN) return;
    const { bytes } = this.#memory;
    const pins = new Uint32Array(bytes.buffer, controlRegion.pins, PINS_MAX);
    const candidates = [...this.#resident].filter((page) => !this.#held.has(page) && !pins.includes(page));
    while (this.#resident.size > FRAMES_MIN && candidates.length > 0 && this.evictions < EVICTIONS_MAX) {
      const [page] = candidates.splice(this.#random.below(candidates.length), 1);
      this.#check(page);
      this.#resident.delete(page);
      this.evictions++;
      bytes[controlRegion.pageStates + page] = PageAccess.none;
      bytes.fill(GARBAGE, BIAS_BYTES + page * PAGE_BYTES, BIAS_BYTES + (page + 1) * PAGE_BYTES);
    }
    if (this.#held.size <= 2 && this.evictions < EVICTIONS_MAX && this.#resident.size > FRAMES_MIN)
      throw new Error('pins leave the pager no victim');
  }

  /** Takes a resident page's contents; one that the guest may only read must be as it came in. */
  #check(page: number): void {
    const { bytes } = this.#memory;
    const now = bytes.subarray(BIAS_BYTES + page * PAGE_BYTES, BIAS_BYTES + (page + 1) * PAGE_BYTES);
    const before = this.#contents.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
    const writable = bytes[controlRegion.pageStates + page] === PageAccess.writable;
    if (!writable && Buffer.compare(now, before) !== 0) throw new Error(`page ${page} was written without asking`);
    before.set(now);
  }

  #expectGarbage(page: number): void {
    const place = BIAS_BYTES + page * PAGE_BYTES;
    const contents = this.#memory.bytes.subarray(place, place + PAGE_BYTES);
    if (Buffer.compare(contents, garbagePage) === 0) return;
    const at = contents.findIndex((byte) => byte !== GARBAGE);
    throw new Error(`page ${page} was written at ${at} while it was absent`);
  }

  #grow(): void {
    const { lengthBytes, bytes } = this.#memory;
    const before = this.#contents.length;
    if (lengthBytes === before) return;
    const contents = new Uint8Array(lengthBytes);
    contents.set(this.#contents);
    this.#contents = contents;
    bytes.fill(GARBAGE, BIAS_BYTES + before);
  }
}
