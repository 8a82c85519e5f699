// Pauses and run time of paged programs with all frames they need, with pages written ahead and without, in turns.
//   node bench/write-ahead.mjs [--rounds N] [--interval MS] [--json FILE]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Machine } from '../dist/index.js';
import { machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const { options } = parseArguments({ rounds: '3', interval: '500', json: '' });
const PROGRAMS = [
  ['apsp', ['800', '1'], 4096],
  ['matmul', ['900', '1'], 8192],
  ['sort', ['3000000', '1'], 16384],
];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-write-ahead-'));
const programs = [];
try {
  for (const [name, args, frameCount] of PROGRAMS) programs.push(await measure(name, args, frameCount));
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), programs });

async function measure(name, args, frameCount) {
  const rounds = { ahead: [], not: [] };
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const variant of round % 2 === 0 ? ['ahead', 'not'] : ['not', 'ahead']) {
      rounds[variant].push(await run(name, args, frameCount, variant === 'ahead'));
    }
  }
  const of = (variant, figure) => median(rounds[variant].map((one) => one[figure]));
  const result = {
    name: [name, ...args].join(' '),
    pauseMs: { ahead: of('ahead', 'pauseMs'), not: of('not', 'pauseMs') },
    pagesWritten: { ahead: of('ahead', 'pagesWritten'), not: of('not', 'pagesWritten') },
    pagesAhead: of('ahead', 'pagesAhead'),
    runRatio: median(rounds.ahead.map(({ runMs }, k) => runMs / rounds.not[k].runMs)),
  };
  console.log(JSON.stringify(result));
  return result;
}

async function run(name, args, frameCount, writeAhead) {
  const machine = Machine.start({
    program: fs.readFileSync(new URL(`../dist/workloads/${name}.wasm`, import.meta.url)),
    arguments: args,
    job: path.join(folder, 'job'),
    fresh: fs.existsSync(path.join(folder, 'job')),
    intervalMs: Number(options.interval),
    stdout: { kind: 'sink', write: () => {} },
    frameCount,
    writeAhead,
  });
  const checkpoints = [];
  machine.on('checkpoint', (stats) => checkpoints.push(stats));
  const end = await machine.ended;
  const timed = checkpoints.filter(({ trigger }) => trigger === 'request');
  return {
    runMs: end.runMs,
    pauseMs: median(timed.map(({ pauseMs }) => pauseMs)),
    pagesWritten: median(timed.map(({ pagesWritten }) => pagesWritten)),
    pagesAhead: end.paging.pageOutsAhead,
  };
}
