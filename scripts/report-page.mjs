/**
 * Makes the page of a result: of `continuo compare` or of `npm run paper`, told apart by their format.
 *
 *   node scripts/report-page.mjs RESULT.json PAGE.html     (after `npm run build`)
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseComparison } from '../dist/report/comparison.js';
import { renderComparisonPage } from '../dist/report/comparison-page.js';
import { parsePaperResults } from '../dist/report/paper.js';
import { renderPaperPage } from '../dist/report/paper-page.js';

const [result, target, ...more] = process.argv.slice(2);
try {
  if (target === undefined || more.length > 0) throw new Error('usage: report-page.mjs RESULT.json PAGE.html');
  const text = readFileSync(result, 'utf8');
  const isPaper = /"format":\s*"continuo-paper"/.test(text);
  const page = isPaper
    ? await renderPaperPage(parsePaperResults(text, result))
    : await renderComparisonPage(parseComparison(text, result));
  writeFileSync(target, page);
} catch (error) {
  console.error(error.message);
  process.exitCode = 2;
}
