// Peak resident memory of the process for a guest of 1 GB in 64 MB of frames, above that of a guest that does nothing.
//   node bench/paging-memory.mjs [--rounds N] [--json FILE]
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { machineFacts, median, parseArguments, writeResult } from './measure.mjs';

const GUEST_MB = 1024;
const FRAMES_MB = 64;
const EMPTY = '(module (memory (export "memory") 1) (func (export "_start")))';
/** Writes eight words to each page of its memory, then reads them all and traps unless they are what it wrote. */
const LARGE = `(module (memory (export "memory") ${GUEST_MB * 16})
  (func (export "_start") (local $at i32)
    (loop $write
      (i64.store (local.get $at) (i64.mul (i64.extend_i32_u (i32.add (local.get $at) (i32.const 1))) (i64.const 0x9e3779b97f4a7c15)))
      (br_if $write (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 512))) (i32.const ${GUEST_MB * 2 ** 20}))))
    (local.set $at (i32.const 0))
    (loop $read
      (if (i64.ne (i64.load (local.get $at))
                  (i64.mul (i64.extend_i32_u (i32.add (local.get $at) (i32.const 1))) (i64.const 0x9e3779b97f4a7c15)))
        (then unreachable))
      (br_if $read (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 512))) (i32.const ${GUEST_MB * 2 ** 20}))))))`;

const { options } = parseArguments({ rounds: '3', json: '' });
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-memory-'));
try {
  const assembler = await wabt();
  const paths = Object.entries({ empty: EMPTY, large: LARGE }).map(([name, text]) => {
    const file = path.join(folder, `${name}.wasm`);
    fs.writeFileSync(file, assembler.parseWat(name, text).toBinary({}).buffer);
    return file;
  });
  const rounds = Array.from({ length: Number(options.rounds) }, () => paths.map(peakOf));
  const [emptyMb, largeMb] = [0, 1].map((k) => median(rounds.map((round) => round[k])));
  const result = { guestMb: GUEST_MB, framesMb: FRAMES_MB, emptyMb, largeMb, aboveMb: largeMb - emptyMb };
  console.log(JSON.stringify(result));
  if (options.json) writeResult(options.json, { ...machineFacts(), rounds: Number(options.rounds), ...result });
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}

/** Peak resident memory of a run, in MB, as GNU time tells. */
function peakOf(program) {
  const job = path.join(folder, 'job');
  const words = ['run', '--job', job, '--fresh', '--memory', `${FRAMES_MB}MB`, '--interval', '1s', program];
  const { status, stderr } = spawnSync('/usr/bin/time', ['-f', '%M', process.execPath, command, ...words], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`a run ended with ${status}: ${stderr}`);
  return Number(stderr.trim().split('\n').at(-1)) / 1024;
}
