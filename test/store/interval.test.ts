import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AUTO_INTERVAL_MS_MAX,
  AUTO_INTERVAL_MS_MIN,
  AutoInterval,
  dalyInterval,
  expectedOverhead,
  median,
  observedMtbf,
  youngInterval,
} from '../../src/checkpoint/interval.ts';

const DAY_MS = 86_400_000;

describe('the interval between checkpoints', () => {
  it('of the paper: 75 pages of 22.9 ms and 29.39 days give 2953 s', () => {
    expect(Math.round(youngInterval(75 * 22.9, 29.39 * DAY_MS) / 1000)).toBe(2953);
  });

  it("is nearly Young's where failures are rare, and the MTBF where a checkpoint costs more than twice that", () => {
    expect(dalyInterval(10, DAY_MS) / youngInterval(10, DAY_MS)).toBeCloseTo(1, 3);
    expect(dalyInterval(1000, 400)).toBe(400);
  });

  it("by Daly's estimate costs at most a hundredth more than the best there is, and not more than by Young's", () => {
    const times = fc.record({ costMs: fc.double({ min: 1, max: 1e5, noNaN: true }), ratio: fc.double({ min: 2, max: 1e5, noNaN: true }) }); // prettier-ignore
    fc.assert(
      fc.property(times, ({ costMs, ratio }) => {
        const mtbfMs = costMs * ratio;
        const overheadOf = (interval: number): number => expectedOverhead(interval, costMs, mtbfMs);
        const daly = overheadOf(dalyInterval(costMs, mtbfMs));
        let best = Infinity;
        for (let i = -200; i <= 200; i++) best = Math.min(best, overheadOf(youngInterval(costMs, mtbfMs) * 1.02 ** i));
        expect((1 + daly) / (1 + best)).toBeLessThan(1.01);
        expect(daly).toBeLessThan(overheadOf(youngInterval(costMs, mtbfMs)) * (1 + 1e-9));
      }),
    );
  });

  it('costs more with slower restarts, as Daly has it: 𝑀·exp(R/M)·(exp((t+C)/M)−1)/t − 1', () => {
    expect(expectedOverhead(100, 10, 1000)).toBeCloseTo((1000 * (Math.exp(0.11) - 1)) / 100 - 1, 12);
    expect(expectedOverhead(100, 10, 1000, 50)).toBeGreaterThan(expectedOverhead(100, 10, 1000));
  });
});

describe('the automatic interval', () => {
  it('is a second until something was measured, then follows the median of the last nine pauses', () => {
    const auto = new AutoInterval(DAY_MS);
    expect(auto.intervalMs).toBe(1000);
    auto.note(2);
    expect(auto.intervalMs).toBeCloseTo(dalyInterval(2, DAY_MS), 6);
    for (const pauseMs of [2, 2, 2, 900, 2]) auto.note(pauseMs);
    expect(auto.intervalMs).toBeCloseTo(dalyInterval(2, DAY_MS), 6);
    for (let i = 0; i < 9; i++) auto.note(8);
    expect(auto.intervalMs).toBeCloseTo(dalyInterval(8, DAY_MS), 6);
  });

  it('stays between 100 ms and an hour', () => {
    const short = new AutoInterval(1000);
    short.note(0.01);
    expect(short.intervalMs).toBe(AUTO_INTERVAL_MS_MIN);
    const long = new AutoInterval(1000 * DAY_MS);
    long.note(60_000);
    expect(long.intervalMs).toBe(AUTO_INTERVAL_MS_MAX);
  });

  it('takes what is expected for one failure, beside those that were observed', () => {
    expect(observedMtbf(DAY_MS, 0, 0)).toBe(DAY_MS);
    expect(observedMtbf(DAY_MS, DAY_MS, 3)).toBe(DAY_MS / 2);
    expect(median([5, 1, 9])).toBe(5);
  });
});
