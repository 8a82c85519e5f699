// Random programs paged by the kernel, for a given time: each prints what it prints with all of its pages in memory, whatever the
// frames, the replacement, checkpoints, kills, signals and garbage collections. A run that hangs is a failure too.
//   node bench/kernel-stress.mjs [--seconds N] [--seed N]
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { parseArguments } from './measure.mjs';

const { options } = parseArguments({ seconds: '60', seed: String(Date.now() % 1_000_000) });
const HANG_MS = 60_000;
const LIVES_MAX = 12;
const STORES = ['i32.store8', 'i32.store16', 'i32.store'];
const LOADS = ['i32.load8_u', 'i32.load16_u', 'i32.load'];
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));
const assembler = await wabt();
const endMs = performance.now() + 1000 * Number(options.seconds);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-kernel-stress-'));
let programs = 0;
let lives = 0;
console.log(`seed ${options.seed}`);
try {
  for (let seed = Number(options.seed); performance.now() < endMs; seed++) {
    await stress(seed);
    programs++;
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
console.log(`${programs} programs in ${lives} lives: every one printed what it should, none hung`);

/** A program without a budget is what the others are held against. */
async function stress(seed) {
  const random = generator(seed);
  const program = path.join(folder, 'program.wasm');
  fs.writeFileSync(
    program,
    assembler.parseWat('random.wat', randomProgram(random), { bulk_memory: true, simd: true }).toBinary({}).buffer,
  );
  const plain = spawnSync(process.execPath, [command, 'run', program], { encoding: 'latin1', timeout: HANG_MS });
  if (plain.status !== 0) throw new Error(`seed ${seed}: the program itself fails: ${plain.stderr}`);
  const output = path.join(folder, 'output');
  const job = path.join(folder, 'job');
  for (let life = 0; ; life++) {
    const { status, stderr } = await live(random, life, ['--job', job, '--stdout', output], program);
    lives++;
    if (status === 0) break;
    // 85: it was stopped by a signal; null: it was killed.
    if (status !== 85 && status !== null)
      throw new Error(`seed ${seed}, life ${life}: ended with ${status}: ${stderr}`);
  }
  if (fs.readFileSync(output, 'latin1') !== plain.stdout) throw new Error(`seed ${seed}: the output is another one`);
  fs.rmSync(job, { recursive: true });
  fs.rmSync(output);
}

/** One process, killed or stopped at some time unless it is the last one. */
function live(random, life, place, program) {
  const engine = random(3) === 0 ? [`--gc-interval=${100 + random(2000)}`, '--stress-compaction'] : [];
  const tracker = random(8) === 0 ? 'software' : 'kernel';
  const memory = ['--memory', `${16 + random(random(2) === 0 ? 16 : 300)}p`];
  const replacement = ['--replacement', random(2) === 0 ? 'lirs' : 'second-chance'];
  const when = random(4) === 0 ? ['--interval', 'none'] : ['--interval', `${5 + random(60)}ms`];
  const args = [...engine, command, 'run', ...place, '--tracker', tracker, ...memory, ...replacement, ...when, program];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  const fate = life >= LIVES_MAX || random(4) === 0 ? undefined : random(2) === 0 ? 'SIGKILL' : 'SIGTERM';
  const kill = fate && setTimeout(() => child.kill(fate), 100 + random(900));
  return new Promise((settle, fail) => {
    const hang = setTimeout(() => {
      child.kill('SIGKILL');
      fail(new Error(`a hang: ${args.join(' ')}`));
    }, HANG_MS);
    child.on('close', (status) => {
      clearTimeout(hang);
      clearTimeout(kill);
      settle({ status, stderr });
    });
  });
}

/** Numbers below a bound that follow from a seed (mulberry32). */
function generator(seed) {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

/**
 * Loops over random accesses of all sizes, across pages too, copies, fills, growth and output; prints a digest of all it has read, and
 * at last one of its whole memory.
 */
function randomProgram(random) {
  const units = 4 + random(28);
  const mask = (1 << (Math.floor(Math.log2(units * 65536)) - 1)) - 1;
  const steps = Array.from({ length: 3 + random(10) }, () => randomStep(random, mask));
  return `(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") ${units} ${units + 8})
    (global $state (mut i32) (i32.const ${1 + random(1 << 30)}))
    (global $digest (mut i32) (i32.const 0))
    (func $next (result i32)
      (global.set $state (i32.add (i32.mul (global.get $state) (i32.const 1664525)) (i32.const 1013904223)))
      (i32.add (i32.const 4000) (i32.and (i32.shr_u (global.get $state) (i32.const 6)) (i32.const ${mask}))))
    (func $mix (param i32)
      (global.set $digest (i32.add (i32.rotl (global.get $digest) (i32.const 5)) (local.get 0))))
    (func $print
      (i32.store (i32.const 64) (global.get $digest))
      (i32.store (i32.const 0) (i32.const 64))
      (i32.store (i32.const 4) (i32.const 4))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "_start") (local $turn i32) (local $i i32)
      (loop $turns
        ${steps.join('\n        ')}
        (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
        (br_if $turns (i32.lt_u (local.get $turn) (i32.const ${20 + random(200)}))))
      (local.set $i (i32.const 4000))
      (loop $all
        (call $mix (i32.load (local.get $i)))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br_if $all (i32.lt_u (local.get $i) (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 8)))))
      (call $print)))`;
}

function randomStep(random, mask) {
  const times = (count, body) => `(local.set $i (i32.const ${count}))
        (loop ${body} (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))`;
  const lengthBytes = 1 + random(Math.min(mask, 40000));
  switch (random(9)) {
    case 0:
      return times(1 + random(300), `(${STORES[random(3)]} offset=${random(5000)} (call $next) (global.get $state))`);
    case 1:
      return times(1 + random(300), `(call $mix (${LOADS[random(3)]} offset=${random(5000)} (call $next)))`);
    case 2:
      return times(1 + random(100), '(v128.store (call $next) (v128.load (call $next)))');
    case 3:
      return `(memory.copy (call $next) (call $next) (i32.const ${lengthBytes}))`;
    case 4:
      return `(memory.fill (call $next) (global.get $state) (i32.const ${lengthBytes}))`;
    case 5:
      return `(drop (memory.grow (i32.eqz (i32.and (call $next) (i32.const 31)))))`;
    case 6:
      return '(if (i32.eqz (i32.and (call $next) (i32.const 15))) (then (call $print)))';
    case 7:
      // A sweep, so that there is something to read ahead.
      return times(
        Math.floor(mask / 4096),
        '(i64.store offset=4000 (i32.shl (local.get $i) (i32.const 12)) (i64.extend_i32_u (global.get $state)))',
      );
    default:
      // Output out of pages of which few can be there.
      return `(if (i32.eqz (i32.and (call $next) (i32.const 31))) (then
          (i32.store (i32.const 0) (call $next))
          (i32.store (i32.const 4) (i32.const ${lengthBytes}))
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`;
  }
}
