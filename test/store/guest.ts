import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, controlRegion, PAGE_BYTES, PageState } from '../../src/memory/layout.ts';

/** A guest's memory without a guest: stores are made by hand, as the rewritten program would make them. */
export class FakeGuest {
  readonly memory: GuestMemory;

  constructor(wasmPages: number, wasmPagesMax = wasmPages) {
    const memory = new WebAssembly.Memory({
      initial: BIAS_WASM_PAGES + wasmPages,
      maximum: BIAS_WASM_PAGES + wasmPagesMax,
      shared: true,
    });
    this.memory = new GuestMemory(memory);
  }

  /** A view of the guest's bytes alone. */
  get bytes(): Uint8Array {
    return this.memory.bytes.subarray(BIAS_BYTES);
  }

  page(index: number): Uint8Array {
    return this.bytes.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
  }

  /** A store of at most 16 bytes: marks the page of its first byte only. */
  store(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address);
    this.memory.bytes[controlRegion.pageStates + Math.floor(address / PAGE_BYTES)] = PageState.dirty;
  }

  /** Overwrites a page with bytes that follow from the seed; seed 0 makes it zeros. */
  fillPage(index: number, seed: number): void {
    const page = this.page(index);
    let state = seed >>> 0;
    for (let i = 0; i < page.length; i += 64) {
      state = (Math.imul(state, 1664525) + (seed === 0 ? 0 : 1013904223)) >>> 0;
      page.fill(state & 255, i, i + 64);
    }
    this.memory.bytes[controlRegion.pageStates + index] = PageState.dirty;
  }

  copy(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }

  /** Back to what a fresh memory is. */
  clear(): void {
    this.memory.bytes.fill(0, controlRegion.pageStates, controlRegion.pageStates + this.memory.pageCount);
    this.bytes.fill(0);
  }
}

/** Numbers in [0, 1) that follow from a seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
