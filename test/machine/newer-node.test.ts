/**
 * Jobs move between versions of Node.js, both ways. CONTINUO_NEWER_NODE names the other one's binary; the npm package
 * `node` ships binaries, and the check of everything installs one where it can.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RunningCommand, continuo, scratch, sleep, workload } from '../cli/continuo.ts';

const newer = process.env['CONTINUO_NEWER_NODE'];

// The programs may be done too soon on a machine that is suddenly faster: then it begins again.
it('a job goes from one Node.js to the other and back, again and again', { retry: 2 }, async ({ skip }) => {
  if (newer === undefined) return skip('CONTINUO_NEWER_NODE names no other Node.js');
  const { stdout: version } = spawnSync(newer, ['--version'], { encoding: 'utf8' });
  expect(version).toMatch(/^v\d+\./);
  expect(version.trim()).not.toBe(process.version);
  for (const [name, ...numbers] of [
    ['sort', '1000000', '1'],
    ['fib', '39', '1'],
    ['matmul', '1000', '1'],
  ]) {
    const words = [workload(name), ...numbers];
    const uninterrupted = await continuo(['run', ...words]);
    expect(uninterrupted.exitCode).toBe(0);
    const args = ['run', '--job', join(scratch(), 'job'), '--interval', '20ms', '--verbose', ...words];
    let starts = 0;
    for (let exitCode: number | null = 85, output = ''; exitCode === 85; starts++) {
      const running = new RunningCommand(args, starts % 2 === 0 ? {} : { node: newer });
      await running.waitFor('goes on from', 'checkpoint 1 ');
      // Less for the first ones, so that both versions have had it before it is done.
      await Promise.race([sleep(40 + 60 * starts), running.ended]);
      running.kill('SIGTERM');
      const ended = await running.ended;
      ({ exitCode } = ended);
      output += ended.stdout;
      if (exitCode !== 85) expect({ exitCode, output }).toEqual({ exitCode: 0, output: uninterrupted.stdout });
    }
    expect(starts).toBeGreaterThan(2);
  }
});
