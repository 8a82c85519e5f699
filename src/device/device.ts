/**
 * The seam between Continuo and the medium that holds a job directory. Everything that a job keeps goes through it,
 * so that the crash tests can put a medium of their own in its place and lose, reorder and tear what was not synced.
 *
 * What the store assumes of a medium, and nothing more:
 *
 * - A write that was not followed by a `sync` of its file may be lost, kept, or torn at any 512-byte sector, whatever
 *   became of the writes before and after it. So may a change of the file's size.
 * - When `sync` has returned, every write made to the file before it, by any process, is durable, and so is the size.
 * - Names made, changed or removed are durable after `syncDirectory`; a rename is atomic.
 * - Sectors that nobody writes keep their contents.
 */

/** `read`: must exist. `write`: must exist, read and write. `create`: made or emptied, read and write. */
export type OpenMode = 'read' | 'write' | 'create';

/** An open file of a job directory. All calls are synchronous; failures are StorageErrors that name the path. */
export interface DeviceFile {
  readonly path: string;
  /** The system's number of the open file, by which another thread of the process can use it; undefined where there is none. */
  readonly descriptor?: number;
  /** Set where a torn write reads as noise all over, and not as old sectors among new ones: the file is sealed. */
  readonly tornIsNoise?: boolean;
  /** Fills `view` from `positionBytes` on; returns the bytes read, fewer than asked for only at the file's end. */
  readInto(view: Uint8Array, positionBytes: number): number;
  /** Writes the whole view, which may lie in shared memory. */
  write(view: Uint8Array, positionBytes: number): void;
  /** Makes the contents and the size durable. After a failure the unsynced contents are unknown: never retry. */
  sync(): void;
  sizeBytes(): number;
  /** Sets the size; added bytes read as zero. */
  truncate(sizeBytes: number): void;
  close(): void;
}

/** A job directory. */
export interface Device {
  readonly path: string;
  /** Names of all entries, sorted. */
  list(): string[];
  openFile(name: string, mode: OpenMode): DeviceFile;
  rename(from: string, to: string): void;
  /** Removes a file; one that is not there is no error, so that an interrupted clean-up can be repeated. */
  remove(name: string): void;
  syncDirectory(): void;
}
