import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const path = (relative: string): string => fileURLToPath(new URL(`../../${relative}`, import.meta.url));

const build = spawnSync(process.execPath, [path('bench/kernels/build.mjs'), '--optional'], { encoding: 'utf8' });
const kernels = readdirSync(path('bench/kernels'))
  .filter((file) => /\.(c|ts)$/.test(file))
  .map((file) => ({ name: basename(file, extname(file)), source: path(`bench/kernels/${file}`) }));
/** Kernels in C are there only where clang is; the build has said so. */
const built = kernels.filter(({ name }) => existsSync(path(`dist/kernels/${name}.wasm`)));

it('the kernels compile, or the build names what is missing', () => {
  expect(build.status, build.stderr).toBe(0);
  if (built.length < kernels.length) expect(build.stderr).toMatch(/were not built: (clang|wasm-ld)/);
  expect(built.map(({ name }) => name)).toEqual(expect.arrayContaining(['as-floyd', 'as-mm']));
});

describe.each(built)('kernel $name', ({ name, source }) => {
  const module = new WebAssembly.Module(readFileSync(path(`dist/kernels/${name}.wasm`)));

  it('imports nothing and exports setup, run and memory', () => {
    expect(WebAssembly.Module.imports(module)).toEqual([]);
    const exports = WebAssembly.Module.exports(module).map((entry) => entry.name);
    expect(exports.toSorted()).toEqual(['memory', 'run', 'setup']);
  });

  it('gives the digest of its head, at every run', () => {
    const promised = /^\/\/ Result: (0x[0-9a-f]{8})$/m.exec(readFileSync(source, 'utf8'))?.[1];
    const { setup, run } = new WebAssembly.Instance(module).exports;
    if (typeof setup !== 'function' || typeof run !== 'function') throw new Error('setup and run are no functions');
    setup();
    for (let time = 0; time < 2; time++) {
      const digest = Number(run()) >>> 0;
      expect(`0x${digest.toString(16).padStart(8, '0')}`).toBe(promised);
    }
  });
});
