/** The script that makes a page of a result file. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { sampleComparison, samplePaper } from './sample-results.ts';

const script = fileURLToPath(new URL('../../scripts/report-page.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'continuo-report-page-'));
const target = join(folder, 'page.html');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function make(content: string): { status: number | null; stderr: string } {
  const file = join(folder, 'result.json');
  writeFileSync(file, content);
  rmSync(target, { force: true });
  return spawnSync(process.execPath, [script, file, target], { encoding: 'utf8' });
}

it.each([
  ['Checkpoint policies compared', sampleComparison(1)],
  ['Continuous checkpointing, measured again', samplePaper(1)],
])('makes the page "%s"', (title, result) => {
  expect(make(JSON.stringify(result))).toMatchObject({ status: 0, stderr: '' });
  expect(readFileSync(target, 'utf8')).toContain(`<title>${title}`);
});

it('says what is wrong with a file, and writes no page', () => {
  const { status, stderr } = make('{"format": "stats"}');
  expect(status).toBe(2);
  expect(stderr).toMatch(/result\.json: format must be "continuo-comparison", and is "stats"\n$/);
  expect(existsSync(target)).toBe(false);
});
