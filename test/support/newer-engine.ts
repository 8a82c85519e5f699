import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { hasExceptionsByReference } from '../../src/machine/engine-features.ts';

/**
 * For files whose tests need an engine with exceptions by reference: adds a test that runs the whole file under the Node.js
 * that CONTINUO_NEWER_NODE names when this one lacks them, and that is left out, with the reason, when there is no other.
 */
export function underNewerNode(file: string, passedMin: number, timeoutMs = 240_000): void {
  it.skipIf(hasExceptionsByReference())('under a newer Node.js', { timeout: timeoutMs }, ({ skip }) => {
    const newer = process.env['CONTINUO_NEWER_NODE'];
    if (newer === undefined) return skip('this Node.js lacks them, and CONTINUO_NEWER_NODE names no other one');
    const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
    const { status, stdout, stderr } = spawnSync(newer, [vitest, 'run', fileURLToPath(file)], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      encoding: 'utf8',
      env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: undefined },
    });
    expect(status, stdout + stderr).toBe(0);
    expect(Number(/Tests +(\d+) passed/.exec(stdout)?.[1])).toBeGreaterThanOrEqual(passedMin);
  });
}
