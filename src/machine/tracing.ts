import { basename, dirname } from 'node:path';
import type { Device, DeviceFile } from '../device/device.ts';
import { FileDevice } from '../device/file-device.ts';
import type { JobIdentity, JsonValue } from '../format/job-format.ts';
import type { TraceTrigger } from '../format/trace-format.ts';
import type { GuestMemory } from '../memory/guest-memory.ts';
import { TraceRecorder, type TraceSummary } from '../simulate/trace-recorder.ts';
import type { GuestInstance } from './guest-instance.ts';

/** A run being traced: its recorder, and the file, which takes its name when the trace is whole. */
export class Tracing {
  readonly recorder: TraceRecorder;
  readonly #device: Device;
  readonly #name: string;
  readonly #unfinished: string;
  readonly #file: DeviceFile;
  #checkpoints = 0;
  #isOpen = true;

  constructor(path: string, memory: GuestMemory, description: JsonValue) {
    this.#name = basename(path);
    this.#unfinished = `${this.#name}.${process.pid}.new`;
    this.#device = new FileDevice(dirname(path));
    this.#file = this.#device.openFile(this.#unfinished, 'create');
    this.recorder = new TraceRecorder(memory, this.#file, description);
    // Transfers of host functions are not cut into parts: whoever replays them does it, by the frames there are.
    memory.attachPager(this.recorder, Infinity);
  }

  /** Returns the number of the checkpoint. */
  checkpoint(trigger: TraceTrigger, stateBytes: number): number {
    this.recorder.checkpoint(trigger, stateBytes);
    return (this.#checkpoints += 1);
  }

  finish(exited: boolean): TraceSummary {
    const summary = this.recorder.finish(exited);
    this.#file.close();
    this.#isOpen = false;
    this.#device.rename(this.#unfinished, this.#name);
    return summary;
  }

  /** Leaves nothing of a trace that was not finished. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#file.close();
    this.#device.remove(this.#unfinished);
  }
}

/** From here on the references of a guest, all of whose pages are there, are recorded. */
export function attachTracing(
  path: string,
  instance: GuestInstance,
  identity: JobIdentity,
  everySafepoints: number | undefined,
): Tracing {
  const counted = everySafepoints === undefined ? {} : { everySafepoints };
  const tracing = new Tracing(path, instance.guestMemory, { ...identity, ...counted });
  const { recorder } = tracing;
  instance.attachFault((address, lengthBytes, write) => recorder.fault(address, lengthBytes, write));
  return tracing;
}
