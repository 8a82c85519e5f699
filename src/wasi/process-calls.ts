/** Arguments, environment, clocks, randomness, exit; and sockets, which are refused. */
import { randomFillSync } from 'node:crypto';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { ClockId, SIGNAL_COUNT } from './abi.ts';
import type { CallContext, CallTable } from './call-context.ts';
import { ProcessExit } from './config.ts';
import { Errno } from './errno.ts';
import { storeNanoseconds } from './guest-clock.ts';

/** Strings as C programs get them: the bytes one after the other, each with a zero at its end. */
class StringList {
  readonly #strings: Buffer[];
  readonly #totalBytes: number;

  constructor(strings: readonly string[]) {
    this.#strings = strings.map((text) => Buffer.from(`${text}\0`, 'utf8'));
    this.#totalBytes = this.#strings.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  storeSizes(memory: GuestMemory, count: number, bytes: number): number {
    memory.setUint32(count, this.#strings.length);
    memory.setUint32(bytes, this.#totalBytes);
    return Errno.success;
  }

  store(memory: GuestMemory, pointers: number, buffer: number): number {
    let address = buffer;
    for (const [index, bytes] of this.#strings.entries()) {
      memory.setUint32(pointers + 4 * index, address);
      memory.write(address, bytes);
      address += bytes.length;
    }
    return Errno.success;
  }
}

/** Bytes of randomness made in one go; the limit of the host's generator is 2³¹ − 1. */
const RANDOM_BYTES_MAX = 1 << 20;

/** Random bytes made ahead, because a call of the generator costs more than the bytes of most requests. */
const randomPool = new Uint8Array(1024);
let randomUsedBytes = randomPool.length;

/** Bytes that nobody was given before and nobody will be again; valid until the next call. */
function takeRandom(lengthBytes: number): Uint8Array {
  if (randomUsedBytes + lengthBytes > randomPool.length) {
    randomFillSync(randomPool);
    randomUsedBytes = 0;
  }
  const bytes = randomPool.subarray(randomUsedBytes, randomUsedBytes + lengthBytes);
  randomUsedBytes += lengthBytes;
  return bytes;
}

export function processCalls(context: CallContext): CallTable {
  const { memory, config, clock, descriptors } = context;
  const programArguments = new StringList(config.arguments);
  const environment = new StringList(config.environment.map(([name, value]) => `${name}=${value}`));

  /** No descriptor is ever a socket: a connection could not be taken along to another process. */
  function noSocket(number: number): number {
    descriptors.get(number);
    return Errno.notsock;
  }

  return {
    args_sizes_get: (count: number, bytes: number) => programArguments.storeSizes(memory, count >>> 0, bytes >>> 0),
    args_get: (pointers: number, buffer: number) => programArguments.store(memory, pointers >>> 0, buffer >>> 0),
    environ_sizes_get: (count: number, bytes: number) => environment.storeSizes(memory, count >>> 0, bytes >>> 0),
    environ_get: (pointers: number, buffer: number) => environment.store(memory, pointers >>> 0, buffer >>> 0),

    clock_res_get(id: number, result: number): number {
      // The wall clock and the monotonic clock come from a timer of nanoseconds; processor time is counted in microseconds.
      if (id === ClockId.realtime || id === ClockId.monotonic) storeNanoseconds(memory, result >>> 0, 1e-6);
      else if (id === ClockId.processCpu || id === ClockId.threadCpu) storeNanoseconds(memory, result >>> 0, 1e-3);
      else return Errno.inval;
      return Errno.success;
    },

    clock_time_get(id: number, _precision: bigint, result: number): number {
      if (id === ClockId.realtime) storeNanoseconds(memory, result >>> 0, clock.wallMs());
      else if (id === ClockId.monotonic) storeNanoseconds(memory, result >>> 0, clock.monotonicMs());
      else if (id === ClockId.processCpu || id === ClockId.threadCpu) {
        storeNanoseconds(memory, result >>> 0, clock.processorMs());
      } else return Errno.inval;
      return Errno.success;
    },

    random_get(buffer: number, lengthBytes: number): number {
      if (lengthBytes >>> 0 <= randomPool.length) {
        memory.write(buffer >>> 0, takeRandom(lengthBytes >>> 0));
        return Errno.success;
      }
      memory.checkRange(buffer >>> 0, lengthBytes >>> 0);
      const partBytesMax = Math.min(RANDOM_BYTES_MAX, memory.pieceBytes);
      for (let start = 0; start < lengthBytes >>> 0; start += partBytesMax) {
        memory.releaseHolds();
        const partBytes = Math.min(partBytesMax, (lengthBytes >>> 0) - start);
        randomFillSync(memory.viewForWriting((buffer >>> 0) + start, partBytes));
      }
      return Errno.success;
    },

    sched_yield: () => Errno.success,

    proc_exit(code: number): number {
      throw new ProcessExit(code >>> 0);
    },

    /** Signals that would end a process end the guest, with a shell's code for it; a guest cannot be stopped by one. */
    proc_raise(signal: number): number {
      const number = signal >>> 0;
      if (number >= SIGNAL_COUNT) return Errno.inval;
      if (number === 0 || IGNORED_SIGNALS.has(number)) return Errno.success;
      if (STOPPING_SIGNALS.has(number)) return Errno.notsup;
      throw new ProcessExit(128 + number);
    },

    sock_accept: noSocket,
    sock_recv: noSocket,
    sock_send: noSocket,
    sock_shutdown: noSocket,
  };
}

/** chld, cont, urg, winch: their default action is to do nothing (continuing a process that is not stopped included). */
const IGNORED_SIGNALS = new Set([16, 17, 22, 27]);

/** stop, tstp, ttin, ttou. */
const STOPPING_SIGNALS = new Set([18, 19, 20, 21]);
