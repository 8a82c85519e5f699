/** `continuo doctor` tells what the probes find, and leaves nothing behind. */
import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { kernelPagingObstacle } from '../../src/kernel/paging-probe.ts';
import { kernelTrackingObstacle } from '../../src/kernel/tracking-probe.ts';
import { continuo, scratch } from './continuo.ts';

interface Finding {
  readonly name: string;
  readonly works: boolean | null;
  readonly found: string;
  readonly advice?: string;
}

it('finds what the trackers find, with advice for what does not work, and leaves nothing behind', async () => {
  const cwd = scratch();
  const { exitCode, stdout } = await continuo(['doctor', '--json'], { cwd });
  expect(exitCode).toBe(0);
  const findings: Finding[] = JSON.parse(stdout);
  const worksOf = (words: string): boolean | null | undefined =>
    findings.find(({ name }) => name.includes(words))?.works;
  expect(worksOf('written pages told by the kernel')).toBe(kernelTrackingObstacle() === undefined);
  expect(worksOf('paging by the kernel')).toBe(kernelPagingObstacle() === undefined);
  expect(findings.find(({ name }) => name === 'Node.js')?.found).toContain(process.version);
  expect(findings.find(({ name }) => name.includes('fdatasync'))?.found).toMatch(/^\d+\.\d\d ms$/);
  for (const { works, found, advice } of findings) {
    expect(found).not.toBe('');
    expect(advice === undefined).toBe(works !== false);
  }
  expect(readdirSync(cwd)).toEqual([]);
});

it('shows a line for each, and goes on where koffi is missing', async () => {
  const { exitCode, stdout } = await continuo(['doctor']);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^ {2}Node\.js +v\d+/m);
  expect(stdout).toMatch(/^[+-] written pages told by the kernel/m);
  const hook = 'data:text/javascript,' + encodeURIComponent(WITHOUT_KOFFI);
  const without = await continuo(['doctor'], { env: { NODE_OPTIONS: `--import="${hook}"` } });
  expect(without.exitCode, without.stderr).toBe(0);
  expect(without.stdout).toMatch(/^- koffi +.*not here/m);
  expect(without.stdout).toMatch(/^- written pages told by the kernel .*koffi cannot be used/m);
});

const WITHOUT_KOFFI = `
  import Module from 'node:module';
  const load = Module._load;
  Module._load = (name, ...rest) => {
    if (name === 'koffi') throw new Error('it is not here');
    return load.call(Module, name, ...rest);
  };
`;
