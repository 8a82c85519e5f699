/** Programs of the tests, in text format. */

/** Prints what lies at address 16 of its memory: see `text`. */
const PRINT = `
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func $print (param $address i32) (param $length i32)
    (i32.store (i32.const 0) (local.get $address))
    (i32.store (i32.const 4) (local.get $length))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))`;

/** Ends with an exit code, after printing a line where one is given. */
export const exits = (code: number, line = ''): string => `(module ${PRINT}
  (data (i32.const 16) "${line}\\n")
  (func (export "_start")
    ${line === '' ? '' : `(call $print (i32.const 16) (i32.const ${line.length + 1}))`}
    (call $proc_exit (i32.const ${code}))))`;

/** Prints a line to standard error and to standard output, then runs a loop that never ends. */
export const printsAndLoops = (line: string): string => `(module ${PRINT}
  (data (i32.const 16) "${line}\\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const ${line.length + 1}))
    (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $print (i32.const 16) (i32.const ${line.length + 1}))
    (loop $again (br $again))))`;

/** Prints a line and traps. */
export const printsAndTraps = (line: string): string => `(module ${PRINT}
  (data (i32.const 16) "${line}\\n")
  (func (export "_start")
    (call $print (i32.const 16) (i32.const ${line.length + 1}))
    unreachable))`;

/** Prints so many pieces of 4096 bytes, of `0`, `1` and so on, at once. */
export const printsMuch = (count: number): string => `(module ${PRINT}
  (func (export "_start") (local $piece i32)
    (loop $pieces
      (memory.fill (i32.const 1024) (i32.add (i32.const 48) (local.get $piece)) (i32.const 4096))
      (call $print (i32.const 1024) (i32.const 4096))
      (local.set $piece (i32.add (local.get $piece) (i32.const 1)))
      (br_if $pieces (i32.lt_u (local.get $piece) (i32.const ${count}))))))`;

export const LARGE_PIECE_BYTES = 300_000;

/** Writes three pieces, of `A`, `B` and `C`, by one call that it expects to write all of them; otherwise it traps. */
export const PRINTS_AT_ONCE = `(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start") (local $piece i32)
    (loop $pieces
      (i32.store (i32.mul (local.get $piece) (i32.const 8)) (i32.add (i32.const 4096) (i32.mul (local.get $piece) (i32.const ${LARGE_PIECE_BYTES}))))
      (i32.store offset=4 (i32.mul (local.get $piece) (i32.const 8)) (i32.const ${LARGE_PIECE_BYTES}))
      (memory.fill (i32.load (i32.mul (local.get $piece) (i32.const 8))) (i32.add (i32.const 65) (local.get $piece)) (i32.const ${LARGE_PIECE_BYTES}))
      (local.set $piece (i32.add (local.get $piece) (i32.const 1)))
      (br_if $pieces (i32.lt_u (local.get $piece) (i32.const 3))))
    (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 64)) (then unreachable))
    (if (i32.ne (i32.load (i32.const 64)) (i32.const ${3 * LARGE_PIECE_BYTES})) (then unreachable))))`;

/** One loop without calls that never ends. */
export const LOOPS = `(module (memory (export "memory") 1)
  (func $spin (export "_start") (local $turns i64)
    (loop $again
      (local.set $turns (i64.add (local.get $turns) (i64.const 1)))
      (i64.store (i32.const 8) (local.get $turns))
      (br $again))))`;

/** Writes to each of 256 pages in turn, for ever. */
export const WRITES = `(module (memory (export "memory") 16)
  (func (export "_start") (local $address i32)
    (loop $again
      (local.set $address (i32.and (i32.add (local.get $address) (i32.const 1028)) (i32.const 0xffffc)))
      (i32.store (local.get $address) (i32.add (i32.load (local.get $address)) (i32.const 1)))
      (br $again))))`;

/** Traps three calls deep. */
export const TRAPS = `(module (memory (export "memory") 1)
  (func $divide (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func $average (param i32) (result i32) (call $divide (i32.const 1) (local.get 0)))
  (func (export "_start") (drop (call $average (i32.const 0)))))`;

/** Runs a loop for a while, two calls deep, and then leaves its memory. */
export const trapsAfter = (turns: number): string => `(module (memory (export "memory") 1)
  (func $reach (param $address i32) (local $turn i32)
    (loop $again
      (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
      (i32.store (i32.const 64) (local.get $turn))
      (br_if $again (i32.lt_u (local.get $turn) (i32.const ${turns}))))
    (i32.store (local.get $address) (local.get $turn)))
  (func (export "_start") (call $reach (i32.const 0x10000))))`;

/** Calls itself until the stack ends. */
export const RECURSES = `(module (memory (export "memory") 1)
  (func $deeper (param i32) (result i32)
    (i32.add (i32.const 1) (call $deeper (i32.add (local.get 0) (i32.const 1)))))
  (func (export "_start") (drop (call $deeper (i32.const 0)))))`;

/** Fills 64 MiB again and again without a loop: some seconds in which it passes no safepoint. */
export const fills = (times: number): string => `(module (memory (export "memory") 1024)
  (func (export "_start")
    ${'(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x4000000))'.repeat(times)}))`;

/** Copies standard input to standard output, piece by piece, and says when it waits and when it is done. */
export const COPIES = `(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  ${PRINT}
  (data (i32.const 16) "ready\\n") (data (i32.const 32) "end\\n")
  (func (export "_start")
    (call $print (i32.const 16) (i32.const 6))
    (block $done
      (loop $again
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 1000))
        (br_if $done (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
        (br_if $done (i32.eqz (i32.load (i32.const 8))))
        (call $print (i32.const 1024) (i32.load (i32.const 8)))
        (br $again)))
    (call $print (i32.const 32) (i32.const 4))))`;

/** Prints one piece of standard input. */
export const READS_ONCE = `(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  ${PRINT}
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024))
    (i32.store (i32.const 4) (i32.const 1000))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $print (i32.const 1024) (i32.load (i32.const 8)))))`;

/** Sleeps so many milliseconds in one poll_oneoff, and says when it begins and ends. */
export const sleeps = (ms: number): string => `(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  ${PRINT}
  (data (i32.const 16) "asleep\\n") (data (i32.const 32) "awake\\n")
  (func (export "_start")
    (call $print (i32.const 16) (i32.const 7))
    (i64.store (i32.const 64) (i64.const 7))      ;; userdata
    (i32.store8 (i32.const 72) (i32.const 0))     ;; a clock
    (i32.store (i32.const 80) (i32.const 1))      ;; the monotonic one
    (i64.store (i32.const 88) (i64.const ${ms}000000)) ;; from now on, nanoseconds
    (if (call $poll_oneoff (i32.const 64) (i32.const 128) (i32.const 1) (i32.const 8))
      (then (call $proc_exit (i32.const 1))))
    (if (i32.ne (i32.load (i32.const 8)) (i32.const 1)) (then (call $proc_exit (i32.const 2))))
    (call $print (i32.const 32) (i32.const 6))))`;

/** Prints its arguments, or its environment, a line each. */
export const prints = (what: 'args' | 'environ'): string => `(module
  (import "wasi_snapshot_preview1" "${what}_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "${what}_get" (func $get (param i32 i32) (result i32)))
  ${PRINT}
  (func (export "_start") (local $at i32) (local $end i32)
    (drop (call $sizes (i32.const 16) (i32.const 20)))
    (drop (call $get (i32.const 1024) (i32.const 4096)))
    (local.set $at (i32.const 4096))
    (local.set $end (i32.add (i32.const 4096) (i32.load (i32.const 20))))
    (block $done
      (loop $again
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eqz (i32.load8_u (local.get $at))) (then (i32.store8 (local.get $at) (i32.const 10))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $again)))
    (call $print (i32.const 4096) (i32.load (i32.const 20)))))`;

/**
 * Prints numbers from 1 to `count`, three digits and a line each, with `turns` turns of a loop before each: output that
 * flows while it runs. Ends with exit code 7.
 */
export const counts = (count: number, turns: number): string => `(module ${PRINT}
  (func $digit (param $address i32) (param $value i32)
    (i32.store8 (local.get $address) (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10)))))
  (func (export "_start") (local $number i32) (local $turn i32)
    (loop $numbers
      (local.set $number (i32.add (local.get $number) (i32.const 1)))
      (local.set $turn (i32.const ${turns}))
      (loop $turns
        (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (local.get $turn)))
        (br_if $turns (local.tee $turn (i32.sub (local.get $turn) (i32.const 1)))))
      (call $digit (i32.const 16) (i32.div_u (local.get $number) (i32.const 100)))
      (call $digit (i32.const 17) (i32.div_u (local.get $number) (i32.const 10)))
      (call $digit (i32.const 18) (local.get $number))
      (i32.store8 (i32.const 19) (i32.const 10))
      (call $print (i32.const 16) (i32.const 4))
      (br_if $numbers (i32.lt_u (local.get $number) (i32.const ${count}))))
    (call $proc_exit (i32.const 7))))`;

/** What `counts` prints. */
export const counted = (count: number): string =>
  Array.from({ length: count }, (_, k) => `${String(k + 1).padStart(3, '0')}\n`).join('');
