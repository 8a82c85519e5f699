// First writes that are told before they are made, by checks in the code, by the kernel and by mprotect: what one costs, against a program in C
// that does no more than it must; and the run time of programs under `incremental` and with `--fork`, pauses included, against plain V8's optimised tier. Variants
// take turns; figures are medians of the turns' ratios. Processor time, of all threads against a run that keeps no checkpoints, tells something on a
// machine with other work too.
//   node bench/protection.mjs [--rounds N] [--interval MS] [--pages N] [--json FILE] [program …]
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { Machine } from '../dist/index.js';
import { pageGuardObstacle } from '../dist/kernel/page-guard-probe.js';
import { kernelProtectionObstacle } from '../dist/kernel/protection-probe.js';
import { geometricMean, machineFacts, median, parseArguments, plainMs, writeResult } from './measure.mjs';

const { options, rest } = parseArguments({ rounds: '5', interval: '100', pages: '8192', json: '' });
const rounds = Number(options.rounds);
const pages = Number(options.pages);
const intervalMs = Number(options.interval);
/** Checkpoints within one run, each of which protects all pages again. */
const PASSES = 6;
const PROGRAMS = [
  ['apsp', ['700', '1']],
  ['matmul', ['1000', '1']],
  ['sort', ['3000000', '1']],
  ['floyd-warshall', ['700', '1']],
];
const WAYS = {
  incremental: { policy: 'incremental', fork: false },
  'incremental --fork': { policy: 'incremental', fork: true },
  'continuous --fork': { policy: 'continuous', fork: true },
  'sequential --fork': { policy: 'sequential', fork: true },
};

/** Each, and the way of the program in C that it is held against. */
const TRACKERS = { software: 'thread', kernel: 'thread', mprotect: 'signal' };
const obstacle = kernelProtectionObstacle() ?? pageGuardObstacle();
if (obstacle !== undefined) throw new Error(`first writes cannot be told in each way here: ${obstacle}`);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-protection-'));
try {
  const firstWrites = await measureFirstWrites(1);
  // Each page that lies apart takes mappings of its own where it is protected by mprotect.
  const scatteredWrites = await measureFirstWrites(2);
  const programs = [];
  for (const [name, args] of PROGRAMS) {
    if (rest.length === 0 || rest.includes(name)) programs.push(await measureProgram(name, args));
  }
  const summary = {};
  for (const variant of Object.keys(programs[0]?.ratios ?? {})) {
    const mean = (figure) => geometricMean(programs.map(({ ratios }) => ratios[variant][figure]));
    summary[variant] = { whole: mean('whole'), processorTime: mean('processorTime') };
    const { whole, processorTime } = summary[variant];
    console.log(
      `geometric means, ${variant}: run time ${whole.toFixed(3)}, processor time ${processorTime.toFixed(3)}`,
    );
  }
  if (options.json)
    writeResult(options.json, {
      ...machineFacts(),
      rounds,
      intervalMs,
      firstWrites,
      scatteredWrites,
      programs,
      summary,
    });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Microseconds that a first write to a page, one of every so many, takes longer than a write to one that nobody asks about. */
async function measureFirstWrites(stride) {
  const compiled = path.join(folder, 'protection-reference');
  const source = fileURLToPath(new URL('protection-reference.c', import.meta.url));
  execFileSync('cc', ['-O2', '-o', compiled, source, '-lpthread'], { stdio: 'inherit' });
  const program = await writingProgram(stride);
  const references = ['thread', 'signal', 'async'];
  const turns = [];
  for (let round = 0; round < rounds; round++) {
    const reference = (way) =>
      JSON.parse(execFileSync(compiled, [way, pages, PASSES, stride].map(String), { encoding: 'utf8' })).us;
    const plain = reference('none');
    const turn = {};
    for (const way of references) turn[`C, ${way}`] = reference(way) - plain;
    const unprotected = await writeUs(program, 'none', 'software');
    const trackers = Object.keys(TRACKERS);
    for (let k = 0; k < trackers.length; k++) {
      const tracker = trackers[(round + k) % trackers.length];
      turn[tracker] = (await writeUs(program, 'incremental', tracker)) - unprotected;
    }
    turns.push(turn);
  }
  const us = {};
  for (const variant of Object.keys(turns[0])) us[variant] = median(turns.map((turn) => turn[variant]));
  const againstC = {};
  for (const [tracker, way] of Object.entries(TRACKERS))
    againstC[`${tracker}, ${way}`] = median(turns.map((turn) => turn[tracker] / turn[`C, ${way}`]));
  const which = stride === 1 ? 'a page in a row' : `one of every ${stride} pages`;
  console.log(`first write to ${which}, ${pages} in all:`, JSON.stringify({ us, againstC }));
  return { pages, stride, passes: PASSES, us, againstC };
}

/** Takes a checkpoint, writes to each page and takes the time of that alone, again and again; prints the nanoseconds of all. */
async function writingProgram(stride) {
  const assembler = await wabt();
  const units = Math.ceil((pages * stride) / 16) + 1;
  const parsed = assembler.parseWat(
    'writes.wat',
    `(module
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (import "continuo" "checkpoint" (func $checkpoint (result i32)))
      (memory (export "memory") ${units} ${units})
      (func $pass (local $page i32) (local $at i32)
        (loop $write
          (local.set $at (i32.mul (local.get $page) (i32.const ${stride * 4096})))
          (i32.store offset=65600 (local.get $at) (i32.add (i32.load offset=65600 (local.get $at)) (i32.const 1)))
          (local.set $page (i32.add (local.get $page) (i32.const 1)))
          (br_if $write (i32.lt_u (local.get $page) (i32.const ${pages})))))
      (func (export "_start") (local $pass i32) (local $ns i64)
        (call $pass)
        (loop $again
          (drop (call $checkpoint))
          (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 16)))
          (call $pass)
          (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 24)))
          (local.set $ns (i64.add (local.get $ns) (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16)))))
          (local.set $pass (i32.add (local.get $pass) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $pass) (i32.const ${PASSES}))))
        (i64.store (i32.const 16) (local.get $ns))
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 8))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`,
    { bulk_memory: true },
  );
  return parsed.toBinary({}).buffer;
}

async function writeUs(program, policy, tracker) {
  let bytes = Buffer.alloc(0);
  const stdout = { kind: 'sink', write: (part) => (bytes = Buffer.concat([bytes, part])) };
  const machine = Machine.start({
    program,
    policy,
    tracker,
    job: path.join(folder, 'job'),
    fresh: true,
    intervalMs: 0,
    stdout,
  });
  const { paging } = await machine.ended;
  if (policy === 'incremental' && paging.protectionFaults < PASSES * pages)
    throw new Error(`only ${paging.protectionFaults} faults`);
  return Number(bytes.readBigUInt64LE(0)) / 1000 / PASSES / pages;
}

async function measureProgram(name, args) {
  const file = fileURLToPath(new URL(`../dist/workloads/${name}.wasm`, import.meta.url));
  const variants = Object.keys(WAYS).flatMap((way) => Object.keys(TRACKERS).map((tracker) => ({ way, tracker })));
  const turns = [];
  for (let round = 0; round < rounds; round++) {
    const turn = { plain: plainMs(file, args), none: await run(file, args, { policy: 'none', fork: false }, 'none') };
    for (let k = 0; k < variants.length; k++) {
      const { way, tracker } = variants[(round + k) % variants.length];
      turn[`${way}, ${tracker}`] = await run(file, args, WAYS[way], tracker);
    }
    turns.push(turn);
  }
  const ratios = {};
  for (const variant of Object.keys(turns[0])) {
    if (variant === 'plain' || variant === 'none') continue;
    const of = (figure) => median(turns.map((turn) => turn[variant][figure]));
    ratios[variant] = {
      guest: median(turns.map((turn) => turn[variant].guestMs / turn.plain)),
      whole: median(turns.map((turn) => (turn[variant].guestMs + turn[variant].pausesMs) / turn.plain)),
      processorTime: median(turns.map((turn) => turn[variant].cpuMs / turn.none.cpuMs)),
      checkpoints: of('checkpoints'),
      protectionFaults: of('protectionFaults'),
      protectionUs: of('protectionUs'),
      copyFaults: of('copyFaults'),
    };
  }
  const plain = median(turns.map((turn) => turn.plain));
  const text = Object.entries(ratios).map(
    ([variant, { whole, guest, processorTime }]) =>
      `${variant} ${whole.toFixed(2)} (${guest.toFixed(2)}; ${processorTime.toFixed(2)})`,
  );
  console.log(name.padEnd(15), `${plain.toFixed(0)} ms`, text.join('; '));
  return { name: [name, ...args].join(' '), plainMs: plain, ratios };
}

async function run(file, args, { policy, fork }, tracker) {
  const cpuBefore = process.cpuUsage();
  const machine = Machine.start({
    program: fs.readFileSync(file),
    name: file,
    arguments: args,
    job: path.join(folder, 'job'),
    fresh: true,
    intervalMs,
    stdout: { kind: 'sink', write: () => {} },
    policy,
    fork,
    tracker: tracker === 'none' ? 'software' : tracker,
  });
  let checkpoints = 0;
  let pausesMs = 0;
  machine.on('checkpoint', ({ trigger, pauseMs }) => {
    if (trigger !== 'request') return;
    checkpoints++;
    pausesMs += pauseMs;
  });
  const end = await machine.ended;
  const { user, system } = process.cpuUsage(cpuBefore);
  const { guestMs, paging, copyFaults } = end;
  if (end.tracker?.name !== tracker) throw new Error(`the tracker was ${end.tracker?.name}`);
  const { protectionFaults = 0, protectionUs = 0 } = paging ?? {};
  return { guestMs, pausesMs, cpuMs: (user + system) / 1000, checkpoints, protectionFaults, protectionUs, copyFaults };
}
