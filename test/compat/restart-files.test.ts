/** Restart files of earlier versions, kept since: each goes on to the end that it had. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { continuo, root, scratch } from '../cli/continuo.ts';

const folder = join(root, 'test', 'compat', 'restart');
const files = readdirSync(folder).flatMap((version) =>
  readdirSync(join(folder, version))
    .filter((name) => name.endsWith('.bin'))
    .map((name) => [version, name] as const),
);

it('are all there', () => {
  expect(files.filter(([version]) => version === 'v1')).toHaveLength(8);
});

it.each(files)('%s: %s', { timeout: 120_000 }, async (version, name) => {
  const here = join(folder, version);
  const secret = name.startsWith('none') ? ['--passphrase-file', 'passphrase.txt'] : ['--key-file', 'key.txt'];
  const options = name.endsWith('-sealed.bin') ? [secret[0], join(here, secret[1])] : [];
  const job = join(scratch(), 'job');
  const { exitCode, stdout, stderr } = await continuo(['restart', join(here, name), '--job', job, ...options]);
  expect([exitCode, stdout, stderr]).toEqual([0, readFileSync(join(here, 'output.txt'), 'utf8'), stderr]);
  expect(stderr).toContain('goes on from checkpoint');
});
