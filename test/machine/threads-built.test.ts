/** Programs built for threads run as jobs as long as they start none. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RunningCommand, continuo, program, scratch } from '../cli/continuo.ts';

/** A command as linkers for wasi-threads make it: its memory is imported, and locks guard what it does. */
const threadsBuilt = (iterations: number, body = ''): string => `(module
  (import "env" "memory" (memory 2 16 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (export "memory" (memory 0)) (export "wasi_thread_start" (func $thread))
  (data $text "0123456789abcdef")
  (func $thread (param i32 i32))
  (func $lock
    (loop $again
      (if (i32.atomic.rmw.cmpxchg (i32.const 4) (i32.const 0) (i32.const 1)) (then
        (drop (memory.atomic.wait32 (i32.const 4) (i32.const 1) (i64.const -1)))
        (br $again)))))
  (func $unlock
    (i32.atomic.store (i32.const 4) (i32.const 0))
    (drop (memory.atomic.notify (i32.const 4) (i32.const 1))))
  (func $start
    (if (i32.eqz (i32.atomic.rmw.cmpxchg (i32.const 0) (i32.const 0) (i32.const 1))) (then
      (memory.init $text (i32.const 64) (i32.const 0) (i32.const 16))))
    (data.drop $text))
  (func (export "_start") (local $n i32)
    ${body}
    (local.set $n (i32.const ${iterations}))
    (loop $next
      (call $lock)
      (drop (i64.atomic.rmw.add offset=1024 (i32.and (i32.mul (local.get $n) (i32.const 8)) (i32.const 0xfff8))
        (i64.extend_i32_u (local.get $n))))
      (drop (i64.atomic.rmw.xor (i32.const 16) (i64.rotl (i64.atomic.load (i32.const 16)) (i64.extend_i32_u (local.get $n)))))
      (i64.atomic.store (i32.const 16) (i64.add (i64.mul (i64.atomic.load (i32.const 16)) (i64.const 31))
        (i64.atomic.load offset=1024 (i32.and (i32.mul (local.get $n) (i32.const 40)) (i32.const 0xfff8)))))
      (call $unlock)
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.set $n (i32.const 16))
    (loop $next
      (i32.store8 (i32.add (i32.const 127) (local.get $n))
        (i32.load8_u offset=64 (i32.wrap_i64 (i64.and (i64.load (i32.const 16)) (i64.const 15)))))
      (i64.store (i32.const 16) (i64.shr_u (i64.load (i32.const 16)) (i64.const 4)))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.store8 (i32.const 144) (i32.const 10))
    (i32.store (i32.const 32) (i32.const 128)) (i32.store (i32.const 36) (i32.const 17))
    (drop (call $write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40))))
  (start $start))`;

it('with locks, killed and gone on with, in all its memory and in some of it', { timeout: 240_000 }, async () => {
  const folder = scratch();
  const wasm = program(folder, 'locks', threadsBuilt(12_000_000));
  const uninterrupted = await continuo(['run', wasm]);
  expect(uninterrupted).toMatchObject({ exitCode: 0, stderr: '' });
  expect(uninterrupted.stdout).toMatch(/^[0-9a-f]{16}\n$/);
  for (const memory of [[], ['--memory', '16p']]) {
    const args = [
      'run',
      '--job',
      join(folder, `job${memory.length}`),
      '--interval',
      '30ms',
      ...memory,
      '--verbose',
      wasm,
    ];
    let output = '';
    for (let kills = 0; kills < 3; kills++) {
      const running = new RunningCommand(args);
      await running.waitFor(`checkpoint ${2 * kills + 2} `);
      running.kill('SIGKILL');
      output += (await running.ended).stdout;
    }
    const last = await continuo(args);
    expect(last.exitCode, last.stderr).toBe(0);
    expect(output + last.stdout).toBe(uninterrupted.stdout);
  }
});

it('until they start one, which ends the run with the reason', async () => {
  const wasm = program(scratch(), 'spawns', threadsBuilt(1, '(drop (call $spawn (i32.const 7)))'));
  const { exitCode, stdout, stderr } = await continuo(['run', wasm]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toMatch(
    /^continuo: .*the program starts a thread \(wasi\.thread-spawn\), which Continuo does not support: a program that is built for threads runs as long as it starts none\n$/,
  );
});

it('until they wait for one', async () => {
  const body = '(i32.store (i32.const 4) (i32.const 1)) (call $lock)';
  const { exitCode, stderr } = await continuo(['run', program(scratch(), 'waits', threadsBuilt(1, body))]);
  expect(exitCode).toBe(134);
  expect(stderr).toContain('the program trapped: unreachable');
});
