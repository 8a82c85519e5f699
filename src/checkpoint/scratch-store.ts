import type { DeviceFile } from '../device/device.ts';
import { FileDevice, type PositionedRead } from '../device/file-device.ts';
import { ScratchDirectory } from '../device/scratch-directory.ts';
import type { JobIdentity } from '../format/job-format.ts';
import { Store } from './store.ts';

/** A paging file that no restart needs: a store that never commits, gone with the process. */
export class ScratchStore {
  readonly store: Store;
  readonly #directory = new ScratchDirectory();

  constructor(identity: JobIdentity, program: Uint8Array, quickRead?: PositionedRead) {
    const device = new FileDevice(this.#directory.path, { durable: false, quickRead });
    this.store = Store.create(device, identity, program);
    if (this.#directory.openFilesOutliveNames) this.#directory.remove();
  }

  get pagingFile(): DeviceFile {
    return this.store.pagingFile;
  }

  close(): void {
    this.store.close();
    this.#directory.remove();
  }
}
