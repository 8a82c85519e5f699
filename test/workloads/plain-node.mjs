/**
 * Runs a WASI command under `node:wasi`, as the reference for everything that Continuo runs:
 *
 *   node --no-turbo-fast-api-calls plain-node.mjs PROGRAM [ARGUMENTS…]
 *
 * The flag is needed: Node 20.20 aborts at random on programs with much output without it. The environment is not empty
 * because `environ_get` fails there when it is.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { WASI } from 'node:wasi';

process.removeAllListeners('warning');
const [program, ...args] = process.argv.slice(2);
const wasi = new WASI({ version: 'preview1', args: [basename(program, '.wasm'), ...args], env: { LANG: 'C' } });
const module = new WebAssembly.Module(readFileSync(program));
const instance = new WebAssembly.Instance(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
