// Restart files: export and restart against `cp` of the same bytes, peak memory, size against image for each workload, and the time
// from `resume` or `restart` to the guest's first instruction, for a large image with and without a budget of memory.
//   node bench/restart.mjs [--rounds N] [--mb MB] [--json FILE]
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const { options } = parseArguments({ rounds: '3', mb: '1024', json: '' });
const guestMb = Number(options.mb);
const root = fileURLToPath(new URL('..', import.meta.url));
const command = path.join(root, 'dist', 'command', 'main.js');
/** Sizes that take longer than they are run for on any machine. */
const WORKLOADS = { apsp: '2000', 'floyd-warshall': '2400', matmul: '2400', fib: '50', sort: '60000000' };
const WORKLOAD_MS = 2500;
/** Numbers in each page of its memory, then a loop without end. */
const LARGE = `(module (memory (export "memory") ${guestMb * 16})
  (func (export "_start") (local $at i32)
    (loop $write
      (i64.store (local.get $at) (i64.mul (i64.extend_i32_u (i32.add (local.get $at) (i32.const 1))) (i64.const 0x9e3779b97f4a7c15)))
      (br_if $write (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 64))) (i32.const ${guestMb * 2 ** 20}))))
    (loop $for_ever (br $for_ever))))`;

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-restart-'));
const here = (name) => path.join(folder, name);
try {
  const assembler = await wabt();
  fs.writeFileSync(here('large.wasm'), assembler.parseWat('large', LARGE).toBinary({}).buffer);
  await stopAfter(here('job'), 6000, [here('large.wasm')]);
  const paging = here('job/paging');
  const imageBytes = guestMb * 2 ** 20;
  const rounds = [];
  for (let round = 0; round < Number(options.rounds); round++) {
    const copy = timed(() => copySynced(paging, here('copy')));
    const exported = measured(['export', here('job'), '-o', here('file'), '--quiet']);
    const unpacked = measured(['restart', here('file'), '--job', here('copied'), '--no-run', '--quiet']);
    const resumed = await firstInstruction(['resume', here('copied'), '--interval', 'none']);
    const resumedAgain = await firstInstruction(['resume', here('copied'), '--interval', 'none']);
    const resumedPaged = await firstInstruction(['resume', here('copied'), '--interval', 'none', '--memory', '64MB']);
    const restarted = await firstInstruction(['restart', here('file'), '--job', here('run'), '--interval', 'none']);
    rounds.push({
      copyMs: copy,
      exportMs: exported.ms,
      exportPeakMb: exported.peakMb,
      unpackMs: unpacked.ms,
      unpackPeakMb: unpacked.peakMb,
      resumeMs: resumed,
      resumeAgainMs: resumedAgain,
      resumePagedMs: resumedPaged,
      restartMs: restarted,
    });
    console.log(JSON.stringify(rounds.at(-1)));
    for (const name of ['copied', 'run']) fs.rmSync(here(name), { recursive: true, force: true });
  }
  const large = Object.fromEntries(
    Object.keys(rounds[0]).map((key) => [key, median(rounds.map((round) => round[key]))]),
  );
  const result = {
    imageMb: guestMb,
    pagingFileBytes: fs.statSync(paging).size,
    fileBytes: fs.statSync(here('file')).size,
    ...large,
    exportTimesCopy: median(rounds.map(({ exportMs, copyMs }) => exportMs / copyMs)),
    unpackTimesCopy: median(rounds.map(({ unpackMs, copyMs }) => unpackMs / copyMs)),
    exportMbPerSecond: imageBytes / 2 ** 20 / (large.exportMs / 1000),
    unpackMbPerSecond: imageBytes / 2 ** 20 / (large.unpackMs / 1000),
    workloads: [],
  };
  for (const [name, size] of Object.entries(WORKLOADS)) {
    const job = here(`job-${name}`);
    await stopAfter(job, WORKLOAD_MS, [path.join(root, 'dist', 'workloads', `${name}.wasm`), size, '1']);
    const file = here(`${name}.restart`);
    run(['export', job, '-o', file, '--quiet']);
    const { pages } = JSON.parse(run(['inspect', '--json', job])).checkpoint;
    const fileBytes = fs.statSync(file).size;
    result.workloads.push({
      name: `${name} ${size} 1`,
      imageBytes: pages * 4096,
      fileBytes,
      ratio: fileBytes / (pages * 4096),
    });
  }
  console.log(JSON.stringify(result, null, 1));
  if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), ...result });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

function timed(work) {
  const startMs = performance.now();
  work();
  return performance.now() - startMs;
}

/** A copy that is as durable as a restart file is. */
function copySynced(from, to) {
  spawnSync('cp', ['--reflink=never', '--sparse=never', from, to]);
  const descriptor = fs.openSync(to, 'r+');
  fs.fsyncSync(descriptor);
  fs.closeSync(descriptor);
}

function run(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}: ${stderr}`);
  return stdout;
}

/** Time and peak resident memory of a command. */
function measured(args) {
  const startMs = performance.now();
  const { status, stderr } = spawnSync('/usr/bin/time', ['-f', '%M', process.execPath, command, ...args], {
    encoding: 'utf8',
  });
  const ms = performance.now() - startMs;
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}: ${stderr}`);
  return { ms, peakMb: Number(stderr.trim().split('\n').at(-1)) / 1024 };
}

/** Runs a program as a job for so long and stops it. */
function stopAfter(job, ms, program) {
  const args = [command, 'run', '--job', job, '--interval', 'none', '--quiet', ...program];
  const child = spawn(process.execPath, args, { stdio: 'ignore' });
  setTimeout(() => child.kill('SIGTERM'), ms);
  return new Promise((settle, fail) => {
    child.on('close', (code) => (code === 85 ? settle() : fail(new Error(`${program[0]} ended with ${code}`))));
  });
}

/** Milliseconds until the guest of a command runs; it is killed then. */
function firstInstruction(args) {
  const startMs = performance.now();
  const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let ms;
  child.stderr.setEncoding('utf8').on('data', (text) => {
    if (ms !== undefined || !text.includes('goes on from checkpoint')) return;
    ms = performance.now() - startMs;
    child.kill('SIGKILL');
  });
  return new Promise((settle, fail) => {
    child.on('close', () => (ms === undefined ? fail(new Error(`${args[0]} never ran`)) : settle(ms)));
  });
}
