/**
 * `poll_oneoff`: waits for times and for input.
 *
 * subscription, 48 bytes: userdata u64, tag u8 at 8, then for a clock: id u32 at 16, timeout u64 at 24, precision u64
 * at 32, flags u16 at 40; for a descriptor: its number u32 at 16.
 * event, 32 bytes: userdata u64, error u16 at 8, type u8 at 10, bytes u64 at 16, flags u16 at 24.
 */
import * as fs from 'node:fs';
import { ClockId, EventType, FileType, Size } from './abi.ts';
import type { CallContext, CallTable } from './call-context.ts';
import { INTERRUPTED } from './config.ts';
import type { Descriptor } from './descriptor.ts';
import { canPoll } from './descriptor.ts';
import { Errno, Refusal } from './errno.ts';
import { storeUint64 } from './guest-clock.ts';

const ABSOLUTE_TIME = 1;

/** What a look at one descriptor found. */
interface Readiness {
  errno: number;
  bytes: number;
}

export function pollCalls(context: CallContext): CallTable {
  const { memory, descriptors, clock, blocking } = context;

  /** When the clock subscription at offset `at` elapses, on the guest's monotonic clock; undefined for unknown clocks. */
  function deadlineMs(asked: DataView, at: number, startMs: number): number | undefined {
    const id = asked.getUint32(at + 16, true);
    const timeoutMs = Number(asked.getBigUint64(at + 24, true)) / 1e6;
    const absolute = (asked.getUint16(at + 40, true) & ABSOLUTE_TIME) !== 0;
    if (id === ClockId.realtime)
      return absolute ? clock.monotonicMs() + timeoutMs - clock.wallMs() : startMs + timeoutMs;
    if (id === ClockId.monotonic) return absolute ? timeoutMs : startMs + timeoutMs;
    if (id === ClockId.processCpu || id === ClockId.threadCpu) {
      // Processor time stands still while the guest waits, so that an absolute time of it is a plain wait at least as long.
      return startMs + (absolute ? Math.max(0, timeoutMs - clock.processorMs()) : timeoutMs);
    }
    return undefined;
  }

  function look(number: number, type: number): Readiness | 'waiting' {
    let descriptor: Descriptor;
    try {
      descriptor = descriptors.get(number);
    } catch (error) {
      if (error instanceof Refusal) return { errno: error.errno, bytes: 0 };
      throw error;
    }
    if (!canPoll(descriptor)) return { errno: Errno.notcapable, bytes: 0 };
    if (descriptor.kind === 'directory') return { errno: Errno.success, bytes: 0 };
    if (type === EventType.fdWrite) return { errno: Errno.success, bytes: 0 };
    if (descriptor.kind === 'stream') {
      const bytes = descriptor.stream.readableBytes();
      return bytes === undefined ? 'waiting' : { errno: Errno.success, bytes };
    }
    if (descriptor.fileType !== FileType.regularFile) return { errno: Errno.success, bytes: 0 };
    const size = fs.fstatSync(descriptor.hostDescriptor).size;
    return { errno: Errno.success, bytes: Math.max(0, size - descriptor.offsetBytes) };
  }

  function storeEvent(address: number, userdata: bigint, errno: number, type: number, bytes: number): void {
    memory.viewForWriting(address, Size.event).fill(0);
    memory.setBigUint64(address, userdata);
    memory.setUint16(address + 8, errno);
    memory.setUint8(address + 10, type);
    storeUint64(memory, address + 16, bytes);
  }

  return {
    poll_oneoff(subscriptions: number, events: number, count: number, result: number): number {
      const total = count >>> 0;
      if (total === 0) return Errno.inval;
      const list = subscriptions >>> 0;
      const out = events >>> 0;
      memory.checkRange(list, total * Size.subscription);
      memory.checkRange(out, total * Size.event);
      memory.viewForWriting(result >>> 0, 4);
      const startMs = context.interruptedWaitStartMs ?? clock.monotonicMs();
      // A copy, because the events may be stored over the subscriptions.
      const copy = memory.read(list, total * Size.subscription);
      const asked = new DataView(copy.buffer);
      let inputReady = false;
      for (;;) {
        let firstDeadlineMs = Infinity;
        let waitsForInput = false;
        let stored = 0;
        const nowMs = clock.monotonicMs();
        for (let i = 0; i < total; i++) {
          const at = i * Size.subscription;
          const type = asked.getUint8(at + 8);
          const event = out + stored * Size.event;
          const userdata = asked.getBigUint64(at, true);
          if (type === EventType.clock) {
            const deadline = deadlineMs(asked, at, startMs);
            if (deadline !== undefined && deadline > nowMs) {
              firstDeadlineMs = Math.min(firstDeadlineMs, deadline);
              continue;
            }
            storeEvent(event, userdata, deadline === undefined ? Errno.inval : Errno.success, type, 0);
            stored++;
          } else if (type === EventType.fdRead || type === EventType.fdWrite) {
            const readiness = look(asked.getUint32(at + 16, true), type);
            if (readiness === 'waiting' && !inputReady) {
              waitsForInput = true;
              continue;
            }
            // Of input that has only arrived in the reader's thread so much is known: there is a byte.
            if (readiness === 'waiting') storeEvent(event, userdata, Errno.success, type, 1);
            else storeEvent(event, userdata, readiness.errno, type, readiness.bytes);
            stored++;
          } else return Errno.inval;
        }
        if (stored > 0) {
          context.interruptedWaitStartMs = undefined;
          memory.setUint32(result >>> 0, stored);
          return Errno.success;
        }
        const untilMs = clock.toHostMs(firstDeadlineMs);
        const ended = waitsForInput ? blocking.waitForInput(untilMs) : blocking.waitUntil(untilMs);
        if (ended === 'interrupted') {
          context.interruptedWaitStartMs = startMs;
          return INTERRUPTED;
        }
        inputReady = ended === 'ready';
      }
    },
  };
}
