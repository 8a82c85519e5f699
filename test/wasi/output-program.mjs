/**
 * A job in a process of its own: does the steps of its settings file in order, going on from the last committed checkpoint
 * when it is started again. Steps: `out TEXT`, `err TEXT`, `checkpoint`, `capture` (durable, but nothing after it is
 * done), `kill N` (in the Nth run only).
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FileDevice } from '../../dist/device/file-device.js';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES } from '../../dist/memory/layout.js';
import { Wasi } from '../../dist/wasi/wasi.js';
import { parseWasiState } from '../../dist/wasi/wasi-state.js';

const { directory, outputMode, stdin, stdout, steps } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const stateFile = join(directory, 'state.json');
const runFile = join(directory, 'runs');
const run = existsSync(runFile) ? Number(readFileSync(runFile, 'utf8')) + 1 : 1;
writeFileSync(runFile, String(run));

const saved = existsSync(stateFile) ? JSON.parse(readFileSync(stateFile, 'utf8')) : undefined;
const pages = BIAS_WASM_PAGES + 1;
const memory = new GuestMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
const cell = new Int32Array(new SharedArrayBuffer(4));
const wasi = new Wasi(
  {
    arguments: [],
    environment: [],
    preopens: [],
    stdin: stdin ?? { kind: 'empty' },
    stdout: stdout ?? { kind: 'inherit' },
    stderr: { kind: 'inherit' },
    outputMode,
  },
  memory,
  {
    waitUntil: (deadlineMs) => {
      Atomics.wait(cell, 0, 0, Math.max(0, deadlineMs - performance.now()));
      return 'elapsed';
    },
    readInput: () => 0,
    waitForInput: () => 'ready',
    peekInput: () => new Uint8Array(),
    captureRequested: () => false,
    stopRequested: () => false,
  },
  {
    device: new FileDevice(directory),
    ...(saved === undefined ? {} : { state: parseWasiState(saved.state) }),
    onNotice: (text) => appendFileSync(join(directory, 'notices'), `${text}\n`),
  },
);

function write(descriptor, text) {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    memory.bytes.set(bytes.subarray(done), BIAS_BYTES + 64);
    memory.setUint32(0, 64);
    memory.setUint32(4, bytes.length - done);
    const errno = wasi.imports.fd_write(descriptor, 0, 1, 8);
    if (errno !== 0) throw new Error(`fd_write: ${errno}`);
    done += memory.getUint32(8);
  }
}

/** Reads a line's worth of standard input and writes it out. */
function echo(count) {
  memory.setUint32(0, 64);
  memory.setUint32(4, count);
  const errno = wasi.imports.fd_read(0, 0, 1, 8);
  if (errno !== 0) throw new Error(`fd_read: ${errno}`);
  write(1, Buffer.from(memory.read(64, memory.getUint32(8))).toString());
}

function commit(next) {
  const state = wasi.captureState();
  wasi.beforeCommit();
  writeFileSync(stateFile, JSON.stringify({ state, next }));
}

if (saved === undefined) {
  commit(0);
  wasi.afterCommit();
}
for (let index = saved?.next ?? 0; index < steps.length; index++) {
  const [step, ...rest] = steps[index].split(' ');
  const text = rest.join(' ');
  if (step === 'out') write(1, `${text}\n`);
  else if (step === 'err') write(2, `${text}\n`);
  else if (step === 'echo') echo(Number(text));
  else if (step === 'kill' && run === Number(text)) process.kill(process.pid, 'SIGKILL');
  else if (step === 'checkpoint' || step === 'capture') {
    commit(index + 1);
    if (step === 'checkpoint') wasi.afterCommit();
    else if (run === 1) process.kill(process.pid, 'SIGKILL');
    else wasi.afterCommit();
  }
}
commit(steps.length);
wasi.afterCommit();
wasi.close();
