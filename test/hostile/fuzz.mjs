/**
 * Seeded mutations of everything that is read from a disk: each input is accepted with right results, or refused with an error of
 * ours. Half of them have their checksums made right again, so that what lies behind a checksum is reached.
 *
 *   node test/hostile/fuzz.mjs [--seed N] [--count N] [--only NAME,NAME…] [--json FILE [--add]]
 *
 * The inputs are tried in a process of its own with a small heap, which a watchdog ends when one takes too long. An input that
 * fails is told with its seed: `--seed SEED --count 1` tries it alone. `--only` takes the files whose names hold one of the
 * words; with `--add` their figures go beside those of other files that the JSON file has.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const HEAP_MB = 192;
/** Memory outside of the heap that one input may make the reader take. */
const BUFFERS_BYTES_MAX = 192 * 2 ** 20;
const INPUT_MS_MAX = 20_000;
const FAILURES_MAX = 20;

const value = (name, other) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? other : process.argv[at + 1];
};
const seed = Number(value('--seed', '1'));
const count = Number(value('--count', '1000'));

if (process.argv.includes('--child')) await tryInputs();
else await watch();

/** Runs the inputs in a child, and says which one was being tried when the child died or hung. */
async function watch() {
  const words = [
    `--max-old-space-size=${HEAP_MB}`,
    fileURLToPath(import.meta.url),
    '--child',
    ...process.argv.slice(2),
  ];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  let last = seed;
  let seenMs = performance.now();
  child.on('message', (message) => {
    last = message;
    seenMs = performance.now();
  });
  const watchdog = setInterval(() => {
    if (performance.now() - seenMs < 3 * INPUT_MS_MAX) return;
    console.error(`an input from seed ${last} on hangs`);
    child.kill('SIGKILL');
  }, 1000);
  const [exitCode, signal] = await new Promise((settle) => child.on('close', (...end) => settle(end)));
  clearInterval(watchdog);
  if (signal !== null || exitCode > 1)
    console.error(`the process died (${signal ?? exitCode}) at an input from seed ${last} on`);
  process.exitCode = exitCode === 0 ? 0 : 1;
}

async function tryInputs() {
  const { ContinuoError } = await import('../../dist/error/errors.js');
  const { mutate, random } = await import('./mutation.mjs');
  const { targets } = await import('./targets.mjs');
  const only = value('--only', '').split(',');
  const chosen = targets.filter(([, { name }]) => only.some((word) => name.includes(word)));
  const shares = chosen.reduce((sum, [share]) => sum + share, 0);
  const tallies = new Map(chosen.map(([, { name }]) => [name, { name, inputs: 0, accepted: 0, refused: 0, fixed: 0 }]));
  const codes = {};
  const failures = [];
  for (let k = 0; k < count && failures.length < FAILURES_MAX; k++) {
    if (k % 100 === 0) process.send(seed + k);
    const draw = random(seed + k);
    let at = draw(shares);
    const [, target] = chosen.find(([share]) => (at -= share) < 0);
    const tally = tallies.get(target.name);
    const fixed = draw(2) === 0;
    const files = mutate(draw, target);
    if (fixed) target.fix(files, draw);
    tally.inputs += 1;
    if (fixed) tally.fixed += 1;
    const startMs = performance.now();
    const buffersBefore = process.memoryUsage().arrayBuffers;
    try {
      target.read(files, fixed);
      tally.accepted += 1;
    } catch (error) {
      if (error instanceof ContinuoError) {
        tally.refused += 1;
        codes[error.code] = (codes[error.code] ?? 0) + 1;
      } else failures.push({ seed: seed + k, target: target.name, fixed, error: String(error?.stack ?? error) });
    }
    const ms = performance.now() - startMs;
    const grown = process.memoryUsage().arrayBuffers - buffersBefore;
    if (ms > INPUT_MS_MAX || grown > BUFFERS_BYTES_MAX) {
      failures.push({ seed: seed + k, target: target.name, fixed, error: `took ${ms.toFixed(0)} ms, ${grown} bytes` });
    }
  }
  const all = [...tallies.values()];
  const sum = (of) => all.reduce((total, one) => total + one[of], 0);
  for (const one of all) {
    console.log(
      `${one.name}: ${one.inputs} inputs, ${one.fixed} with right checksums; ${one.accepted} accepted, ${one.refused} refused`,
    );
  }
  for (const failure of failures)
    console.log(`seed ${failure.seed}, ${failure.target}, ${failure.fixed ? 'fixed' : 'not fixed'}: ${failure.error}`);
  console.log(
    `hostile files: ${sum('inputs')} inputs from seed ${seed} on, ${sum('accepted')} accepted, ${sum('refused')} refused, ${failures.length} failures`,
  );
  const result = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    seed,
    inputs: sum('inputs'),
    accepted: sum('accepted'),
    refused: sum('refused'),
    codes,
    targets: all,
    failures,
  };
  const json = value('--json', '');
  if (json !== '') {
    const whole = process.argv.includes('--add') ? added(JSON.parse(readFileSync(json, 'utf8')), result) : result;
    writeFileSync(json, `${JSON.stringify(whole, null, 1)}\n`);
  }
  process.exitCode = failures.length === 0 ? 0 : 1;
  process.disconnect();
}

/** The figures of an earlier run with those of a run of other files. */
function added(before, result) {
  const twice = before.targets.find(({ name }) => result.targets.some((target) => target.name === name));
  if (twice !== undefined) throw new Error(`there are figures of the ${twice.name} already`);
  const codes = { ...before.codes };
  for (const [code, count] of Object.entries(result.codes)) codes[code] = (codes[code] ?? 0) + count;
  const sums = {};
  for (const name of ['inputs', 'accepted', 'refused']) sums[name] = before[name] + result[name];
  const { date, node } = result;
  const targets = [...before.targets, ...result.targets];
  return { ...before, date, node, ...sums, codes, targets, failures: [...before.failures, ...result.failures] };
}
