import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';

// Programs that nobody here wrote, with short jobs. They are fetched by the package managers; a test whose program
// cannot be had here is skipped with the reason. `bench/programs` has the harness, and all of the programs.

const harness = fileURLToPath(new URL('../../bench/programs/run.mjs', import.meta.url));
const KILLS = 2;
const TIMEOUT_MS = 240_000;

interface Outcome {
  readonly unavailable?: string;
  readonly refused?: string;
  readonly failure?: string;
  readonly identical?: boolean;
  readonly kills?: number;
}

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'continuo-test-programs-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

interface Run {
  /** Empty for all that there is. */
  readonly memory: string;
  /** The Node.js that runs all. */
  readonly node?: string;
  readonly exceptions?: 'reference';
}

function outcomeOf(name: string, seed: number, { memory, node = process.execPath, exceptions }: Run): Outcome {
  const json = join(scratch, `${name}.json`);
  const words = ['--job', 'short', '--rounds', '0', '--kills', String(KILLS), '--seed', String(seed), '--json', json];
  if (memory !== '') words.push('--memory', memory);
  if (exceptions !== undefined) words.push('--exceptions', exceptions);
  const { stdout, stderr } = spawnSync(node, [harness, ...words, name], { encoding: 'utf8' });
  process.stdout.write(stdout);
  expect(stderr).toBe('');
  const parsed: unknown = JSON.parse(readFileSync(json, 'utf8'));
  if (typeof parsed !== 'object' || parsed === null || !('programs' in parsed) || !Array.isArray(parsed.programs)) {
    throw new Error(`the harness wrote no results for ${name}`);
  }
  expect(parsed.programs).toHaveLength(1);
  return parsed.programs[0] as Outcome;
}

function expectIdentical(name: string, run: Run, skip: (reason: string) => void): void {
  const seed = Date.now() % 1_000_000;
  const outcome = outcomeOf(name, seed, run);
  if (outcome.unavailable !== undefined) return skip(outcome.unavailable);
  expect(outcome.failure, `seed ${seed}`).toBeUndefined();
  expect(outcome.refused).toBeUndefined();
  expect(outcome.identical).toBe(true);
  expect(outcome.kills).toBeGreaterThan(0);
}

it.for([
  { name: 'flite', memory: '' },
  { name: 'quickjs', memory: '' },
  { name: 'sqlite', memory: '' },
  { name: 'lua', memory: '' },
  { name: 'muparser', memory: '' },
  { name: 'ruby', memory: '' },
  { name: 'sqlite', memory: '64p' },
  { name: 'lua', memory: '64p' },
])(
  '$name, killed at random instants and run again, leaves what it leaves under plain Node $memory',
  { timeout: TIMEOUT_MS },
  ({ name, ...run }, { skip }) => expectIdentical(name, run, skip),
);

it.for([
  { name: 'muparser', memory: '' },
  { name: 'lua', memory: '64p' },
])(
  '$name, its exceptions translated to those by reference, on a newer Node.js $memory',
  { timeout: TIMEOUT_MS },
  ({ name, ...run }, { skip }) => {
    const node = process.env['CONTINUO_NEWER_NODE'] ?? (hasExceptionsByReference() ? process.execPath : undefined);
    if (node === undefined) return skip('this Node.js lacks them, and CONTINUO_NEWER_NODE names no other one');
    expectIdentical(name, { ...run, node, exceptions: 'reference' }, skip);
  },
);
