/** A checkpoint at every safepoint, and a restart at some of them, change nothing of what a program computes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { RunningCommand, continuo, scratch, workload } from '../cli/continuo.ts';
import { faultTrackers, trackers } from '../support/trackers.ts';
import { referenceDigests, rowDigests } from '../workloads/reference.ts';

const hex = (digest: bigint): string => digest.toString(16).padStart(16, '0');

describe.each([
  { name: 'apsp', size: 8, checkpointsMin: 300 },
  { name: 'floyd-warshall', size: 8, checkpointsMin: 200 },
  { name: 'matmul', size: 7, checkpointsMin: 150 },
  { name: 'fib', size: 3, checkpointsMin: 150 },
  { name: 'sort', size: 30, checkpointsMin: 300 },
])('$name', ({ name, size, checkpointsMin }) => {
  const seed = 5;
  const rows = name === 'apsp' ? rowDigests(size, seed).map((digest, row) => `row ${row} ${hex(digest)}\n`) : [];
  const result = `${name} size=${size} seed=${seed} digest=${hex(referenceDigests[name](size, seed))}\n`;
  const expected = [...rows, result].join('');
  const args = [workload(name), String(size), String(seed), ...(name === 'apsp' ? ['--print-rows'] : [])];

  it.each([
    ...trackers.map((tracker) => ['--tracker', tracker]),
    ...faultTrackers.map((tracker) => ['--tracker', tracker, '--policy', 'incremental']),
    ...faultTrackers.map((tracker) => ['--tracker', tracker, '--fork']),
  ])('gives the result of the reference with a checkpoint at every safepoint, %s %s %s %s', async (...way) => {
    const folder = scratch();
    const stats = join(folder, 'stats');
    const options = ['--job', join(folder, 'job'), ...way, '--every', '1', '--interval', 'none', '--stats', stats];
    expect(await continuo(['run', ...options, ...args])).toMatchObject({ exitCode: 0, stdout: expected, stderr: '' });
    const { checkpoints }: { checkpoints: { trigger: string }[] } = JSON.parse(readFileSync(stats, 'utf8'));
    expect(checkpoints.filter(({ trigger }) => trigger === 'safepoints').length).toBeGreaterThan(checkpointsMin);
  });

  // Fewer of what takes many processes.
  if (!['apsp', 'fib', 'sort'].includes(name)) return;
  const few = name === 'sort' ? trackers : trackers.slice(0, 1);
  it.each(few)('gives it too when every second hundred of them is the last of its process, %s', async (tracker) => {
    const folder = scratch();
    const job = ['--job', join(folder, 'job'), '--tracker', tracker];
    const options = [...job, '--every', '1', '--interval', 'none', '--verbose'];
    let output = '';
    let isOver = false;
    for (let limit = 101; !isOver; limit += 200) {
      const running = new RunningCommand(['run', ...options, ...args]);
      await running.waitFor(`checkpoint ${limit} `, '(end)');
      running.kill('SIGTERM');
      const { exitCode, signal, stdout, stderr } = await running.ended;
      output += stdout;
      isOver = stderr.includes('(end)');
      // A signal may still meet a process that has ended the job, and ends itself.
      if (!isOver)
        expect({ exitCode, stderr }).toMatchObject({ exitCode: 85, stderr: expect.stringContaining('stopped') });
      else if (signal === null) expect(exitCode).toBe(0);
    }
    expect(output).toBe(expected);
    expect(await continuo(['run', ...options, ...args])).toMatchObject({ exitCode: 0, stdout: '' });
  });
});
