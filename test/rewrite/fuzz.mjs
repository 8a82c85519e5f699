/**
 * The fuzz test with a count of its own choice: programs of each generator, from a seed on.
 *
 *   node test/rewrite/fuzz.mjs [--seed N] [--count N] [--only own|binaryen|exceptions]
 *
 * A difference is printed with its seed; `--seed` that seed `--count 1` runs it again.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    count: { type: 'string', default: '1000' },
    only: { type: 'string' },
  },
});
const root = fileURLToPath(new URL('../..', import.meta.url));
const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const names = { own: 'own generator', binaryen: 'programs of the fuzzer of Binaryen', exceptions: 'exceptions|newer' };
if (values.only !== undefined && names[values.only] === undefined) {
  console.error(`--only takes ${Object.keys(names).join(' or ')}, not ${values.only}`);
  process.exit(2);
}
const only = values.only === undefined ? [] : ['-t', names[values.only]];
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/rewrite/fuzz', ...only], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, CONTINUO_FUZZ_SEED: values.seed, CONTINUO_FUZZ_COUNT: values.count },
});
process.exitCode = status ?? 1;
