import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Store } from '../../src/checkpoint/store.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { decodeMachineState } from '../../src/machine/machine-state.ts';
import { continuo, program, RunningCommand, scratch } from './continuo.ts';
import { LOOPS } from './guests.ts';

describe('continuo interval', () => {
  it("says 2953 s for the paper's numbers, as docs/cli.md does", async () => {
    const words = ['interval', '--pages', '75', '--page-cost', '22.9ms', '--mtbf', '29.39d'];
    const { stdout, exitCode } = await continuo(words);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Young {2}every 2953 s, expected overhead 0\.116 %$/m);
    expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toContain(
      "continuo interval --pages 75 --page-cost 22.9ms --mtbf 29.39d`, Young's is 2953 s",
    );
  });

  it('takes the cost from the statistics of a run', async () => {
    const stats = join(scratch(), 'stats.json');
    const checkpoints = [['start', 999], ['request', 4], ['safepoints', 2], ['stop', 3], ['end', 999]]; // prettier-ignore
    writeFileSync(
      stats,
      JSON.stringify({ checkpoints: checkpoints.map(([trigger, pauseMs]) => ({ trigger, pauseMs })) }),
    );
    const { stdout } = await continuo(['interval', '--stats', stats, '--mtbf', '1h', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ costMs: 3, mtbfMs: 3_600_000, youngMs: Math.sqrt(2 * 3 * 3_600_000) });
  });

  it('refuses what it cannot compute', async () => {
    const stats = join(scratch(), 'stats.json');
    writeFileSync(stats, '{"checkpoints":[{"trigger":"end","pauseMs":1}]}');
    for (const [words, message] of [
      [[], /say what a checkpoint costs/],
      [['--pages', '3'], /say what a checkpoint costs/],
      [['--stats', stats], /no checkpoint between start and end/],
      [['--stats', `${stats}.no`], /cannot be read as the statistics/],
      [['--cost', '3', '--pages', '4'], /cannot be used with/],
      [['--cost', '0'], /more than 0/],
    ] as const) {
      const { exitCode, stderr } = await continuo(['interval', ...words]);
      expect([exitCode, stderr]).toEqual([2, expect.stringMatching(message)]);
    }
  });
});

describe('--interval auto', () => {
  it('takes checkpoints by itself, and counts how often the job was lost, not how often it was stopped', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const words = [
      'run',
      '--interval',
      'auto',
      '--mtbf',
      '1s',
      '--verbose',
      '--job',
      job,
      program(folder, 'loops', LOOPS),
    ];
    const failures = (): number | undefined => {
      const store = Store.open(new FileDevice(job), { readOnly: true });
      const state = decodeMachineState(store.latest!.state);
      store.close();
      return state.phase.failures;
    };
    const interrupted = async (signal: NodeJS.Signals, behind: string): Promise<void> => {
      const command = new RunningCommand(words);
      // A run that is lost before its first checkpoint leaves no mark of itself.
      await command.waitFor(behind);
      command.kill(signal);
      await command.ended;
    };
    // The third comes by the time that the second took.
    await interrupted('SIGTERM', 'checkpoint 3 (request)');
    expect(failures()).toBe(undefined);
    await interrupted('SIGKILL', '(request)');
    await interrupted('SIGTERM', '(request)');
    expect(failures()).toBe(1);
  });
});
