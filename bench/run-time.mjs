// Run time of rewritten programs against the plain ones on the same V8, optimised tier, no checkpoint taken.
// All variants of a kernel live in one process and take turns; a figure is the median of the turns' ratios.
//   node bench/run-time.mjs [--rounds N] [--json FILE] [kernel …]
import fs from 'node:fs';
import { enableBranchHints } from '../dist/machine/compilation.js';
import { GuestInstance } from '../dist/machine/guest-instance.js';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { PageAccess, controlRegion } from '../dist/memory/layout.js';
import { decodeModule } from '../dist/wasm/module.js';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const VARIANTS = {
  safepoints: { tracking: 'none', counting: false },
  'safepoints and tracking': { tracking: 'software', counting: false },
  'safepoints and page checks': { tracking: 'paged', counting: false },
};
const WARM_UP_MS = 250;
const TURN_MS = 40;

const { options, rest } = parseArguments({ rounds: '9', json: '' });
const folder = new URL('../dist/kernels/', import.meta.url);
const names =
  rest.length > 0
    ? rest
    : fs
        .readdirSync(folder)
        .filter((n) => n.endsWith('.wasm'))
        .map((n) => n.slice(0, -5));

// As the guest's thread does.
enableBranchHints();

const kernels = [];
for (const name of names) kernels.push(measure(name));
const summary = {};
for (const variant of Object.keys(VARIANTS)) {
  const ratios = kernels.map((kernel) => kernel.ratios[variant]);
  summary[variant] = { geometricMean: geometricMean(ratios), worst: Math.max(...ratios) };
  console.log(
    `geometric mean, ${variant}: ${summary[variant].geometricMean.toFixed(3)}, worst ${summary[variant].worst.toFixed(2)}`,
  );
}
if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), kernels, summary });

function measure(name) {
  const bytes = new Uint8Array(fs.readFileSync(new URL(`${name}.wasm`, folder)));
  const runners = { plain: plainRunner(bytes) };
  let codeGrowth = 0;
  for (const [variant, rewriteOptions] of Object.entries(VARIANTS)) {
    const { run, growth } = rewrittenRunner(bytes, rewriteOptions);
    runners[variant] = run;
    if (variant === 'safepoints and tracking') codeGrowth = growth;
  }
  const expected = runners.plain();
  for (const [variant, run] of Object.entries(runners)) {
    const until = performance.now() + WARM_UP_MS;
    do if (run() !== expected) throw new Error(`${name}, ${variant}: wrong result`);
    while (performance.now() < until);
  }
  const turns = {};
  for (let round = 0; round < Number(options.rounds); round++) {
    const order = Object.keys(runners);
    if (round % 2 === 1) order.reverse();
    for (const variant of order) (turns[variant] ??= []).push(turn(runners[variant]));
  }
  const ratios = {};
  for (const variant of Object.keys(VARIANTS)) {
    ratios[variant] = median(turns[variant].map((ms, k) => ms / turns.plain[k]));
  }
  const plainMs = median(turns.plain);
  console.log(
    name.padEnd(14),
    `${plainMs.toFixed(2)} ms`.padStart(11),
    ...Object.values(ratios).map((r) => r.toFixed(3).padStart(7)),
    ` code ${codeGrowth.toFixed(2)}`,
  );
  return { name, plainMs, ratios, codeGrowth };
}

function turn(run) {
  let count = 0;
  const start = performance.now();
  do {
    run();
    count++;
  } while (performance.now() - start < TURN_MS);
  return (performance.now() - start) / count;
}

function plainRunner(bytes) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), {});
  exports.setup();
  return () => exports.run();
}

function rewrittenRunner(bytes, rewriteOptions) {
  const module = decodeModule(bytes);
  const rewritten = rewriteModule(module, rewriteOptions);
  const memory = GuestInstance.createMemory(module);
  const instance = new GuestInstance(rewritten, new WebAssembly.Module(rewritten.bytes), memory, {});
  if (rewriteOptions.tracking === 'paged') {
    // All frames: the first touch of a page raises its state, nothing else happens.
    const states = new Uint8Array(memory.memory.buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    states.fill(PageAccess.readable, 0, memory.pageCount);
    instance.attachFault((address, bytes) => {
      if (address + bytes <= memory.lengthBytes) states.fill(PageAccess.readable, 0, memory.pageCount);
      return 0;
    });
  }
  instance.initialiseMemory();
  if (module.startFunction !== undefined) instance.call(module.startFunction);
  instance.exports.setup();
  return { run: () => instance.exports.run(), growth: rewritten.bytes.length / bytes.length };
}
