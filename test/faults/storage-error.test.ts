/**
 * Jobs on a system that fails: the run stops with an error that names the file and what to do, or goes on without checkpoints
 * where it was told to; either way the last checkpoint stands, and the job run again ends as one that nothing disturbed.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { continuo, program, scratch, workload } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';
import { referenceDigests } from '../workloads/reference.ts';
import { failingSystem, type FaultRule } from './fault-rules.ts';

const SIZE = 300;
const EXPECTED = `apsp size=${SIZE} seed=3 digest=${referenceDigests['apsp'](SIZE, 3).toString(16).padStart(16, '0')}\n`;
const isLinux = process.platform === 'linux';

const failing = (rules: readonly FaultRule[]) => ({ env: failingSystem(rules) });
const PAGES = { continuous: '/paging', incremental: '/checkpoint-', sequential: '/checkpoint-' } as const;
type Policy = keyof typeof PAGES;

/** Some fourteen checkpoints, however fast the machine is. */
function commandOf(folder: string, policy: Policy, ...options: string[]): string[] {
  const job = ['run', '--job', join(folder, 'job'), '--policy', policy, '--every', '20000', '--verbose'];
  return [...job, ...options, workload('apsp'), String(SIZE), '3'];
}

describe.runIf(isLinux).each(Object.keys(PAGES) as Policy[])('%s', (policy) => {
  const path = PAGES[policy];
  it.each<[string, FaultRule]>([
    ['ENOSPC at a write', { call: 'writeSync', path, from: 5, fault: 'ENOSPC' }],
    ['EIO at a write', { call: 'writeSync', path, from: 7, fault: 'EIO' }],
    ['EIO at a sync', { call: 'fdatasyncSync', path, from: 2, times: 1, fault: 'EIO' }],
  ])('%s stops the run, names the file, and the last checkpoint stands', async (_, rule) => {
    for (const fork of [[], ['--fork']]) {
      const folder = scratch();
      const command = commandOf(folder, policy, ...fork);
      const failed = await continuo(command, failing([rule]));
      expect(failed, fork.join()).toMatchObject({ exitCode: 74, stdout: '' });
      expect(failed.stderr).toMatch(
        /continuo: cannot (write|sync) \S*job\/(paging|checkpoint-\d+): E(NOSPC|IO).*; (free|check) /,
      );
      const again = await continuo(command);
      expect(again, fork.join()).toMatchObject({ exitCode: 0, stdout: EXPECTED });
    }
  });

  it('goes on without checkpoints where it is told to, says so once, and is run again from the last one', async () => {
    for (const fork of [[], ['--fork']]) {
      const folder = scratch();
      const command = commandOf(folder, policy, ...fork);
      const told = commandOf(folder, policy, ...fork, '--on-storage-error', 'continue');
      const went = await continuo(told, failing([{ call: 'writeSync', path, from: 5, fault: 'ENOSPC' }]));
      // Its output leaves with the program's end, and its exit code says that the job does not know of it.
      expect(went, went.stderr).toMatchObject({ exitCode: 75, stdout: EXPECTED });
      expect(went.stderr.match(/goes on without checkpoints, and its output leaves at once/g)).toHaveLength(1);
      expect(went.stderr).toContain('could not keep that');
      const again = await continuo(command);
      expect(again, again.stderr).toMatchObject({ exitCode: 0, stdout: EXPECTED });
      expect(again.stderr).toMatch(/goes on from checkpoint \d+/);
    }
  });

  it('calls cut short or interrupted change nothing', async () => {
    const rules = ['readSync', 'writeSync'].map((call) => ({ call, path: '/job/', from: 0, fault: 'short' as const }));
    const interrupted = ['readSync', 'writeSync', 'fdatasyncSync', 'openSync'].map((call) => ({
      call,
      path: '/job/',
      from: 2,
      times: 3,
      fault: 'EINTR' as const,
    }));
    for (const set of [rules, interrupted]) {
      const ended = await continuo(commandOf(scratch(), policy), failing(set));
      expect(ended, ended.stderr).toMatchObject({ exitCode: 0, stdout: EXPECTED });
    }
  });
});

describe.runIf(isLinux)('held output', () => {
  const LINES = 40;
  it.each<[string, FaultRule]>([
    ['that cannot be held', { call: 'writeSync', path: 'output-held', from: 12, fault: 'ENOSPC' }],
    ['whose checkpoint fails', { call: 'fdatasyncSync', path: '/paging', from: 3, fault: 'EIO' }],
    ['whose count cannot be kept', { call: 'writeSync', path: 'output-released', from: 7, fault: 'EIO' }],
  ])('%s leaves whole where the run goes on', async (_, rule) => {
    const folder = scratch();
    const path = program(folder, 'counts', counts(LINES, 300_000));
    const args = ['run', '--job', join(folder, 'job'), '--interval', '10ms', '--on-storage-error', 'continue', path];
    const went = await continuo(args, failing([rule]));
    // Its own exit code passes through: it is not 0.
    expect(went, went.stderr).toMatchObject({ exitCode: 7, stdout: counted(LINES) });
    const again = await continuo(args);
    expect(again).toMatchObject({ exitCode: 7 });
    // What the job does not know to have left may be shown again, and nothing else is.
    expect(counted(LINES).endsWith(again.stdout)).toBe(true);
  });
});

describe.runIf(isLinux)('a budget of memory with continuous', () => {
  it('stops the run in any case: its pages live in the file that failed', async () => {
    const folder = scratch();
    const command = commandOf(folder, 'continuous', '--memory', '40p', '--on-storage-error', 'continue');
    const failed = await continuo(
      command,
      failing([{ call: 'fdatasyncSync', path: '/paging', from: 3, fault: 'EIO' }]),
    );
    expect(failed).toMatchObject({ exitCode: 74, stdout: '' });
    expect(await continuo(command)).toMatchObject({ exitCode: 0, stdout: EXPECTED });
  });
});

describe.runIf(isLinux)('a run without a job', () => {
  it('never waits for its paging file to be on the disk: nobody keeps it', async () => {
    const rules: FaultRule[] = ['fdatasyncSync', 'fsyncSync'].map((call) => ({
      call,
      path: '',
      from: 0,
      fault: 'EIO',
    }));
    const args = ['run', '--memory', '40p', workload('apsp'), String(SIZE), '3'];
    expect(await continuo(args, failing(rules))).toMatchObject({ exitCode: 0, stdout: EXPECTED });
    const job = ['--job', join(scratch(), 'job')];
    expect(await continuo([...args.slice(0, 1), ...job, ...args.slice(1)], failing(rules))).toMatchObject({
      exitCode: 74,
    });
  });
});

describe.runIf(isLinux)('a device that lies', () => {
  it('a page that is read back wrong is noticed', async () => {
    const folder = scratch();
    const command = commandOf(folder, 'continuous', '--memory', '40p');
    const rule: FaultRule = { call: 'readSync', path: '/paging', from: 40, times: 1, fault: 'other-byte' };
    const failed = await continuo(command, failing([rule]));
    expect(failed).toMatchObject({ exitCode: 65, stdout: '' });
    expect(failed.stderr).toMatch(/paging is damaged at byte \d+/);
    expect(await continuo(command)).toMatchObject({ exitCode: 0, stdout: EXPECTED });
  });

  it('a write that it claims and did not make is noticed, and the checkpoint before stands', async () => {
    const folder = scratch();
    const command = commandOf(folder, 'continuous');
    const rules: FaultRule[] = [
      { call: 'writeSync', path: '/paging', from: 10, times: 1, fault: 'claim' },
      { call: 'fdatasyncSync', path: '/paging', from: 5, times: 1, fault: 'kill-after' },
    ];
    expect((await continuo(command, failing(rules))).signal).toBe('SIGKILL');
    const again = await continuo(command);
    // A page of an older checkpoint that never was written is damage; of the newest it is an unfinished checkpoint.
    if (again.exitCode === 65) expect(again.stderr).toMatch(/is damaged/);
    else expect(again).toMatchObject({ exitCode: 0, stdout: EXPECTED });
  });
});

const isRoot = isLinux && process.getuid?.() === 0;
const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
if (!canMount) console.log('Real full and read-only file systems are left out: mounting needs to be root.');

describe.runIf(canMount)('a real file system', () => {
  it('that is full stops the run with the advice to free space', async () => {
    const folder = scratch();
    const disk = join(folder, 'disk');
    mkdirSync(disk);
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', disk]).status).toBe(0);
    try {
      const job = ['run', '--job', join(disk, 'job'), '--interval', '10ms', workload('apsp'), String(SIZE), '3'];
      const failed = await continuo(job);
      expect(failed).toMatchObject({ exitCode: 74, stdout: '' });
      expect(failed.stderr).toMatch(/ENOSPC.*free some space/);
      expect(spawnSync('mount', ['-o', 'remount,size=20m', disk]).status).toBe(0);
      expect(await continuo(job)).toMatchObject({ exitCode: 0, stdout: EXPECTED });
      expect(spawnSync('mount', ['-o', 'remount,ro', disk]).status).toBe(0);
      const refused = await continuo(job);
      expect(refused.exitCode).toBe(74);
      expect(refused.stderr).toMatch(/EROFS.*choose a job directory on a disk that can be written/);
    } finally {
      spawnSync('umount', ['--lazy', disk]);
    }
  });
});

it('documents say what the exit code is', () => {
  expect(readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')).toMatch(/^\| 75 /m);
});
