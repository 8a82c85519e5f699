/**
 * Following a job: after each of its checkpoints a copy elsewhere is brought up to date, and goes on from there when the job's
 * machine is lost.
 *
 * The job is only looked at, as by an export. Each update is a file of its own first, and delivered when it is whole: so a slow
 * way to the copy never makes the job's pages be overtaken, and what is delivered is retried without the job. The first update is
 * whole, unless the copy says at which checkpoint it stands; then come deltas, each on what was delivered before it. When a delivery
 * failed nobody knows whether the copy has it, and a whole file, which needs no base, is next.
 */
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { NewFile } from '../device/byte-stream.ts';
import type { Device } from '../device/device.ts';
import { lockOwner } from '../device/job-lock.ts';
import { ScratchDirectory } from '../device/scratch-directory.ts';
import { ContinuoError, CorruptionError, UsageError } from '../error/errors.ts';
import type { CheckpointName } from '../machine/checkpoint-name.ts';
import type { Secret } from '../seal/sealing-key.ts';
import { readReleasedBytes } from '../wasi/standard-output.ts';
import { exportJob, type ExportResult } from './export.ts';
import { newestGeneration } from './newest-generation.ts';

/** How often the job is looked at. */
const LOOK_MS = 50;
/** Output leaves behind the checkpoint that covers it: waiting for it spares the copy to show it again. */
const OUTPUT_MS = 20;
/** Deliveries in a row that may fail. */
const FAILURES_MAX = 3;
const END_TRIGGER = 'end';
const UPDATE_NAME = 'update';

/** One file for the copy. */
export interface StandbyUpdate extends ExportResult {
  readonly path: string;
  /** Undefined: the file is whole. */
  readonly since: CheckpointName | undefined;
}

export interface StandbySettings {
  /** Seals what is delivered. */
  readonly secret?: Secret | undefined;
  /** Where the copy stands already. */
  readonly from?: CheckpointName | undefined;
  /** Brings a file to the copy. `undefined`: done; otherwise why it failed, and may be tried again. */
  readonly deliver: (update: StandbyUpdate) => Promise<string | undefined>;
  readonly notice?: (text: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Follows a job until it has ended, or `signal` says so; returns whether the copy has all of it.
 * @throws UsageError, CorruptionError and StorageError, as `exportJob` and `deliver`.
 */
export async function followJob(device: Device, settings: StandbySettings): Promise<boolean> {
  const scratch = new ScratchDirectory();
  try {
    return await new Following(device, settings, join(scratch.path, UPDATE_NAME)).run();
  } finally {
    scratch.remove();
  }
}

class Following {
  readonly #device: Device;
  readonly #settings: StandbySettings;
  readonly #path: string;
  #delivered: CheckpointName | undefined;
  #trigger = '';
  /** Output counted as shown in what was delivered. */
  #shown = '';
  #failures = 0;

  constructor(device: Device, settings: StandbySettings, path: string) {
    this.#device = device;
    this.#settings = settings;
    this.#path = path;
    this.#delivered = settings.from;
  }

  async run(): Promise<boolean> {
    const { signal } = this.#settings;
    let isWaiting = false;
    while (!signal.aborted) {
      const isRun = lockOwner(this.#device.path) !== undefined;
      if (this.#isBehind(isRun)) await this.#update(isRun);
      else if (!isRun) {
        // A job that has ended lets its last output out before it gives its lock back.
        if (this.#trigger === END_TRIGGER) return true;
        if (!isWaiting) this.#settings.notice?.('nobody runs the job; waiting for it to go on');
        isWaiting = true;
      }
      if (isRun) isWaiting = false;
      await this.#wait(LOOK_MS);
    }
    return false;
  }

  #isBehind(isRun: boolean): boolean {
    const newest = newestGeneration(this.#device);
    if (newest === 0) return false;
    if (this.#trigger === '' || newest > this.#delivered!.generation) return true;
    return !isRun && this.#trigger === END_TRIGGER && this.#shownNow() !== this.#shown;
  }

  #shownNow(): string {
    return String(readReleasedBytes(this.#device));
  }

  async #update(isRun: boolean): Promise<void> {
    if (isRun) await this.#wait(OUTPUT_MS);
    const since = this.#delivered;
    const shown = this.#shownNow();
    const result = await this.#export(since);
    if (result === undefined) return;
    const isSame = since !== undefined && result.name.generation === since.generation && this.#trigger !== '';
    // A checkpoint is being written, and not complete yet.
    if (isSame && shown === this.#shown) return;
    const failure = await this.#settings.deliver({ ...result, path: this.#path, since });
    if (failure === undefined) {
      this.#delivered = result.name;
      this.#trigger = result.trigger;
      this.#shown = shown;
      this.#failures = 0;
      return;
    }
    this.#delivered = undefined;
    this.#trigger = '';
    this.#failures += 1;
    if (this.#failures === FAILURES_MAX) {
      throw new UsageError('standby-failed', `the copy took none of ${FAILURES_MAX} updates: ${failure}`);
    }
    this.#settings.notice?.(
      `checkpoint ${result.generation} did not reach the copy (${failure}); a whole copy is next`,
    );
    await this.#wait(2 ** this.#failures * 10 * LOOK_MS);
  }

  /** Undefined: not now. */
  async #export(since: CheckpointName | undefined): Promise<ExportResult | undefined> {
    const file = new NewFile(this.#path);
    try {
      const { secret, notice } = this.#settings;
      const result = await exportJob(this.#device, (bytes) => file.write(bytes), {
        since,
        secret,
        ...(notice === undefined ? {} : { notice }),
      });
      file.finish();
      return result;
    } catch (error) {
      if (!this.#mayPass(error)) throw error;
      this.#settings.notice?.(`no update now: ${error.message}`);
      return undefined;
    } finally {
      file.close();
    }
  }

  /** Whether a running job may be found otherwise the next time. */
  #mayPass(error: unknown): error is ContinuoError {
    if (lockOwner(this.#device.path) === undefined) return false;
    if (error instanceof CorruptionError) return true;
    return error instanceof UsageError && ['job-locked', 'job-without-checkpoint'].includes(error.code);
  }

  async #wait(ms: number): Promise<void> {
    try {
      await delay(ms, undefined, { signal: this.#settings.signal });
    } catch (error) {
      if (!this.#settings.signal.aborted) throw error;
    }
  }
}
