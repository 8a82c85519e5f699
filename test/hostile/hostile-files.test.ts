/** A short run of the fuzzer; `node test/hostile/fuzz.mjs --count 100000` is a long one. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { root } from '../cli/continuo.ts';

const COUNT = 3000;

it('files damaged at random, checksums right or not, are accepted with right results or refused', () => {
  const seed = Number(process.env['CONTINUO_TEST_SEED'] ?? Date.now() % 1_000_000_000);
  const words = [join(root, 'test', 'hostile', 'fuzz.mjs'), '--seed', String(seed), '--count', String(COUNT)];
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  console.log(stdout);
  expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: '' });
  expect(stdout).toContain(`hostile files: ${COUNT} inputs from seed ${seed} on`);
}, 240_000);
