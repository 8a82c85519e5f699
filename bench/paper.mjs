// The evaluation of Hsu & Chang 1997 again: Figures 5, 6 and 7 and Table I, with the paper's own sizes, memory and
// checkpoints by progress, so that page counts do not depend on the machine. At most half an hour on two cores.
//   node bench/paper.mjs [--json FILE] [--page FILE] [--rounds N] [--only figure5,figure6,figure7,table1,trackers]
//
// The paper's page counts of matrix multiplication are those of numbers of 4 bytes, so Figure 7 and Table I run with --int32.
// Figure 6 is about a program whose working set is over its memory: a matrix of 1600² numbers of 4 bytes fits into these
// frames, since nobody else uses them, so that its numbers have 8. With --only the other parts are taken from the JSON file
// that is there.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parsePaperResults } from '../dist/report/paper.js';
import { renderPaperPage } from '../dist/report/paper-page.js';
import { parseArguments } from './measure.mjs';

/** 12.32 MB of memory. */
const FRAMES = 3154;
/** A checkpoint each ten minutes of 830 minutes is one after each 83rd of the sources; of 135 minutes, after each 13.5th of the rows. */
const APSP = { size: 1408, everySteps: 17 };
const MATMUL = { size: 1600, everySteps: 119, doubles: true };
/** Around the size at which one matrix fills the memory, 1796. */
const FIGURE7_SIZES = [512, 768, 1024, 1280, 1536, 1600, 1664, 1728, 1792, 1856, 1920, 2048];
const TABLE_SIZES = [1024, 1664];
const TABLE_ROWS = 40;
const CELLS = ['none', 'sequential', 'incremental', 'continuous'].flatMap((policy) =>
  policy === 'none' ? [{ policy, fork: false }] : [false, true].map((fork) => ({ policy, fork })),
);

const here = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const command = here('dist/command/main.js');
const { options } = parseArguments({
  json: 'bench/results/paper.json',
  page: 'bench/results/paper.html',
  rounds: '7',
  only: '',
});
const wanted = options.only === '' ? ['figure5', 'figure6', 'figure7', 'table1', 'trackers'] : options.only.split(',');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-paper-'));
const startMs = Date.now();
/** Runs of Figures 5 and 6 under the continuous policy, by program. */
const continuousRuns = new Map();

try {
  const before = wanted.length < 5 ? JSON.parse(fs.readFileSync(options.json, 'utf8')) : {};
  const results = {
    format: 'continuo-paper',
    version: 1,
    createdMs: Date.now(),
    machine: {
      cpu: os.cpus()[0].model.trim(),
      cpus: os.availableParallelism(),
      platform: `${process.platform} ${process.arch}`,
      node: process.version,
      memoryBytes: os.totalmem(),
    },
    frames: FRAMES,
    figure5: wanted.includes('figure5') ? { program: 'apsp', ...series('apsp', APSP) } : before.figure5,
    figure6: wanted.includes('figure6') ? { program: 'matmul', ...series('matmul', MATMUL) } : before.figure6,
    figure7: wanted.includes('figure7') ? figure7() : before.figure7,
    table1: wanted.includes('table1') ? table1(Number(options.rounds)) : before.table1,
    trackers: wanted.includes('trackers') ? trackers() : before.trackers,
  };
  const text = `${JSON.stringify(results, undefined, 1)}\n`;
  const page = await renderPaperPage(parsePaperResults(text, options.json));
  fs.writeFileSync(options.json, text);
  fs.writeFileSync(options.page, page);
  console.log(`${options.json}, ${options.page}: ${Math.round((Date.now() - startMs) / 1000)} s`);
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Checkpoints of one run under both policies, side by side. */
function series(name, { size, everySteps, doubles = false }) {
  const runs = ['incremental', 'continuous'].map((policy) => {
    return run(name, size, everySteps, { policy, fork: false }, doubles);
  });
  continuousRuns.set(name, runs[1]);
  const [incremental, continuous] = runs.map(({ checkpoints }) => checkpoints);
  if (incremental.length !== continuous.length) throw new Error(`${name}: the policies took other checkpoints`);
  return {
    size,
    pages: runs[0].pages,
    checkpoints: incremental
      .map((one, index) => ({
        index: index + 1,
        dirtyPages: one.dirtyPages,
        incremental: accesses(one),
        continuous: accesses(continuous[index]),
      }))
      // The first has what the program filled before its first step, many times as many pages as any later one.
      .slice(1),
  };
}

function figure7() {
  const sizes = FIGURE7_SIZES.map((size) => {
    const { pages, checkpoints } = series('matmul', { size, everySteps: TABLE_ROWS });
    const mean = (of) => checkpoints.reduce((sum, one) => sum + of(one), 0) / checkpoints.length;
    return {
      size,
      pages,
      dirtyPages: mean(({ dirtyPages }) => dirtyPages),
      incremental: mean(({ incremental }) => incremental),
      continuous: mean(({ continuous }) => continuous),
    };
  });
  return { sizes };
}

/** The programs of Figures 5 and 6 under both trackers, the checks in their code made ahead and for each page by itself. */
function trackers() {
  let kernelObstacle;
  const programs = [
    ['apsp', APSP],
    ['matmul', MATMUL],
  ].map(([name, { size, everySteps, doubles }]) => {
    const runs = [];
    for (const [way, ...words] of [['ahead'], ['singly', '--page-by-page'], ['kernel', '--tracker', 'kernel']]) {
      // It is a run of the figure as well.
      const known = way === 'ahead' ? continuousRuns.get(name) : undefined;
      try {
        const measured = known ?? run(name, size, everySteps, { policy: 'continuous', fork: false }, doubles, words);
        runs.push(trackedRun(way, measured));
      } catch (error) {
        if (error.code !== 'tracker-unavailable') throw error;
        kernelObstacle = error.message;
      }
    }
    return { program: name, size, runs };
  });
  return { ...(kernelObstacle === undefined ? {} : { kernelObstacle }), programs };
}

function trackedRun(way, { paging, checkpoints, runMs }) {
  const { softFaults, hardFaults, zeroFaults, pageIns, pageOuts, evictions } = paging;
  return {
    way,
    runMs,
    softFaults,
    hardFaults,
    zeroFaults,
    pageIns,
    pageOuts,
    evictions,
    checkpoints: checkpoints.map(({ dirtyPages, pagesWritten }) => ({ dirtyPages, pagesWritten })),
  };
}

/** Every cell once a round, beginning with another one each time. */
function table1(rounds) {
  const sizes = TABLE_SIZES.map((size) => {
    const times = CELLS.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let k = 0; k < CELLS.length; k++) {
        const cell = (round + k) % CELLS.length;
        times[cell].push(run('matmul', size, TABLE_ROWS, CELLS[cell]).runMs);
      }
    }
    const predicted = predict(size);
    const cells = CELLS.map((cell, index) => ({
      ...cell,
      runs: times[index].map((ms, round) => ({ ms, noneMs: times[0][round] })),
      ...(predicted === undefined ? {} : { predictedSeconds: predicted[cellName(cell)] }),
    }));
    return { size, cells };
  });
  return { sizes };
}

function cellName({ policy, fork }) {
  return fork ? `${policy}+fork` : policy;
}

/** Elapsed seconds by the simulator, with the costs that the paper names and its time without checkpoints. */
function predict(size) {
  const trace = path.join(folder, 'trace');
  const figures = path.join(folder, 'figures');
  const baseTime = { 1024: '23.067m', 1664: '136.717m' }[size];
  continuo(['trace', '--quiet', '-o', trace, '--every', `${TABLE_ROWS}steps`, program('matmul'), size, 1, '--int32']);
  const settings = ['--memory', `${FRAMES}p`, '--replacement', 'second-chance', '--fork', '--save-zeros'];
  for (const policy of ['none', 'sequential', 'incremental', 'continuous']) settings.push('--policy', policy);
  continuo(['simulate', trace, ...settings, '--base-time', baseTime, '--json', figures]);
  const { simulations } = JSON.parse(fs.readFileSync(figures, 'utf8'));
  return Object.fromEntries(simulations.map((one) => [cellName(one), one.elapsedMs / 1000]));
}

function run(name, size, everySteps, { policy, fork }, doubles = false, more = []) {
  const stats = path.join(folder, 'stats');
  const words = ['run', '--quiet', '--memory', `${FRAMES}p`, '--interval', 'none', '--every', `${everySteps}steps`];
  // To remove the job of the run before is no part of this one.
  const job = path.join(folder, 'job');
  fs.rmSync(job, { recursive: true, force: true });
  if (policy !== 'none') words.push('--job', job, '--policy', policy);
  if (fork) words.push('--fork');
  words.push(...more);
  continuo([...words, '--stats', stats, program(name), size, 1, ...(name === 'matmul' && !doubles ? ['--int32'] : [])]);
  const { checkpoints, pages, runMs, paging } = JSON.parse(fs.readFileSync(stats, 'utf8'));
  const taken = checkpoints.filter(({ trigger }) => trigger === 'steps');
  const seconds = String(Math.round((Date.now() - startMs) / 1000)).padStart(5);
  if (process.stdout.isTTY) {
    console.log(
      `${seconds} s  ${name} ${size} ${policy}${fork ? ' + fork' : ''}: ${taken.length} checkpoints, ${Math.round(runMs)} ms`,
    );
  }
  return { checkpoints: taken, pages, runMs, paging };
}

function accesses({ pagesWritten, pagesRead }) {
  return pagesWritten + pagesRead;
}

function program(name) {
  return here(`dist/workloads/${name}.directed.wasm`);
}

function continuo(words) {
  const { status, stderr } = spawnSync(process.execPath, [command, ...words.map(String)], { encoding: 'utf8' });
  if (status === 0) return;
  const error = new Error(`continuo ${words[0]} ended with ${status}: ${stderr}`);
  const obstacle = /--tracker kernel cannot be had here: (.*?);/.exec(stderr)?.[1];
  if (obstacle !== undefined) throw Object.assign(new Error(obstacle), { code: 'tracker-unavailable' });
  throw error;
}
