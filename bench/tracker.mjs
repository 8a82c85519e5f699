// What it costs to know which pages were written: by marks in the code, and by the kernel.
// Run time with a checkpoint each 100 ms against plain V8's optimised tier, beside that of safepoints alone; then the time of a
// scan of one GB. Variants take turns; figures are medians of the turns' ratios.
//   node bench/tracker.mjs [--rounds N] [--interval MS] [--json FILE]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { instantiateKernels } from '../dist/format/page-kernels.js';
import { Machine } from '../dist/index.js';
import { kernelTrackingObstacle } from '../dist/kernel/tracking-probe.js';
import { GuestMemory } from '../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES } from '../dist/memory/layout.js';
import { SoftwareTracker } from '../dist/pager/dirty-tracker.js';
import { KernelTracker } from '../dist/pager/kernel-tracker.js';
import { geometricMean, machineFacts, median, parseArguments, plainMs, writeResult } from './measure.mjs';

const { options } = parseArguments({ rounds: '5', interval: '100', json: '' });
const rounds = Number(options.rounds);
const PROGRAMS = [
  ['apsp', ['500', '1']],
  ['floyd-warshall', ['600', '1']],
  ['matmul', ['800', '1']],
  ['sort', ['1500000', '1']],
  ['fib', ['37', '1']],
];
const VARIANTS = {
  safepoints: ['none', 'software'],
  software: ['continuous', 'software'],
  kernel: ['continuous', 'kernel'],
};
const SCANNED_PAGES = 262144;

const obstacle = kernelTrackingObstacle();
if (obstacle !== undefined) throw new Error(`the kernel does not tell of writes here: ${obstacle}`);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-tracker-'));
try {
  const scans = measureScans();
  const programs = [];
  for (const [name, args] of PROGRAMS) programs.push(await measure(name, args));
  const summary = {};
  for (const variant of Object.keys(VARIANTS)) {
    summary[variant] = {
      guest: geometricMean(programs.map(({ ratios }) => ratios[variant].guest)),
      whole: geometricMean(programs.map(({ ratios }) => ratios[variant].whole)),
    };
    const { guest, whole } = summary[variant];
    console.log(`geometric mean, ${variant}: ${guest.toFixed(3)}, with pauses ${whole.toFixed(3)}`);
  }
  const beyond = {};
  for (const tracker of ['software', 'kernel']) {
    beyond[tracker] = geometricMean(programs.map(({ beyondSafepoints }) => beyondSafepoints[tracker]));
    console.log(`beyond safepoints, ${tracker}: ${beyond[tracker].toFixed(3)}`);
  }
  if (options.json) {
    const { interval } = options;
    writeResult(options.json, {
      ...machineFacts(),
      rounds,
      intervalMs: Number(interval),
      scans,
      programs,
      summary,
      beyond,
    });
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

async function measure(name, args) {
  const program = fileURLToPath(new URL(`../dist/workloads/${name}.wasm`, import.meta.url));
  const turns = [];
  const names = Object.keys(VARIANTS);
  for (let round = 0; round < rounds; round++) {
    const turn = { plain: plainMs(program, args) };
    for (let k = 0; k < names.length; k++) {
      const variant = names[(round + k) % names.length];
      turn[variant] = await run(program, args, ...VARIANTS[variant]);
    }
    turns.push(turn);
  }
  const ratios = {};
  for (const variant of names) {
    ratios[variant] = {
      guest: median(turns.map((turn) => turn[variant].guestMs / turn.plain)),
      whole: median(turns.map((turn) => (turn[variant].guestMs + turn[variant].pausesMs) / turn.plain)),
      checkpoints: median(turns.map((turn) => turn[variant].checkpoints)),
      dirtyPages: median(turns.map((turn) => turn[variant].dirtyPages)),
      pauseMs: median(turns.map((turn) => turn[variant].pauseMs)),
    };
  }
  const beyondSafepoints = {};
  for (const tracker of ['software', 'kernel']) {
    beyondSafepoints[tracker] = median(turns.map((turn) => turn[tracker].guestMs / turn.safepoints.guestMs));
  }
  const plain = median(turns.map((turn) => turn.plain));
  const text = names.map(
    (variant) => `${variant} ${ratios[variant].guest.toFixed(3)} (${ratios[variant].whole.toFixed(3)})`,
  );
  console.log(name.padEnd(15), `${plain.toFixed(0)} ms`.padStart(8), ...text, JSON.stringify(beyondSafepoints));
  return { name: [name, ...args].join(' '), plainMs: plain, ratios, beyondSafepoints };
}

async function run(program, args, policy, tracker) {
  const machine = Machine.start({
    program: fs.readFileSync(program),
    name: program,
    arguments: args,
    job: path.join(folder, 'job'),
    fresh: true,
    intervalMs: Number(options.interval),
    stdout: { kind: 'sink', write: () => {} },
    policy,
    tracker,
  });
  const taken = [];
  machine.on('checkpoint', (stats) => {
    if (stats.trigger === 'request') taken.push(stats);
  });
  const end = await machine.ended;
  if (policy === 'continuous' && end.tracker?.name !== tracker) throw new Error(`the tracker was ${end.tracker?.name}`);
  const pauses = taken.map(({ pauseMs }) => pauseMs);
  return {
    guestMs: end.guestMs,
    pausesMs: pauses.reduce((sum, ms) => sum + ms, 0),
    pauseMs: pauses.length === 0 ? 0 : median(pauses),
    checkpoints: taken.length,
    dirtyPages: taken.length === 0 ? 0 : median(taken.map(({ dirtyPages }) => dirtyPages)),
  };
}

/** One GB of a guest: nothing written, one page in a hundred, all of it. */
function measureScans() {
  const limits = { initial: BIAS_WASM_PAGES + SCANNED_PAGES / 16, maximum: BIAS_WASM_PAGES + SCANNED_PAGES / 16 };
  const memory = new GuestMemory(new WebAssembly.Memory({ ...limits, shared: true }));
  const software = new SoftwareTracker(memory, instantiateKernels(memory.memory));
  const kernel = new KernelTracker(memory, SCANNED_PAGES);
  const touch = (every) => {
    for (let page = 0; every > 0 && page < SCANNED_PAGES; page += every) memory.setUint8(page * PAGE_BYTES + 100, 1);
  };
  touch(1);
  const scans = [];
  for (const [what, every] of [
    ['clean', 0],
    ['1 %', 100],
    ['all', 1],
  ]) {
    const result = { what, kernelMs: [], softwareMs: [], kernelWriteNs: [] };
    for (let round = 0; round < 2 * rounds; round++) {
      for (const tracker of [kernel, software]) {
        for (const one of [kernel, software]) {
          one.collect(SCANNED_PAGES);
          one.rearm(SCANNED_PAGES, one.pages, 0);
        }
        const writeMs = performance.now();
        touch(every);
        const startMs = performance.now();
        const count = tracker.collect(SCANNED_PAGES);
        tracker.rearm(SCANNED_PAGES, tracker.pages, count);
        const key = tracker === kernel ? 'kernelMs' : 'softwareMs';
        result[key].push(performance.now() - startMs);
        const expected = every === 0 ? 0 : Math.ceil(SCANNED_PAGES / every);
        if (count !== expected) throw new Error(`${key}: ${count} pages found, not ${expected}`);
        if (tracker === kernel && every > 0) result.kernelWriteNs.push((1e6 * (startMs - writeMs)) / expected);
      }
    }
    const scan = { what, kernelMs: median(result.kernelMs), softwareMs: median(result.softwareMs) };
    if (every > 0) scan.firstWriteNs = median(result.kernelWriteNs);
    console.log('one GB', JSON.stringify(scan));
    scans.push(scan);
  }
  kernel.close();
  if (memory.bytes.length !== BIAS_BYTES + SCANNED_PAGES * PAGE_BYTES) throw new Error('the memory has another size');
  return scans;
}
