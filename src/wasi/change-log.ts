/**
 * What the guest's effects on the host's file system leave behind for a restart and for the next commit.
 *
 * Invariants, for power failure as well as for a killed process:
 * (1) A restart knows how to take an effect back before the effect is made (the undo journal's first invariant).
 * (2) No byte and no file that a checkpoint needs is destroyed: bytes are copied to the journal, files are set aside.
 * (3) A name that a needed file has left (a *vacated* name) is taken again only when its leaving is durable. So what a
 *     restart finds under a name that the journal calls made is what the guest made, never the needed file itself.
 * (4) A renamed directory's new place is durable before anything happens inside it, because records name places by path.
 * (5) A checkpoint commits only when the files and directories changed before it are durable.
 *
 * With these, undoing needs no order among the effects that reached the medium: each record's effect is there or not,
 * and a look at the name and the inode number tells which. Bytes find their file under an earlier name too.
 *
 * Appending to a file that the journal or a checkpoint knows the length of needs no record at all, and files that were
 * made since the last capture need none but that of their making: that is what most programs do most of the time.
 */
import { StorageError } from '../error/errors.ts';
import type { Anchor } from './anchor.ts';
import type { HostTree, Location } from './host-tree.ts';
import type { UndoJournal } from './undo-journal.ts';
import type { UndoRecord } from './undo-record.ts';

export class ChangeLog {
  readonly tree: HostTree;
  /** Undefined where nothing is to be undone: without a job directory. */
  readonly #journal: UndoJournal | undefined;
  /** The journal is written from the first capture on: before it there is no state to go back to. */
  recording: boolean;
  readonly #vacated = new Set<string>();
  readonly #changedDirectories = new Set<string>();
  #failure: StorageError | undefined;

  constructor(tree: HostTree, journal: UndoJournal | undefined, recording: boolean) {
    this.tree = tree;
    this.#journal = journal;
    this.recording = recording && journal !== undefined;
  }

  /** Files that the guest has open must outlive the removal of their names: a checkpoint may come. */
  get keepsOpenFiles(): boolean {
    return this.#journal !== undefined;
  }

  get generation(): number {
    return this.#journal?.generation ?? 0;
  }

  locationOf(path: string): Location {
    return this.tree.knownLocationOf(path);
  }

  note(undoRecord: UndoRecord, data?: Uint8Array): void {
    if (this.recording) this.#journal!.note(undoRecord, data);
  }

  /** Makes the records durable: the effect may follow. */
  force(): void {
    if (this.recording) this.#journal!.force();
  }

  /** Makes an effect whose `recordCount` records were just noted; when it fails, they count for nothing. */
  attempt<Result>(recordCount: number, effect: () => Result): Result {
    this.force();
    try {
      return effect();
    } catch (error) {
      this.note({ kind: 'cancelled', recordCount });
      throw error;
    }
  }

  /** A name in `directory` changed. */
  directoryChanged(directory: Anchor): void {
    if (this.recording) this.#changedDirectories.add(directory.path);
  }

  vacated(path: string): void {
    if (this.recording) this.#vacated.add(path);
  }

  /** The name `path` in `directory` is about to be taken. */
  claim(directory: Anchor, path: string): void {
    if (!this.#vacated.has(path)) return;
    directory.sync();
    this.#vacated.delete(path);
  }

  /** A directory, or all that is below it, has another path now. */
  renamed(rename: (path: string) => string): void {
    for (const paths of [this.#vacated, this.#changedDirectories]) {
      const before = [...paths];
      paths.clear();
      for (const path of before) paths.add(rename(path));
    }
  }

  /** Remembers that making something durable failed: trying again would only seem to succeed. */
  syncFailed(path: string, cause: unknown): void {
    this.#failure ??= new StorageError(
      `cannot make ${path} durable: ${cause instanceof Error ? cause.message : String(cause)}; ` +
        'the job stops at its last checkpoint',
      { path },
      cause,
    );
  }

  /** Makes the changed directories durable. Errors: StorageError, of now or of an earlier sync. */
  syncDirectories(): void {
    if (this.#failure !== undefined) throw this.#failure;
    for (const path of this.#changedDirectories) {
      try {
        this.tree.use(this.locationOf(path), (entry) => {
          if (entry.status?.isDirectory() === true) {
            const anchor = entry.parent.child(entry.name);
            try {
              anchor.sync();
            } finally {
              anchor.close();
            }
          }
        });
      } catch (error) {
        this.syncFailed(path, error);
        throw this.#failure!;
      }
    }
    this.#changedDirectories.clear();
    this.#vacated.clear();
  }

  startNextGeneration(): void {
    this.#journal?.startNextGeneration();
    this.recording = this.#journal !== undefined;
  }

  forgetOlder(oldestKept: number): void {
    this.#journal?.forgetOlder(oldestKept);
  }

  close(): void {
    this.#journal?.close();
  }
}
