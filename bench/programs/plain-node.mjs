// A program under plain Node: node:wasi, the WASI layer that Continuo is held against.
//   node --no-turbo-fast-api-calls plain-node.mjs SPECIFICATION, a JSON file: program, args, directories, stdout, figures
// Without that flag node:wasi of Node 20 aborts at random on programs that write much.
import fs from 'node:fs';
import { WASI } from 'node:wasi';

const { program, args, directories, env, stdout, figures } = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const output = fs.openSync(stdout, 'w');
const wasi = new WASI({
  version: 'preview1',
  args: [program, ...args],
  env,
  preopens: Object.fromEntries(directories.map(([host, guest]) => [guest, host])),
  returnOnExit: true,
  stdout: output,
});
const bytes = fs.readFileSync(program);
const compileStartMs = performance.now();
const module = await WebAssembly.compile(bytes);
const compileMs = performance.now() - compileStartMs;
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
const startMs = performance.now();
const exitCode = wasi.start(instance);
const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
const guestMs = performance.now() - startMs;
const cpuMs = (userCPUTime + systemCPUTime) / 1000;
fs.writeFileSync(figures, JSON.stringify({ compileMs, guestMs, cpuMs, maxRssKb: maxRSS }));
process.exitCode = exitCode;
