import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Programs that nobody here wrote, with short jobs. They are fetched by the package managers; a test whose program
// cannot be had here is skipped with the reason. `bench/programs` has the harness, and all of the programs.

const harness = fileURLToPath(new URL('../../bench/programs/run.mjs', import.meta.url));
const KILLS = 3;
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

function outcomeOf(name: string, seed: number, memory: string): Outcome {
  const json = join(scratch, `${name}.json`);
  const words = ['--job', 'short', '--rounds', '0', '--kills', String(KILLS), '--seed', String(seed), '--json', json];
  if (memory !== '') words.push('--memory', memory);
  const { stdout, stderr } = spawnSync(process.execPath, [harness, ...words, name], { encoding: 'utf8' });
  process.stdout.write(stdout);
  expect(stderr).toBe('');
  const parsed: unknown = JSON.parse(readFileSync(json, 'utf8'));
  if (typeof parsed !== 'object' || parsed === null || !('programs' in parsed) || !Array.isArray(parsed.programs)) {
    throw new Error(`the harness wrote no results for ${name}`);
  }
  expect(parsed.programs).toHaveLength(1);
  return parsed.programs[0] as Outcome;
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
  ({ name, memory }, { skip }) => {
    const seed = Date.now() % 1_000_000;
    const outcome = outcomeOf(name, seed, memory);
    if (outcome.unavailable !== undefined) skip(outcome.unavailable);
    expect(outcome.failure, `seed ${seed}`).toBeUndefined();
    expect(outcome.refused).toBeUndefined();
    expect(outcome.identical).toBe(true);
    expect(outcome.kills).toBeGreaterThan(0);
  },
);
