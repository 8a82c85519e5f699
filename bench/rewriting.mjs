// Speed of rewriting and growth of code, over every program at hand: workloads, kernels, and files named.
//   node bench/rewriting.mjs [--rounds N] [--json FILE] [module.wasm …]
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { rewriteModule } from '../dist/rewrite/rewrite.js';
import { decodeModule } from '../dist/wasm/module.js';
import { geometricMean, machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const { options, rest } = parseArguments({ rounds: '5', json: '' });
const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const files = ['workloads', 'kernels'].flatMap((folder) =>
  fs.existsSync(path.join(dist, folder))
    ? fs
        .readdirSync(path.join(dist, folder))
        .filter((name) => name.endsWith('.wasm'))
        .map((name) => path.join(dist, folder, name))
    : [],
);
const modules = [...files, ...rest].map(measure);
const growth = geometricMean(modules.map(({ codeGrowth }) => codeGrowth));
console.log(`geometric mean of code growth ${growth.toFixed(2)}`);
if (options.json)
  writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), modules, codeGrowth: growth });

function measure(file) {
  const bytes = new Uint8Array(fs.readFileSync(file));
  const times = [];
  let rewritten;
  for (let round = 0; round < Number(options.rounds); round++) {
    const from = performance.now();
    rewritten = rewriteModule(decodeModule(bytes), { tracking: 'software', counting: false });
    times.push(performance.now() - from);
  }
  const ms = median(times);
  const result = {
    name: path.basename(file),
    bytes: bytes.length,
    functions: rewritten.module.functionTypes.length,
    ms,
    megabytesPerSecond: bytes.length / 1000 / ms,
    codeGrowth: rewritten.bytes.length / bytes.length,
  };
  console.log(
    `${result.name.padEnd(24)} ${String(result.bytes).padStart(9)} bytes  ${ms.toFixed(1).padStart(8)} ms  ${result.megabytesPerSecond.toFixed(1).padStart(6)} MB/s  ×${result.codeGrowth.toFixed(2)}`,
  );
  return result;
}
