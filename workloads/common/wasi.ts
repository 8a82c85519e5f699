// The part of WASI preview 1 that the workloads use. Decorators at top level break the linter and the formatter, so this
// file alone holds them and is ignored by both.

@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(argumentCount: usize, bytes: usize): i32;

@external("wasi_snapshot_preview1", "args_get")
declare function args_get(pointers: usize, bytes: usize): i32;

@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, vectors: usize, vectorCount: i32, written: usize): i32;

@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: i32): void;

/** Size of the array at `vectors` of (address, length) pairs that fd_write takes, for one pair, and its result word. */
const VECTOR_BYTES: i32 = 8;
const call = memory.data(16);

/** Writes all the bytes, in as many calls as the host needs; false when the host reports an error. */
export function writeAll(fd: i32, address: usize, lengthBytes: usize): bool {
  const written = call + VECTOR_BYTES;
  while (lengthBytes > 0) {
    store<u32>(call, <u32>address);
    store<u32>(call, <u32>lengthBytes, 4);
    if (fd_write(fd, call, 1, written) != 0) return false;
    const count = <usize>load<u32>(written);
    address += count;
    lengthBytes -= count;
  }
  return true;
}

/** Number of command-line arguments, the program's name included. */
export function argumentCount(): i32 {
  if (args_sizes_get(call, call + 4) != 0) return 0;
  return load<i32>(call);
}

/** Bytes of all arguments with their terminating zeros. */
export function argumentBytes(): usize {
  if (args_sizes_get(call, call + 4) != 0) return 0;
  return <usize>load<u32>(call, 4);
}

/** Fills `pointers` (4 bytes per argument) and `bytes`; false when the host reports an error. */
export function readArguments(pointers: usize, bytes: usize): bool {
  return args_get(pointers, bytes) == 0;
}

export function exit(code: i32): void {
  proc_exit(code);
  unreachable();
}

/** What the compiler calls in place of `env.abort`, which no WASI host has. */
export function stop(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}
