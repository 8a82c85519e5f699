import { Store } from '../checkpoint/store.ts';
import { assert } from '../error/errors.ts';
import { programDigest } from '../format/job-format.ts';
import { instantiateKernels, type PageKernels } from '../format/page-kernels.ts';
import { GuestMemory } from '../memory/guest-memory.ts';
import {
  BIAS_WASM_PAGES,
  controlRegion,
  MAX_GUEST_WASM_PAGES,
  PAGE_BYTES,
  PAGES_PER_WASM_PAGE,
  PageAccess,
  PINS_MAX,
} from '../memory/layout.ts';
import type { MemoryRelease } from '../memory/memory-release.ts';
import type { Pager } from '../pager/pager.ts';
import type { ReplacementName } from '../pager/replacement.ts';
import { CountingDevice } from './counting-device.ts';

const PROGRAM = new TextEncoder().encode('simulated');
const RESULT_WORDS = 4;

/** Rounds of a repetition after which it is taken for one that never comes to rest. */
const ROUNDS_MAX = 64;

/** Frees memory that was never in use. */
const NOTHING_TO_RELEASE: MemoryRelease = { hostPagePages: 1, readsAsZeros: true, reason: '', release: () => {} };

/**
 * A guest without code and contents: the store and the pager of a real run, on a memory that nobody touches and a device
 * that only counts. References are made as the rewritten program makes them: it looks at the access byte, raises it by
 * itself at a first write, and asks the pager for the rest.
 */
export class SimulatedGuest {
  readonly store: Store;
  readonly pager: Pager;
  /** References of a repetition that found no access after the program had begun to repeat them. */
  repeatedFaults = 0;
  /** Repetitions that did not come to rest. */
  restless = 0;
  readonly #memory: GuestMemory;
  readonly #access: Uint8Array;
  readonly #firstWrites: Int32Array;
  readonly #pins: Int32Array;
  /** 1: the page holds something else than zeros. */
  #solid = new Uint8Array(0);

  constructor(frameCount: number, replacement: ReplacementName) {
    const size = { initial: BIAS_WASM_PAGES, maximum: BIAS_WASM_PAGES + MAX_GUEST_WASM_PAGES, shared: true };
    const memory = new GuestMemory(new WebAssembly.Memory(size));
    this.#memory = memory;
    const { buffer } = memory.memory;
    this.#access = new Uint8Array(buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    this.#firstWrites = new Int32Array(buffer, controlRegion.firstWrites, 1);
    this.#pins = new Int32Array(buffer, controlRegion.pins, PINS_MAX).fill(-1);
    const identity = { program: 'simulated', digest: programDigest(PROGRAM) };
    this.store = Store.create(new CountingDevice(), identity, PROGRAM);
    const release = NOTHING_TO_RELEASE;
    this.pager = this.store.attach(memory, { frameCount, replacement, release, kernels: this.#kernels() });
  }

  get pageCount(): number {
    return this.#memory.pageCount;
  }

  grow(pageCount: number): void {
    const missing = (pageCount - this.#memory.pageCount) / PAGES_PER_WASM_PAGE;
    if (missing > 0) this.#memory.memory.grow(missing);
    const solid = new Uint8Array(pageCount);
    solid.set(this.#solid);
    this.#solid = solid;
  }

  setPins(pins: Int32Array): void {
    this.#pins.set(pins);
  }

  setZeros(page: number, zeros: boolean): void {
    this.#solid[page] = zeros ? 0 : 1;
  }

  isSolid(page: number): boolean {
    return this.#solid[page] !== 0;
  }

  /** An access to a page, or one that reaches into the next; returns whether the pager was asked. */
  refer(page: number, crosses: boolean, writes: boolean): boolean {
    const access = this.#access;
    const joined = crosses ? access[page] & access[page + 1] : access[page];
    if (joined >= (writes ? PageAccess.writable : PageAccess.readable)) return false;
    if (joined !== PageAccess.none) {
      this.raise(page, true);
      if (crosses) this.raise(page + 1, true);
      return false;
    }
    const address = page * PAGE_BYTES + (crosses ? PAGE_BYTES - 1 : 0);
    if (this.pager.fault(address, crosses ? 2 : 1, writes ? 1 : 0) !== 0) throw this.pager.failure!;
    return true;
  }

  /** A first write to a page that the program may read; noted: by code that counts first writes. */
  raise(page: number, noted: boolean): void {
    const access = this.#access;
    assert(access[page] !== PageAccess.none, `page ${page} of the trace is open and has no access`);
    if (access[page] !== PageAccess.readable) return;
    if (noted) this.#firstWrites[0] += 1;
    access[page] = PageAccess.writable;
  }

  /** Makes references in turns until all find access; each of `codes` is page × 4 + crossing × 2 + write. */
  repeat(codes: Int32Array, from: number, count: number): void {
    for (let round = 0; round < ROUNDS_MAX; round++) {
      let asked = false;
      for (let i = 0; i < count; i++) {
        const code = codes[(from + i) % codes.length];
        if (!this.refer(code >> 2, (code & 2) !== 0, (code & 1) !== 0)) continue;
        asked = true;
        this.repeatedFaults += 1;
      }
      if (!asked) return;
    }
    this.restless += 1;
  }

  /** What a host function uses until `release`; long ranges in the parts in which transfers are made. */
  hold(address: number, lengthBytes: number, writes: boolean): void {
    const partBytes = this.#memory.pieceBytes;
    for (let offset = 0; offset < lengthBytes; offset += partBytes) {
      if (lengthBytes > partBytes) this.pager.releaseHolds();
      this.pager.hold(address + offset, Math.min(partBytes, lengthBytes - offset), writes);
    }
  }

  release(): void {
    this.pager.releaseHolds();
    if (this.pager.failure !== undefined) throw this.pager.failure;
  }

  #kernels(): PageKernels {
    const { memory } = this.#memory;
    const { buffer } = memory;
    const words = new Uint32Array(buffer);
    return {
      ...instantiateKernels(memory),
      examinePages: (indices, count, _base, results) => {
        for (let i = 0, at = results >> 2; i < count; i++, at += RESULT_WORDS) {
          words[at] = 0;
          words[at + 1] = 0;
          words[at + 2] = 1 - this.#solid[words[(indices >> 2) + i]];
        }
      },
      checksumRun: (_at, count, results) => words.fill(0, results >> 2, (results >> 2) + 2 * count),
      gatherPages: () => {},
      scatterPages: () => {},
    };
  }
}
