// What it costs to know which pages were written: by marks in the program's code, and by the kernel.
//   node bench/tracker.mjs [--rounds N] [--programs N] [--megabytes N] [--json FILE] [kernel …]
//
// Three parts. Kernels: in one process, in turns of 100 ms, each of which ends with what a checkpoint asks of the tracker; the
// figure is the median of the turns' ratios to the plain program on the same V8. Programs: whole runs of the command with a
// checkpoint each 100 ms, the time of the program alone (without pauses) against runs with the policy "none", which have
// safepoints and no tracker. Scans: time of a collection and of what follows a checkpoint, by how much of the memory is dirty.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { instantiateKernels } from '../dist/format/page-kernels.js';
import { kernelTrackingObstacle } from '../dist/kernel/tracking-probe.js';
import { enableBranchHints } from '../dist/machine/compilation.js';
import { GuestInstance } from '../dist/machine/guest-instance.js';
import { KernelTracker } from '../dist/machine/kernel-tracker.js';
import { GuestMemory } from '../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, controlRegion } from '../dist/memory/layout.js';
import { SoftwareTracker } from '../dist/pager/dirty-tracker.js';
import { guestBytesMax } from '../dist/rewrite/module-encoder.js';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { decodeModule } from '../dist/wasm/module.js';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const PAGE_BYTES = 4096;
const WARM_UP_MS = 250;
const TURN_MS = 100;
const SCANS = 25;
const VARIANTS = ['safepoints', 'software', 'kernel'];
const PROGRAMS = [
  ['apsp', '700'],
  ['floyd-warshall', '900'],
  ['matmul', '900'],
  ['fib', '42'],
  ['sort', '4000000'],
];

const obstacle = kernelTrackingObstacle();
if (obstacle !== undefined) {
  console.log(`The tracker of the kernel cannot be measured: ${obstacle}.`);
  process.exit(0);
}
const { options, rest } = parseArguments({ rounds: '9', programs: '5', megabytes: '1024', json: '' });

// As the guest's thread does.
enableBranchHints();

const scans = measureScans(Number(options.megabytes));
const kernels = kernelNames().map(measureKernel);
const programs = Number(options.programs) === 0 ? [] : measurePrograms(Number(options.programs));
const summary = {
  kernels: means(kernels, VARIANTS),
  programs: means(programs, ['software', 'kernel']),
};
console.log(JSON.stringify(summary));
const facts = { ...machineFacts(), rounds: Number(options.rounds), programRounds: Number(options.programs) };
if (options.json) writeResult(options.json, { ...facts, scans, kernels, programs, summary });

function means(measured, variants) {
  const result = {};
  if (measured.length === 0) return result;
  for (const variant of variants) {
    const ratios = measured.map(({ ratios: of }) => of[variant]);
    result[variant] = { geometricMean: geometricMean(ratios), worst: Math.max(...ratios) };
  }
  const beyond = measured.map(({ ratios: of }) => of.kernel / of.software);
  result.kernelToSoftware = { geometricMean: geometricMean(beyond), worst: Math.max(...beyond) };
  return result;
}

function kernelNames() {
  if (rest.length > 0) return rest;
  const folder = new URL('../dist/kernels/', import.meta.url);
  if (!fs.existsSync(folder)) {
    console.log('Kernels are left out: node bench/kernels/build.mjs makes them.');
    return [];
  }
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.wasm'));
  return files.map((name) => name.slice(0, -'.wasm'.length));
}

function measureKernel(name) {
  const bytes = new Uint8Array(fs.readFileSync(new URL(`../dist/kernels/${name}.wasm`, import.meta.url)));
  const runners = { plain: plainRunner(bytes) };
  for (const variant of VARIANTS) runners[variant] = rewrittenRunner(bytes, variant);
  const expected = runners.plain.run();
  for (const [variant, { run, track }] of Object.entries(runners)) {
    const until = performance.now() + WARM_UP_MS;
    do {
      if (run() !== expected) throw new Error(`${name}, ${variant}: wrong result`);
      track?.();
    } while (performance.now() < until);
  }
  const turns = {};
  const dirty = {};
  for (let round = 0; round < Number(options.rounds); round++) {
    const order = Object.keys(runners);
    if (round % 2 === 1) order.reverse();
    for (const variant of order) {
      const { ms, count } = turn(runners[variant]);
      (turns[variant] ??= []).push(ms);
      (dirty[variant] ??= []).push(count);
    }
  }
  const ratios = {};
  for (const variant of VARIANTS) ratios[variant] = median(turns[variant].map((ms, k) => ms / turns.plain[k]));
  const dirtyPages = { software: median(dirty.software), kernel: median(dirty.kernel) };
  const plainMs = median(turns.plain);
  const cells = VARIANTS.map((variant) => ratios[variant].toFixed(3).padStart(7));
  console.log(name.padEnd(14), `${plainMs.toFixed(2)} ms`.padStart(11), ...cells, ` dirty ${dirtyPages.kernel}`);
  for (const { close } of Object.values(runners)) close?.();
  return { name, plainMs, ratios, dirtyPages };
}

/** Milliseconds of one run, the tracker's part included, and pages that were dirty. */
function turn({ run, track }) {
  let count = 0;
  const startMs = performance.now();
  do {
    run();
    count++;
  } while (performance.now() - startMs < TURN_MS);
  const dirtyCount = track?.() ?? 0;
  return { ms: (performance.now() - startMs) / count, count: dirtyCount };
}

function plainRunner(bytes) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), {});
  exports.setup();
  return { run: () => exports.run() };
}

function rewrittenRunner(bytes, variant) {
  const module = decodeModule(bytes);
  const tracking = variant === 'software' ? 'software' : 'none';
  const rewritten = rewriteModule(module, { tracking, counting: false });
  const memory = GuestInstance.createMemory(module);
  const instance = new GuestInstance(rewritten, new WebAssembly.Module(rewritten.bytes), memory, {});
  instance.initialiseMemory();
  if (module.startFunction !== undefined) instance.call(module.startFunction);
  instance.exports.setup();
  const run = () => instance.exports.run();
  if (variant === 'safepoints') return { run };
  const tracker =
    variant === 'software'
      ? new SoftwareTracker(memory, instantiateKernels(memory.memory))
      : new KernelTracker(memory, guestBytesMax(module));
  return { run, track: () => checkpoint(tracker, memory.pageCount), close: () => tracker.close?.() };
}

function checkpoint(tracker, pageCount) {
  const count = tracker.collect(pageCount);
  tracker.rearm(pageCount, tracker.pages, count);
  return count;
}

function measurePrograms(rounds) {
  const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
  const stats = path.join(folder, 'stats.json');
  const ways = { none: ['--policy', 'none'], software: ['--tracker', 'software'], kernel: ['--tracker', 'kernel'] };
  const once = (name, size, way) => {
    const file = fileURLToPath(new URL(`../dist/workloads/${name}.wasm`, import.meta.url));
    const common = ['--job', path.join(folder, 'job'), '--fresh', '--quiet', '--interval', '100ms', '--stats', stats];
    const words = [command, 'run', ...common, ...ways[way], file, size, '1'];
    const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${name}: ${stderr}`);
    return { ...JSON.parse(fs.readFileSync(stats, 'utf8')), stdout };
  };
  try {
    return PROGRAMS.map(([name, size]) => {
      const runs = { none: [], software: [], kernel: [] };
      for (let round = 0; round < rounds; round++) {
        const order = Object.keys(ways);
        if (round % 2 === 1) order.reverse();
        for (const way of order) runs[way].push(once(name, size, way));
      }
      if (new Set(Object.values(runs).flatMap((of) => of.map(({ stdout }) => stdout))).size !== 1) {
        throw new Error(`${name}: results differ`);
      }
      const ratios = {};
      const elapsed = {};
      const pauseMs = {};
      for (const way of ['software', 'kernel']) {
        ratios[way] = median(runs[way].map(({ guestMs }, k) => guestMs / runs.none[k].guestMs));
        elapsed[way] = median(runs[way].map(({ runMs }, k) => runMs / runs.none[k].runMs));
        pauseMs[way] = median(runs[way].flatMap(({ checkpoints }) => checkpoints.map((one) => one.pauseMs)));
      }
      const guestMs = median(runs.none.map((of) => of.guestMs));
      const checkpoints = median(runs.kernel.map((of) => of.checkpoints.length));
      const cells = ['software', 'kernel'].map((way) => `${ratios[way].toFixed(3)} (${elapsed[way].toFixed(3)})`);
      console.log(name.padEnd(14), `${guestMs.toFixed(0)} ms`.padStart(11), ...cells, `${checkpoints} checkpoints`);
      return { name, size, guestMs, ratios, elapsed, pauseMs, checkpoints };
    });
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Milliseconds for a memory of so many megabytes, as for one of a gigabyte. */
function measureScans(megabytes) {
  const wasmPages = megabytes * 16;
  const initial = BIAS_WASM_PAGES + wasmPages;
  const memory = new GuestMemory(new WebAssembly.Memory({ initial, maximum: initial, shared: true }));
  const { pageCount, bytes } = memory;
  bytes.fill(1, BIAS_BYTES);
  const trackers = {
    software: new SoftwareTracker(memory, instantiateKernels(memory.memory)),
    kernel: new KernelTracker(memory, wasmPages * 65536),
  };
  const none = new Uint32Array(0);
  for (const tracker of Object.values(trackers)) tracker.rearm(pageCount, none, 0);
  // The software tracker's own copies of the first bytes of each page have to be right.
  checkpointAll(trackers.software, bytes, pageCount);
  const sets = { clean: 0, 'one in a hundred': Math.floor(pageCount / 100), all: pageCount };
  const results = [];
  let value = 1;
  for (const [name, dirtyCount] of Object.entries(sets)) {
    const times = { software: [], kernel: [] };
    let writeMs = Infinity;
    for (let round = 0; round < SCANS; round++) {
      value = (value + 1) & 0xff;
      const startMs = performance.now();
      for (let k = 0; k < dirtyCount; k++) {
        const page = dirtyCount === pageCount ? k : Math.floor(((k + 0.5) * pageCount) / dirtyCount);
        bytes[BIAS_BYTES + page * PAGE_BYTES + 64] = value;
        bytes[controlRegion.pageStates + page] = 1;
      }
      writeMs = Math.min(writeMs, performance.now() - startMs);
      for (const [which, tracker] of Object.entries(trackers)) {
        const scanStartMs = performance.now();
        const found = checkpoint(tracker, pageCount);
        times[which].push(((performance.now() - scanStartMs) * 1024) / megabytes);
        if (found !== dirtyCount) throw new Error(`${which}: ${found} dirty pages instead of ${dirtyCount}`);
      }
    }
    const firstWriteUs = dirtyCount === 0 ? 0 : (1000 * writeMs) / dirtyCount;
    const result = { name, dirtyPages: dirtyCount, msPerGigabyte: {}, msPerGigabyteLeast: {}, firstWriteUs };
    for (const which of Object.keys(trackers)) {
      result.msPerGigabyte[which] = median(times[which]);
      result.msPerGigabyteLeast[which] = Math.min(...times[which]);
    }
    const { software, kernel } = result.msPerGigabyte;
    console.log(
      `${name.padEnd(17)} software ${software.toFixed(2)}, kernel ${kernel.toFixed(2)} ms per GB, first write ${firstWriteUs.toFixed(2)} µs`,
    );
    results.push(result);
  }
  trackers.kernel.close();
  return results;
}

function checkpointAll(tracker, bytes, pageCount) {
  bytes.fill(1, controlRegion.pageStates, controlRegion.pageStates + pageCount);
  checkpoint(tracker, pageCount);
}
