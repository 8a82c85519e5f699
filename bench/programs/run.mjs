// Real programs: plain Node and Continuo in turns, then Continuo killed at random instants until done; what they leave
// must be the same byte for byte.
//   node bench/programs/run.mjs [--rounds N] [--seed N] [--job short|long] [--interval D] [--kills N] [--memory SIZE] [--tracker WAY]
//     [--exceptions reference] [--json FILE] [name …]
//
// What is measured, per round, each kind in a process of its own and in turns:
//   plain       node:wasi as it comes: functions are compiled when first called, by the baseline compiler, and again by the
//               optimising one when they are hot; the program waits for the first and shares the processor with the second
//   optimised   node:wasi when the optimising compiler has compiled every function before the program starts; that takes up
//               to a minute, is not counted, and is reported beside it. No program can run faster under plain Node
//   Continuo    as a user runs it, with a durable checkpoint each `--interval`; compiling while it runs, checkpoints and
//               system calls are all counted
// `ratio` compares the guest's run time, from its first instruction to its last, with optimised; `plainRatio` the same with
// plain. `wholeRatio` compares whole processes, from exec to exit, with plain: it has the rewriting too, unless the cache of
// rewritten modules has this one from before. All are medians over the rounds.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from '../measure.mjs';
import { NotAvailable } from './cache.mjs';
import { byReference } from './exceptions-by-reference.mjs';
import { programNamed, programs } from './catalogue.mjs';
import { JobRun, differences, randomNumbers } from './job-run.mjs';

const { options, rest } = parseArguments({
  rounds: '1',
  seed: String(Date.now() % 1_000_000),
  job: 'long',
  interval: '1s',
  kills: '20',
  memory: '',
  tracker: '',
  exceptions: '',
  json: '',
});
const command = fileURLToPath(new URL('../../dist/command/main.js', import.meta.url));
const rewriting = fileURLToPath(new URL('rewriting.mjs', import.meta.url));
/** Flags of Node: the optimising compiler alone, for all functions at once. */
const OPTIMISED = ['--no-liftoff', '--no-wasm-lazy-compilation'];
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-programs-'));
const seed = Number(options.seed);
const results = [];
try {
  for (const named of rest.length > 0 ? rest.map(programNamed) : programs) {
    const program = options.exceptions === 'reference' ? byReference(named) : named;
    const result = await measure(program).catch((error) => ({
      name: program.name,
      title: program.title,
      identical: false,
      failure: error.message,
    }));
    results.push(result);
    console.log(`${program.name}: ${line(result)}`);
  }
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}
const means = {};
for (const ratio of ['ratio', 'plainRatio', 'wholeRatio']) {
  const ratios = results.filter((result) => result[ratio] !== undefined).map((result) => result[ratio]);
  if (ratios.length > 0) means[ratio] = geometricMean(ratios);
}
if (means.ratio !== undefined) {
  const { ratio, plainRatio, wholeRatio } = means;
  console.log(
    `geometric means: to the optimised tier ${ratio.toFixed(3)}, to plain ${plainRatio.toFixed(3)}, whole runs ${wholeRatio.toFixed(3)}`,
  );
}
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
    job = await JobRun.prepare(program, options.job, {
      scratch: path.join(scratch, program.name),
      command,
      memory: options.memory,
      tracker: options.tracker,
    });
    const { status, stdout, stderr } = spawnSync(process.execPath, [rewriting, file], { encoding: 'utf8' });
    if (status !== 0) return { ...result, refused: lastError(stderr) };
    Object.assign(result, JSON.parse(stdout));
  } catch (error) {
    if (!(error instanceof NotAvailable)) throw error;
    return { ...result, unavailable: error.message };
  }
  const rounds = [];
  for (let round = 0; round < Number(options.rounds); round++) rounds.push(await runRound(job, round));
  return { ...result, ...ratios(rounds), ...(await runKilled(job)), rounds };
}

/** One run of each kind, the first kind another one in each round. */
async function runRound(job, round) {
  const turns = [() => job.plain(), () => job.plain(OPTIMISED), () => job.continuo(options.interval)];
  const runs = [];
  for (let turn = 0; turn < turns.length; turn++) {
    const kind = (turn + round) % turns.length;
    runs[kind] = await turns[kind]();
  }
  const [plain, optimised, ours] = runs;
  mustEqual(plain, optimised, 'a run in the optimised tier');
  mustEqual(plain, ours, 'an uninterrupted run');
  return roundFigures(plain, optimised, ours);
}

function ratios(rounds) {
  if (rounds.length === 0) return {};
  return {
    ratio: median(rounds.map((round) => round.guestMs / round.optimisedGuestMs)),
    plainRatio: median(rounds.map((round) => round.guestMs / round.plainGuestMs)),
    wholeRatio: median(rounds.map((round) => round.wholeMs / round.plainWholeMs)),
  };
}

/** Kills at random instants: so early that the first run is never done, so late that the next ones get on. */
async function runKilled(job) {
  const plain = await job.plain();
  const whole = await job.continuo('200ms');
  mustEqual(plain, whole, 'a run with a checkpoint each 200 ms');
  const startMs = whole.wallMs - whole.stats.guestMs;
  const draw = randomNumbers(seed);
  const killsMax = Number(options.kills);
  let lifeMs = Math.min(0.85 * whole.wallMs, startMs + Math.max(1500, whole.stats.guestMs / 3));
  let killed = await job.killed('200ms', { draw, lifeMs, killsMax });
  // On a machine of uneven speed a short job may be done before its first kill: then anew, with shorter lives.
  while (killed.kills === 0 && killsMax > 0) {
    mustEqual(plain, killed, 'the run that no kill hit');
    lifeMs /= 2;
    killed = await job.killed('200ms', { draw, lifeMs, killsMax });
  }
  mustEqual(plain, killed, `the run after ${killed.kills} kills`);
  return {
    kills: killed.kills,
    killsBeforeTheJob: killed.early,
    identical: true,
    left: Object.keys(plain.left).length,
  };
}

function mustEqual(plain, ours, which) {
  const different = differences(plain.left, ours.left);
  if (ours.exitCode !== plain.exitCode) {
    throw new Error(
      `${which} ended with ${ours.exitCode} and plain Node with ${plain.exitCode}: ${ours.stderr.trim()}`,
    );
  }
  if (different.length > 0) throw new Error(`${which} left other bytes: ${different.join(', ')}`);
}

function roundFigures(plain, optimised, { wallMs, stats }) {
  const pausesMs = stats.checkpoints.map(({ pauseMs }) => pauseMs);
  return {
    plainWholeMs: plain.wallMs,
    plainGuestMs: plain.guestMs,
    optimisedCompileMs: optimised.compileMs,
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
  if (result.failure) return `FAILED (seed ${seed}): ${result.failure}`;
  const { bytes, functions, rewriteMs, peakMemoryMb, codeGrowth, rounds, kills } = result;
  const rewritten = `${(bytes / 1e6).toFixed(1)} MB, ${functions} functions, rewritten in ${(rewriteMs / 1000).toFixed(2)} s with ${peakMemoryMb.toFixed(0)} MB, code × ${codeGrowth.toFixed(2)}`;
  const survived = `identical after ${kills} kills (seed ${seed})`;
  if (rounds.length === 0) return `${rewritten}; ${survived}`;
  const seconds = (name) => (median(rounds.map((round) => round[name])) / 1000).toFixed(2);
  const guest = `guest ${seconds('guestMs')} s, plain ${seconds('plainGuestMs')} s, optimised ${seconds('optimisedGuestMs')} s (compiled in ${seconds('optimisedCompileMs')} s), ratio ${result.ratio.toFixed(3)}, to plain ${result.plainRatio.toFixed(3)}`;
  return `${rewritten}; ${guest}; whole ${seconds('wholeMs')} s, plain ${seconds('plainWholeMs')} s; ${survived}`;
}
