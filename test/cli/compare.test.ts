import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { comparisonText } from '../../src/report/comparison-text.ts';
import { parseComparison } from '../../src/report/comparison.ts';
import { continuo, program, scratch, workload } from './continuo.ts';
import { kernelProtects } from '../kernel/kernel-protection-here.ts';
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

it.runIf(kernelProtects)('compare shows the protection faults of the kernel as those of the code', async () => {
  const folder = scratch();
  const protectionOf = async (tracker: string): Promise<number[]> => {
    const json = join(folder, `${tracker}.json`);
    const options = [
      '--tracker',
      tracker,
      '--policy',
      'incremental',
      '--every',
      '10steps',
      '--rounds',
      '1',
      '--json',
      json,
    ];
    const { exitCode, stdout } = await continuo(['compare', ...options, workload('apsp.directed'), '120', '1']);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^incremental \+ fork .* [0-9.]+ × [0-9.]+ µs /m);
    const { cells } = parseComparison(readFileSync(json, 'utf8'), json);
    const runs = cells.filter(({ policy }) => policy === 'incremental').map((cell) => cell.runs[0]);
    for (const { protectionFaultUs } of runs) expect(protectionFaultUs).toBeGreaterThan(0);
    return runs.map(({ faults }) => faults.protection);
  };
  const kernel = await protectionOf('kernel');
  expect(kernel).toHaveLength(2);
  expect(kernel).toEqual(await protectionOf('software'));
});

it('compare names a program that does not end well, and a policy that there is not', async () => {
  const path = program(scratch(), 'fails', exits(3));
  const failed = await continuo(['compare', '--rounds', '1', path]);
  expect(failed).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('ended with exit code 3') });
  const unknown = await continuo(['compare', '--policy', 'often', path]);
  expect(unknown).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('Write one of none, sequential') });
});
