// Table I of the paper by simulation: elapsed times of matrix multiplication under each policy, from traces, with the paper's
// own costs, memory and times without checkpoints. The paper's matrices have entries of 4 bytes and ours of 8, so ours are
// smaller by √2 and as large in bytes; a checkpoint comes after the same part of the rows, 40 of the paper's. What the model
// leaves out makes the paper's times longer: its image had 2 MB of stack besides, and a fork took memory and processor time.
//   node bench/simulated-elapsed.mjs [--json FILE]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineFacts, parseArguments, writeResult } from './measure.mjs';

/** 12.32 MB. */
const FRAMES = 3154;
const ROWS = 40;
const TABLE = [
  {
    paperSize: 1024,
    elapsed: {
      none: '23:04',
      sequential: '48:30',
      incremental: '27:01',
      continuous: '25:23',
      'sequential+fork': '29:05',
      'incremental+fork': '25:54',
      'continuous+fork': '23:40',
    },
  },
  {
    paperSize: 1664,
    elapsed: {
      none: '136:43',
      sequential: '316:49',
      incremental: '178:39',
      continuous: '143:08',
      'sequential+fork': '235:47',
      'incremental+fork': '254:34',
      'continuous+fork': '149:28',
    },
  },
];
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));
const program = fileURLToPath(new URL('../dist/workloads/matmul.directed.wasm', import.meta.url));

const { options } = parseArguments({ json: '' });
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-simulated-'));
const sizes = [];
try {
  for (const row of TABLE) sizes.push(predict(row));
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
if (options.json) writeResult(options.json, { ...machineFacts(), frames: FRAMES, sizes });

function predict({ paperSize, elapsed }) {
  const size = Math.round(paperSize / Math.SQRT2);
  const trace = path.join(folder, 'trace');
  const figures = path.join(folder, 'figures');
  const every = `${Math.round((ROWS * size) / paperSize)}steps`;
  continuo('trace', '--quiet', '-o', trace, '--every', every, program, size, 1);
  const settings = ['--memory', `${FRAMES}p`, '--replacement', 'second-chance', '--fork', '--save-zeros'];
  settings.push('--base-time', elapsed.none);
  for (const policy of ['none', 'sequential', 'incremental', 'continuous']) settings.push('--policy', policy);
  continuo('simulate', trace, ...settings, '--json', figures);
  const { simulations } = JSON.parse(fs.readFileSync(figures, 'utf8'));
  const policies = simulations.map(({ policy, fork, elapsedMs, overhead, average }) => {
    const name = fork ? `${policy}+fork` : policy;
    const paperMs = milliseconds(elapsed[name]);
    const paperOverhead = paperMs / milliseconds(elapsed.none) - 1;
    console.log(
      `${size} for ${paperSize}  ${name.padEnd(16)} ${clock(elapsedMs).padStart(7)} (+${percent(overhead)})` +
        `  paper ${elapsed[name].padStart(7)} (+${percent(paperOverhead)})`,
    );
    return { name, elapsedMs, overhead, paperMs, paperOverhead, average };
  });
  return { size, paperSize, every, policies };
}

function continuo(...words) {
  const { status, stderr } = spawnSync(process.execPath, [command, ...words.map(String)], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`continuo ${words[0]} ended with ${status}: ${stderr}`);
}

function milliseconds(text) {
  const [minutes, seconds] = text.split(':').map(Number);
  return 60_000 * minutes + 1000 * seconds;
}

function clock(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

function percent(part) {
  return `${(100 * part).toFixed(1)} %`;
}
