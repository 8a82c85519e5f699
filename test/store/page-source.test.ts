/** Pages that are saved beside a guest are those of the checkpoint, or none are. */
import { describe, expect, it } from 'vitest';
import { GuestMemory } from '../../src/memory/guest-memory.ts';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES } from '../../src/memory/layout.ts';
import { CopyOnWrite } from '../../src/save/copy-on-write.ts';
import { PageSource } from '../../src/save/page-source.ts';
import { type CopyRoom, PendingPages, PendingState, roomForCopies } from '../../src/save/pending-pages.ts';

const PAGES = 4;

function saving(lost?: CopyRoom['lost']) {
  const limits = { initial: BIAS_WASM_PAGES + 1, maximum: BIAS_WASM_PAGES + 1, shared: true };
  const memory = new GuestMemory(new WebAssembly.Memory(limits));
  for (let page = 0; page < PAGES; page++) memory.bytes[BIAS_BYTES + page * PAGE_BYTES] = 10 + page;
  const guard = new CopyOnWrite(memory, roomForCopies(lost), () => {});
  const pending = PendingPages.ofCount(PAGES, guard.room);
  pending.pages.set([0, 1, 2, 3]);
  guard.start(pending, false);
  const room = new Uint8Array(PAGES * PAGE_BYTES);
  // The saver has views of its own, as in another thread.
  const source = new PageSource(memory.memory, new PendingPages(pending.buffers), undefined);
  const change = (page: number): void => {
    guard.beforeWrite(page);
    memory.bytes[BIAS_BYTES + page * PAGE_BYTES] = 99;
  };
  return { guard, pending, room, source, change };
}

const firstBytes = (room: Uint8Array): number[] => Array.from({ length: PAGES }, (_, k) => room[k * PAGE_BYTES]);

describe('a page of a checkpoint that is being saved', () => {
  it('is taken as it was, whether it changes before or after', () => {
    const { guard, room, source, change } = saving();
    change(1);
    source.take(0, 2, room);
    for (const page of [0, 1, 3]) change(page);
    source.take(2, 2, room.subarray(2 * PAGE_BYTES));
    expect(firstBytes(room)).toEqual([10, 11, 12, 13]);
    expect(guard.copyFaults).toBe(2);
    expect(guard.copyMs).toBeGreaterThan(0);
  });

  it('is in no checkpoint when nobody tells of writes any more, unless it was copied; and nobody waits for it', () => {
    const words = new SharedArrayBuffer(16);
    const { pending, room, source, change } = saving({ words, index: 3 });
    change(0);
    source.take(0, 2, room);
    Atomics.store(new Int32Array(words), 3, 1);
    expect(() => source.take(2, 2, room)).toThrow('nobody told of writes');
    pending.abandon();
    for (let k = 0; k < PAGES; k++) expect(pending.states[k]).not.toBe(PendingState.claimed);
    change(2);
    change(3);
  });
});
