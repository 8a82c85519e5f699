import type { RetainedList } from '../format/commit-record.ts';
import type { RecordFields } from '../format/paging-format.ts';
import type { CheckpointStats } from './checkpoint.ts';
import type { StateRun } from './job-image.ts';

/** A checkpoint of which everything is written but the barrier. */
export interface FrozenCheckpoint {
  readonly fields: RecordFields;
  readonly state: Uint8Array;
  readonly stateRun: StateRun | undefined;
  readonly retained: RetainedList | undefined;
  /** The record, where a copy of it will be wanted. */
  readonly record: Uint8Array | undefined;
  readonly stats: Omit<CheckpointStats, 'pauseMs' | 'commitMs' | 'syncMs'>;
}
