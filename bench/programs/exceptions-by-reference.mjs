// Programs with exceptions in their first form, translated by Binaryen to the second, by reference: what a compiler of
// today makes of them.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { cached } from './cache.mjs';

const FEATURES =
  'exception-handling reference-types multivalue bulk-memory bulk-memory-opt sign-ext mutable-globals ' +
  'nontrapping-float-to-int';
const WORDS = ['--translate-to-exnref', ...FEATURES.split(' ').map((feature) => `--enable-${feature}`)];

/** The same program with its file translated. */
export function byReference(program) {
  return {
    ...program,
    async obtain() {
      const { file, source } = await program.obtain();
      const stamp = [fs.readFileSync(`${file}.stamp`, 'utf8'), ...WORDS].join('\n');
      const name = `wasm/${program.name}-by-reference.wasm`;
      return { file: await cached(name, stamp, (output) => translate(file, output)), source };
    },
  };
}

function translate(file, output) {
  const folder = path.dirname(createRequire(import.meta.url).resolve('binaryen'));
  const tool = path.join(folder, 'bin', 'wasm-opt');
  const { status, stderr } = spawnSync(process.execPath, [tool, ...WORDS, file, '-o', output], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`wasm-opt failed:\n${stderr}`);
}
