import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { JobLock, lockOwner, type LockOwner } from '../../src/device/job-lock.ts';

const MODULE = new URL('../../dist/device/job-lock.js', import.meta.url).href;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'continuo-lock-'));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

/** A process that tries for the lock, says "held" or an error code, and keeps it until it is killed. */
function claimant(before = ''): ChildProcess {
  const script = `
    const { JobLock } = await import(${JSON.stringify(MODULE)});
    ${before}
    try { JobLock.acquire(${JSON.stringify(directory)}); console.log('held'); setInterval(() => {}, 1000); }
    catch (error) { console.log(error.code); }`;
  return spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function answerOf(child: ChildProcess): Promise<string> {
  const [data] = (await once(child.stdout!, 'data')) as [Buffer];
  return data.toString().trim();
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}

function claimOf(owner: Partial<LockOwner>): string {
  const name = join(directory, 'lock-0000');
  const since = new Date().toISOString();
  writeFileSync(
    name,
    JSON.stringify({ pid: process.pid, host: hostname(), bootId: '', processStart: '', since, ...owner }),
  );
  return name;
}

/** The number of a process that has just ended. */
function deadPid(): number {
  return spawnSync(process.execPath, ['-e', '0']).pid;
}

describe('the lock of a job directory', () => {
  test('keeps everybody else out until it is released, and names its owner', () => {
    const lock = JobLock.acquire(directory);
    expect(lockOwner(directory)).toMatchObject({ pid: process.pid, host: hostname() });
    expect(() => JobLock.acquire(directory)).toThrow(
      new RegExp(`in use by process ${process.pid} since .*another job directory`),
    );
    expect(readdirSync(directory)).toHaveLength(1);
    lock.release();
    expect(readdirSync(directory)).toEqual([]);
    JobLock.acquire(directory).release();
  });

  test('is free again when its owner was killed, even before anybody waited for it', async () => {
    const child = claimant();
    expect(await answerOf(child)).toBe('held');
    expect(() => JobLock.acquire(directory)).toThrow(`in use by process ${child.pid}`);
    // Not awaited: the process may still be a zombie, whose number exists.
    process.kill(child.pid!, 'SIGKILL');
    const deadlineMs = Date.now() + 5000;
    let lock: JobLock | undefined;
    while (lock === undefined && Date.now() < deadlineMs) {
      try {
        lock = JobLock.acquire(directory);
      } catch (error) {
        if (!(error instanceof Error) || !('code' in error) || error.code !== 'job-locked') throw error;
      }
    }
    expect(lock).toBeDefined();
    lock!.release();
  });

  test.each<[string, () => Partial<LockOwner>]>([
    ['a process that is no more', () => ({ pid: deadPid() })],
    ['another boot', () => ({ bootId: 'of last week' })],
    ['a process whose number is used again', () => ({ processStart: '1' })],
  ])('is taken over from %s', (_, owner) => {
    if (process.platform !== 'linux' && owner().pid === undefined) return;
    claimOf(owner());
    JobLock.acquire(directory).release();
    expect(readdirSync(directory)).toEqual([]);
  });

  test('is taken over where the claim was lost in a power failure', () => {
    writeFileSync(join(directory, 'lock-0000'), '');
    writeFileSync(join(directory, 'lock-0001'), '{"pid": 1');
    JobLock.acquire(directory).release();
    expect(readdirSync(directory)).toEqual([]);
  });

  test('is not taken over from another host, and the message says how to', () => {
    const name = claimOf({ host: 'elsewhere', pid: deadPid() });
    expect(() => JobLock.acquire(directory)).toThrow(`on elsewhere since`);
    expect(() => JobLock.acquire(directory)).toThrow(`remove ${name}`);
  });

  test('goes to at most one of many processes that want it at once, and to one of them in the end', async () => {
    claimOf({ pid: deadPid() });
    for (let round = 0; round < 4; round++) {
      const startMs = Date.now() + 700;
      const waiting = `while (Date.now() < ${startMs});`;
      const children = Array.from({ length: 6 }, () => claimant(waiting));
      const answers = await Promise.all(children.map(answerOf));
      expect(answers.filter((answer) => answer === 'held').length, answers.join()).toBeLessThanOrEqual(1);
      expect(answers.filter((answer) => answer === 'held' || answer === 'job-locked')).toHaveLength(6);
      expect(answers).toContain('held');
      // The winner is killed, and its claim is left for the next round to take over.
      await Promise.all(children.filter(({ exitCode }) => exitCode === null).map(kill));
    }
  });
});
