import type { Exclusions } from './exclusions.ts';

/** A committed checkpoint. */
export interface Checkpoint {
  /** Numbers the checkpoints of a job from 1 on. */
  readonly generation: number;
  /** When it was committed, in milliseconds since 1970 UTC. */
  readonly timeMs: number;
  readonly trigger: string;
  /** The guest's memory size in pages of 4096 bytes. */
  readonly guestPageCount: number;
  readonly dirtyPages: number;
  /** Pages that the checkpoint has slots of its own for, whenever they were written. */
  readonly pagesWritten: number;
  /** The machine state: the very array that was given to `commit`, or what was read when the job was opened. */
  readonly state: Uint8Array;
}

export interface CheckpointRequest {
  readonly state: Uint8Array;
  /** Why the checkpoint is taken; at most 24 bytes in UTF-8. */
  readonly trigger: string;
  /** Pages that the program wants left out. */
  readonly exclusions?: Exclusions | undefined;
}

/** What a checkpoint cost. */
export interface CheckpointStats {
  readonly generation: number;
  readonly trigger: string;
  /** Pages written since the last checkpoint; at the first one, all pages of the guest. */
  readonly dirtyPages: number;
  /** Those of them that were in memory, which is what the checkpoint had to look at. */
  readonly residentDirtyPages: number;
  /** Pages in memory at that time: all of them, unless memory is paged. */
  readonly residentPages: number;
  /** Pages written for the checkpoint while the guest stood still. */
  readonly pagesWritten: number;
  /** Pages written since the last checkpoint while the guest ran, because they left memory or ahead of that; as often as each was. */
  readonly pagesWrittenContinuous: number;
  /** Pages that had to be read back for the checkpoint. */
  readonly pagesRead: number;
  readonly zeroPages: number;
  /** Bytes given to the system to write: pages, map, machine state and record. */
  readonly bytesWritten: number;
  /** Time the guest stood still, as far as the store knows. */
  readonly pauseMs: number;
  /** Time until the checkpoint was durable. */
  readonly commitMs: number;
  /** The part of it that the barrier took. */
  readonly syncMs: number;
  /** Whether the guest ran on while it was saved. */
  readonly forked: boolean;
  /** Pages that were copied because the guest wrote to them before they were saved. */
  readonly copyFaults: number;
}

/** Slots of the paging file by what they hold. `total` is all of them, reserved ones included. */
export interface SlotCounts {
  readonly total: number;
  readonly reserved: number;
  readonly working: number;
  readonly shadow: number;
  /** Leaves and directories of the page map. */
  readonly map: number;
  readonly delta: number;
  readonly state: number;
  /** What only retained checkpoints before the newest need. */
  readonly retained: number;
  readonly free: number;
}
