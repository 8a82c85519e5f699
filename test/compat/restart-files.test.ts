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

it.each(files)('%s: %s', async (version, name) => {
  const here = join(folder, version);
  const secret = name.startsWith('none') ? ['--passphrase-file', 'passphrase.txt'] : ['--key-file', 'key.txt'];
  const options = name.endsWith('-sealed.bin') ? [secret[0], join(here, secret[1])] : [];
  const job = join(scratch(), 'job');
  const { exitCode, stdout, stderr } = await continuo(['restart', join(here, name), '--job', job, ...options]);
  expect([exitCode, stdout, stderr]).toEqual([0, readFileSync(join(here, 'output.txt'), 'utf8'), stderr]);
  expect(stderr).toContain('goes on from checkpoint');
});

it('v1: a delta brings a copy of what it builds on up to date', async () => {
  const here = join(folder, 'v1');
  const job = join(scratch(), 'job');
  const made = await continuo(['restart', join(here, 'delta', 'base.bin'), '--job', job, '--no-run']);
  expect(made).toMatchObject({ exitCode: 0, stdout: '' });
  const applied = await continuo(['apply', join(here, 'delta', 'changes.bin'), '--job', job]);
  expect(applied).toMatchObject({ exitCode: 0, stdout: '' });
  const { exitCode, stdout } = await continuo(['resume', job]);
  expect([exitCode, stdout]).toEqual([0, readFileSync(join(here, 'output.txt'), 'utf8')]);
});
