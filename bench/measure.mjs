// What the benchmarks share: arguments, medians, facts about the machine, result files.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function geometricMean(values) {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** `--name value` pairs over the defaults, and the other words. */
export function parseArguments(defaults) {
  const options = { ...defaults };
  const rest = [];
  const words = process.argv.slice(2);
  while (words.length > 0) {
    const word = words.shift();
    const name = word.startsWith('--') ? word.slice(2) : undefined;
    if (name === undefined) rest.push(word);
    else if (name in defaults && words.length > 0) options[name] = words.shift();
    else throw new Error(`unknown option or missing value: ${word}`);
  }
  return { options, rest };
}

export function machineFacts() {
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    v8: process.versions.v8,
    platform: `${process.platform} ${os.release().split('-')[0]} ${process.arch}`,
    processor: os.cpus()[0]?.model ?? 'unknown',
    cores: os.cpus().length,
  };
}

export function writeResult(file, result) {
  fs.writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
}

/** Milliseconds of a program under `node:wasi`, its code optimised from the start. */
export function plainMs(program, args) {
  const script = `
    const { WASI } = require('node:wasi');
    process.removeAllListeners('warning');
    const wasi = new WASI({ version: 'preview1', args: process.argv.slice(1), env: { LANG: 'C' } });
    const module = new WebAssembly.Module(require('node:fs').readFileSync(process.argv[1]));
    const instance = new WebAssembly.Instance(module, wasi.getImportObject());
    const startMs = performance.now();
    wasi.start(instance);
    console.error(performance.now() - startMs);
  `;
  const flags = ['--no-liftoff', '--no-wasm-lazy-compilation', '--no-turbo-fast-api-calls', '--no-warnings'];
  const words = [...flags, '-e', `${script.replace('console.error', 'console.log')}`, program, ...args];
  const printed = execFileSync(process.execPath, words, { encoding: 'utf8' });
  return Number(printed.trim().split('\n').at(-1));
}
