import type { CheckpointStats, SlotCounts } from '../checkpoint/checkpoint.ts';
import type { PolicyName } from '../checkpoint/checkpoint-store.ts';
import type { PagingStats } from '../pager/paging-stats.ts';
import type { ReplacementName } from '../pager/replacement.ts';
import type { JobSeal } from '../seal/job-seal.ts';
import type { TraceSummary } from '../simulate/trace-recorder.ts';
import type { InputSource, OutputMode, Preopen } from '../wasi/config.ts';
import type { EncodedError } from './error-transport.ts';
import type { OnStorageError } from './storage-failure.ts';
import type { PagerLinkData } from './pager-link.ts';
import type { TrackerChoice, TrackerName } from './tracking-choice.ts';

/** Where output goes, as plain data: the function of a `sink` stays with the embedder, in the control thread. */
export type OutputDescription = { kind: 'inherit' } | { kind: 'file'; path: string } | { kind: 'sink' };

/** What makes a job: the program with everything that its run depends on. Written into the job directory. */
export interface JobDescription {
  /** Name of the program for people. */
  readonly program: string;
  /** What the guest sees as its arguments, the program's name first. */
  readonly arguments: readonly string[];
  readonly environment: readonly (readonly [string, string])[];
  readonly preopens: readonly Preopen[];
  readonly stdin: InputSource;
  readonly stdout: OutputDescription;
  readonly stderr: OutputDescription;
  readonly outputMode: OutputMode;
  /** Whether NaNs that the program can see have the same bits on every processor. */
  readonly canonicalNan: boolean;
}

/** A budget of memory. */
export interface PagingRequest {
  /** Page-sized places in memory for the guest's pages. */
  readonly frameCount: number;
  /** How the pages that leave are chosen; undefined for the best known way. */
  readonly replacement: ReplacementName | undefined;
  /** Whether checks in the guest's code ask for each page when it is used, and none ahead. */
  readonly pageByPage: boolean;
}

/** What the control thread gives the guest's thread at its start. */
export interface GuestThreadData {
  readonly control: SharedArrayBuffer;
  /** Undefined to go on with a job as it was described when it was made. */
  readonly description: JobDescription | undefined;
  /** The program's bytes; undefined to take them from the job. */
  readonly programBytes: Uint8Array | undefined;
  readonly jobDirectory: string | undefined;
  /** What the job's files are sealed with; undefined: they are not. */
  readonly seal: JobSeal | undefined;
  readonly fresh: boolean;
  /** A checkpoint after every so many safepoints; undefined for none. */
  readonly everySafepoints: number | undefined;
  /** A checkpoint after every so many steps that the program reports; undefined for none. */
  readonly everySteps: number | undefined;
  /** How pages are saved; undefined for the way the job had, or `continuous`. */
  readonly policy: PolicyName | undefined;
  /** How many checkpoints are kept; undefined for as many as the job had, or 1. */
  readonly keep: number | undefined;
  /** Go on from the kept checkpoint of this generation, and give up those after it; undefined: from the newest. */
  readonly at: number | undefined;
  /** Whether checkpoints are saved beside the guest. */
  readonly fork: boolean;
  readonly onStorageError: OnStorageError;
  /** Undefined: all pages are resident. */
  readonly paging: PagingRequest | undefined;
  /** What was asked for. */
  readonly tracker: TrackerName;
  /** To the thread that pages the guest by the kernel; undefined: it is paged by checks in its code. */
  readonly pagerLink: PagerLinkData | undefined;
  /** File that the page references of the run are recorded in; undefined: they are not. There is no job then. */
  readonly tracePath: string | undefined;
}

/** How a run ended without an error. */
export type RunEnd =
  | {
      readonly kind: 'exited';
      readonly exitCode: number;
      /** The job had ended in an earlier run; nothing was run now. */
      readonly earlier: boolean;
    }
  | { readonly kind: 'stopped'; readonly generation: number };

/** Figures of the run that only the guest's thread knows. */
export interface GuestFigures {
  readonly guestMs: number;
  readonly pages: number;
  readonly hops: number;
  /** Generation of the checkpoint that the run started from, 0 for none. */
  readonly resumedFrom: number;
  /** Undefined where all pages are resident. */
  readonly paging: PagingStats | undefined;
  /** Slots of the job's paging file at the end; undefined where there is none. */
  readonly slots: SlotCounts | undefined;
  /** How the guest's use of its pages became known; undefined where it did not run. */
  readonly tracker: TrackerChoice | undefined;
  /** How pages were saved; undefined without a job. */
  readonly policy: PolicyName | undefined;
  /** Whether storage failed and the run went on without checkpoints. */
  readonly checkpointsGivenUp: boolean;
  /** Pages copied because the guest wrote to them while they were being saved, and the time that took, milliseconds. */
  readonly copyFaults: number;
  readonly copyMs: number;
  /** Undefined unless the run was traced to its end. */
  readonly trace: TraceSummary | undefined;
}

export type GuestMessage =
  | {
      readonly kind: 'running';
      readonly memory: WebAssembly.Memory;
      readonly resumedFrom: number;
      readonly tracker: TrackerChoice;
      readonly description: JobDescription;
      /** Of all runs of the job before this one: time the guest ran, and how many of them were lost. */
      readonly guestMs: number;
      readonly failures: number;
    }
  | { readonly kind: 'checkpoint'; readonly stats: CheckpointStats }
  | { readonly kind: 'notice'; readonly text: string }
  | { readonly kind: 'progress'; readonly done: number; readonly total: number }
  /** What the guest wrote to a stream that the embedder takes by a function. */
  | { readonly kind: 'output'; readonly stream: 'stdout' | 'stderr'; readonly bytes: Uint8Array }
  | { readonly kind: 'wantsInput' }
  | { readonly kind: 'ended'; readonly end: RunEnd; readonly figures: GuestFigures }
  | { readonly kind: 'failed'; readonly error: EncodedError; readonly figures: GuestFigures };
