import { Store } from '../checkpoint/store.ts';
import { FileDevice } from '../device/file-device.ts';
import { ScratchDirectory } from '../device/scratch-directory.ts';
import type { JobIdentity } from '../format/job-format.ts';

/** The paging file of a run that keeps nothing: a store that never commits, gone with the process. */
export class ScratchStore {
  readonly store: Store;
  readonly #directory = new ScratchDirectory();

  constructor(identity: JobIdentity, program: Uint8Array) {
    this.store = Store.create(new FileDevice(this.#directory.path), identity, program);
    if (this.#directory.openFilesOutliveNames) this.#directory.remove();
  }

  close(): void {
    this.store.close();
    this.#directory.remove();
  }
}
