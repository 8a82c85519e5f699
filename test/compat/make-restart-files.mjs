/**
 * Makes the restart files that every later version must read: `node test/compat/make-restart-files.mjs`, once for each format version,
 * into a folder of that version's own. Files that are there are never made again.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const command = join(root, 'dist', 'command', 'main.js');
const folder = fileURLToPath(new URL('restart/v1', import.meta.url));
const program = ['dist/workloads/fib.wasm', '37', '1'];

mkdirSync(folder, { recursive: true });
const key = join(folder, 'key.txt');
const phrase = join(folder, 'passphrase.txt');
writeFileSync(key, '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n');
writeFileSync(phrase, 'a pass phrase that everybody knows\n');
const { stdout } = spawnSync(process.execPath, [command, 'run', ...program], { cwd: root, encoding: 'utf8' });
writeFileSync(join(folder, 'output.txt'), stdout);

for (const policy of ['continuous', 'incremental', 'sequential', 'none']) {
  const scratch = mkdtempSync(join(tmpdir(), 'continuo-compat-'));
  const job = join(scratch, 'job');
  await stopInTheMiddle(job, policy);
  const seals = policy === 'none' ? ['--passphrase-file', phrase] : ['--key-file', key];
  for (const { suffix, options } of [
    { suffix: 'plain', options: [] },
    { suffix: 'sealed', options: seals },
  ]) {
    exportTo(join(folder, `${policy}-${suffix}.bin`), job, options);
  }
  rmSync(scratch, { recursive: true });
}

const deltas = join(folder, 'delta');
mkdirSync(deltas, { recursive: true });
const scratch = mkdtempSync(join(tmpdir(), 'continuo-compat-'));
const job = join(scratch, 'job');
await stopInTheMiddle(job, 'continuous');
exportTo(join(deltas, 'base.bin'), job, []);
await stopInTheMiddle(job, 'continuous');
exportTo(join(deltas, 'changes.bin'), job, ['--since', join(deltas, 'base.bin')]);
rmSync(scratch, { recursive: true });

/** Not where the file is there. */
function exportTo(file, job, options) {
  if (existsSync(file)) return;
  const words = [command, 'export', job, '-o', file, ...options];
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}

function stopInTheMiddle(job, policy) {
  const args = [command, 'run', '--job', job, '--policy', policy, '--interval', '20ms', '--verbose', ...program];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    if (/checkpoint \d+ \(request\)/.test(text) || policy === 'none') child.kill('SIGTERM');
  });
  return new Promise((settle, fail) => {
    child.on('close', (code) => (code === 85 ? settle() : fail(new Error(`exit code ${code}`))));
  });
}
