// The paper's experiments by counts: programs larger than their memory, checkpoints by progress. Counts do not depend on
// the machine's speed. The checkpoints at the start and at the end are left out of the averages.
//   node bench/paging-experiments.mjs [--json FILE] [apsp|matmul …]
//
// A run under a counter finds the program's safepoints first, so that a checkpoint comes every so many of them.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineFacts, parseArguments, writeResult } from './measure.mjs';

/** 12.32 MB of memory, as in the paper. Checkpoints: one each ten minutes of 830 minutes, and of 135. */
const FRAMES = 3154;
const EXPERIMENTS = [
  { name: 'apsp', size: 1408, checkpoints: 83, paper: { dirtyPages: 376, flushedPages: 75 } },
  { name: 'matmul', size: 1600, checkpoints: 13 },
];
const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));

const { options, rest } = parseArguments({ json: '' });
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-experiments-'));
const experiments = [];
try {
  for (const experiment of EXPERIMENTS.filter(({ name }) => rest.length === 0 || rest.includes(name))) {
    const every = await safepointsBetween(experiment);
    for (const replacement of ['lirs', 'second-chance']) experiments.push(run(experiment, every, replacement));
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
if (options.json) writeResult(options.json, { ...machineFacts(), frames: FRAMES, experiments });

/**
 * Safepoints of a whole run over the checkpoints wanted. The innermost loops run in strips, whose number depends on
 * where pages begin, so the count is taken from runs of a smaller size and grows as the program's loops do.
 */
async function safepointsBetween({ name, size, checkpoints }) {
  const probe = (every) => run({ name, size: size >> 2, checkpoints }, every, 'lirs', true).checkpoints;
  let every = 1 << 20;
  while (probe(every) < 8) every = Math.max(1, every >> 2);
  const count = probe(every);
  // Strips are four times as many in a row four times as long once rows are longer than a page; outer loops are cubed.
  const total = count * every * ((size / (size >> 2)) ** 3 / 1);
  return calibrated({ name, size, checkpoints }, Math.round(total / checkpoints));
}

/** One whole run tells how far the estimate was off. */
function calibrated(experiment, every) {
  const found = run(experiment, every, 'lirs', true).checkpoints;
  return Math.max(1, Math.round((every * Math.max(1, found)) / experiment.checkpoints));
}

function run({ name, size, paper }, every, replacement, quiet = false) {
  const stats = path.join(folder, 'stats');
  const words = ['run', '--job', path.join(folder, 'job'), '--fresh', '--memory', `${FRAMES}p`, '--interval', 'none'];
  words.push('--every', String(every), '--replacement', replacement, '--stats', stats);
  words.push(fileURLToPath(new URL(`../dist/workloads/${name}.wasm`, import.meta.url)), String(size), '1');
  const { status, stderr } = spawnSync(process.execPath, [command, ...words], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${name} ${size} ended with ${status}: ${stderr}`);
  const { checkpoints: all, paging, slots, pages } = JSON.parse(fs.readFileSync(stats, 'utf8'));
  const checkpoints = all.filter(({ trigger }) => trigger === 'safepoints');
  const average = (field) => checkpoints.reduce((sum, one) => sum + one[field], 0) / Math.max(1, checkpoints.length);
  const result = {
    name: `${name} ${size}`,
    replacement,
    pages,
    every,
    checkpoints: checkpoints.length,
    dirtyPages: average('dirtyPages'),
    flushedPages: average('residentDirtyPages'),
    outBefore: 0,
    hardFaults: paging.hardFaults,
    pageIns: paging.pageIns,
    pageOuts: paging.pageOuts,
    slotsWorking: slots.working,
    slotsShadow: slots.shadow,
    ...(paper === undefined ? {} : { paper }),
  };
  result.outBefore = 1 - result.flushedPages / result.dirtyPages;
  if (!quiet) console.log(JSON.stringify(result));
  return result;
}
