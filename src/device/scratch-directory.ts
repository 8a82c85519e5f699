import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StorageError } from '../error/errors.ts';

/** A directory of the system's for temporary files (`TMPDIR`), for what a run needs and nobody keeps. */
export class ScratchDirectory {
  readonly path: string;

  /** @throws StorageError when none can be made. */
  constructor() {
    const parent = tmpdir();
    try {
      this.path = mkdtempSync(join(parent, 'continuo-'));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new StorageError(
        `the paging file of a run without a job needs a temporary directory, and none can be made in ${parent}: ${reason}; ` +
          'set TMPDIR to a directory with room, or name a job with --job',
        { path: parent },
        error,
      );
    }
  }

  /**
   * Removes the names of what is in it. Where the system lets open files live without a name, this is done as soon as they
   * are open, so that not even a killed process leaves anything behind; elsewhere once they are closed.
   */
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }

  get openFilesOutliveNames(): boolean {
    return process.platform !== 'win32';
  }
}
