/**
 * Jobs move between processors, both ways, and between versions of Node.js: x86-64 here, arm64 by an emulator that `fetch.mjs`
 * gets with a Node.js for it. Left out, with the reason, where the parts cannot be had.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Ended, RunningCommand, continuo, program, scratch, sleep, workload } from '../cli/continuo.ts';
import { nanProgram } from './nan-program.ts';

/** An emulator is some ten times slower, and the machine may have more to do. */
const TIMEOUT_MS = 240_000;
const newer = process.env['CONTINUO_NEWER_NODE'];

let arm64 = '';
let reason = '';
beforeAll(() => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [fileURLToPath(new URL('fetch.mjs', import.meta.url))],
    { encoding: 'utf8', timeout: TIMEOUT_MS },
  );
  if (status === 0) arm64 = stdout.trim();
  else reason = stderr.trim() || 'it took too long to fetch an arm64 Node.js';
  if (reason !== '') console.warn(`no jobs are moved between processors: ${reason}`);
}, TIMEOUT_MS);

/** One stretch of a job: until it has gone on for a while, or to its end. */
async function stretch(args: readonly string[], node: string, ms: number): Promise<Ended> {
  const running = new RunningCommand(args, { node });
  await running.waitFor('goes on from', 'checkpoint 1 ');
  await Promise.race([sleep(ms), running.ended]);
  running.kill('SIGTERM');
  return running.ended;
}

/** Runs a job on one Node.js after the other, the last one to the end; what it printed, and how many ran it. */
async function relay(
  args: readonly string[],
  nodes: readonly string[],
  ms: number,
): Promise<{ output: string; ran: number }> {
  let output = '';
  for (let ran = 1; ; ran++) {
    const node = nodes[(ran - 1) % nodes.length];
    const ended = ran >= nodes.length ? await continuo(args, { node }) : await stretch(args, node, ms);
    output += ended.stdout;
    if (ended.exitCode === 85) continue;
    expect({ exitCode: ended.exitCode, stderr: ended.stderr }).toMatchObject({ exitCode: 0 });
    return { output, ran };
  }
}

describe('a job moves', { timeout: TIMEOUT_MS, retry: 2 }, () => {
  it('from x86-64 to arm64 and back', async ({ skip }) => {
    if (arm64 === '') return skip(reason);
    const words = [workload('apsp'), '700', '1'];
    const uninterrupted = await continuo(['run', ...words]);
    const args = ['run', '--job', join(scratch(), 'job'), '--interval', '100ms', '--verbose', ...words];
    const { output, ran } = await relay(args, [process.execPath, arm64, process.execPath], 300);
    expect(output).toBe(uninterrupted.stdout);
    expect(ran).toBe(3);
  });

  it('from arm64 through all others and back', async ({ skip }) => {
    if (arm64 === '') return skip(reason);
    const wasm = program(scratch(), 'nan', nanProgram(250));
    const uninterrupted = await continuo(['run', '--canonical-nan', wasm]);
    expect(uninterrupted.stdout).toMatch(/^[0-9a-f]{16}\n$/);
    const args = ['run', '--canonical-nan', '--job', join(scratch(), 'job'), '--interval', '100ms', '--verbose', wasm];
    const nodes = [arm64, process.execPath, ...(newer === undefined ? [] : [newer]), arm64];
    const { output, ran } = await relay(args, nodes, 300);
    expect(output).toBe(uninterrupted.stdout);
    expect(ran).toBe(nodes.length);
  });
});

it(
  'a job moves as a restart file from arm64 to x86-64 and back',
  { timeout: TIMEOUT_MS, retry: 2 },
  async ({ skip }) => {
    if (arm64 === '') return skip(reason);
    const folder = scratch();
    const wasm = program(folder, 'nan', nanProgram(250));
    const uninterrupted = await continuo(['run', '--canonical-nan', wasm]);
    const options = ['--interval', '100ms', '--verbose'];
    let output = '';
    let args = ['run', '--canonical-nan', '--job', join(folder, 'job0'), ...options, wasm];
    for (const [k, node] of [arm64, process.execPath].entries()) {
      const stopped = await stretch(args, node, 300);
      expect(stopped.exitCode, stopped.stderr).toBe(85);
      output += stopped.stdout;
      const file = join(folder, `file${k}`);
      expect(await continuo(['export', join(folder, `job${k}`), '-o', file], { node })).toMatchObject({ exitCode: 0 });
      args = ['restart', '--job', join(folder, `job${k + 1}`), ...options, file];
    }
    const last = await continuo(args, { node: arm64 });
    expect(last.exitCode, last.stderr).toBe(0);
    expect(output + last.stdout).toBe(uninterrupted.stdout);
  },
);

it('bits of NaNs are those of the processor, or the same on all', { timeout: TIMEOUT_MS }, async ({ skip }) => {
  if (arm64 === '') return skip(reason);
  const wasm = program(scratch(), 'nan', nanProgram(2));
  const outputOf = async (node: string, ...options: string[]): Promise<string> => {
    const { exitCode, stdout, stderr } = await continuo(['run', ...options, wasm], { node });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    return stdout;
  };
  const own = await outputOf(process.execPath);
  const canonical = await outputOf(process.execPath, '--canonical-nan');
  expect(await outputOf(arm64, '--canonical-nan')).toBe(canonical);
  // The processor whose NaNs are canonical of itself shows the same with and without.
  expect(await outputOf(arm64)).toBe(canonical);
  expect(own).not.toBe(canonical);
});
