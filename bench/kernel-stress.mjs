// Random programs paged, tracked and stopped at first writes by the kernel, or by mprotect, for a given time: each prints what it prints with all of its pages in memory,
// whatever the frames, the replacement, the policy, saves beside the program, checkpoints, kills, stops, signals, garbage collections, other threads with work and output of
// their own, and compactions of the system's memory (where that may be asked for). A run that hangs is a failure too.
//   node bench/kernel-stress.mjs [--seconds N] [--seed N] [--result FILE, to which the figures are added]
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';
import { machineFacts, parseArguments, writeResult } from './measure.mjs';

const { options } = parseArguments({ seconds: '60', seed: String(Date.now() % 1_000_000), result: '' });
const HANG_MS = 60_000;
const WATCH_EVERY_MS = 1000;
/** Of a second; a process that uses less does nothing. */
const IDLE_SHARE = 0.01;
const LIVES_MAX = 12;
const STDERR_MAX = 20_000;
const COMPACT = '/proc/sys/vm/compact_memory';
const COMPACT_EVERY_MS = 250;
const RECORD_EVERY_MS = 60_000;
const POLICIES = ['continuous', 'continuous', 'incremental', 'sequential'];
const STORES = ['i32.store8', 'i32.store16', 'i32.store'];
const LOADS = ['i32.load8_u', 'i32.load16_u', 'i32.load'];
const command = fileURLToPath(new URL('../dist/command/main.js', import.meta.url));
const company = new URL('kernel-stress-company.mjs', import.meta.url).href;
const assembler = await wabt();
const startMs = performance.now();
const endMs = startMs + 1000 * Number(options.seconds);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-kernel-stress-'));
const firstSeed = Number(options.seed);
const compacts = mayCompact();
const figures = {
  ...machineFacts(),
  commit: commitOfThis(),
  compacts,
  seconds: 0,
  seeds: [firstSeed, firstSeed],
  programs: 0,
  lives: 0,
  killed: 0,
  stopped: 0,
  signals: 0,
  withCollections: 0,
  withCompany: 0,
  pagedByKernel: 0,
  trackedByKernel: 0,
  protectedByKernel: 0,
  protectedByMprotect: 0,
  hangs: 0,
  failures: [],
};
const earlier =
  options.result !== '' && fs.existsSync(options.result) ? JSON.parse(fs.readFileSync(options.result)).slices : [];
let recordedMs = startMs;
console.log(`seed ${firstSeed}`);
try {
  for (let seed = firstSeed; performance.now() < endMs; seed++) {
    try {
      await stress(seed);
    } catch (error) {
      figures.failures.push({ seed, what: error.message.slice(0, 2000) });
      console.error(error.message);
    }
    figures.programs++;
    figures.seeds[1] = seed;
    if (performance.now() - recordedMs > RECORD_EVERY_MS) record();
  }
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
record();
const { programs, lives, failures } = figures;
if (failures.length === 0)
  console.log(`${programs} programs in ${lives} lives: every one printed what it should, none hung`);
else
  console.log(
    `${programs} programs in ${lives} lives: ${failures.length} failed, seeds ${failures.map(({ seed }) => seed).join(', ')}`,
  );
process.exitCode = failures.length === 0 ? 0 : 1;

function record() {
  recordedMs = performance.now();
  figures.seconds = Math.round((recordedMs - startMs) / 1000);
  if (options.result === '') return;
  const slices = [...earlier, figures];
  const sum = (name) => slices.reduce((total, slice) => total + slice[name], 0);
  const totals = { programs: sum('programs'), lives: sum('lives'), seconds: sum('seconds'), hangs: sum('hangs') };
  writeResult(options.result, { ...totals, failures: slices.flatMap((slice) => slice.failures).length, slices });
}

function commitOfThis() {
  const cwd = path.dirname(fileURLToPath(import.meta.url));
  return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd, encoding: 'utf8' }).trim();
}

/** Compaction moves pages of whoever it likes to other places of the memory, at any time. */
function mayCompact() {
  try {
    fs.accessSync(COMPACT, fs.constants.W_OK);
  } catch {
    return false;
  }
  setInterval(() => fs.writeFile(COMPACT, '1', () => {}), COMPACT_EVERY_MS).unref();
  return true;
}

/** A program without a budget is what the others are held against. */
async function stress(seed) {
  const random = generator(seed);
  const program = path.join(folder, 'program.wasm');
  fs.writeFileSync(
    program,
    assembler.parseWat('random.wat', randomProgram(random), { bulk_memory: true, simd: true }).toBinary({}).buffer,
  );
  // Into a file: a pipe takes a part of a large write at times, and these programs write once.
  const expected = path.join(folder, 'expected');
  const plain = spawnSync(process.execPath, [command, 'run', '--tracker', 'software', '--stdout', expected, program], {
    encoding: 'latin1',
    timeout: HANG_MS,
  });
  if (plain.status !== 0) throw new Error(`seed ${seed}: the program itself fails: ${plain.stderr.slice(-1000)}`);
  const output = path.join(folder, 'output');
  const policy = POLICIES[random(POLICIES.length)];
  const job = path.join(folder, 'job');
  try {
    for (let life = 0; ; life++) {
      const place = ['--job', job, '--stdout', output, '--policy', policy];
      const { status, stderr, args } = await live(random, life, place, program);
      figures.lives++;
      if (status === 0) break;
      // 85: it was stopped by a signal; null: it was killed.
      if (status !== 85 && status !== null)
        throw new Error(`seed ${seed}, life ${life}: ended with ${status}: ${args.join(' ')}: ${stderr}`);
    }
    if (Buffer.compare(fs.readFileSync(output), fs.readFileSync(expected)) !== 0)
      throw new Error(`seed ${seed}: the output is another one`);
  } finally {
    fs.rmSync(job, { recursive: true, force: true });
    for (const file of [output, expected]) fs.rmSync(file, { force: true });
  }
}

/** One process, signalled at any time, and killed or stopped at some time unless it is the last one. */
function live(random, life, place, program) {
  const collects = random(3) === 0;
  const hasCompany = random(2) === 0;
  const engine = [
    ...(collects ? [`--gc-interval=${100 + random(2000)}`, '--stress-compaction'] : []),
    ...(hasCompany ? ['--expose-gc', '--import', company] : []),
  ];
  const wanted = random(8) === 0 ? 'software' : 'kernel';
  const isPaged = random(3) === 0;
  const forks = random(3) === 0;
  const memory = isPaged ? ['--memory', `${16 + random(random(2) === 0 ? 16 : 300)}p`] : [];
  const replacement = isPaged ? ['--replacement', random(2) === 0 ? 'lirs' : 'second-chance'] : [];
  const when = random(4) === 0 ? ['--interval', 'none'] : ['--interval', `${5 + random(60)}ms`];
  const isProtected = forks || place.includes('incremental');
  const isByMprotect = wanted === 'kernel' && isProtected && !isPaged && random(2) === 0;
  const tracker = isByMprotect ? 'mprotect' : wanted;
  const args = [...engine, command, 'run', ...place, '--tracker', tracker, ...memory, ...replacement, ...when];
  args.push(...(forks ? ['--fork'] : []), program);
  figures.withCollections += Number(collects);
  figures.withCompany += Number(hasCompany);
  if (tracker === 'mprotect') figures.protectedByMprotect++;
  if (tracker === 'kernel') {
    if (isPaged) figures.pagedByKernel += Number(!forks && place.includes('continuous'));
    else if (isProtected) figures.protectedByKernel++;
    else if (place.includes('continuous')) figures.trackedByKernel++;
  }
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('latin1').on('data', (text) => (stderr = (stderr + text).slice(-STDERR_MAX)));
  const fate = life >= LIVES_MAX || random(4) === 0 ? undefined : random(2) === 0 ? 'SIGKILL' : 'SIGTERM';
  const timers = [fate && setTimeout(() => child.kill(fate), 100 + random(900))];
  for (let signals = random(4); signals > 0; signals--) {
    const isHalted = random(2) === 0;
    const atMs = 150 + random(900);
    timers.push(setTimeout(() => signal(child, isHalted ? 'SIGSTOP' : 'SIGWINCH'), atMs));
    timers.push(setTimeout(() => signal(child, 'SIGCONT'), atMs + random(50)));
  }
  return new Promise((settle, fail) => {
    // By processor time, so that a machine with much other work is no hang: as long as it runs it gets so much of it, or none at all.
    let idleSinceMs = performance.now();
    let usedBeforeMs = 0;
    const watch = setInterval(() => {
      const usedMs = processorMs(child.pid);
      if (usedMs - usedBeforeMs > IDLE_SHARE * WATCH_EVERY_MS) idleSinceMs = performance.now();
      usedBeforeMs = usedMs;
      if (usedMs < HANG_MS && performance.now() - idleSinceMs < HANG_MS) return;
      clearInterval(watch);
      figures.hangs++;
      const threads = threadsOf(child.pid);
      child.kill('SIGKILL');
      fail(new Error(`a hang: ${args.join(' ')}\n${threads}\n${stderr}`));
    }, WATCH_EVERY_MS);
    child.on('close', (status) => {
      clearInterval(watch);
      for (const timer of timers) clearTimeout(timer);
      if (status === null) figures.killed++;
      if (status === 85) figures.stopped++;
      settle({ status, stderr, args });
    });
  });
}

function signal(child, name) {
  if (child.kill(name)) figures.signals++;
}

/** What a process and its threads have used of processors. */
function processorMs(pid) {
  try {
    const words = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ');
    return 10 * (Number(words[11]) + Number(words[12]));
  } catch (error) {
    // It has just ended.
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}

/** Where each thread of a process waits in the system, as far as it tells. */
function threadsOf(pid) {
  try {
    const threads = fs.readdirSync(`/proc/${pid}/task`);
    return threads.map((id) => `${id}: ${fs.readFileSync(`/proc/${pid}/task/${id}/wchan`, 'utf8')}`).join(', ');
  } catch (error) {
    return `(its threads are not to be seen: ${error.message})`;
  }
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
      (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
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
