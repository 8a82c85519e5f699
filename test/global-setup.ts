import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * Builds once before all tests. Types are not checked here: a test should run although a file it never loads does not
 * type-check yet, and `npm run typecheck` says so anyway.
 */
export default function setup(): void {
  const script = fileURLToPath(new URL('../scripts/build.mjs', import.meta.url));
  const { status } = spawnSync(process.execPath, [script, '--no-check'], { stdio: 'inherit' });
  if (status !== 0) throw new Error('the build failed; no test was run');
}
