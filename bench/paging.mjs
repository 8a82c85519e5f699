// What paging costs without a program: faults and pageouts of a pager on a real directory, driven as the rewritten
// program drives it, and how often each replacement policy must read for the access patterns of two workloads.
//   node bench/paging.mjs [--rounds N] [--json FILE]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Store } from '../dist/checkpoint/store.js';
import { FileDevice } from '../dist/device/file-device.js';
import { programDigest } from '../dist/format/job-format.js';
import { GuestMemory } from '../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, controlRegion, PAGE_BYTES } from '../dist/memory/layout.js';
import { createRelease } from '../dist/memory/memory-release.js';
import { machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const FRAMES = 3154;
/** Until files have grown to their sizes and code is compiled. */
const WARM_UP_ROUNDS = 4;
const WASM_PAGE_PAGES = 16;
const { options } = parseArguments({ rounds: '9', json: '' });
const rounds = Number(options.rounds);
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
let jobs = 0;
try {
  const patterns = [
    [apsp, 9008],
    [matmul, 15000],
    [loop, 9000],
  ].map(([pattern, pages]) => comparePolicies(pattern, pages));
  const costs = measureCosts();
  if (options.json) writeResult(options.json, { ...machineFacts(), rounds, patterns, costs });
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}

/** A guest that only touches pages: looks at the access byte, raises it at a first write, asks the pager for the rest. */
function newGuest(pageCount, frameCount, replacement, releases) {
  const directory = path.join(scratch, String(jobs++));
  fs.mkdirSync(directory);
  const wasmPages = Math.ceil(pageCount / WASM_PAGE_PAGES);
  const initial = BIAS_WASM_PAGES + wasmPages;
  const memory = new GuestMemory(new WebAssembly.Memory({ initial, maximum: initial, shared: true }));
  const program = new Uint8Array(8);
  const identity = { program: 'paging', digest: programDigest(program), arguments: [] };
  const store = Store.create(new FileDevice(directory), identity, program);
  const release = releases ? createRelease(memory) : undefined;
  const pager = store.attach(memory, { frameCount, replacement, ...(release && { release }) });
  const access = new Uint8Array(memory.memory.buffer, controlRegion.pageStates, pageCount);
  new Int32Array(memory.memory.buffer, controlRegion.pins, 14).fill(-1);
  const words = new Uint32Array(memory.memory.buffer);
  const touch = (page, writes) => {
    const state = access[page];
    if (state === 0) {
      if (pager.fault(page * PAGE_BYTES, 8, writes ? 1 : 0) !== 0)
        throw new Error('a fault failed', { cause: pager.failure });
    } else if (writes && state === 1) access[page] = 3;
    if (writes) words[(BIAS_BYTES + page * PAGE_BYTES) >> 2] += page + 1;
  };
  const finish = () => {
    store.close();
    fs.rmSync(directory, { recursive: true, force: true });
  };
  return { memory, store, pager, access, touch, finish };
}

/** All-pairs shortest paths with 1408 nodes: sweeps over 7744 pages of two matrices, a row that is hot, few writes. */
function apsp(touch, commit) {
  const pages = 9008;
  for (let page = 0; page < pages; page++) touch(page, true);
  commit();
  let state = 1;
  for (let k = 0; k < 40; k++) {
    for (let page = 0; page < 3872; page++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const writes = state % 64 === 0;
      touch(Math.floor((k * 3872) / 1408), false);
      touch(page, writes);
      touch(3872 + page, writes);
    }
    if (k % 8 === 7) commit();
  }
}

/** Matrix product, 1600 × 1600: for each of some rows a row of one matrix, all columns of another, and a row of the result. */
function matmul(touch, commit) {
  const matrixPages = 5000;
  for (let page = 0; page < 2 * matrixPages; page++) touch(page, true);
  commit();
  for (let row = 0; row < 6; row++) {
    const at = Math.floor((row * 12800) / PAGE_BYTES);
    for (let column = 0; column < 1600; column += 16) {
      for (let i = 0; i < 1600; i++) {
        touch(at + (i >> 9), false);
        touch(matrixPages + Math.floor((i * 12800 + column * 8) / PAGE_BYTES), false);
      }
      touch(2 * matrixPages + at + (column >> 9), true);
    }
    if (row % 2 === 1) commit();
  }
}

/** A working set that fits, after a sweep over everything, and then another one: does the policy let go of the old? */
function loop(touch, commit) {
  for (let page = 0; page < 9000; page++) touch(page, true);
  commit();
  for (let phase = 0; phase < 3; phase++) {
    for (let round = 0; round < 20; round++) for (let i = 0; i < 2500; i++) touch(phase * 2500 + i, i % 7 === 0);
    commit();
  }
}

function comparePolicies(pattern, pages) {
  const result = { pattern: pattern.name };
  for (const replacement of ['second-chance', 'lirs']) {
    const guest = newGuest(pages, FRAMES, replacement, false);
    const state = new Uint8Array(64);
    const checkpoints = [];
    const startMs = performance.now();
    pattern(guest.touch, () => checkpoints.push(guest.store.commit({ state, trigger: 'bench' })));
    const ms = performance.now() - startMs;
    guest.pager.assertInvariants();
    guest.store.assertInvariants();
    const later = checkpoints.slice(1);
    const dirty = later.reduce((sum, { dirtyPages }) => sum + dirtyPages, 0) / later.length;
    const flushed = later.reduce((sum, { pagesWritten }) => sum + pagesWritten, 0) / later.length;
    const stats = guest.pager.stats();
    const { softFaults, hardFaults, pageIns, pageOuts, pageOutsAhead, clusters, readAheadUsed, readAheadPages } = stats;
    result[replacement] = { ms, dirty, flushed, ...stats };
    console.log(
      `${pattern.name}, ${replacement}: ${ms.toFixed(0)} ms, soft ${softFaults}, hard ${hardFaults}, in ${pageIns} ` +
        `(ahead ${readAheadPages}, used ${readAheadUsed}), out ${pageOuts} (ahead ${pageOutsAhead}) in ${clusters} writes; ` +
        `checkpoints: ${dirty.toFixed(0)} dirty, ${flushed.toFixed(0)} flushed, ` +
        `${(100 * (1 - flushed / dirty)).toFixed(0)} % already out`,
    );
    guest.finish();
  }
  return result;
}

function measureCosts() {
  const soft = [];
  const hard = [];
  const sequential = [];
  const pageOut = [];
  const plain = [];
  const checkpoint = [];
  const bytes = 4096 * PAGE_BYTES;
  const file = fs.openSync(path.join(scratch, 'plain'), 'w+');
  const content = new Uint8Array(bytes).map((_, i) => (i * 7) >>> 3);
  const guest = newGuest(32768, 4096, 'second-chance', true);
  const large = newGuest(8192, 8192, 'second-chance', false);
  const fill = ({ memory, touch }, from, count) => {
    for (let page = from; page < from + count; page++) {
      touch(page, true);
      memory.bytes.fill(page, BIAS_BYTES + page * PAGE_BYTES + 8, BIAS_BYTES + (page + 1) * PAGE_BYTES);
    }
  };
  const timed = (work) => {
    const startMs = performance.now();
    work();
    return performance.now() - startMs;
  };
  fill(guest, 0, 16384);
  const state = new Uint8Array(64);
  guest.store.commit({ state, trigger: 'bench' });
  const writePlain = () =>
    timed(() => {
      fs.writeSync(file, content, 0, bytes, 0);
      fs.fdatasyncSync(file);
    });
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    if (round === 0) for (const list of [soft, hard, sequential, pageOut, plain, checkpoint]) list.length = 0;
    // Hard faults one by one: every second page, so that nothing is read ahead; then in sequence.
    for (let page = 0; page < 4096; page++) guest.touch(8192 + page, false);
    hard.push(timed(() => { for (let page = 0; page < 4000; page += 2) guest.touch(page, false); }) / 2000); // prettier-ignore
    sequential.push(timed(() => { for (let page = 4096; page < 8192; page++) guest.touch(page, false); }) / 4096); // prettier-ignore
    // The oldest third has lost its access by now. What leaves next is left alone, so that only soft faults are timed.
    const { access } = guest;
    guest.touch(12000 + (round & 1), false);
    const inactive = [];
    for (let page = 4096; page < 8192; page++) if (access[page] === 0) inactive.push(page);
    const before = guest.pager.stats();
    const softMs = timed(() => { for (let i = 300; i < inactive.length; i++) guest.touch(inactive[i], false); }); // prettier-ignore
    const after = guest.pager.stats();
    if (after.softFaults - before.softFaults !== inactive.length - 300) throw new Error('not only soft faults');
    soft.push(softMs / (inactive.length - 300));
    // Pageouts: dirty pages are pushed out by pages of zeros, which cost no reads, and synced by the checkpoint behind them.
    fill(guest, 12288, 4096);
    const { pageOuts } = guest.pager.stats();
    const outMs = timed(() => {
      for (let page = 16384; page < 16384 + 4096; page++) guest.touch(page, false);
    });
    const { syncMs } = guest.store.commit({ state, trigger: 'bench' });
    pageOut.push(((outMs + syncMs) * 4096) / (guest.pager.stats().pageOuts - pageOuts));
    plain.push(writePlain());
    fill(large, 0, 4096);
    checkpoint.push(large.store.commit({ state, trigger: 'bench' }).commitMs);
    plain.push(writePlain());
  }
  /** The plain writes beside a round. */
  const besidesMs = (i) => Math.sqrt(plain[2 * i] * plain[2 * i + 1]);
  const costs = {
    softFaultUs: 1000 * median(soft),
    hardFaultUs: 1000 * median(hard),
    sequentialHardFaultUs: 1000 * median(sequential),
    plainWriteAndSyncMs: median(plain),
    pageOutMs: median(pageOut),
    checkpointMs: median(checkpoint),
    pageOutThroughputRatio: median(pageOut.map((ms, i) => besidesMs(i) / ms)),
    checkpointThroughputRatio: median(checkpoint.map((ms, i) => besidesMs(i) / ms)),
  };
  for (const [name, value] of Object.entries(costs)) console.log(`${name}: ${value.toFixed(3)}`);
  guest.finish();
  large.finish();
  fs.closeSync(file);
  return costs;
}
