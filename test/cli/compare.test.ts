import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { comparisonText } from '../../src/report/comparison-text.ts';
import { parseComparison } from '../../src/report/comparison.ts';
import { continuo, program, scratch, workload } from './continuo.ts';
import { faultTrackers, protectingTrackers } from '../support/trackers.ts';
import { exits } from './guests.ts';

it('compare runs a program under every policy and writes table, JSON and page', async () => {
  const folder = scratch();
  const [json, html] = [join(folder, 'result.json'), join(folder, 'result.html')];
  const options = ['--rounds', '1', '--memory', '60p', '--memory', 'all', '--every', '10steps'];
  const args = ['compare', ...options, '--json', json, '--html', html, workload('apsp.directed'), '120', '1'];
  const { exitCode, stdout, stderr } = await continuo(args);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  const comparison = parseComparison(readFileSync(json, 'utf8'), json);
  expect(stdout).toBe(comparisonText(comparison));
  expect(readFileSync(html, 'utf8')).toContain('<svg');
  expect(comparison).toMatchObject({ rounds: 1, trigger: { kind: 'steps', every: 10 }, arguments: ['120', '1'] });
  expect(comparison.cells).toHaveLength(14);
  for (const frames of [60, null]) {
    const runOf = (policy: string, fork = false) =>
      comparison.cells.find((cell) => cell.policy === policy && cell.fork === fork && cell.frames === frames)!.runs[0];
    const none = runOf('none');
    expect(none).toMatchObject({ checkpointCount: 0, diskAccesses: 0 });
    const [sequential, incremental, continuous] = ['sequential', 'incremental', 'continuous'].map((name) =>
      runOf(name),
    );
    for (const run of [sequential, incremental, continuous]) {
      expect(run).toMatchObject({ checkpointCount: 12, outputDigest: none.outputDigest });
    }
    expect(sequential.diskAccesses).toBeGreaterThan(incremental.diskAccesses);
    expect(incremental.diskAccesses).toBeGreaterThanOrEqual(continuous.diskAccesses);
    expect(incremental.faults.protection).toBeGreaterThan(0);
    // What is saved beside the program is the same.
    for (const [name, run] of Object.entries({ sequential, incremental, continuous })) {
      expect(runOf(name, true)).toMatchObject({ checkpointCount: 12, diskAccesses: run.diskAccesses });
    }
  }
});

it.runIf(faultTrackers.length > 0)(
  'compare shows protection faults of the system beside those of the code',
  async () => {
    const json = join(scratch(), 'result.json');
    const options = [...protectingTrackers.flatMap((tracker) => ['--tracker', tracker]), '--every', '10steps'];
    const policies = ['--policy', 'incremental', '--policy', 'sequential'];
    const words = [...options, ...policies, '--rounds', '1', '--json', json, workload('apsp.directed'), '120', '1'];
    const { exitCode, stdout } = await continuo(['compare', ...words]);
    expect(exitCode).toBe(0);
    const comparison = parseComparison(readFileSync(json, 'utf8'), json);
    expect(stdout).toBe(comparisonText(comparison));
    for (const label of ['incremental', 'incremental \\+ fork']) {
      for (const tracker of protectingTrackers) {
        expect(stdout).toMatch(new RegExp(`^${label}, ${tracker} .* [0-9.]+ × [0-9.]+ µs `, 'm'));
      }
    }
    const protection = (name: string): number[] =>
      comparison.cells
        .filter(({ tracker, policy }) => tracker === name && policy === 'incremental')
        .map(({ runs }) => runs[0].faults.protection);
    expect(protection('software')).toHaveLength(2);
    for (const tracker of faultTrackers) expect(protection(tracker), tracker).toEqual(protection('software'));
    expect(comparison.cells.filter(({ tracker }) => tracker === undefined).map(({ policy }) => policy)).toEqual([
      'none',
    ]);
    // What a tracker cannot have is left out for it.
    const sequential = comparison.cells.filter(({ policy, fork }) => policy === 'sequential' && !fork);
    expect(sequential.map(({ tracker }) => tracker)).toEqual(protectingTrackers.filter((name) => name !== 'mprotect'));
  },
);

it('compare refuses a tracker that none of the policies can have', async () => {
  const words = ['--policy', 'continuous', '--no-fork', '--tracker', 'mprotect', workload('fib'), '20', '1'];
  const refused = await continuo(['compare', ...words]);
  expect(refused).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('--policy incremental') });
});

it('compare names a program that does not end well, and a policy that there is not', async () => {
  const path = program(scratch(), 'fails', exits(3));
  const failed = await continuo(['compare', '--rounds', '1', path]);
  expect(failed).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('ended with exit code 3') });
  const unknown = await continuo(['compare', '--policy', 'often', path]);
  expect(unknown).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('Write one of none, sequential') });
});
