/** The curves of one pass are those of an LRU memory of each size, simulated one by one. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SweepObserver } from '../../src/simulate/sweep.ts';
import { StackDistances } from '../../src/simulate/stack-distances.ts';

type Event = { readonly kind: 'read' | 'write' | 'raise' | 'checkpoint'; readonly page: number };

/** Counts of an LRU memory that is as plain as can be. */
function lruCounts(
  events: readonly Event[],
  frames: number,
  cleans: boolean,
): Record<'misses' | 'evicted' | 'flushed', number> {
  const memory: number[] = [];
  const seen = new Set<number>();
  const dirty = new Set<number>();
  const counts = { misses: 0, evicted: 0, flushed: 0 };
  for (const { kind, page } of events) {
    if (kind === 'checkpoint') {
      if (!cleans) continue;
      counts.flushed += dirty.size;
      dirty.clear();
      continue;
    }
    if (kind !== 'raise') {
      const at = memory.indexOf(page);
      if (at >= 0) memory.splice(at, 1);
      else if (seen.has(page)) counts.misses += 1;
      seen.add(page);
      memory.push(page);
      if (memory.length > frames) {
        const victim = memory.shift()!;
        if (dirty.delete(victim)) counts.evicted += 1;
      }
    }
    if (kind !== 'read') dirty.add(page);
  }
  return counts;
}

/** A raise follows the reference of its page. */
const eventLists = fc
  .array(fc.tuple(fc.constantFrom('read', 'read', 'write', 'checkpoint', 'raise'), fc.nat(12)), { maxLength: 300 })
  .map((list) => {
    const events: Event[] = [];
    for (const [kind, page] of list) {
      const last = events.at(-1);
      if (kind === 'raise') {
        if (last?.kind === 'read') events.push({ kind, page: last.page });
      } else events.push({ kind: kind as Event['kind'], page });
    }
    return events;
  });

describe('the sweep', () => {
  it('counts misses, dirty evictions and flushes of every memory size as that memory would', () => {
    fc.assert(
      fc.property(eventLists, (events) => {
        const observer = new SweepObserver();
        for (const { kind, page } of events) {
          if (kind === 'checkpoint') observer.onCheckpoint(true);
          else if (kind === 'raise') observer.onWrite(page);
          else observer.onReference(page, kind === 'write');
        }
        const result = observer.result();
        for (let frames = 1; frames <= result.pages; frames++) {
          const plain = lruCounts(events, frames, false);
          const continuous = lruCounts(events, frames, true);
          expect([
            result.misses[frames],
            result.evictedDirty[frames],
            result.evictedDirtyContinuous[frames],
            result.flushed[frames],
          ]).toEqual([plain.misses, plain.evicted, continuous.evicted, continuous.flushed]);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('stack distances', () => {
  it('stay right when times are numbered anew', () => {
    const distances = new StackDistances();
    const pages = 1000;
    for (let i = 0; i < 200_000; i++) {
      const distance = distances.refer(i % pages);
      if (i >= pages && distance !== pages - 1) expect([i, distance]).toEqual([i, pages - 1]);
    }
    expect(distances.refer(7)).toBe(pages - 8);
    expect(distances.distanceOf(pages)).toBe(-1);
  });
});
