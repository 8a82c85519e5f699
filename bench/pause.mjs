// How long a checkpoint stops the guest, by number of dirty pages: a program written here as bytes dirties so many pages
// between captures; the same pages are also copied in memory, and the same number of bytes written and synced, in turns.
//   node bench/pause.mjs [--rounds N] [--json FILE]
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Store } from '../dist/checkpoint/store.js';
import { FileDevice } from '../dist/device/file-device.js';
import { programDigest } from '../dist/format/job-format.js';
import { GuestInstance } from '../dist/machine/guest-instance.js';
import { encodeMachineState } from '../dist/machine/machine-state.js';
import { captureState } from '../dist/machine/state-capture.js';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { decodeModule } from '../dist/wasm/module.js';
import { machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const PAGE_BYTES = 4096;
const COUNTS = [1, 16, 64, 256, 1024, 4096];
const GUEST_WASM_PAGES = 512;

const { options } = parseArguments({ rounds: '40', json: '' });
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
try {
  const points = COUNTS.map(measure);
  if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), points });
} finally {
  fs.rmSync(scratch, { recursive: true, force: true });
}

/** (loop): adds 1 to the first word of each of `count` pages, for ever: one safepoint a round through them. */
function programBytes(count) {
  const leb = (value) => {
    const bytes = [];
    do {
      bytes.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
      value >>>= 7;
    } while (value > 0);
    return bytes;
  };
  const sleb = (value) => {
    const bytes = leb(value);
    if (bytes.at(-1) & 0x40) {
      bytes[bytes.length - 1] |= 0x80;
      bytes.push(0);
    }
    return bytes;
  };
  const section = (id, contents) => [id, ...leb(contents.length), ...contents];
  const store = [0x20, 0, 0x20, 0, 0x28, 2, 0, 0x41, 1, 0x6a, 0x36, 2, 0];
  const step = [0x20, 0, 0x41, ...sleb(PAGE_BYTES), 0x6a, 0x22, 0, 0x41, ...sleb(count * PAGE_BYTES), 0x47, 0x0d, 0];
  const body = [1, 1, 0x7f, 0x03, 0x40, 0x41, 0, 0x21, 0, 0x03, 0x40, ...store, ...step, 0x0b, 0x0c, 0, 0x0b, 0x0b];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 0, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 1, ...leb(GUEST_WASM_PAGES), ...leb(GUEST_WASM_PAGES)]),
    ...section(7, [1, 3, 0x72, 0x75, 0x6e, 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]); // prettier-ignore
}

function measure(count) {
  const bytes = programBytes(count);
  const directory = path.join(scratch, String(count));
  fs.mkdirSync(directory);
  const module = decodeModule(bytes);
  const rewritten = rewriteModule(module, { tracking: 'software', counting: true });
  const memory = GuestInstance.createMemory(module);
  const instance = new GuestInstance(rewritten, new WebAssembly.Module(rewritten.bytes), memory, {});
  const store = Store.create(new FileDevice(directory), { program: 'pause', digest: programDigest(bytes) }, bytes);
  store.attach(memory);
  const plain = fs.openSync(path.join(directory, 'plain'), 'w+');
  const copy = new Uint8Array(count * PAGE_BYTES);
  const phase = { call: 0, finished: false, exitCode: 0, guestMs: 0 };
  const figures = { withSync: [], withoutSync: [], copy: [], writeAndSync: [], smallSync: [], bytes: [], dirty: [] };

  // Enough safepoints for a whole round through the pages.
  const run = (start) => {
    instance.captureAfterSafepoints(2 * count + 2);
    return start ? instance.call(0) : instance.resume();
  };
  run(true);
  const commit = () => {
    const from = performance.now();
    const state = encodeMachineState(captureState(instance, phase, new Uint8Array(0)));
    const stats = store.commit({ state, trigger: 'bench' });
    return { ms: performance.now() - from, stats };
  };
  commit();
  for (let round = 0; round < Number(options.rounds) + 3; round++) {
    run(false);
    const { ms, stats } = commit();
    const view = memory.bytes.subarray(memory.bytes.length - memory.lengthBytes);
    const copyMs = timed(() => copy.set(view.subarray(0, copy.length)));
    const writeMs = timed(() => {
      fs.writeSync(plain, copy, 0, copy.length, 0);
      fs.fdatasyncSync(plain);
    });
    const smallMs = timed(() => {
      fs.writeSync(plain, copy, 0, PAGE_BYTES, 0);
      fs.fdatasyncSync(plain);
    });
    if (round < 3) continue;
    figures.withSync.push(ms);
    figures.withoutSync.push(ms - stats.syncMs);
    figures.copy.push(copyMs);
    figures.writeAndSync.push(writeMs);
    figures.smallSync.push(smallMs);
    figures.bytes.push(stats.bytesWritten);
    figures.dirty.push(stats.dirtyPages);
  }
  store.close();
  fs.closeSync(plain);
  const point = {
    dirtyPages: median(figures.dirty),
    pauseMs: median(figures.withSync),
    pauseWithoutSyncMs: median(figures.withoutSync),
    copyMs: median(figures.copy),
    sequentialWriteMs: median(figures.writeAndSync),
    smallSyncMs: median(figures.smallSync),
    bytesRatio: median(figures.bytes.map((written, k) => written / (figures.dirty[k] * PAGE_BYTES))),
    throughputRatio: median(figures.writeAndSync.map((ms, k) => ms / figures.withSync[k])),
  };
  console.log(
    `${String(point.dirtyPages).padStart(5)} dirty pages: pause ${point.pauseMs.toFixed(3)} ms, without the sync ${point.pauseWithoutSyncMs.toFixed(3)} ms; ` +
      `copy ${point.copyMs.toFixed(3)} ms, one write and sync ${point.sequentialWriteMs.toFixed(3)} ms; bytes ×${point.bytesRatio.toFixed(3)}, throughput ×${point.throughputRatio.toFixed(2)}`,
  );
  return point;
}

function timed(action) {
  const from = performance.now();
  action();
  return performance.now() - from;
}
