/** `gc` removes what no checkpoint needs, and nothing else, whatever was interrupted before it or interrupts it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointFileName, isCheckpointFile } from '../../src/checkpoint/job-directory.ts';
import { openFilesView } from '../../src/inspect/files-view.ts';
import { openPagingView } from '../../src/inspect/paging-view.ts';
import { verifyJob } from '../../src/inspect/verification.ts';
import { cleanJob } from '../../src/machine/job-cleanup.ts';
import { contentsOf, continuo, program, RunningCommand, scratch, sleep } from '../cli/continuo.ts';
import { counted, counts, LOOPS } from '../cli/guests.ts';
import { CrashDevice, type Medium } from '../store/crash-device.ts';
import { explore } from '../store/fates.ts';
import { Random } from '../support/random.ts';
import { filesOf } from './memory-device.ts';
import { NAMED } from './programs.ts';

interface Report {
  readonly dryRun: boolean;
  readonly generation: number;
  readonly freedBytes: number;
  readonly removals: readonly { readonly name: string; readonly bytes: number; readonly reason: string }[];
}

async function cleaned(job: string, ...options: string[]): Promise<Report> {
  const { exitCode, stdout, stderr } = await continuo(['gc', '--json', ...options, job]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return JSON.parse(stdout) as Report;
}

/** A stopped job with a few checkpoints. */
async function stoppedJob(folder: string, policy: string): Promise<string> {
  const job = join(folder, 'job');
  const options = ['--interval', 'none', '--every', '3000', '--policy', policy, '--verbose'];
  const running = new RunningCommand(['run', '--job', job, ...options, program(folder, 'named', NAMED)]);
  await running.waitFor('checkpoint 4 ');
  running.kill('SIGTERM');
  await running.ended;
  return job;
}

describe.each(['continuous', 'incremental', 'sequential'])('%s', (policy) => {
  it('removes left-overs and leaves the job as it was; a dry run only tells', async () => {
    const job = await stoppedJob(scratch(), policy);
    await cleaned(job);
    const sound = contentsOf(job);
    // A creation, journals of passed generations, output that has left; for files also an old checkpoint and an unfinished one.
    const old = checkpointFileName(0);
    const unfinished = checkpointFileName(99_999);
    const left = ['job.new', 'undo-3', 'output-held-2', ...(policy === 'continuous' ? [] : [unfinished])];
    if (policy === 'sequential') left.push(old);
    for (const name of left) writeFileSync(join(job, name), 'left over');
    const wanted = left.map((name) => ({ name, bytes: 9, reason: expect.any(String) }));
    const before = contentsOf(job);
    const told = await cleaned(job, '--dry-run');
    expect(told).toMatchObject({ dryRun: true, freedBytes: 9 * left.length });
    expect(told.removals.toSorted((a, b) => (a.name < b.name ? -1 : 1))).toEqual(
      wanted.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    );
    expect(contentsOf(job)).toEqual(before);
    expect(await cleaned(job)).toEqual({ ...told, dryRun: false });
    expect(contentsOf(job)).toEqual(sound);
    expect(await cleaned(job)).toMatchObject({ freedBytes: 0, removals: [] });
    const text = await continuo(['gc', job]);
    expect(text.stdout).toBe(`${job} holds nothing that could go\n`);
  });

  it(
    'keeps a job whole that was killed in the middle of its saves, again and again',
    { timeout: 180_000 },
    async () => {
      const folder = scratch();
      const job = join(folder, 'job');
      const output = join(folder, 'output');
      const path = program(folder, 'counts', counts(200, 10_000_000));
      const args = ['run', '--job', job, '--policy', policy, '--interval', '1ms', '--stdout', output, path];
      const random = new Random(policy.length);
      let freedBytes = 0;
      let ended: number | null = null;
      let kills = -1;
      for (; ended === null; kills++) {
        const running = new RunningCommand(args);
        if (kills < 5) {
          await sleep(300 + random.below(400));
          running.kill('SIGKILL');
        }
        ended = (await running.ended).exitCode;
        if (!existsSync(join(job, 'job'))) continue;
        freedBytes += (await cleaned(job)).freedBytes;
        expect(await continuo(['verify', job])).toMatchObject({ exitCode: 0, stderr: '' });
      }
      expect(ended).toBe(7);
      expect((await continuo(['run', '--quiet', ...args.slice(1)])).exitCode).toBe(7);
      expect(readFileSync(output, 'utf8')).toBe(counted(200));
      expect(kills).toBeGreaterThan(2);
      expect(freedBytes).toBeGreaterThan(policy === 'continuous' ? 0 : -1);
    },
  );

  it('leaves the newest checkpoint to every power failure while it works', { timeout: 240_000 }, async () => {
    const job = await stoppedJob(scratch(), policy);
    const earlier = filesOf(job);
    const running = new RunningCommand(['resume', '--interval', 'none', '--verbose', job]);
    await running.waitFor('goes on from');
    running.kill('SIGTERM');
    await running.ended;
    // The files of the checkpoint before are there as well: they go when the newest one is durable.
    const files = new Map([...[...earlier].filter(([name]) => isCheckpointFile(name)), ...filesOf(job)]);
    files.set('undo-3', Uint8Array.of(1, 2, 3));
    files.set('job.new', Uint8Array.of(4));
    // The save of the newest checkpoint has been written and not yet synced: its process was killed just then.
    const newest = [...files.keys()].filter(isCheckpointFile).toSorted().at(-1);
    const late = newest === undefined ? [] : [newest];
    const generationBefore = generationOf(deviceOf(files, late));
    const device = deviceOf(files, late);
    for (const name of late) {
      const file = device.openFile(name, 'create');
      file.write(files.get(name)!, 0);
    }
    const { generation } = cleanJob(device, false);
    expect(generation).toBe(generationOf(deviceOf(files, [])));
    const { log, start } = device;
    let states = 0;
    for (let length = 0; length <= log.length; length++) {
      explore(start, log.slice(0, length), (medium, label) => {
        const found = generationOf(new CrashDevice(medium()));
        states += 1;
        if (found !== generation && found !== generationBefore) {
          throw new Error(`${label()}: checkpoint ${found} is left, not ${generation} or ${generationBefore}`);
        }
      });
    }
    console.log(`${policy}: ${log.length} operations, ${states} states after a power failure`);
    expect(states).toBeGreaterThan(20);
    expect(verifyJob(device, { isRunning: false }).verdict).toBe('sound');
    expect(device.list()).not.toContain('undo-3');
  });
});

function deviceOf(files: ReadonlyMap<string, Uint8Array>, without: readonly string[]): CrashDevice {
  const names = [...files.keys()].filter((name) => !without.includes(name));
  const medium: Medium = {
    files: new Map(names.map((name, number) => [number + 1, files.get(name)!])),
    names: new Map(names.map((name, number) => [name, number + 1])),
  };
  return new CrashDevice(medium);
}

/** Of the checkpoint that a restart would go on from; 0 where a sequential job has only one and that is not there. */
function generationOf(device: CrashDevice): number {
  const hasFiles = device.list().some(isCheckpointFile);
  if (!hasFiles && device.list().includes('job.new') && !device.list().includes('job')) return 0;
  const view = hasFiles ? openFilesView(device, 'job') : openPagingView(device, 'job');
  const room = new Uint8Array(4096);
  for (let page = 0; page < view.pages.pageCount; page++) view.pages.read(page, room);
  view.close();
  return view.checkpoint.generation;
}

describe('of a directory', () => {
  it('that holds the remains of a creation removes all of them', async () => {
    const job = join(scratch(), 'job');
    mkdirSync(job);
    for (const name of ['program.wasm', 'paging', 'job.new']) writeFileSync(join(job, name), name);
    expect((await cleaned(job, '--dry-run')).removals).toHaveLength(3);
    expect(readdirSync(job)).toHaveLength(3);
    expect(await continuo(['gc', job])).toMatchObject({
      exitCode: 0,
      stdout: expect.stringMatching(/^freed 25 bytes of /),
    });
    expect(readdirSync(job)).toEqual([]);
    expect(await continuo(['gc', job])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining('holds no job') });
  });

  it('that is no job, or a damaged one, touches nothing', async () => {
    const folder = scratch();
    writeFileSync(join(folder, 'letter'), 'dear reader');
    expect(await continuo(['gc', folder])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("not a job's"),
    });
    expect(readdirSync(folder)).toEqual(['letter']);
    const job = await stoppedJob(scratch(), 'continuous');
    writeFileSync(join(job, 'paging'), 'nothing of a job');
    writeFileSync(join(job, 'undo-3'), 'left over');
    const before = contentsOf(job);
    expect(await continuo(['gc', job])).toMatchObject({ exitCode: 65, stdout: '' });
    expect(contentsOf(job)).toEqual(before);
  });

  it('that a process has is refused', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const running = new RunningCommand(['run', '--job', job, '--verbose', program(folder, 'loops', LOOPS)]);
    await running.waitFor('checkpoint 1 ');
    const { exitCode, stderr } = await continuo(['gc', job]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: expect.stringContaining(`in use by process ${running.pid}`),
    });
    running.kill('SIGKILL');
    await running.ended;
  });
});
