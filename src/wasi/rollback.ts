/**
 * Taking back what the guest did to files after the checkpoint that a restart goes on from.
 *
 * Records are undone newest first, journals newest first. Putting back bytes and lengths may be repeated at will. Steps
 * that change names are taken one at a time: before each, all that was undone so far is durable and marked so in the
 * journal, and after each the directories are made durable. So whatever happens during a rollback, the next one begins
 * with a step that was either taken or not, and each step looks which.
 */
import * as fs from 'node:fs';
import type { Device } from '../device/device.ts';
import { StorageError, UsageError } from '../error/errors.ts';
import { systemCode } from './errno.ts';
import { withFile } from './file-contents.ts';
import type { HostTree, Location } from './host-tree.ts';
import { inodeOf } from './host-tree.ts';
import type { Entry } from './path-walk.ts';
import type { FoundRecord } from './undo-journal.ts';
import { FoundJournal } from './undo-journal.ts';
import type { UndoRecord } from './undo-record.ts';

export class Rollback {
  readonly #tree: HostTree;
  readonly #notice: (text: string) => void;
  /** Paths of files with bytes put back that are not yet durable, and their inode numbers. */
  readonly #unsynced = new Map<string, string>();

  /** Earlier places of renamed files, by inode number. */
  readonly #places = new Map<string, Location[]>();

  constructor(tree: HostTree, notice: (text: string) => void) {
    this.#tree = tree;
    this.#notice = notice;
  }

  /** Undoes all journals from `fromGeneration` on; returns the generation that the run to come begins with. */
  undoAll(device: Device, fromGeneration: number): number {
    let nextGeneration = fromGeneration;
    const journals = FoundJournal.findLive(device, fromGeneration);
    for (const journal of journals) for (const { record } of journal.records) this.#rememberPlace(record);
    for (const journal of journals) {
      nextGeneration = Math.max(nextGeneration, journal.generation + 1);
      try {
        this.#undo(journal);
      } finally {
        journal.close();
      }
    }
    return nextGeneration;
  }

  #rememberPlace(record: UndoRecord): void {
    if (record.kind !== 'moved' && record.kind !== 'kept') return;
    const places = this.#places.get(record.inode) ?? [];
    places.push(record.kind === 'moved' ? record.from : record.at);
    this.#places.set(record.inode, places);
  }

  #undo(journal: FoundJournal): void {
    if (journal.records.length === 0) return;
    for (let index = journal.records.length - 1; index >= 0; index--) {
      const found = journal.records[index];
      try {
        if (this.#undoContents(journal, found)) continue;
        this.#syncFiles();
        journal.markUndone(index + 1);
        this.#undoName(found);
      } catch (error) {
        throw rollbackError(error);
      }
    }
    this.#syncFiles();
    journal.markUndone(0);
  }

  /** Undoes a record of contents or times; false for any other. */
  #undoContents(journal: FoundJournal, found: FoundRecord): boolean {
    const { record } = found;
    switch (record.kind) {
      case 'length':
        this.#change(record.at, record.inode, (hostDescriptor) => fs.ftruncateSync(hostDescriptor, record.lengthBytes));
        return true;
      case 'bytes':
        this.#change(record.at, record.inode, (hostDescriptor) => {
          const data = journal.readData(found);
          let done = 0;
          while (done < data.length) {
            done += fs.writeSync(hostDescriptor, data, done, data.length - done, record.offsetBytes + done);
          }
        });
        return true;
      case 'times':
        this.#tree.use(record.at, (entry) => {
          if (!isInode(entry, record.inode)) return;
          const path = entry.parent.entry(entry.name);
          fs.lutimesSync(path, Number(record.accessNs) / 1e9, Number(record.modifyNs) / 1e9);
        });
        return true;
      default:
        return false;
    }
  }

  /**
   * Changes the file that was at `at`. When the power failed, the medium may have kept what was written to a file and
   * lost that it was renamed before: then it is still at one of its earlier places.
   */
  #change(at: Location, inode: string, change: (hostDescriptor: number) => void): void {
    for (const place of [at, ...(this.#places.get(inode) ?? [])]) {
      const path = this.#tree.pathOf(place);
      const changed = withFile(this.#tree, { path, inode }, fs.constants.O_WRONLY, (hostDescriptor) => {
        change(hostDescriptor);
        return true;
      });
      if (changed === true) {
        this.#unsynced.set(path, inode);
        return;
      }
    }
    const path = this.#tree.pathOf(at);
    throw new UsageError(
      'guest-file-changed',
      `the program had changed ${path} after the checkpoint, and it cannot be put back to its state then: another ` +
        'program removed or replaced it; bring it back, or begin anew with --fresh',
      { path },
    );
  }

  #syncFiles(): void {
    for (const [path, inode] of this.#unsynced) {
      withFile(this.#tree, { path, inode }, fs.constants.O_WRONLY, (hostDescriptor) =>
        fs.fdatasyncSync(hostDescriptor),
      );
    }
    this.#unsynced.clear();
  }

  #undoName({ record }: FoundRecord): void {
    switch (record.kind) {
      case 'madeFile':
        this.#tree.use(record.at, (entry) => {
          if (entry.status === undefined || entry.status.isDirectory()) return;
          fs.unlinkSync(entry.parent.entry(entry.name));
          entry.parent.sync();
        });
        return;
      case 'madeDirectory':
        this.#tree.use(record.at, (entry) => {
          if (entry.status === undefined || !entry.status.isDirectory()) return;
          this.#removeDirectory(entry);
        });
        return;
      case 'linked':
        this.#tree.use(record.at, (entry) => {
          if (!isInode(entry, record.inode)) return;
          fs.unlinkSync(entry.parent.entry(entry.name));
          entry.parent.sync();
        });
        return;
      case 'moved':
        this.#moveBack(record.to, record.from, record.inode);
        return;
      case 'kept':
        this.#moveBack(record.aside, record.at, record.inode);
        return;
      default:
        return;
    }
  }

  #removeDirectory(entry: Entry): void {
    try {
      fs.rmdirSync(entry.parent.entry(entry.name));
    } catch (error) {
      if (systemCode(error) !== 'ENOTEMPTY') throw error;
      this.#notice(`${entry.path} stays although the program will make it again: another program put files into it`);
      return;
    }
    entry.parent.sync();
  }

  #moveBack(from: Location, to: Location, inode: string): void {
    this.#tree.use(from, (source) => {
      if (!isInode(source, inode)) return;
      this.#tree.use(to, (target) => {
        const sourcePath = source.parent.entry(source.name);
        // Renaming one name of a file to another of its names does nothing: then only the first has to go.
        if (isInode(target, inode)) fs.unlinkSync(sourcePath);
        else fs.renameSync(sourcePath, target.parent.entry(target.name));
        target.parent.sync();
        source.parent.sync();
      });
    });
  }
}

function isInode(entry: Entry, inode: string): boolean {
  return entry.status !== undefined && inodeOf(entry.status) === inode;
}

/** An error of the guest's file system stops the restart; it can be tried again once its cause is gone. */
function rollbackError(error: unknown): unknown {
  const code = systemCode(error);
  if (code === undefined || !(error instanceof Error)) return error;
  return new StorageError(
    `cannot put the program's files back to their state at the checkpoint: ${error.message}; ` +
      'remove the cause and run the job again, nothing is lost',
    { systemCode: code },
    error,
  );
}
