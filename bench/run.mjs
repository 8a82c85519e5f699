// All benchmarks but that of real programs, one after the other, results into bench/results: `npm run bench`. Takes some
// twenty minutes.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const NAMES = [
  'run-time',
  'rewriting',
  'pause',
  'long-programs',
  'paging-experiments',
  'paging-memory',
  'write-ahead',
  'restart',
  'canonical-nan',
];
for (const name of NAMES) {
  console.log(`\n== ${name}`);
  const { status } = spawnSync(process.execPath, [`${here}${name}.mjs`, '--json', `${here}results/${name}.json`], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}

const { status } = spawnSync(
  process.execPath,
  [fileURLToPath(new URL('../scripts/readme-figures.mjs', import.meta.url))],
  {
    stdio: 'inherit',
  },
);
process.exitCode = status ?? 1;
