/** Programs of these tests, in text format. */

/** Names for everything; a loop in a called function, so that frames, operands, globals and a table say where it stands. */
export const NAMED = `(module
  (type $op (func (param i32) (result i32)))
  (table $ops 3 5 funcref) (elem (i32.const 0) $double $half)
  (memory (export "memory") 1)
  (global $steps (mut i64) (i64.const 0))
  (global $scale (mut f64) (f64.const 1.5))
  (global $limit i32 (i32.const 1000))
  (global $chosen (mut funcref) (ref.null func))
  (data (i32.const 0x8200) "hello, inspector")
  (func $double (type $op) (i32.shl (local.get 0) (i32.const 1)))
  (func $half (type $op) (i32.shr_u (local.get 0) (i32.const 1)))
  (func $work (param $first i32) (param $weight f64) (result i32) (local $sum i64) (local $unused i32)
    (loop $again
      (local.set $sum (i64.add (local.get $sum) (i64.extend_i32_u (local.get $first))))
      (i64.store (i32.and (i32.wrap_i64 (local.get $sum)) (i32.const 0x3ff8)) (local.get $sum))
      (global.set $steps (i64.add (global.get $steps) (i64.const 1)))
      (table.set $ops (i32.const 2) (ref.func $double))
      (global.set $scale (f64.add (local.get $weight) (f64.convert_i64_u (local.get $sum))))
      (br_if $again (i64.lt_u (global.get $steps) (i64.const 4000000000))))
    (i32.wrap_i64 (local.get $sum)))
  (func (export "_start") (local $kept i32)
    (global.set $chosen (ref.func $half))
    (local.set $kept (i32.const 77))
    (i32.store (i32.const 0x9000) (i32.add (i32.const 12) (call $work (i32.const 7) (f64.const 0.25))))
    (i32.store (i32.const 0x9004) (local.get $kept))))`;

/**
 * Overwrites the beginning of a file again and again and prints a line for each time: its effects need an undo journal, and its
 * output waits for a checkpoint.
 */
export const OVERWRITES = `(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "data") (data (i32.const 80) "a line\\n")
  (func (export "_start") (local $turn i32) (local $spin i32)
    ;; Made where it is missing; to be read and written.
    (if (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 1)
          (i64.const 0x46) (i64.const 0) (i32.const 0) (i32.const 16))
      (then (call $proc_exit (i32.const 9))))
    (i32.store (i32.const 0) (i32.const 32)) (i32.store (i32.const 4) (i32.const 8))
    (i32.store (i32.const 8) (i32.const 80)) (i32.store (i32.const 12) (i32.const 7))
    (loop $again
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (i32.store (i32.const 32) (local.get $turn))
      (i32.store (i32.add (i32.const 4096) (i32.and (local.get $turn) (i32.const 0xffc))) (local.get $turn))
      (drop (call $fd_pwrite (i32.load (i32.const 16)) (i32.const 0) (i32.const 1)
        (i64.extend_i32_u (i32.shl (i32.and (local.get $turn) (i32.const 3)) (i32.const 4))) (i32.const 20)))
      (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 20)))
      (local.set $spin (i32.const 4000000))
      (loop $turns
        (i32.store (i32.const 40) (i32.add (i32.load (i32.const 40)) (local.get $spin)))
        (br_if $turns (local.tee $spin (i32.sub (local.get $spin) (i32.const 1)))))
      (br $again))))`;

/** Fills three pages with bytes that follow from their address, grows its memory, and ends. */
export const FILLS = `(module (memory (export "memory") 1 2)
  (func (export "_start") (local $at i32)
    (loop $bytes
      (i32.store8 (local.get $at) (i32.mul (local.get $at) (i32.const 31)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $bytes (i32.lt_u (local.get $at) (i32.const 12000))))
    (drop (memory.grow (i32.const 1)))
    (i32.store (i32.const 0x1fffc) (i32.const 0x64636261))))`;
