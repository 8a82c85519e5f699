// Loaded before the command by the stress: threads that have nothing to do with the program, make garbage, share memory and
// collect all of it at times, and output of the main thread beside that of the program.
import { isMainThread, threadId, Worker, workerData } from 'node:worker_threads';

const MARK = 'company';
const SHARED_BYTES = 1 << 20;

if (isMainThread) {
  const shared = new SharedArrayBuffer(SHARED_BYTES);
  for (let i = 0; i < 2; i++) {
    const worker = new Worker(new URL(import.meta.url), { workerData: { mark: MARK, shared } });
    worker.unref();
  }
  let lines = 0;
  setInterval(() => {
    process.stderr.write(`line ${++lines} of the main thread\n`);
    if (lines % 16 === 0) globalThis.gc();
  }, 5).unref();
} else if (workerData?.mark === MARK) {
  const words = new Int32Array(workerData.shared);
  let kept = [];
  let turns = 0;
  setInterval(() => {
    kept.push(
      Array.from({ length: 500 }, (_, i) => ({ i, text: `${turns} ${i}` })),
      new Uint8Array(100_000).fill(turns),
    );
    if (kept.length > 40) kept = [];
    for (let i = 0; i < 1000; i++) Atomics.add(words, (turns * 7919 + i) % words.length, 1);
    if (++turns % 20 === 0) process.stderr.write(`turn ${turns} of thread ${threadId}\n`);
    if (turns % 50 === 0) globalThis.gc();
  }, 5);
}
