// Paging by the kernel: what a fault costs, against a pager in C that does as little as possible and against checks in the code;
// and the run time of programs, and of each kernel in C as a program, that have all the frames they need, against plain V8's optimised
// tier. Variants take turns. `faults` among the names measures what a fault costs.
//   node bench/kernel-paging.mjs [--rounds N] [--touches N] [--json FILE] [faults] [program …] [kernel …]
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { Machine } from '../dist/index.js';
import { kernelPagingObstacle } from '../dist/kernel/paging-probe.js';
import { compileKernelCommand, hasClang } from './kernels/common/command.mjs';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const { options, rest } = parseArguments({ rounds: '5', touches: '200000', json: '' });
const rounds = Number(options.rounds);
const PAGES = 9216;
const FRAMES = 3072;
const TOUCHES = Number(options.touches);
const PROGRAMS = [
  { name: 'apsp', args: ['1100', '1'], frameCount: 8192 },
  { name: 'floyd-warshall', args: ['1400', '1'], frameCount: 8192 },
  { name: 'matmul', args: ['1500', '1'], frameCount: 32768 },
  { name: 'sort', args: ['12000000', '1'], frameCount: 131072 },
];
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));
const KERNEL_FRAMES = 131072;
/** A kernel is repeated until its plain run takes so long. */
const KERNEL_MS = 1000;

const obstacle = kernelPagingObstacle();
if (obstacle !== undefined) throw new Error(`the kernel does not page programs here: ${obstacle}`);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-kernel-paging-'));
try {
  const isWanted = (name) => rest.length === 0 || rest.includes(name);
  const faults = [];
  for (const pattern of isWanted('faults') ? ['read', 'write'] : []) faults.push(await measureFaults(pattern));
  const programs = [];
  for (const { name, args, frameCount } of PROGRAMS) {
    if (!isWanted(name)) continue;
    const file = fileURLToPath(new URL(`../dist/workloads/${name}.wasm`, import.meta.url));
    programs.push(measureRunTime([name, ...args].join(' '), file, args, frameCount));
  }
  const kernels = [];
  for (const name of kernelNames().filter(isWanted)) {
    kernels.push(measureRunTime(name, repeatedKernel(name), [], KERNEL_FRAMES));
  }
  const summary = { programs: means('programs', programs), kernels: means('kernels', kernels) };
  if (options.json) writeResult(options.json, { ...machineFacts(), rounds, faults, programs, kernels, summary });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

function means(what, measured) {
  const result = {};
  for (const variant of measured.length === 0 ? [] : ['kernel', 'software', 'unpaged']) {
    result[variant] = geometricMean(measured.map(({ ratios }) => ratios[variant]));
    console.log(`geometric mean of run times, ${what}, ${variant}: ${result[variant].toFixed(3)}`);
  }
  return result;
}

function kernelNames() {
  const sources = fs.readdirSync(new URL('kernels/', import.meta.url)).filter((name) => name.endsWith('.c'));
  if (!hasClang) {
    console.log('Kernels are left out: they are compiled with clang, which is not here.');
    return [];
  }
  return sources.map((name) => name.slice(0, -'.c'.length));
}

/** A command that runs a kernel as often as it takes for `KERNEL_MS`. */
function repeatedKernel(name) {
  const output = path.join(folder, `${name}.wasm`);
  compileKernelCommand(name, 1, output);
  const once = plainMs(output, []);
  compileKernelCommand(name, 10, output);
  const each = Math.max(0.1, (plainMs(output, []) - once) / 9);
  compileKernelCommand(name, Math.max(2, Math.round(KERNEL_MS / each)), output);
  return output;
}

/** Touches pages at random, a third of which have frames; the same pages in the same order as the reference. */
async function measureFaults(pattern) {
  const reference = compileReference();
  const touching = await touchingProgram(pattern, TOUCHES);
  const filling = await touchingProgram(pattern, 0);
  const turns = [];
  let reached;
  for (let round = 0; round < rounds; round++) {
    const turn = {};
    const args = [pattern, PAGES, FRAMES, TOUCHES, path.join(folder, 'slots')].map(String);
    const { us, sum } = JSON.parse(execFileSync(reference, args, { encoding: 'utf8' }));
    turn.reference = us;
    for (const tracker of ['kernel', 'software']) {
      for (const replacement of ['second-chance', 'lirs']) {
        const before = await touched(filling, tracker, replacement);
        const after = await touched(touching, tracker, replacement);
        if (after.sum !== sum) throw new Error(`${tracker}: the pages hold ${after.sum}, not ${sum}`);
        const faultsOf = (figure) => after.paging[figure] - before.paging[figure];
        const faults = faultsOf('hardFaults') + faultsOf('softFaults') + faultsOf('zeroFaults');
        turn[`${tracker} ${replacement}`] = after.us / faults;
        reached = { ...reached, [replacement]: { hard: faultsOf('hardFaults'), soft: faultsOf('softFaults') } };
      }
    }
    turns.push(turn);
  }
  const us = {};
  for (const variant of Object.keys(turns[0])) us[variant] = median(turns.map((turn) => turn[variant]));
  const ratios = {};
  for (const variant of Object.keys(us)) {
    if (variant !== 'reference') ratios[variant] = median(turns.map((turn) => turn[variant] / turn.reference));
  }
  console.log(pattern, JSON.stringify({ us, ratios, reached }));
  return { pattern, pages: PAGES, frames: FRAMES, us, ratios, faults: reached };
}

function compileReference() {
  const compiled = path.join(folder, 'fault-reference');
  const source = fileURLToPath(new URL('fault-reference.c', import.meta.url));
  execFileSync('cc', ['-O2', '-o', compiled, source, '-lpthread'], { stdio: 'inherit' });
  return compiled;
}

/** Prints the nanoseconds that the touches took and the sum of what they found, eight bytes and four. */
async function touchingProgram(pattern, touches) {
  const assembler = await wabt();
  const write =
    pattern === 'write' ? '(i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))' : '';
  // The first page is for what is printed.
  const parsed = assembler.parseWat(
    'touches.wat',
    `(module
      (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (memory (export "memory") ${PAGES / 16 + 1})
      (func (export "_start") (local $i i32) (local $state i32) (local $sum i32) (local $at i32)
        (loop $fill
          (i32.store offset=4160 (i32.shl (local.get $i) (i32.const 12)) (i32.add (local.get $i) (i32.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $fill (i32.lt_u (local.get $i) (i32.const ${PAGES}))))
        (local.set $i (i32.const 0))
        (local.set $state (i32.const 1))
        (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 16)))
        (block $done (loop $touch
          (br_if $done (i32.ge_u (local.get $i) (i32.const ${touches})))
          (local.set $state (i32.add (i32.mul (local.get $state) (i32.const 1664525)) (i32.const 1013904223)))
          (local.set $at (i32.add (i32.const 4160)
            (i32.shl (i32.rem_u (i32.shr_u (local.get $state) (i32.const 8)) (i32.const ${PAGES})) (i32.const 12))))
          (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
          ${write}
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $touch)))
        (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 24)))
        (i64.store (i32.const 16) (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16))))
        (i32.store (i32.const 24) (local.get $sum))
        (i32.store (i32.const 0) (i32.const 16))
        (i32.store (i32.const 4) (i32.const 12))
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`,
    { bulk_memory: true },
  );
  return parsed.toBinary({}).buffer;
}

async function touched(program, tracker, replacement) {
  let bytes = Buffer.alloc(0);
  const stdout = { kind: 'sink', write: (part) => (bytes = Buffer.concat([bytes, part])) };
  const machine = Machine.start({ program, tracker, replacement, frameCount: FRAMES, intervalMs: 0, stdout });
  const { paging } = await machine.ended;
  return { us: Number(bytes.readBigUInt64LE(0)) / 1000, sum: bytes.readUInt32LE(8), paging };
}

/** Without a job, so that the time is that of the program; with frames for all pages, or with no budget at all. */
function measureRunTime(name, file, args, frameCount) {
  const turns = [];
  const variants = ['plain', 'unpaged', 'software', 'kernel'];
  for (let round = 0; round < rounds; round++) {
    const turn = {};
    for (const variant of round % 2 === 0 ? variants : variants.toReversed()) {
      turn[variant] = variant === 'plain' ? plainMs(file, args) : pagedMs(file, args, variant, frameCount);
    }
    turns.push(turn);
  }
  const ratios = {};
  for (const variant of variants.slice(1)) ratios[variant] = median(turns.map((turn) => turn[variant] / turn.plain));
  const result = { name, plainMs: median(turns.map(({ plain }) => plain)), ratios };
  console.log(JSON.stringify(result));
  return result;
}

function plainMs(program, args) {
  const specification = path.join(folder, 'specification.json');
  const figures = path.join(folder, 'figures.json');
  const stdout = path.join(folder, 'output');
  fs.writeFileSync(specification, JSON.stringify({ program, args, directories: [], env: { A: '1' }, stdout, figures }));
  const script = fileURLToPath(new URL('programs/plain-node.mjs', import.meta.url));
  const flags = ['--no-turbo-fast-api-calls', '--no-liftoff', '--no-wasm-lazy-compilation', '--no-warnings'];
  execFileSync(process.execPath, [...flags, script, specification], { stdio: 'inherit' });
  return JSON.parse(fs.readFileSync(figures, 'utf8')).guestMs;
}

/** In a process of its own, like the plain run: V8 shares what it has compiled between runs of one program in a process. */
function pagedMs(program, args, variant, frameCount) {
  const stats = path.join(folder, 'stats.json');
  const paging = variant === 'unpaged' ? [] : ['--memory', `${frameCount}p`, '--tracker', variant];
  const words = ['run', '--quiet', '--stats', stats, '--stdout', path.join(folder, 'output'), ...paging];
  execFileSync(process.execPath, [command, ...words, program, ...args], { stdio: 'inherit' });
  return JSON.parse(fs.readFileSync(stats, 'utf8')).guestMs;
}
