// Kills jobs by SIGKILL at random instants, again and again: every policy, with and without --fork, with all pages resident
// and with few, over the workloads. Each job must leave what an uninterrupted run under node:wasi leaves.
//   node bench/kills.mjs [--kills N] [--minutes N] [--seed N] [--at-once N] [--sizes small|large] [--dist DIR] [--json FILE]
// The instants follow from the seed; what they hit is the machine's. Ends with 1 when a result was wrong.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineFacts, parseArguments, writeResult } from './measure.mjs';

const { options } = parseArguments({
  kills: '1000',
  minutes: '60',
  seed: String(Date.now() % 1_000_000),
  'at-once': '2',
  sizes: 'large',
  dist: fileURLToPath(new URL('../dist', import.meta.url)),
  json: '',
});
const WORKLOADS = {
  large: { apsp: '420', 'floyd-warshall': '560', matmul: '520', fib: '36', sort: '700000' },
  small: { apsp: '260', 'floyd-warshall': '400', matmul: '380', fib: '33', sort: '300000' },
}[options.sizes];
const POLICIES = ['none', 'sequential', 'incremental', 'continuous'];
const INTERVALS = ['7ms', '20ms', '60ms'];
const BUDGETS = ['60p', '300p', '2000p'];
/** Kills of one job before it is left to end: with `none` it begins anew each time. */
const KILLS_OF_A_JOB = { none: 3, sequential: 7, incremental: 7, continuous: 7 };
/** A run that takes longer hangs. */
const RUN_MS_MAX = 180_000;
/** Of the kills, so many aim at the start of a process, and the others at some time after the program has begun to run. */
const START_SHARE = 0.25;
const START_MS = 300;
const LATER_MS = 400;

const command = path.join(options.dist, 'cli', 'main.js');
const killsWanted = Number(options.kills);
const endMs = performance.now() + 60_000 * Number(options.minutes);
const killsMore = () => kills < killsWanted && performance.now() < endMs;
const random = mulberry32(Number(options.seed));
const below = (limit) => Math.floor(random() * limit);
const pick = (among) => among[below(among.length)];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-kills-'));
const children = new Set();
let kills = 0;
let killsOfRunning = 0;
const cases = shuffled(allCases());
const failures = [];

console.log(`${killsWanted} kills, seed ${options.seed}`);
try {
  const expected = Object.fromEntries(Object.entries(WORKLOADS).map(([name, size]) => [name, plainOutput(name, size)]));
  let next = 0;
  await Promise.all(
    Array.from({ length: Number(options['at-once']) }, async () => {
      while (killsMore()) {
        const one = cases[next++ % cases.length];
        await runJob(one, expected[one.workload]);
      }
    }),
  );
} finally {
  for (const child of children) child.kill('SIGKILL');
  fs.rmSync(folder, { recursive: true, force: true });
}
const policies = POLICIES.map((policy) => {
  const own = cases.filter((one) => one.policy === policy);
  const sum = (of) => own.reduce((total, one) => total + one[of], 0);
  return { policy, jobs: sum('jobs'), kills: sum('kills'), right: sum('right') };
});
const jobs = policies.reduce((total, one) => total + one.jobs, 0);
const right = policies.reduce((total, one) => total + one.right, 0);
const result = { seed: Number(options.seed), kills, killsOfRunning, jobs, right, policies, cases, failures };
for (const line of policies) console.log(JSON.stringify(line));
for (const failure of failures) console.log(JSON.stringify(failure));
console.log(`${kills} kills (${killsOfRunning} of a program that ran), ${jobs} jobs, ${right} of them right`);
if (options.json) writeResult(options.json, { ...machineFacts(), ...result });
if (right !== jobs || failures.length > 0) process.exitCode = 1;

function allCases() {
  const all = [];
  for (const fork of [false, true]) {
    for (const paged of [false, true]) {
      for (const policy of POLICIES) {
        for (const workload of Object.keys(WORKLOADS)) {
          all.push({ policy, fork, paged, workload, jobs: 0, kills: 0, right: 0 });
        }
      }
    }
  }
  return all;
}

function shuffled(values) {
  for (let i = values.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [values[i], values[j]] = [values[j], values[i]];
  }
  return values;
}

/** Runs a job until it ends by itself, with kills on the way, and holds its output against the expected. */
async function runJob(one, expected) {
  const own = fs.mkdtempSync(path.join(folder, 'job-'));
  const output = path.join(own, 'output');
  one.jobs += 1;
  for (let ownKills = 0; ;) {
    const ended = await runOnce(one, own, output, killsMore() && ownKills < KILLS_OF_A_JOB[one.policy]);
    if (ended.killed) {
      kills += 1;
      ownKills += 1;
      one.kills += 1;
      if (ended.ran) killsOfRunning += 1;
      continue;
    }
    const found = fs.existsSync(output) ? fs.readFileSync(output, 'utf8') : '';
    if (ended.exitCode === 0 && found === expected && !/bug in Continuo|damaged|cannot/.test(ended.stderr))
      one.right += 1;
    else failures.push({ ...one, ownKills, exitCode: ended.exitCode, stderr: ended.stderr, found });
    break;
  }
  fs.rmSync(own, { recursive: true, force: true });
}

/** One process of the job; options that may change from run to run do. */
function runOnce({ policy, fork, paged, workload }, own, output, mayKill) {
  const words = ['run', '--job', path.join(own, 'job'), '--policy', policy, '--verbose', '--stdout', output];
  words.push('--interval', pick(INTERVALS));
  if (fork) words.push('--fork');
  if (paged) words.push('--memory', pick(BUDGETS));
  words.push(path.join(options.dist, 'workloads', `${workload}.wasm`), WORKLOADS[workload], '3');
  const atStart = random() < START_SHARE;
  const delayMs = below(atStart ? START_MS : LATER_MS);
  return new Promise((settle, fail) => {
    const child = spawn(process.execPath, [command, ...words], { stdio: ['ignore', 'ignore', 'pipe'] });
    children.add(child);
    let stderr = '';
    let killed = false;
    let ran = false;
    const killSoon = () =>
      setTimeout(() => {
        killed = true;
        child.kill('SIGKILL');
      }, delayMs);
    let timer = mayKill && atStart ? killSoon() : setTimeout(() => child.kill('SIGKILL'), RUN_MS_MAX);
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
      if (ran || !/goes on from|checkpoint 1 /.test(stderr)) return;
      ran = true;
      if (!mayKill || atStart) return;
      clearTimeout(timer);
      timer = killSoon();
    });
    child.on('error', fail);
    child.on('close', (exitCode, signal) => {
      clearTimeout(timer);
      children.delete(child);
      settle({ exitCode, killed: killed && signal === 'SIGKILL', ran, stderr: tail(stderr) });
    });
  });
}

/** The last lines, without those about each checkpoint. */
function tail(text) {
  const lines = text.split('\n').filter((line) => !/^continuo: (checkpoint|tracker|memory)/.test(line));
  return lines.slice(-12).join('\n');
}

function plainOutput(workload, size) {
  const plain = fileURLToPath(new URL('../test/workloads/plain-node.mjs', import.meta.url));
  const words = [
    '--no-turbo-fast-api-calls',
    plain,
    path.join(options.dist, 'workloads', `${workload}.wasm`),
    size,
    '3',
  ];
  const { status, stdout } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${workload} fails under node:wasi`);
  return stdout;
}

function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
