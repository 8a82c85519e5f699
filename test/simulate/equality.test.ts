/** The simulation of a trace counts what the real run with the same settings counts, to the last page. */
import { describe, expect, it } from 'vitest';
import type { CheckpointStats } from '../../src/checkpoint/store.ts';
import { replay } from '../../src/simulate/replay.ts';
import { SimulatedGuest } from '../../src/simulate/simulated-guest.ts';
import { openTrace, pageCounts, realCounts, recordTrace, type Workload } from './recorded-trace.ts';

const workloads: readonly (Workload & { readonly frames: readonly number[] })[] = [
  { name: 'apsp', arguments: ['200', '1'], every: 10_000, frames: [20, 100, 300] },
  { name: 'matmul', arguments: ['160', '1'], every: 200_000, frames: [16, 50, 90] },
  { name: 'sort', arguments: ['100000', '1'], every: 50_000, frames: [24, 100, 250] },
  { name: 'floyd-warshall', arguments: ['120', '1'], every: 20_000, frames: [20] },
];

describe.each(workloads)('$name', (workload) => {
  it('has the faults, pageouts, page-ins, slots and checkpoints of the real run, for all frames and replacements', async () => {
    const path = await recordTrace(workload);
    for (const frameCount of workload.frames) {
      for (const replacement of ['lirs', 'second-chance'] as const) {
        const real = await realCounts(workload, frameCount, replacement);
        const guest = new SimulatedGuest(frameCount, replacement);
        const checkpoints: CheckpointStats[] = [];
        replay(openTrace(path), guest, {
          onReference: () => {},
          onWrite: () => {},
          onFault: () => {},
          onCheckpoint: (trigger, stateBytes) => {
            checkpoints.push(guest.store.commit({ state: new Uint8Array(stateBytes), trigger }));
          },
        });
        guest.pager.assertInvariants();
        guest.store.assertInvariants();
        expect(real.checkpoints.length).toBeGreaterThan(4);
        expect({
          frameCount,
          replacement,
          paging: guest.pager.stats(),
          slots: guest.store.slotCounts(),
          checkpoints: checkpoints.map(pageCounts),
        }).toEqual({
          frameCount,
          replacement,
          paging: real.paging,
          slots: real.slots,
          checkpoints: real.checkpoints.map(pageCounts),
        });
        expect(guest.restless).toBe(0);
      }
    }
  });
});
