// Writes the table of real programs into README.md, between its `programs` markers, from bench/results/programs.json.
//   node scripts/readme-programs.mjs [--check]     --check only tells, by its exit code, whether the table is current
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';

const START = '<!-- programs -->';
const END = '<!-- /programs -->';

/** The table, as Markdown. */
export function programsTable({ programs, geometricMean, interval }) {
  const rows = programs.map(row);
  const heads = [
    'program',
    'source',
    'size',
    'functions',
    'rewriting',
    'code',
    'run time',
    'whole run',
    'kills',
    'output',
  ];
  const lines = [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  const { ratio, wholeRatio } = geometricMean;
  const summary =
    ratio === undefined
      ? ''
      : `\n\nGeometric means: run time ${ratio.toFixed(2)}, whole run ${wholeRatio.toFixed(2)}. Run time is that of the program itself, whole run that of the ` +
        `process with start, rewriting and a durable checkpoint every ${interval}, both against plain Node's better tier.`;
  return `${lines.join('\n')}${summary}`;
}

function row(result) {
  const { title, source = '–', bytes, functions, rewriteMs, codeGrowth, ratio, wholeRatio, kills } = result;
  const head = [title, source, bytes === undefined ? '–' : `${(bytes / 1e6).toFixed(1)} MB`];
  const reason = result.unavailable ?? result.refused ?? result.failure;
  if (reason !== undefined) return [...head, '–', '–', '–', '–', '–', '–', reason.replaceAll('|', '/')];
  const times = (value) => (value === undefined ? '–' : `× ${value.toFixed(2)}`);
  const rewriting = `${(rewriteMs / 1000).toFixed(1)} s`;
  return [
    ...head,
    String(functions),
    rewriting,
    times(codeGrowth),
    times(ratio),
    times(wholeRatio),
    String(kills),
    'identical',
  ];
}

/** `text` with the table between the markers. */
export function withTable(text, table) {
  const start = text.indexOf(START);
  const end = text.indexOf(END);
  if (start < 0 || end < start) throw new Error(`README.md lacks the markers ${START} and ${END}`);
  return `${text.slice(0, start + START.length)}\n\n${table}\n\n${text.slice(end)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const readme = fileURLToPath(new URL('../README.md', import.meta.url));
  const results = fileURLToPath(new URL('../bench/results/programs.json', import.meta.url));
  const text = fs.readFileSync(readme, 'utf8');
  const current = withTable(text, programsTable(JSON.parse(fs.readFileSync(results, 'utf8'))));
  if (!process.argv.includes('--check')) fs.writeFileSync(readme, current);
  else if (current !== text) {
    console.error(
      'The table of programs in README.md is not that of bench/results/programs.json: node scripts/readme-programs.mjs',
    );
    process.exitCode = 1;
  }
}
