/** The job whose files the fuzzer damages: its checkpoints, and how what was read back is held against them. */
import { programDigest } from '../../dist/format/job-format.js';
import { Workbench } from '../../dist/format/workbench.js';
import { encodeHostState } from '../../dist/machine/host-state.js';
import { encodeMachineState } from '../../dist/machine/machine-state.js';
import { GuestMemory } from '../../dist/memory/guest-memory.js';
import { BIAS_BYTES, BIAS_WASM_PAGES, PAGE_BYTES, controlRegion } from '../../dist/memory/layout.js';

export const bench = Workbench.ofThread();
export const WASM_PAGES = 4;
export const PROGRAM = new TextEncoder().encode('a program');
export const IDENTITY = { program: 'test', digest: programDigest(PROGRAM), arguments: ['a'] };
/** A guest of a damaged job may claim any size: memory is made for one of this at most, as a process with a limit does. */
const CLAIMED_WASM_PAGES_MAX = 256;

function newMemory(wasmPages) {
  const pages = BIAS_WASM_PAGES + wasmPages;
  return new GuestMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
}

const guest = newMemory(WASM_PAGES);
const others = new Map([[WASM_PAGES, guest]]);

/** Puts a checksum where a table says, and leaves all other bytes as they are. */
export function putChecksum(file, atBytes, table, checksum, field = 'checksum') {
  new DataView(file.buffer, file.byteOffset).setBigUint64(atBytes + table.offsetOf(field), checksum, true);
}

/** A memory of so many pages that holds zeros, made once. */
export function clearMemory(wasmPages) {
  if (!others.has(wasmPages)) others.set(wasmPages, newMemory(wasmPages));
  const memory = others.get(wasmPages);
  memory.bytes.fill(0, controlRegion.pageStates, controlRegion.pageStates + memory.pageCount);
  memory.bytes.fill(0, BIAS_BYTES);
  return new GuestMemory(memory.memory);
}

const imageOf = (memory) => Buffer.from(memory.bytes.slice(BIAS_BYTES));

/** Pages of a job's checkpoints; some of a later one are those of an earlier. */
export function takeCheckpoints(store, memory, count, stateOf = machineState, taken = () => {}) {
  const images = [];
  for (let generation = 1; generation <= count; generation++) {
    for (let k = 0; k < 7; k++) {
      const page = (generation * 11 + k * k) % (16 * WASM_PAGES);
      memory.write(page * PAGE_BYTES, new Uint8Array(PAGE_BYTES).fill(generation * 16 + k));
      memory.releaseHolds();
    }
    store.commit({ state: stateOf(generation), trigger: 'test' });
    taken(generation);
    images[generation] = imageOf(memory);
  }
  return images;
}

/** A state as a run has it, longer than a record holds in every second generation. */
export function machineState(generation, output = { streams: [], held: [] }) {
  const wasi = {
    version: 1,
    generation,
    clock: { monotonicMs: 1, processorMs: 2 },
    waitStartMs: null,
    input: { offsetBytes: 0, unreadBase64: '' },
    output,
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

export function openAndLoad(store) {
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
export function holdAgainst(images, found, fixed) {
  if (found === undefined || fixed) return;
  if (images[found.generation]?.equals(found.image) !== true) throw new Error(`wrong contents of ${found.generation}`);
}
