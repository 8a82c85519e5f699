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
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));

const { options, rest } = parseArguments({ json: '' });
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-experiments-'));
const experiments = [];
try {
  for (const experiment of EXPERIMENTS.filter(({ name }) => rest.length === 0 || rest.includes(name))) {
    const every = safepointsBetween(experiment);
    for (const replacement of ['lirs', 'second-chance']) experiments.push(run(experiment, every, replacement));
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
if (options.json) writeResult(options.json, { ...machineFacts(), frames: FRAMES, experiments });

/** Safepoints of a whole run over the checkpoints wanted: guessed from a run of a quarter of the size, whose work is cubic. */
function safepointsBetween({ name, size, checkpoints }) {
  const probe = { name, size: size >> 2 };
  let every = 1 << 20;
  let found = 0;
  while ((found = run(probe, every, 'lirs', true).checkpoints) < 8) every = Math.max(1, every >> 2);
  const guess = Math.round((found * every * (size / probe.size) ** 3) / checkpoints);
  // Strips make longer loops pass fewer safepoints than that: a whole run tells how far the guess is off.
  const counted = run({ name, size }, guess, 'lirs', true).checkpoints;
  return Math.max(1, Math.round((guess * Math.max(1, counted)) / checkpoints));
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
