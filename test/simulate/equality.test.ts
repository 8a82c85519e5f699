/** The simulation of a trace counts what the real run with the same settings counts, to the last page. */
import { describe, expect, it } from 'vitest';
import type { CheckpointStats } from '../../src/checkpoint/checkpoint.ts';
import { replay } from '../../src/simulate/replay.ts';
import { SimulatedGuest } from '../../src/simulate/simulated-guest.ts';
import { program, scratch } from '../cli/continuo.ts';
import { openTrace, pageCounts, realCounts, recordTrace, type Workload } from './recorded-trace.ts';

const workloads: readonly (Workload & { readonly frames: readonly number[] })[] = [
  { name: 'apsp', arguments: ['200', '1'], every: 10_000, frames: [20, 100, 300] },
  { name: 'matmul', arguments: ['160', '1'], every: 10_000, frames: [16, 50, 90] },
  { name: 'sort', arguments: ['100000', '1'], every: 50_000, frames: [24, 100, 250] },
  { name: 'floyd-warshall', arguments: ['120', '1'], every: 8_000, frames: [20] },
];

/**
 * Accesses of every kind: memory that grows, is filled, copied and zeroed again; accesses that cross pages; buffers of the
 * host, larger than a quarter of the frames; pages that are read first and written then.
 */
const ODD = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func $stride (param $from i32) (param $to i32) (param $step i32)
    (loop $next
      (i64.store offset=4093 (local.get $from) (i64.add (i64.load offset=4093 (local.get $from)) (i64.const 77)))
      (drop (i32.load8_u (i32.add (local.get $from) (i32.const 9000))))
      (local.set $from (i32.add (local.get $from) (local.get $step)))
      (br_if $next (i32.lt_u (local.get $from) (local.get $to)))))
  (func (export "_start") (local $round i32)
    (drop (memory.grow (i32.const 28)))
    (loop $again
      (memory.fill (i32.const 0x20000) (local.get $round) (i32.const 0x30000))
      (call $stride (i32.const 0x10000) (i32.const 0x1e0000) (i32.const 5003))
      (memory.copy (i32.const 0x90123) (i32.const 0x20000) (i32.const 0x31000))
      (memory.copy (i32.const 0x21000) (i32.const 0x20ff0) (i32.const 0x8000))
      (memory.fill (i32.const 0x140000) (i32.const 0) (i32.const 0x40000))
      (call $stride (i32.const 0x10000) (i32.const 0x1e0000) (i32.const 12289))
      (drop (call $random (i32.const 0x1a0ff0) (i32.const 65)))
      (i32.store (i32.const 0) (i32.const 0x10100))
      (i32.store (i32.const 4) (i32.const 0x4f000))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $again (i32.lt_u (local.tee $round (i32.add (local.get $round) (i32.const 1))) (i32.const 12))))))`;

describe.each([...workloads, { name: 'odd', arguments: [], every: 100, frames: [16, 40, 200] }])(
  '$name',
  (described) => {
    it('has the faults, pageouts, page-ins, slots and checkpoints of the real run, for all frames and replacements', async () => {
      const { name } = described;
      const workload = { ...described, name: name === 'odd' ? program(scratch(), name, ODD) : name };
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
  },
);
