/** The benchmark kernels, whose loops and calls are those that compilers emit: rewritten, captured, moved. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { allOptions, everySafepoint, migrating, uninterrupted } from '../support/capture-plan.ts';
import { compareRun } from '../support/differential.ts';
import type { Scenario } from '../support/observation.ts';
import { runPlain } from '../support/plain-run.ts';
import { RewrittenProgram } from '../support/rewritten-run.ts';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

const build = spawnSync(process.execPath, [path('bench/kernels/build.mjs'), '--optional'], { encoding: 'utf8' });
const kernels = readdirSync(path('bench/kernels'))
  .filter((file) => /\.(c|ts)$/.test(file))
  .map((file) => basename(file, extname(file)))
  .map((name) => ({ name, wasm: path(`dist/kernels/${name}.wasm`) }));
const built = kernels.filter(({ wasm }) => existsSync(wasm));
if (built.length < kernels.length) console.warn(build.stderr);

it('the kernels are there, or the build says which tool is missing', () => {
  expect(build.status, build.stderr).toBe(0);
  if (built.length < kernels.length) expect(build.stderr).toMatch(/were not built: (clang|wasm-ld)/);
  expect(built.map(({ name }) => name)).toEqual(expect.arrayContaining(['as-floyd', 'as-mm']));
});

/** Captures of one run that goes from safepoint to safepoint; kernels are large, and each capture copies their memory. */
const CAPTURES = 15;

it.each(built)('kernel $name', ({ wasm }) => {
  const scenario: Scenario = { wasm: readFileSync(wasm), calls: [{ name: 'setup' }, { name: 'run' }] };
  const plain = runPlain(scenario);
  expect(plain.outcomes.at(-1)).toMatch(/^returned -?\d+$/);
  const program = new RewrittenProgram(scenario.wasm);
  let safepoints = 0;
  for (const options of allOptions) {
    const figures = compareRun(plain, program, scenario, uninterrupted(options));
    safepoints = Math.max(safepoints, figures.safepoints);
  }
  expect(safepoints).toBeGreaterThan(CAPTURES);
  const stride = Math.ceil(safepoints / CAPTURES);
  const captured = compareRun(plain, program, scenario, everySafepoint('software', stride));
  expect(captured.captures).toBeGreaterThan(CAPTURES / 2);
  const moved = compareRun(plain, program, scenario, migrating(safepoints, stride * 2));
  expect(moved.migrations).toBeGreaterThan(1);
});
