/** Restart files and sealed job directories, as the fuzzer damages them. */
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { CheckpointFiles } from '../../dist/checkpoint/checkpoint-files.js';
import { openStore } from '../../dist/checkpoint/policies.js';
import { Store } from '../../dist/checkpoint/store.js';
import { FileDevice } from '../../dist/device/file-device.js';
import { programDigest } from '../../dist/format/job-format.js';
import { ChunkKind, ChunkMethod, restartChunkTable, restartHeaderTable } from '../../dist/format/restart-format.js';
import { SEALED_BLOCK_BYTES, sealTable } from '../../dist/format/seal-format.js';
import { decodeHostState } from '../../dist/machine/host-state.js';
import { decodeMachineState } from '../../dist/machine/machine-state.js';
import { applyToJob } from '../../dist/restart/apply.js';
import { decompressed } from '../../dist/restart/compression.js';
import { exportJob } from '../../dist/restart/export.js';
import { importJob } from '../../dist/restart/import.js';
import { newJobSeal, sealedOrPlain, sealOfJob } from '../../dist/seal/job-seal.js';
import { HeldOutput } from '../../dist/wasi/held-output.js';
import {
  bench,
  clearMemory,
  holdAgainst,
  machineState,
  openAndLoad,
  PROGRAM,
  putChecksum,
  takeCheckpoints,
  WASM_PAGES,
} from './made-job.mjs';
import { MemoryDevice } from './memory-device.mjs';

const SECRET = { kind: 'key', key: new Uint8Array(32).fill(7) };
const GENERATIONS = 3;
/** The checkpoint that the delta builds on. */
const BASE_GENERATION = 2;
/** All that describes a run; of the programs of the other targets only what their readers look at. */
const IDENTITY = {
  program: 'test',
  digest: programDigest(PROGRAM),
  arguments: ['a'],
  environment: [['NAME', 'value']],
  preopens: [],
  stdin: { kind: 'inherit' },
  stdout: { kind: 'inherit' },
  stderr: { kind: 'inherit' },
  outputMode: 'auto',
};

/** A state with output that it holds back, which lies in the job directory. */
function holdsOutput(device) {
  return (generation) => {
    const held = new HeldOutput(device, generation, []);
    held.append(0, new Uint8Array(700).fill(generation));
    const parts = held.capture().map((part) => ({ ...part }));
    held.sync();
    held.close();
    const stream = { producedBytes: 700, releasedBytes: 0, fileBytes: null };
    return machineState(generation, { streams: [stream, { ...stream, producedBytes: 0 }], held: parts });
  };
}

/**
 * Restart files of one checkpoint, plain with no chunk compressed, and sealed; one of an older checkpoint and what changed since,
 * as a delta; and the images, by their generations.
 */
async function restartFiles() {
  const device = new MemoryDevice([]);
  const store = Store.create(device, IDENTITY, PROGRAM);
  const memory = clearMemory(WASM_PAGES);
  store.attach(memory);
  let atBase;
  const images = takeCheckpoints(store, memory, GENERATIONS, holdsOutput(device), (generation) => {
    if (generation === BASE_GENERATION) atBase = new MemoryDevice(copyOf(device.files));
  });
  store.close();
  const write = async (from, settings) => {
    const parts = [];
    await exportJob(from, (bytes) => parts.push(Uint8Array.from(bytes)), settings);
    return Buffer.concat(parts);
  };
  return {
    images,
    plain: uncompressed(await write(device, {})),
    sealed: await write(device, { secret: SECRET }),
    base: await write(atBase, {}),
    delta: uncompressed(await write(device, { since: BASE_GENERATION })),
  };
}

/** The chunks of a plain file, as far as their lengths lead. */
function* chunksOf(file) {
  let at = restartHeaderTable.lengthBytes;
  while (at + restartChunkTable.lengthBytes <= file.length) {
    const fields = restartChunkTable.decode(file.subarray(at, at + restartChunkTable.lengthBytes));
    const from = at + restartChunkTable.lengthBytes;
    if (from + fields.storedBytes > file.length) return;
    yield { at, fields, contents: file.subarray(from, from + fields.storedBytes) };
    at = from + fields.storedBytes;
  }
}

const checksumOfBoth = (head, body) => bench.checksumOf(Buffer.concat([head.subarray(0, head.length - 8), body]));

/** The same file with its chunks as they are before compression, where damage means more. */
function uncompressed(file) {
  const parts = [file.subarray(0, restartHeaderTable.lengthBytes)];
  for (const { fields, contents } of chunksOf(file)) {
    const plain = decompressed(fields.method, contents, fields.plainBytes, 'the file');
    const head = new Uint8Array(restartChunkTable.lengthBytes);
    const changed = { ...fields, method: ChunkMethod.stored, storedBytes: plain.length, checksum: 0n };
    restartChunkTable.encode(changed, head);
    restartChunkTable.encode({ ...changed, checksum: checksumOfBoth(head, plain) }, head);
    parts.push(head, plain);
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** Puts a digest into a chunk of JSON in the place of the one that is there. */
function putDigest(contents, name, digest) {
  const text = Buffer.from(contents.buffer, contents.byteOffset, contents.length);
  const at = text.indexOf(`"${name}":"`);
  if (at >= 0)
    text.write(digest.slice(0, Math.max(0, text.length - at - name.length - 4)), at + name.length + 4, 'latin1');
}

/** Makes digests in chunks right first, then checksums of chunks. */
function fixChunks(file) {
  const chunks = [...chunksOf(file)];
  const of = (kind) => chunks.filter(({ fields }) => fields.kind === kind).map(({ contents }) => contents);
  const program = Buffer.concat(of(ChunkKind.program));
  for (const contents of of(ChunkKind.description)) putDigest(contents, 'digest', programDigest(program));
  const state = bench
    .checksumOf(Buffer.concat(of(ChunkKind.state)))
    .toString(16)
    .padStart(16, '0');
  for (const contents of of(ChunkKind.checkpoint)) putDigest(contents, 'stateChecksum', state);
  for (const { at, contents } of chunks) {
    const head = file.subarray(at, at + restartChunkTable.lengthBytes);
    putChecksum(file, at, restartChunkTable, checksumOfBoth(head, contents));
  }
}

function fixHeader(file) {
  const { lengthBytes } = restartHeaderTable;
  if (file.length < lengthBytes + sealTable.lengthBytes) return;
  const head = file.subarray(0, lengthBytes);
  const { sealed } = restartHeaderTable.decode(head);
  const seal = file.subarray(lengthBytes, lengthBytes + (sealed === 0 ? 0 : sealTable.lengthBytes));
  putChecksum(file, 0, restartHeaderTable, checksumOfBoth(head, seal));
}

class BytesInput {
  path = 'the file';
  readBytes = 0;
  #bytes;

  constructor(bytes) {
    this.#bytes = bytes;
  }

  get sizeBytes() {
    return this.#bytes.length;
  }

  read(view) {
    const part = this.#bytes.subarray(this.readBytes, this.readBytes + view.length);
    view.set(part);
    this.readBytes += part.length;
    return part.length;
  }
}

/** Restarts a file in a folder of its own, which holds the job directory afterwards, or nothing. */
function restart(folder, bytes, secret) {
  const inside = mkdtempSync(join(folder, 'r-'));
  try {
    const job = join(inside, 'job');
    try {
      importJob(new BytesInput(bytes), { job, secret, grants: { directories: [] } });
    } catch (error) {
      if (readdirSync(inside).length > 0) throw new Error('a refused file left something', { cause: error });
      throw error;
    }
    if (readdirSync(inside).join() !== 'job') throw new Error('a restart made something beside the job');
    const plain = new FileDevice(job);
    const device = sealedOrPlain(plain, sealOfJob(plain, secret));
    const { store } = openStore(device, undefined);
    return { held: heldIn(device, store.latest.state), ...openAndLoad(store) };
  } finally {
    rmSync(inside, { recursive: true });
  }
}

/** Checksum of the output that a state holds back. */
function heldIn(device, state) {
  const { output } = decodeHostState(decodeMachineState(state).host).wasi;
  let checksum = 0;
  new HeldOutput(device, 2 ** 20, output.held).releaseAll((_, bytes) => {
    checksum = crc32(bytes, checksum);
    return true;
  });
  return checksum;
}

function restartTarget(name, file, images, secret, fix) {
  const folder = folderInMemory();
  const whole = restart(folder, file, secret);
  if (whole.generation !== GENERATIONS) throw new Error('the file that is to be damaged does not restart');
  return {
    name,
    files: new Map([['paging', file]]),
    damaged: ['paging'],
    // Headers of the file and of the chunks, which are short in a file of pages.
    spots: secret === undefined ? [0, ...[...chunksOf(file)].map(({ at }) => at)] : [0],
    fix: (files) => fix(files.get('paging')),
    read(files, fixed) {
      const found = restart(folder, files.get('paging'), secret);
      // Nothing but the header of a sealed file can be made right without its key.
      if (fixed && secret === undefined) return;
      holdAgainst(images, found, false);
      if (found?.held !== whole.held) throw new Error('other output was held');
    },
  };
}

/** What `apply` takes: a refused one must leave the copy as it was, and one that is taken makes it what the other job became. */
function deltaTarget(base, delta, images) {
  const folder = folderInMemory();
  const copy = join(folder, 'copy');
  importJob(new BytesInput(base), { job: copy, grants: { directories: [] } });
  const apply = (bytes) => {
    const job = mkdtempSync(join(folder, 'a-'));
    const look = () => openAndLoad(openStore(new FileDevice(job), undefined).store);
    try {
      cpSync(copy, job, { recursive: true });
      try {
        applyToJob(new BytesInput(bytes), { job });
      } catch (error) {
        const kept = look();
        if (kept.image.equals(images[BASE_GENERATION])) throw error;
        throw new Error('a refused delta changed the copy', { cause: error });
      }
      return look();
    } finally {
      rmSync(job, { recursive: true });
    }
  };
  if (!apply(delta).image.equals(images[GENERATIONS])) throw new Error('the delta that is to be damaged is not taken');
  return {
    name: 'delta',
    files: new Map([['paging', delta]]),
    damaged: ['paging'],
    spots: [0, ...[...chunksOf(delta)].map(({ at }) => at)],
    fix(files) {
      fixChunks(files.get('paging'));
      fixHeader(files.get('paging'));
    },
    read(files, fixed) {
      const { image } = apply(files.get('paging'));
      if (!fixed && !image.equals(images[GENERATIONS])) throw new Error('a damaged delta gave wrong contents');
    },
  };
}

/** In memory where that is to be had: each input syncs its files. */
function folderInMemory() {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'continuo-hostile-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A job directory that is sealed, and its files as they were at every checkpoint. */
function sealedTarget(name, create, open) {
  const plain = new MemoryDevice([]);
  const seal = newJobSeal(SECRET);
  const file = plain.openFile('seal', 'create');
  file.write(seal.contents, 0);
  const device = sealedOrPlain(plain, seal);
  const store = create(device);
  const memory = clearMemory(WASM_PAGES);
  store.attach(memory);
  const older = [];
  const images = takeCheckpoints(store, memory, 2 * GENERATIONS, holdsOutput(device), () =>
    older.push(copyOf(plain.files)),
  );
  store.close();
  older.pop();
  return {
    name,
    files: plain.files,
    damaged: plain.list(),
    spots: [0, SEALED_BLOCK_BYTES, 9 * SEALED_BLOCK_BYTES],
    /** Without the key no seal can be made right; but blocks that were sealed with it can be put where they are not, or were once. */
    fix(files, draw) {
      for (const name of plain.list()) files.set(name, Uint8Array.from(plain.files.get(name)));
      const from = draw(2) === 0 ? older[draw(older.length)] : files;
      for (let times = 1 + draw(4); times > 0; times--) {
        const names = plain.list();
        const to = files.get(names[draw(names.length)]);
        const isReplay = from !== files;
        const source = isReplay
          ? from.get([...files].find(([, bytes]) => bytes === to)[0])
          : files.get(names[draw(names.length)]);
        if (source === undefined || source.length < SEALED_BLOCK_BYTES || to.length < SEALED_BLOCK_BYTES) continue;
        const blocks = Math.floor(Math.min(source.length, to.length) / SEALED_BLOCK_BYTES);
        const at = draw(blocks) * SEALED_BLOCK_BYTES;
        const sourceAt = isReplay ? at : draw(blocks) * SEALED_BLOCK_BYTES;
        to.set(source.slice(sourceAt, sourceAt + SEALED_BLOCK_BYTES), at);
      }
    },
    read(files) {
      const damaged = new MemoryDevice(files);
      const opened = sealedOrPlain(damaged, sealOfJob(damaged, SECRET));
      const held = open(opened);
      const { latest } = held;
      if (latest !== undefined) heldIn(opened, latest.state);
      holdAgainst(images, openAndLoad(held), false);
    },
  };
}

const copyOf = (files) => new Map([...files].map(([name, bytes]) => [name, Uint8Array.from(bytes)]));

/** Each kind with its share of the inputs. */
export async function restartTargets() {
  const { images, plain, sealed, base, delta } = await restartFiles();
  return [
    [16, restartTarget('restart file', plain, images, undefined, (file) => (fixChunks(file), fixHeader(file)))],
    [8, deltaTarget(base, delta, images)],
    [8, restartTarget('sealed restart file', sealed, images, SECRET, fixHeader)],
    [
      8,
      sealedTarget(
        'sealed paging file',
        (device) => Store.create(device, IDENTITY, PROGRAM),
        (device) => Store.open(device),
      ),
    ],
    [
      8,
      sealedTarget(
        'sealed checkpoint files',
        (device) => CheckpointFiles.create(device, IDENTITY, PROGRAM, { incremental: true }),
        (device) => new CheckpointFiles(device, { incremental: false }),
      ),
    ],
  ];
}
