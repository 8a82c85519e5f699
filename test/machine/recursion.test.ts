/** Recursion goes at least as deep as under plain Node.js, before captures and after them. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RunningCommand, continuo, program, scratch } from '../cli/continuo.ts';

/** Shapes of recursion; each function counts down its first parameter and stops at 0, where `$bottom` is called. */
const shapes: Readonly<Record<string, string>> = {
  'one call': `(func $down (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (return (call $bottom))))
    (i32.add (call $down (i32.sub (local.get $n) (i32.const 1))) (i32.const 1)))`,
  'two calls': `(func $down (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then (return (call $bottom))))
    (if (i32.lt_s (local.get $n) (i32.const 0)) (then (return (i32.const 0))))
    (i32.add (call $down (i32.sub (local.get $n) (i32.const 1))) (call $down (i32.const -1))))`,
  'mutual calls': `(func $down (param $n i32) (result i32)
      (if (i32.eqz (local.get $n)) (then (return (call $bottom))))
      (i32.add (call $other (i32.sub (local.get $n) (i32.const 1)) (local.get $n)) (i32.const 1)))
    (func $other (param $n i32) (param $m i32) (result i32)
      (if (i32.eqz (local.get $n)) (then (return (call $bottom))))
      (i32.add (call $down (i32.sub (local.get $n) (i32.const 1))) (local.get $m)))`,
  'ten locals': `(func $down (param $n i32) (result i32)
    (local $a i32) (local $b i32) (local $c i64) (local $d i64) (local $e i64) (local $f f64) (local $g f64) (local $h f32) (local $i i32)
    (if (i32.eqz (local.get $n)) (then (return (call $bottom))))
    (local.set $a (i32.load (local.get $n))) (local.set $b (i32.load offset=4 (local.get $n)))
    (local.set $c (i64.load (local.get $n))) (local.set $d (i64.load offset=8 (local.get $n)))
    (local.set $e (i64.load offset=16 (local.get $n))) (local.set $f (f64.load (local.get $n)))
    (local.set $g (f64.load offset=8 (local.get $n))) (local.set $h (f32.load (local.get $n)))
    (local.set $i (call $down (i32.sub (local.get $n) (i32.const 1))))
    (i32.add (i32.add (i32.add (local.get $a) (local.get $b)) (local.get $i))
      (i32.add (i32.wrap_i64 (i64.add (local.get $c) (i64.add (local.get $d) (local.get $e))))
        (i32.trunc_sat_f64_s (f64.add (f64.promote_f32 (local.get $h)) (f64.add (local.get $f) (local.get $g)))))))`,
};

/** A command that recurses to a depth, waits there for a while in a loop, and returns; it exits with code 0. */
const recursive = (shape: string, depth: number, iterations: number): string => `(module (memory (export "memory") 32)
  (func $bottom (result i32) (local $i i32)
    (local.set $i (i32.const ${iterations}))
    (loop $wait
      (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.popcnt (local.get $i))))
      (br_if $wait (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
    (i32.const 1))
  ${shape}
  (func (export "_start") (drop (call $down (i32.const ${depth})))))`;

/** The greatest depth at which plain Node.js, as it is started by default, does not overflow its stack, to the last tenth. */
function plainDepth(folder: string, shape: string): number {
  const script = join(folder, 'plain.mjs');
  writeFileSync(
    script,
    `import { readFileSync } from 'node:fs';
     const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(process.argv[2])), {});
     exports._start();`,
  );
  const depthAt = (step: number): number => Math.ceil(1000 * 1.1 ** step);
  let [fits, overflows] = [0, 64];
  while (overflows - fits > 1) {
    const step = (fits + overflows) >>> 1;
    const words = [script, program(folder, 'plain', recursive(shape, depthAt(step), 1))];
    const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    if (status !== 0) expect(stderr).toContain('Maximum call stack size exceeded');
    if (status === 0) fits = step;
    else overflows = step;
  }
  expect(overflows).toBeLessThan(64);
  return depthAt(fits);
}

it.each(Object.entries(shapes))('%s', { timeout: 240_000 }, async (_, shape) => {
  const folder = scratch();
  const depth = plainDepth(folder, shape);
  expect(depth).toBeGreaterThan(4000);
  // Without captures there is room for much more.
  expect(await continuo(['run', program(folder, 'deeper', recursive(shape, 2 * depth, 1))])).toMatchObject({
    exitCode: 0,
  });
  const wasm = program(folder, 'deep', recursive(shape, depth, 400_000_000));
  const job = join(folder, 'job');
  const running = new RunningCommand(['run', '--job', job, '--interval', '20ms', '--verbose', wasm]);
  // The first checkpoints are of the stack at its deepest; then another process goes on from there.
  await running.waitFor('checkpoint 4 ');
  running.kill('SIGKILL');
  await running.ended;
  const resumed = await continuo(['resume', job, '--interval', '50ms', '--verbose']);
  expect(resumed).toMatchObject({ exitCode: 0 });
  expect(resumed.stderr).toMatch(/goes? on from|going on from/);
});
