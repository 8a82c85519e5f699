// Runs of the kernels that benchmarks compare: each variant in this process, taking turns.
import fs from 'node:fs';
import { GuestInstance } from '../dist/machine/guest-instance.js';
import { PageAccess, controlRegion } from '../dist/memory/layout.js';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { decodeModule } from '../dist/wasm/module.js';

const WARM_UP_MS = 250;
const TURN_MS = 40;
const folder = new URL('../dist/kernels/', import.meta.url);

export function kernelNames() {
  return fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.wasm'))
    .map((name) => name.slice(0, -5));
}

export function kernelBytes(name) {
  return new Uint8Array(fs.readFileSync(new URL(`${name}.wasm`, folder)));
}

/** Milliseconds of a run, per variant and round; the order of the variants turns round from round to round. */
export function takeTurns(name, runners, rounds) {
  const [first] = Object.values(runners);
  const expected = first();
  for (const [variant, run] of Object.entries(runners)) {
    const until = performance.now() + WARM_UP_MS;
    do if (run() !== expected) throw new Error(`${name}, ${variant}: wrong result`);
    while (performance.now() < until);
  }
  const turns = {};
  for (let round = 0; round < rounds; round++) {
    const order = Object.keys(runners);
    if (round % 2 === 1) order.reverse();
    for (const variant of order) (turns[variant] ??= []).push(turn(runners[variant]));
  }
  return turns;
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

export function plainRunner(bytes) {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), {});
  exports.setup();
  return () => exports.run();
}

export function rewrittenRunner(bytes, rewriteOptions) {
  const module = decodeModule(bytes);
  const rewritten = rewriteModule(module, rewriteOptions);
  const memory = GuestInstance.createMemory(module);
  const instance = new GuestInstance(rewritten, new WebAssembly.Module(rewritten.bytes), memory, {});
  if (rewriteOptions.tracking === 'paged') {
    // All frames: the first touch of a page raises its state, nothing else happens.
    const states = new Uint8Array(memory.memory.buffer, controlRegion.pageStates, controlRegion.pageStatesBytes);
    states.fill(PageAccess.readable, 0, memory.pageCount);
    instance.attachFault((address, lengthBytes) => {
      if (address + lengthBytes <= memory.lengthBytes) states.fill(PageAccess.readable, 0, memory.pageCount);
      return 0;
    });
  }
  instance.initialiseMemory();
  if (module.startFunction !== undefined) instance.call(module.startFunction);
  instance.exports.setup();
  return { run: () => instance.exports.run(), growth: rewritten.bytes.length / bytes.length };
}
