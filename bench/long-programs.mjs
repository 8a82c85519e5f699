// Whole runs of long programs: Continuo with a durable checkpoint every second against plain Node (`node:wasi`), in turns.
// A figure is the median of the rounds' ratios; below 1 Continuo ends sooner.
//   node bench/long-programs.mjs [--rounds N] [--json FILE] [program …]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const PROGRAMS = {
  apsp: ['1150', '1'],
  'floyd-warshall': ['1600', '1'],
  matmul: ['1650', '1'],
  fib: ['45', '1'],
  sort: ['29000000', '1'],
};

const { options, rest } = parseArguments({ rounds: '3', json: '' });
const root = fileURLToPath(new URL('..', import.meta.url));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
const names = rest.length > 0 ? rest : Object.keys(PROGRAMS);
try {
  const programs = names.map(measure);
  const mean = geometricMean(programs.map(({ ratio }) => ratio));
  console.log(`geometric mean ${mean.toFixed(3)}`);
  if (options.json)
    writeResult(options.json, {
      ...machineFacts(),
      rounds: Number(options.rounds),
      interval: '1s',
      programs,
      geometricMean: mean,
    });
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}

function measure(name) {
  const program = path.join(root, 'dist', 'workloads', `${name}.wasm`);
  const rounds = [];
  for (let round = 0; round < Number(options.rounds); round++) {
    const turns = [() => runPlain(program, PROGRAMS[name]), () => runContinuo(program, PROGRAMS[name])];
    const [first, second] = round % 2 === 0 ? turns : turns.toReversed();
    const results = [first(), second()];
    const [plain, ours] = round % 2 === 0 ? results : results.toReversed();
    if (plain.output !== ours.output) throw new Error(`${name}: other output\n${plain.output}${ours.output}`);
    rounds.push({ plainMs: plain.ms, ms: ours.ms, ratio: ours.ms / plain.ms, ...ours.figures });
  }
  const result = {
    name,
    arguments: PROGRAMS[name],
    ratio: median(rounds.map(({ ratio }) => ratio)),
    plainMs: median(rounds.map(({ plainMs }) => plainMs)),
    ms: median(rounds.map(({ ms }) => ms)),
    rounds,
  };
  console.log(
    `${name.padEnd(16)} plain ${(result.plainMs / 1000).toFixed(2)} s, Continuo ${(result.ms / 1000).toFixed(2)} s, ratio ${result.ratio.toFixed(3)}`,
  );
  return result;
}

function timed(words) {
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr}`);
  return { ms: performance.now() - start, output: stdout };
}

function runPlain(program, words) {
  return timed([
    '--no-turbo-fast-api-calls',
    path.join(root, 'test', 'workloads', 'plain-node.mjs'),
    program,
    ...words,
  ]);
}

function runContinuo(program, words) {
  const job = path.join(scratch, 'job');
  const stats = path.join(scratch, 'stats.json');
  fs.rmSync(job, { recursive: true, force: true });
  const run = timed([
    path.join(root, 'dist', 'command', 'main.js'),
    'run',
    '--job',
    job,
    '--interval',
    '1s',
    '--stats',
    stats,
    program,
    ...words,
  ]);
  const { guestMs, checkpoints } = JSON.parse(fs.readFileSync(stats, 'utf8'));
  const pausesMs = checkpoints.map(({ pauseMs }) => pauseMs);
  return {
    ...run,
    figures: {
      guestMs,
      checkpoints: checkpoints.length,
      medianPauseMs: median(pausesMs),
      longestPauseMs: Math.max(...pausesMs),
    },
  };
}
