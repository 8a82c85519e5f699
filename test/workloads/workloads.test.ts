import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { integerProductDigest, referenceDigests, rowDigests } from './reference.ts';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));
const names = readdirSync(path('workloads'))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3));

const hex = (digest: bigint): string => digest.toString(16).padStart(16, '0');

function runPlain(name: string, args: string[]): { stdout: string; stderr: string; status: number | null } {
  const program = path(`dist/workloads/${name}.wasm`);
  const command = ['--no-turbo-fast-api-calls', path('test/workloads/plain-node.mjs'), program, ...args];
  return spawnSync(process.execPath, command, { encoding: 'utf8' });
}

/** Lines `//   name SIZE SEED  DIGEST` of a workload's head. */
function promisedDigests(name: string): { size: number; seed: number; digest: string }[] {
  const lines = readFileSync(path(`workloads/${name}.ts`), 'utf8').matchAll(
    new RegExp(`^//   ${name} (\\d+) (\\d+) +([0-9a-f]{16})$`, 'gm'),
  );
  return Array.from(lines, ([, size, seed, digest]) => ({ size: Number(size), seed: Number(seed), digest }));
}

/** Wasm pages of memory that a program ends with, under a host that has arguments and swallows output. */
function finalMemoryPages(name: string, args: string[]): number {
  const text = new TextEncoder().encode([name, ...args].map((argument) => `${argument}\0`).join(''));
  const memoryOf = ({ memory }: WebAssembly.Exports): WebAssembly.Memory => {
    if (!(memory instanceof WebAssembly.Memory)) throw new Error('the program exports no memory');
    return memory;
  };
  const view = (): DataView => new DataView(memoryOf(exports).buffer);
  const wasi_snapshot_preview1 = {
    args_sizes_get(count: number, bytes: number): number {
      view().setUint32(count, args.length + 1, true);
      view().setUint32(bytes, text.length, true);
      return 0;
    },
    args_get(pointers: number, bytes: number): number {
      new Uint8Array(view().buffer).set(text, bytes);
      let start = 0;
      for (let index = 0; index <= args.length; index++) {
        view().setUint32(pointers + 4 * index, bytes + start, true);
        start = text.indexOf(0, start) + 1;
      }
      return 0;
    },
    fd_write(_fd: number, vectors: number, _count: number, written: number): number {
      view().setUint32(written, view().getUint32(vectors + 4, true), true);
      return 0;
    },
    proc_exit(code: number): never {
      throw new Error(`the program ended with exit code ${code}`);
    },
  };
  const module = new WebAssembly.Module(readFileSync(path(`dist/workloads/${name}.wasm`)));
  const { exports } = new WebAssembly.Instance(module, { wasi_snapshot_preview1 });
  if (typeof exports._start !== 'function') throw new Error('the program exports no _start');
  exports._start();
  return view().byteLength / 65536;
}

it('every workload has a reference', () => {
  expect(names.toSorted()).toEqual(Object.keys(referenceDigests).toSorted());
});

describe.each(names)('%s', (name) => {
  it('is a plain WASI command', () => {
    const module = new WebAssembly.Module(readFileSync(path(`dist/workloads/${name}.wasm`)));
    const modules = new Set(WebAssembly.Module.imports(module).map((entry) => entry.module));
    expect([...modules]).toEqual(['wasi_snapshot_preview1']);
    const exports = WebAssembly.Module.exports(module).map((entry) => `${entry.kind} ${entry.name}`);
    expect(exports.toSorted()).toEqual(['function _start', 'memory memory']);
  });

  it('prints the digests that its head promises', () => {
    const promised = promisedDigests(name);
    expect(promised).toHaveLength(3);
    for (const { size, seed, digest } of promised) {
      const { stdout, stderr, status } = runPlain(name, [String(size), String(seed)]);
      expect({ stdout, stderr, status }).toEqual({
        stdout: `${name} size=${size} seed=${seed} digest=${digest}\n`,
        stderr: '',
        status: 0,
      });
    }
  });

  it('computes what the reference computes', () => {
    for (const { size, seed, digest } of promisedDigests(name).slice(0, 2)) {
      expect(hex(referenceDigests[name](size, seed))).toBe(digest);
    }
  });

  it.each([{ args: [] }, { args: ['3', '1', 'more'] }])('answers $args with its usage and exit code 1', ({ args }) => {
    expectUsageError(name, args);
  });
});

function expectUsageError(name: string, args: string[]): void {
  const { stdout, stderr, status } = runPlain(name, args);
  expect({ stdout, status }).toEqual({ stdout: '', status: 1 });
  expect(stderr).toMatch(new RegExp(`^usage: ${name} SIZE SEED `));
}

it.each([
  { args: ['3'] },
  { args: ['', '1'] },
  { args: ['x', '1'] },
  { args: ['-1', '1'] },
  { args: ['999999999', '1'] },
  { args: ['3', '4294967296'] },
  { args: ['18446744073709551619', '1'] },
])('the numbers of $args are refused', ({ args }) => {
  expectUsageError('apsp', args);
});

it('apsp --print-rows prints a digest of each row as well', () => {
  const rows = rowDigests(20, 3).map((digest, row) => `row ${row} ${hex(digest)}\n`);
  const result = `apsp size=20 seed=3 digest=${hex(referenceDigests.apsp(20, 3))}\n`;
  expect(runPlain('apsp', ['20', '3', '--print-rows']).stdout).toBe(rows.join('') + result);
});

it.each([1, 33, 50])('matmul --int32 of size %i multiplies integers', (size) => {
  const result = `matmul size=${size} seed=2 digest=${hex(integerProductDigest(size, 2))}\n`;
  expect(runPlain('matmul', [String(size), '2', '--int32']).stdout).toBe(result);
});

it.each(names)('%s with the calls that direct checkpoints prints the same', (name) => {
  const [{ size, seed, digest }] = promisedDigests(name);
  const module = new WebAssembly.Module(readFileSync(path(`dist/workloads/${name}.directed.wasm`)));
  const modules = new Set(WebAssembly.Module.imports(module).map((entry) => entry.module));
  expect([...modules].toSorted()).toEqual(['continuo', 'wasi_snapshot_preview1']);
  const command = [path('dist/command/main.js'), 'run', path(`dist/workloads/${name}.directed.wasm`)];
  const { stdout } = spawnSync(process.execPath, [...command, String(size), String(seed)], { encoding: 'utf8' });
  expect(stdout).toBe(`${name} size=${size} seed=${seed} digest=${digest}\n`);
});

it.each([
  { name: 'apsp', size: 200, pages: (n: number) => 2 * Math.ceil((n * n * 8) / 4096) + Math.ceil(n / 4096) + 2 },
  { name: 'floyd-warshall', size: 200, pages: (n: number) => Math.ceil((n * n * 8) / 4096) + 2 },
  { name: 'matmul', size: 200, pages: (n: number) => 2 * Math.ceil((n * n * 8) / 4096) + 2 },
  { name: 'fib', size: 10, pages: () => 2 },
  { name: 'sort', size: 100_000, pages: (n: number) => 3 * Math.ceil((n * 8) / 4096) + 2 },
])('$name takes the memory that its head says', ({ name, size, pages }) => {
  expect(finalMemoryPages(name, [String(size), '1'])).toBe(Math.ceil(pages(size) / 16));
});
