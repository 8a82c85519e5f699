import { describe, expect, it } from 'vitest';
import { SafepointCountdown } from '../../src/machine/safepoint-countdown.ts';

/** Passes so many safepoints, with a capture for another reason behind every `strideMax` of them; where what was due. */
function run(every: number, safepoints: number, stride = Infinity): { checkpoints: number[]; hops: number[] } {
  const countdown = new SafepointCountdown(every);
  const checkpoints: number[] = [];
  const hops: number[] = [];
  for (let passed = 0; passed < safepoints;) {
    const count = countdown.start();
    const turn = Math.min(count, stride);
    passed += turn;
    const due = countdown.stop(turn < count ? count - turn : -1);
    if (due.checkpoint) checkpoints.push(passed);
    if (due.hop) hops.push(passed);
  }
  return { checkpoints, hops };
}

describe('the countdown of safepoints', () => {
  it('is due for a checkpoint after every so many, and for a hop after 4096 and each time four times as many', () => {
    const { checkpoints, hops } = run(1000, 300_000);
    expect(checkpoints.slice(0, 3)).toEqual([1000, 2000, 3000]);
    expect(checkpoints.length).toBe(300);
    expect(hops).toEqual([4096, 16384, 65536, 262144]);
  });

  it('counts on when the guest is captured for another reason in between', () => {
    expect(run(1000, 300_000, 77)).toEqual(run(1000, 300_000));
  });
});
