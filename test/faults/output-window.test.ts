/**
 * Held output at the instants at which it leaves a process that is killed: between the two calls that give bytes to a pipe and
 * note that they left, nothing can tell whether they did. They are never lost, and a notice says where they may be twice.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { continuo, program, scratch } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { failingSystem, type FaultRule } from './fault-rules.ts';

const LINES = 30;

/** Runs a job that the rule kills once, and again to its end; both outputs, and what the second run said. */
async function killedOnce(rule: FaultRule): Promise<{ first: string; second: string; notices: string }> {
  const folder = scratch();
  const path = program(folder, 'counts', counts(LINES, 200_000));
  const args = ['run', '--job', join(folder, 'job'), '--interval', '5ms', path];
  const killed = await continuo(args, { env: failingSystem([rule]) });
  expect(killed.signal).toBe('SIGKILL');
  const { exitCode, stdout, stderr } = await continuo(args);
  expect(exitCode).toBe(7);
  return { first: killed.stdout, second: stdout, notices: stderr };
}

const MAY_BE_TWICE = /(\d+) bytes of standard output may be shown twice/;

describe.runIf(process.platform === 'linux')('a process killed while output leaves', () => {
  it('before the bytes are given: they are there once, and may be twice says the notice', async () => {
    const { first, second, notices } = await killedOnce({
      call: 'writeSync',
      path: '@stdout',
      from: 1,
      fault: 'kill-before',
    });
    expect(first + second).toBe(counted(LINES));
    expect(notices).toMatch(MAY_BE_TWICE);
  });

  it('after the bytes were given and before that is noted: those of the notice are there twice, nothing is lost', async () => {
    const { first, second, notices } = await killedOnce({
      call: 'writeSync',
      path: '@stdout',
      from: 1,
      fault: 'kill-after',
    });
    const bytes = Number(MAY_BE_TWICE.exec(notices)![1]);
    expect(bytes).toBeGreaterThan(0);
    expect(first + second.slice(bytes)).toBe(counted(LINES));
    expect(second.slice(0, bytes)).toBe(first.slice(-bytes));
  });

  it.each(['kill-before', 'kill-after'] as const)('at the note itself, %s', async (fault) => {
    // Notes come in pairs: that bytes are about to leave, and that they have.
    for (const from of [3, 4, 5, 6]) {
      const rule = { call: 'writeSync', path: 'output-released', from, fault };
      const { first, second, notices } = await killedOnce(rule);
      const twice = Number(MAY_BE_TWICE.exec(notices)?.[1] ?? 0);
      const whole = first + second;
      if (whole !== counted(LINES)) expect(first + second.slice(twice), `note ${from}`).toBe(counted(LINES));
    }
  });
});
