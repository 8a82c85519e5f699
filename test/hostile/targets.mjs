/** What the fuzzer damages: whole files of every kind, how their checksums are made right again, and how they are read. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import { CheckpointFiles } from '../../dist/checkpoint/checkpoint-files.js';
import { Store } from '../../dist/checkpoint/store.js';
import {
  CHECKPOINT_HEADER_BYTES,
  checkpointFileTable,
  checksumOfHeader,
} from '../../dist/format/checkpoint-file-format.js';
import { jobTable, programDigest } from '../../dist/format/job-format.js';
import { recordAreaOffset, recordTable } from '../../dist/format/paging-format.js';
import { traceBlockTable, traceHeaderTable } from '../../dist/format/trace-format.js';
import { Workbench } from '../../dist/format/workbench.js';
import { decodeHostState, encodeHostState } from '../../dist/machine/host-state.js';
import { decodeMachineState, encodeMachineState } from '../../dist/machine/machine-state.js';
import { checkImports, prepareProgram } from '../../dist/machine/program.js';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, controlRegion } from '../../dist/memory/layout.js';
import { headerChecksum } from '../../dist/simulate/trace-writer.js';
import { Step, TraceReader } from '../../dist/simulate/trace-reader.js';
import { HeldOutput } from '../../dist/wasi/held-output.js';
import { FoundJournal, UndoJournal } from '../../dist/wasi/undo-journal.js';
import { MemoryDevice } from './memory-device.mjs';

const bench = Workbench.ofThread();
const workloadPath = (name) => fileURLToPath(new URL(`../../dist/workloads/${name}.wasm`, import.meta.url));
const WASM_PAGES = 4;
const PROGRAM = new TextEncoder().encode('a program');
const IDENTITY = { program: 'test', digest: programDigest(PROGRAM), arguments: ['a'] };
/** A guest of a damaged job may claim any size: memory is made for one of this at most, as a process with a limit does. */
const CLAIMED_WASM_PAGES_MAX = 256;

function newMemory(wasmPages) {
  const pages = BIAS_WASM_PAGES + wasmPages;
  return new GuestMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
}

const guest = newMemory(WASM_PAGES);
const others = new Map([[WASM_PAGES, guest]]);

/** Puts a checksum where a table says, and leaves all other bytes as they are. */
function putChecksum(file, atBytes, table, checksum, field = 'checksum') {
  new DataView(file.buffer, file.byteOffset).setBigUint64(atBytes + table.offsetOf(field), checksum, true);
}

/** A memory of so many pages that holds zeros, made once. */
function clearMemory(wasmPages) {
  if (!others.has(wasmPages)) others.set(wasmPages, newMemory(wasmPages));
  const memory = others.get(wasmPages);
  memory.bytes.fill(0, controlRegion.pageStates, controlRegion.pageStates + memory.pageCount);
  memory.bytes.fill(0, BIAS_BYTES);
  return new GuestMemory(memory.memory);
}

const imageOf = (memory) => Buffer.from(memory.bytes.slice(BIAS_BYTES));

/** Pages of a job's checkpoints; some of a later one are those of an earlier. */
function takeCheckpoints(store, memory, count) {
  const images = [];
  for (let generation = 1; generation <= count; generation++) {
    for (let k = 0; k < 7; k++) {
      const page = (generation * 11 + k * k) % (16 * WASM_PAGES);
      memory.write(page * PAGE_BYTES, new Uint8Array(PAGE_BYTES).fill(generation * 16 + k));
      memory.releaseHolds();
    }
    store.commit({ state: machineState(generation), trigger: 'test' });
    images[generation] = imageOf(memory);
  }
  return images;
}

/** A state as a run has it, longer than a record holds in every second generation. */
function machineState(generation) {
  const wasi = {
    version: 1,
    generation,
    clock: { monotonicMs: 1, processorMs: 2 },
    waitStartMs: null,
    input: { offsetBytes: 0, unreadBase64: '' },
    output: { streams: [], held: [] },
    files: [],
    descriptors: [],
    asides: [],
  };
  return encodeMachineState({
    phase: { call: 0, guestMs: 1, finished: false, exitCode: 0 },
    globals: new Uint8Array(generation % 2 === 0 ? 32_000 : 32),
    referenceGlobals: [1],
    tables: [[1, 2, 0], []],
    droppedData: [0],
    droppedElements: [1],
    savedFuncrefs: [1],
    savedExternrefs: [],
    savedExceptions: [{ tagNumber: 0, values: new Uint8Array(4) }],
    layouts: [{ functionIndex: 1, position: 3, kind: 0, locals: [0, 1], localTypes: [0x7f, 0x7e], stackTypes: [0x7f] }],
    frames: [
      { layout: 0, values: new Uint8Array(16) },
      { layout: 0, values: new Uint8Array(16) },
    ],
    host: encodeHostState({ wasi, directed: undefined }),
  });
}

function openAndLoad(store) {
  try {
    const { latest } = store;
    if (latest === undefined) return undefined;
    const wasmPages = latest.guestPageCount / 16;
    if (!Number.isInteger(wasmPages) || wasmPages > CLAIMED_WASM_PAGES_MAX) return undefined;
    const memory = clearMemory(wasmPages);
    store.attach(memory, undefined, true);
    store.loadPages();
    return { generation: latest.generation, image: imageOf(memory) };
  } finally {
    store.close();
  }
}

/** Where nothing made a checksum right again, what is accepted must be a checkpoint that was taken. */
function holdAgainst(images, found, fixed) {
  if (found === undefined || fixed) return;
  if (images[found.generation]?.equals(found.image) !== true) throw new Error(`wrong contents of ${found.generation}`);
}

function pagingTarget() {
  const device = new MemoryDevice([]);
  const store = Store.create(device, IDENTITY, PROGRAM);
  const memory = clearMemory(WASM_PAGES);
  store.attach(memory);
  const images = takeCheckpoints(store, memory, 6);
  store.close();
  return {
    name: 'paging file',
    files: device.files,
    damaged: ['paging'],
    // Records are small in a file of slots: half of the damage goes there.
    spots: [0, recordAreaOffset(0), recordAreaOffset(1)],
    fix(files) {
      const file = files.get('paging');
      for (const generation of [0, 1]) {
        const at = recordAreaOffset(generation);
        if (at + recordTable.lengthBytes > file.length) continue;
        const area = file.subarray(at, at + bench.record.length);
        bench.record.fill(0);
        bench.record.set(area);
        const fields = recordTable.decode(bench.record);
        if (fields.recordBytes > area.length || fields.recordBytes < recordTable.lengthBytes) continue;
        const checksum = bench.checksumRecord(recordTable.offsetOf('recordBytes'), fields.recordBytes);
        putChecksum(file, at, recordTable, checksum);
      }
    },
    read(files, fixed) {
      holdAgainst(images, openAndLoad(Store.open(new MemoryDevice(files))), fixed);
    },
  };
}

function checkpointFilesTarget() {
  const device = new MemoryDevice([]);
  const store = CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental: true });
  const memory = clearMemory(WASM_PAGES);
  store.attach(memory, undefined);
  const images = takeCheckpoints(store, memory, 3);
  store.close();
  return {
    name: 'checkpoint files',
    files: device.files,
    damaged: device.list().filter((name) => name.startsWith('checkpoint-')),
    spots: [0],
    fix(files) {
      for (const [name, file] of files) {
        if (!name.startsWith('checkpoint-') || file.length < CHECKPOINT_HEADER_BYTES) continue;
        const fields = checkpointFileTable.decode(file);
        const listAt = CHECKPOINT_HEADER_BYTES + fields.pagesWritten * PAGE_BYTES;
        const listEnd = listAt + fields.entryCount * 16;
        if (listEnd > file.length) continue;
        const listChecksum = bench.checksumOf(file.slice(listAt, listEnd));
        const stateChecksum = bench.checksumOf(file.slice(listEnd));
        putChecksum(file, 0, checkpointFileTable, listChecksum, 'listChecksum');
        putChecksum(file, 0, checkpointFileTable, stateChecksum, 'stateChecksum');
        const checksum = checksumOfHeader(file.slice(0, CHECKPOINT_HEADER_BYTES), bench);
        putChecksum(file, 0, checkpointFileTable, checksum);
      }
    },
    read(files, fixed) {
      const found = openAndLoad(new CheckpointFiles(new MemoryDevice(files), { incremental: false }));
      holdAgainst(images, found, fixed);
    },
  };
}

function jobTarget() {
  const device = new MemoryDevice([]);
  Store.create(device, IDENTITY, PROGRAM).close();
  return {
    name: 'job file',
    files: device.files,
    damaged: ['job', 'program.wasm', 'paging'],
    spots: [0],
    fix(files) {
      const file = files.get('job');
      if (file.length < jobTable.lengthBytes) return;
      new DataView(file.buffer).setUint32(jobTable.offsetOf('identityBytes'), file.length - jobTable.lengthBytes, true);
      const at = jobTable.offsetOf('checksum');
      putChecksum(file, 0, jobTable, bench.checksumOf(Buffer.concat([file.subarray(0, at), file.subarray(at + 8)])));
    },
    read(files, fixed) {
      const store = Store.open(new MemoryDevice(files));
      const program = store.readProgram();
      store.close();
      if (!fixed && Buffer.compare(program, PROGRAM) !== 0) throw new Error('another program was taken');
    },
  };
}

/** Two generations of records, the last of which are cancelled or not. */
function journalFiles(cancels) {
  const device = new MemoryDevice([]);
  const journal = new UndoJournal(device, 1);
  const at = { root: 0, path: 'a/file' };
  for (let generation = 1; generation <= 2; generation++) {
    journal.note({ kind: 'madeFile', at });
    journal.note({ kind: 'kept', at, aside: { root: 0, path: '.continuo-x' }, inode: '9' }, new Uint8Array(300));
    journal.note({ kind: 'moved', from: at, to: { root: 0, path: 'b' }, inode: '12' });
    if (cancels) journal.note({ kind: 'cancelled', recordCount: 1 });
    journal.startNextGeneration();
  }
  journal.close();
  return device;
}

function journalTarget() {
  const device = journalFiles(true);
  // One that was cut before the cancellation has the cancelled record still: undoing looks whether its effect is there.
  const records = FoundJournal.findLive(journalFiles(false), 1).map((found) => JSON.stringify(found.records));
  return {
    name: 'undo journal',
    files: device.files,
    damaged: ['undo-1', 'undo-2'],
    spots: [0],
    fix(files) {
      for (const name of ['undo-1', 'undo-2']) {
        const file = Buffer.from(files.get(name).buffer);
        if (file.length < 24) continue;
        file.writeUInt32LE(crc32(file.subarray(0, 20)), 20);
        const seed = file.readUInt32LE(16);
        for (let at = 24; at + 12 <= file.length;) {
          const end = at + 12 + file.readUInt32LE(at) + file.readUInt32LE(at + 4);
          if (end > file.length) break;
          file.writeUInt32LE(crc32(file.subarray(at + 12, end), crc32(file.subarray(at, at + 8), seed)), at + 8);
          at = end;
        }
      }
    },
    read(files, fixed) {
      const found = FoundJournal.findLive(new MemoryDevice(files), 1);
      for (const journal of found) for (const record of journal.records) journal.readData(record);
      if (fixed) return;
      // What is found is what was written, as far as it is found.
      for (const { generation, records: kept } of found) {
        const whole = records[2 - generation];
        if (kept.length > 0 && !whole?.startsWith(JSON.stringify(kept).slice(0, -1))) throw new Error('other records');
      }
    },
  };
}

function heldTarget() {
  const device = new MemoryDevice([]);
  const held = new HeldOutput(device, 1, []);
  for (let k = 0; k < 9; k++) held.append(k % 2, new Uint8Array(50 * k + 1).fill(k));
  const parts = held.capture().map((part) => ({ ...part }));
  held.close();
  const read = (files, used) => {
    const chunks = [];
    new HeldOutput(new MemoryDevice(files), 2, used).releaseAll((stream, bytes) => {
      chunks.push(stream, Buffer.from(bytes).toString('hex'));
      return true;
    });
    return chunks.join();
  };
  const whole = read(device.files, parts);
  return {
    name: 'held output',
    files: device.files,
    damaged: ['output-held-1'],
    spots: [0],
    fix() {},
    read(files, fixed) {
      const file = files.get('output-held-1');
      // Checksum and length are in the state, which another checksum covers: fixed, it agrees with what the file holds.
      const used = fixed ? parts.map((part) => ({ ...part, lengthBytes: file.length, checksum: crc32(file) })) : parts;
      const found = read(files, used);
      if (!fixed && found !== whole) throw new Error('other output was let out');
    },
  };
}

function traceTarget() {
  const folder = mkdtempSync(join(tmpdir(), 'continuo-hostile-'));
  const path = join(folder, 'trace');
  const words = ['trace', '-o', path, '--every', '5000', workloadPath('apsp'), '24', '1'];
  const { status, stderr } = spawnSync(process.execPath, [
    fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url)),
    ...words,
  ]);
  if (status !== 0) throw new Error(`no trace was made: ${String(stderr)}`);
  const trace = new Uint8Array(readFileSync(path));
  rmSync(folder, { recursive: true });
  return {
    name: 'trace',
    files: new Map([['paging', trace]]),
    damaged: ['paging'],
    spots: [0],
    fix(files) {
      const file = files.get('paging');
      if (file.length < traceHeaderTable.lengthBytes) return;
      const fields = traceHeaderTable.decode(file);
      let at = traceHeaderTable.lengthBytes + fields.descriptionBytes;
      if (at > file.length) return;
      putChecksum(file, 0, traceHeaderTable, headerChecksum(bench, file.slice(0, at)));
      while (at + traceBlockTable.lengthBytes <= file.length) {
        const block = traceBlockTable.decode(file.subarray(at, at + traceBlockTable.lengthBytes));
        const from = at + traceBlockTable.lengthBytes;
        const to = from + block.storedBytes;
        if (to > file.length) return;
        putChecksum(file, at, traceBlockTable, bench.checksumOf(file.slice(from, to)));
        at = to;
      }
    },
    read(files) {
      const reader = new TraceReader(new MemoryDevice(files).openFile('paging', 'read'));
      for (let steps = 0; reader.next() !== Step.end; steps++) {
        if (steps > 10_000_000) throw new Error('a trace without end');
      }
    },
  };
}

function stateTarget() {
  const bytes = machineState(1);
  return {
    name: 'machine state',
    files: new Map([['job', bytes]]),
    damaged: ['job'],
    spots: [0],
    fix() {},
    read(files) {
      decodeHostState(decodeMachineState(files.get('job')).host);
    },
  };
}

function moduleTarget(name, tracking) {
  const wasm = new Uint8Array(readFileSync(workloadPath(name)));
  return {
    name: `module ${name}`,
    files: new Map([['program.wasm', wasm]]),
    damaged: ['program.wasm'],
    spots: [0],
    fix() {},
    read(files) {
      const bytes = files.get('program.wasm');
      const program = prepareProgram(bytes, { tracking, counting: false });
      checkImports(program.rewritten.module);
      if (!WebAssembly.validate(program.rewritten.bytes)) throw new Error('a module was rewritten into an invalid one');
    },
  };
}

/** Each kind with its share of the inputs. */
export const targets = [
  [22, pagingTarget()],
  [22, checkpointFilesTarget()],
  [8, jobTarget()],
  [12, journalTarget()],
  [8, heldTarget()],
  [10, traceTarget()],
  [10, stateTarget()],
  [3, moduleTarget('fib', 'software')],
  [3, moduleTarget('apsp', 'paged')],
  [2, moduleTarget('sort', 'protected')],
];
