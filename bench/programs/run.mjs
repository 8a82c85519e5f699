// Real programs: plain Node and Continuo in turns, then Continuo killed at random instants until done; what they leave
// must be the same byte for byte. Results go into bench/results/programs.json, a program's place by its name.
//   node bench/programs/run.mjs [--rounds N] [--seed N] [--job short|long] [--interval D] [--kills N] [--json FILE] [name …]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from '../measure.mjs';
import { NotAvailable } from './cache.mjs';
import { programNamed, programs } from './catalogue.mjs';
import { JobRun, differences, randomNumbers } from './job-run.mjs';

const { options, rest } = parseArguments({
  rounds: '3',
  seed: String(Date.now() % 1_000_000),
  job: 'long',
  interval: '1s',
  kills: '20',
  json: '',
});
const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const rewriting = fileURLToPath(new URL('rewriting.mjs', import.meta.url));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-programs-'));
const seed = Number(options.seed);
const results = [];
try {
  for (const program of rest.length > 0 ? rest.map(programNamed) : programs) {
    const result = await measure(program);
    results.push(result);
    console.log(`${program.name}: ${line(result)}`);
  }
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}
const means = {};
for (const ratio of ['ratio', 'wholeRatio']) {
  const ratios = results.filter((result) => result[ratio] !== undefined).map((result) => result[ratio]);
  if (ratios.length > 0) means[ratio] = geometricMean(ratios);
}
console.log(`geometric means: guest ${means.ratio?.toFixed(3)}, whole runs ${means.wholeRatio?.toFixed(3)}`);
if (options.json) {
  const { rounds, job, interval } = options;
  writeResult(options.json, {
    ...machineFacts(),
    rounds: Number(rounds),
    job,
    interval,
    seed,
    programs: results,
    geometricMean: means,
  });
}
if (results.some((result) => result.identical === false)) process.exitCode = 1;

async function measure(program) {
  const result = { name: program.name, title: program.title, job: program.job };
  let job;
  try {
    const { file, source } = await program.obtain();
    Object.assign(result, { source, bytes: fs.statSync(file).size });
    job = await JobRun.prepare(program, options.job, { scratch: path.join(scratch, program.name), command });
    const { status, stdout, stderr } = spawnSync(process.execPath, [rewriting, file], { encoding: 'utf8' });
    if (status !== 0) return { ...result, refused: lastError(stderr) };
    Object.assign(result, JSON.parse(stdout));
  } catch (error) {
    if (!(error instanceof NotAvailable)) throw error;
    return { ...result, unavailable: error.message };
  }
  const rounds = [];
  const different = new Set();
  for (let round = 0; round < Number(options.rounds); round++) {
    // Plain Node's best is the baseline: it starts in the baseline compiler, which is better for some, or without it.
    const turns = [() => job.plain(), () => job.plain(['--no-liftoff']), () => job.continuo(options.interval)];
    const order = [0, 1, 2].map((turn) => (turn + round) % 3);
    const runs = [];
    for (const turn of order) runs[turn] = await turns[turn]();
    const [plain, optimised, ours] = runs;
    if (ours.stats === undefined || ours.exitCode !== plain.exitCode) {
      return { ...result, identical: false, failure: `exit code ${ours.exitCode}: ${ours.stderr.trim()}` };
    }
    for (const name of differences(plain.left, ours.left)) different.add(name);
    rounds.push(roundFigures(plain, optimised, ours));
  }
  const startMs = median(rounds.map(({ wholeMs, guestMs }) => wholeMs - guestMs));
  const lifeMs = startMs + Math.max(1500, median(rounds.map(({ guestMs }) => guestMs)) / 3);
  const draw = randomNumbers(seed);
  const killed = await job.killed('200ms', { draw, lifeMs, killsMax: Number(options.kills) });
  const plain = await job.plain();
  for (const name of differences(plain.left, killed.left)) different.add(`${name} after kills`);
  const best = ({ plainGuestMs, optimisedGuestMs }) => Math.min(plainGuestMs, optimisedGuestMs);
  const bestWhole = ({ plainWholeMs, optimisedWholeMs }) => Math.min(plainWholeMs, optimisedWholeMs);
  return {
    ...result,
    ratio: median(rounds.map((round) => round.guestMs / best(round))),
    wholeRatio: median(rounds.map((round) => round.wholeMs / bestWhole(round))),
    kills: killed.kills,
    killsBeforeTheJob: killed.early,
    identical: different.size === 0,
    ...(different.size === 0 ? {} : { different: [...different] }),
    ...(killed.exitCode === plain.exitCode
      ? {}
      : { failure: `after kills: exit code ${killed.exitCode}: ${killed.stderr.trim()}` }),
    left: Object.keys(plain.left).length,
    rounds,
  };
}

function roundFigures(plain, optimised, { wallMs, stats }) {
  const pausesMs = stats.checkpoints.map(({ pauseMs }) => pauseMs);
  return {
    plainWholeMs: plain.wallMs,
    plainGuestMs: plain.guestMs,
    optimisedWholeMs: optimised.wallMs,
    optimisedGuestMs: optimised.guestMs,
    wholeMs: wallMs,
    guestMs: stats.guestMs,
    checkpoints: pausesMs.length,
    medianPauseMs: median(pausesMs),
    longestPauseMs: Math.max(...pausesMs),
    bytesWritten: stats.checkpoints.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0),
  };
}

function lastError(stderr) {
  return /^.*Error.*$/m.exec(stderr)?.[0] ?? stderr.trim().split('\n').at(-1);
}

function line(result) {
  if (result.unavailable) return `not available: ${result.unavailable}`;
  if (result.refused) return `refused: ${result.refused}`;
  const head = `${(result.bytes / 1e6).toFixed(1)} MB, ${result.functions} functions, rewritten in ${(result.rewriteMs / 1000).toFixed(2)} s with ${result.peakMemoryMb.toFixed(0)} MB, code × ${result.codeGrowth.toFixed(2)}`;
  if (result.rounds === undefined) return `${head}; FAILED: ${result.failure}`;
  const seconds = (name) => (median(result.rounds.map((round) => round[name])) / 1000).toFixed(2);
  const times = `guest ${seconds('guestMs')} s, plain ${seconds('plainGuestMs')} s, without Liftoff ${seconds('optimisedGuestMs')} s, ratio ${result.ratio.toFixed(3)}; whole ${seconds('wholeMs')} s, plain ${seconds('plainWholeMs')} s`;
  const end = result.identical ? 'identical' : `DIFFERENT: ${result.different.join(', ')}`;
  return `${head}; ${times}; ${result.kills} kills (seed ${seed}), ${end}${result.failure ? `; FAILED ${result.failure}` : ''}`;
}
