/** A job that has one checkpoint, and that one damaged: only the first of a job, before which it has not run, may be made anew. */
import { closeSync, copyFileSync, openSync, readdirSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { recordAreaOffset } from '../../src/format/paging-format.ts';
import { continuo, program, RunningCommand, scratch } from '../cli/continuo.ts';
import { counted, counts } from '../cli/guests.ts';

const COUNT = 20;

/** The file with the newest checkpoint of a job, and where something that cannot be left out lies in it. */
function placeOf(job: string): { file: string; at: number } {
  const name = readdirSync(job).find((entry) => entry.startsWith('checkpoint-'));
  if (name !== undefined) return { file: join(job, name), at: readFileSync(join(job, name)).length - 1 };
  const file = join(job, 'paging');
  const bytes = readFileSync(file);
  const area = [0, 1].map((generation) => recordAreaOffset(generation)).find((at) => bytes[at] !== 0)!;
  return { file, at: area + 40 };
}

function flip({ file, at }: { file: string; at: number }): void {
  const byte = readFileSync(file)[at] ^ 0x10;
  const descriptor = openSync(file, 'r+');
  writeSync(descriptor, Uint8Array.of(byte), 0, 1, at);
  closeSync(descriptor);
}

it.each(['continuous', 'incremental', 'sequential'])('%s', { timeout: 240_000 }, async (policy) => {
  const folder = scratch();
  const job = join(folder, 'job');
  const path = program(folder, 'counts', counts(COUNT, 30_000_000));
  const out = join(folder, 'out');
  const run = ['run', '--job', job, '--interval', 'none', '--policy', policy, '--stdout', out, '--verbose', path];
  const running = new RunningCommand(run);
  await running.waitFor('checkpoint 1 ');
  running.kill('SIGKILL');
  await running.ended;
  // The first one: the program had not run before it.
  flip(placeOf(job));
  const anew = new RunningCommand(['resume', job, '--interval', 'none', '--verbose']);
  await anew.waitFor('there is none before it: the program begins anew');
  await anew.waitFor('checkpoint 1 ');
  anew.kill('SIGTERM');
  expect((await anew.ended).exitCode).toBe(85);
  // A branch at a later one has no other: what it lost cannot be had by beginning anew.
  for (const at of [0, 1]) {
    if (at === 1) {
      // With an odd number it has the place of the first.
      const again = new RunningCommand(['resume', job, '--interval', 'none', '--verbose']);
      await again.waitFor('goes on from checkpoint 2');
      again.kill('SIGTERM');
      expect((await again.ended).stderr).toContain('stopped at checkpoint 3');
    }
    const branch = join(folder, `branch-${at}`);
    const copy = join(folder, `copy-${at}`);
    copyFileSync(out, copy);
    expect((await continuo(['fork', job, '--job', branch, '--stdout', copy])).exitCode).toBe(0);
    const place = placeOf(branch);
    const whole = readFileSync(place.file);
    flip(place);
    const refused = await continuo(['resume', branch]);
    expect([refused.exitCode, refused.stderr]).toEqual([65, expect.stringContaining('restore')]);
    expect((await continuo(['verify', branch])).exitCode).toBe(65);
    writeFileSync(place.file, whole);
    expect((await continuo(['resume', branch])).exitCode).toBe(7);
    expect(readFileSync(copy, 'utf8')).toBe(counted(COUNT));
  }
});
