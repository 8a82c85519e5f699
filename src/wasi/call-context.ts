import type { GuestMemory } from '../memory/guest-memory.ts';
import type { Blocking, WasiConfig } from './config.ts';
import type { DescriptorTable } from './descriptor.ts';
import { Errno, refuse } from './errno.ts';
import type { FileContents } from './file-contents.ts';
import type { FileNames } from './file-names.ts';
import type { GuestClock } from './guest-clock.ts';

/** What the host functions work on. */
export interface CallContext {
  readonly config: WasiConfig;
  readonly memory: GuestMemory;
  readonly descriptors: DescriptorTable;
  readonly contents: FileContents;
  readonly names: FileNames;
  readonly clock: GuestClock;
  readonly blocking: Blocking;
  /** When the wait that a capture interrupted began, on the guest's monotonic clock; undefined when none did. */
  interruptedWaitStartMs: number | undefined;
  /** What a write to a stream had written when a capture interrupted it; the call that is issued again goes on from there. */
  interruptedWriteBytes: number;
}

/** Host functions by name. Numbers of 32 bits arrive signed, those of 64 bits as BigInt. */
export type CallTable = Record<string, (...args: never[]) => number>;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads a path of the guest: EILSEQ unless it is UTF-8, EINVAL where it holds a zero byte. */
export function readPath(memory: GuestMemory, address: number, lengthBytes: number): string {
  const bytes = memory.read(address >>> 0, lengthBytes >>> 0);
  let path: string;
  try {
    path = decoder.decode(bytes);
  } catch {
    return refuse(Errno.ilseq);
  }
  if (path.includes('\0')) refuse(Errno.inval);
  return path;
}
