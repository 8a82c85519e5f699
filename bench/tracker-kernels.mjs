// What it costs each kernel to know which pages were written: by marks in its code, and by the kernel of the system.
//   node bench/tracker-kernels.mjs [--rounds N] [--json FILE] [kernel …]
//
// All variants of a kernel live in one process and take turns of 100 ms, each of which ends with what a checkpoint asks of the
// tracker; the figure is the median of the turns' ratios to the plain program on the same V8, optimised tier. What the trackers
// cost whole runs, and the time of a scan, is measured by tracker.mjs.
import fs from 'node:fs';
import { instantiateKernels } from '../dist/format/page-kernels.js';
import { kernelTrackingObstacle } from '../dist/kernel/tracking-probe.js';
import { enableBranchHints } from '../dist/machine/compilation.js';
import { GuestInstance } from '../dist/machine/guest-instance.js';
import { BIAS_WASM_PAGES, PAGES_PER_WASM_PAGE } from '../dist/memory/layout.js';
import { SoftwareTracker } from '../dist/pager/dirty-tracker.js';
import { KernelTracker } from '../dist/pager/kernel-tracker.js';
import { memoryLimits } from '../dist/rewrite/module-encoder.js';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { decodeModule } from '../dist/wasm/module.js';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const WARM_UP_MS = 250;
const TURN_MS = 100;
const VARIANTS = ['safepoints', 'software', 'kernel'];
const obstacle = kernelTrackingObstacle();
if (obstacle !== undefined) {
  console.log(`The tracker of the kernel cannot be measured: ${obstacle}.`);
  process.exit(0);
}
const { options, rest } = parseArguments({ rounds: '9', json: '' });

// As the guest's thread does.
enableBranchHints();

const kernels = kernelNames().map(measureKernel);
const summary = means(kernels);
console.log(JSON.stringify(summary));
if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), kernels, summary });

function means(measured) {
  const result = {};
  if (measured.length === 0) return result;
  for (const variant of VARIANTS) {
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
      : new KernelTracker(memory, (memoryLimits(module).maximum - BIAS_WASM_PAGES) * PAGES_PER_WASM_PAGE);
  return { run, track: () => checkpoint(tracker, memory.pageCount), close: () => tracker.close?.() };
}

function checkpoint(tracker, pageCount) {
  const count = tracker.collect(pageCount);
  tracker.rearm(pageCount, tracker.pages, count);
  return count;
}
