/** The example of a program with a loader of its own: stopped wherever, it ends as if nothing had happened. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';

const example = fileURLToPath(new URL('../../examples/emscripten.mjs', import.meta.url));
/** The solver looks at its clock some 1600 times. */
const LOOKS = 1500;

function run(...args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [example, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

it('a solver of Emscripten’s goes on in other processes from the middle of its one call', { timeout: 240_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'continuo-test-emscripten-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'solver.state');
  const undisturbed = run('solve');
  expect(undisturbed).toMatchObject({ status: 0, stderr: '' });
  expect(undisturbed.stdout).toMatch(/^status 0, objective \d/);
  for (const looks of [1, 1 + (Date.now() % LOOKS)]) {
    const stopped = run('save', file, String(looks));
    expect(stopped, `${looks} looks`).toEqual({ status: 0, stdout: 'stopped in the middle of the call\n', stderr: '' });
    expect(run('restore', file), `${looks} looks`).toEqual(undisturbed);
  }
});

it('is told how it is used', () => {
  expect(run('restore')).toMatchObject({ status: 2, stderr: expect.stringContaining('usage') as string });
});
