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
import { jobTable } from '../../dist/format/job-format.js';
import { recordAreaOffset, recordTable } from '../../dist/format/paging-format.js';
import { traceBlockTable, traceHeaderTable } from '../../dist/format/trace-format.js';
import { decodeHostState } from '../../dist/machine/host-state.js';
import { decodeMachineState } from '../../dist/machine/machine-state.js';
import { checkImports, prepareProgram } from '../../dist/machine/program.js';
import { PAGE_BYTES } from '../../dist/memory/layout.js';
import { headerChecksum } from '../../dist/simulate/trace-writer.js';
import { Step, TraceReader } from '../../dist/simulate/trace-reader.js';
import { HeldOutput } from '../../dist/wasi/held-output.js';
import { FoundJournal, UndoJournal } from '../../dist/wasi/undo-journal.js';
import {
  bench,
  clearMemory,
  holdAgainst,
  IDENTITY,
  machineState,
  openAndLoad,
  PROGRAM,
  putChecksum,
  takeCheckpoints,
  WASM_PAGES,
} from './made-job.mjs';
import { MemoryDevice } from './memory-device.mjs';
import { restartTargets } from './restart-targets.mjs';

const workloadPath = (name) => fileURLToPath(new URL(`../../dist/workloads/${name}.wasm`, import.meta.url));

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
    damaged: device.list(),
    spots: [0],
    fix(files) {
      for (const name of device.list()) {
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
    fileURLToPath(new URL('../../dist/command/main.js', import.meta.url)),
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
  ...(await restartTargets()),
];
