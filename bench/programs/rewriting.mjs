// Measures the rewriting of one program in a process of its own and prints it as JSON: node rewriting.mjs FILE
import fs from 'node:fs';
import { rewriteModule } from '../../dist/rewrite/rewrite.js';
import { decodeModule } from '../../dist/wasm/module.js';

const bytes = fs.readFileSync(process.argv[2]);
const startMs = performance.now();
const module = decodeModule(bytes);
const rewritten = rewriteModule(module, { tracking: 'software', counting: false });
const rewriteMs = performance.now() - startMs;
const figures = {
  bytes: bytes.length,
  functions: module.bodies.length,
  rewriteMs,
  codeGrowth: codeBytes(rewritten.bytes) / codeBytes(bytes),
  moduleGrowth: rewritten.bytes.length / bytes.length,
  peakMemoryMb: process.resourceUsage().maxRSS / 1024,
};
console.log(JSON.stringify(figures));

/** Bytes of the code section alone: data would hide how much code grows. */
function codeBytes(module) {
  for (let at = 8; at < module.length;) {
    const id = module[at++];
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++];
      size += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    if (id === 10) return size;
    at += size;
  }
  return 0;
}
