import { assemble } from '../support/wat.ts';

/** How long the program sleeps in each of its rounds, nanoseconds: it takes about as long on a slow processor as on a fast one. */
const SLEEP_NS = 10_000_000;
const ITERATIONS = 2000;

/**
 * A WASI command that makes NaNs by all kinds of arithmetic, mixes their bits into a digest, sleeps, and prints the digest
 * after so many rounds.
 */
export function nanProgram(rounds: number): Uint8Array<ArrayBuffer> {
  return assemble(`(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $digest (mut i64) (i64.const 1))
    (func $mix (param $bits i64)
      (global.set $digest (i64.mul (i64.rotl (i64.xor (global.get $digest) (local.get $bits)) (i64.const 11))
        (i64.const 0x9e3779b97f4a7c15))))
    (func $round (param $n i32) (local $i i32) (local $x f64) (local $y f32) (local $sum f64) (local $v v128)
      (local.set $i (i32.const ${ITERATIONS}))
      (loop $next
        (local.set $x (f64.convert_i32_s (i32.sub (i32.and (local.get $i) (i32.const 255)) (i32.const 128))))
        (local.set $y (f32.demote_f64 (local.get $x)))
        (local.set $sum (f64.add (local.get $sum) (f64.sqrt (local.get $x))))
        (call $mix (i64.reinterpret_f64 (f64.sqrt (local.get $x))))
        (call $mix (i64.extend_i32_u (i32.reinterpret_f32
          (f32.div (f32.sub (local.get $y) (local.get $y)) (f32.sub (local.get $y) (local.get $y))))))
        (local.set $v (f32x4.div (f32x4.splat (f32.const 0)) (f32x4.splat (f32.mul (local.get $y) (f32.const 0)))))
        (v128.store (i32.const 256) (f64x2.add (v128.load (i32.const 256)) (f64x2.sqrt (f64x2.splat (local.get $x)))))
        (call $mix (i64x2.extract_lane 1 (local.get $v)))
        (call $mix (i64.load (i32.const 264)))
        (f64.store (i32.const 256) (f64.copysign (f64.const 1) (f64.load (i32.const 256))))
        (br_if $next (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
      (call $mix (i64.reinterpret_f64 (local.get $sum))))
    (func $sleep
      (i32.store8 (i32.const 40) (i32.const 0)) (i32.store (i32.const 48) (i32.const 1))
      (i64.store (i32.const 56) (i64.const ${SLEEP_NS}))
      (if (call $poll (i32.const 32) (i32.const 128) (i32.const 1) (i32.const 192)) (then (unreachable))))
    (func (export "_start") (local $n i32) (local $digit i32)
      (local.set $n (i32.const ${rounds}))
      (loop $next
        (call $round (local.get $n))
        (call $sleep)
        (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
      (local.set $n (i32.const 16))
      (loop $next
        (local.set $digit (i32.and (i32.wrap_i64 (global.get $digest)) (i32.const 15)))
        (i32.store8 (i32.add (i32.const 512) (local.tee $n (i32.sub (local.get $n) (i32.const 1))))
          (i32.add (local.get $digit) (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $digit) (i32.const 10)))))
        (global.set $digest (i64.shr_u (global.get $digest) (i64.const 4)))
        (br_if $next (local.get $n)))
      (i32.store8 (i32.const 528) (i32.const 10))
      (i32.store (i32.const 0) (i32.const 512)) (i32.store (i32.const 4) (i32.const 17))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))`);
}
