import * as fs from 'node:fs';
import { randomBytes } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { systemCode } from './errno.ts';
import type { HostTree } from './host-tree.ts';
import { inodeOf } from './host-tree.ts';
import { fileKey } from './open-file.ts';
import { ASIDE_PREFIX } from './path-walk.ts';

/** A file or directory that the guest has removed and a checkpoint or an open descriptor still needs. */
interface Aside {
  /** Absolute path, in the directory it was removed from: there a rename needs no more rights than the removal. */
  path: string;
  readonly key: string;
  readonly inode: string;
  readonly isDirectory: boolean;
  /** The directory that it is in. */
  readonly parentKey: string;
  /** Generation in which it was set aside. */
  readonly generation: number;
  /** The generation of the newest captured state that has it open; -1: none. */
  neededBy: number;
}

export interface AsideState {
  path: string;
  inode: string;
}

/** The files set aside. */
export class Asides {
  readonly #tree: HostTree;
  readonly #asides = new Set<Aside>();
  readonly #token = randomBytes(6).toString('hex');
  #nameCount = 0;

  constructor(tree: HostTree) {
    this.#tree = tree;
  }

  /** A name that nothing has; the token keeps jobs and runs apart that share a directory. */
  newName(): string {
    return `${ASIDE_PREFIX}${this.#token}-${this.#nameCount++}`;
  }

  add(path: string, status: BigIntStats, parent: BigIntStats, generation: number): void {
    this.#asides.add({
      path,
      key: fileKey(status),
      inode: inodeOf(status),
      isDirectory: status.isDirectory(),
      parentKey: fileKey(parent),
      generation,
      neededBy: -1,
    });
  }

  /** Takes an aside of an earlier run on again; one that is gone was dropped before that run was killed. */
  restore(state: AsideState, generation: number): void {
    this.#tree.use(this.#tree.knownLocationOf(state.path), (entry) => {
      if (entry.status !== undefined && inodeOf(entry.status) === state.inode) {
        this.add(state.path, entry.status, entry.parent.status(), generation);
      }
    });
  }

  remove(path: string): void {
    for (const aside of this.#asides) if (aside.path === path) this.#asides.delete(aside);
  }

  /** Links that are counted in a status only because something was set aside: names of a file, directories in one. */
  countOf(status: BigIntStats): number {
    if (this.#asides.size === 0) return 0;
    const key = fileKey(status);
    const ofDirectory = status.isDirectory();
    let count = 0;
    for (const aside of this.#asides) {
      if (ofDirectory ? aside.isDirectory && aside.parentKey === key : aside.key === key) count++;
    }
    return count;
  }

  renamed(rename: (path: string) => string): void {
    for (const aside of this.#asides) aside.path = rename(aside.path);
  }

  /** Remembers which ones are among the paths that the guest has open now, in the state of `generation`. */
  captureState(openPaths: ReadonlySet<string>, generation: number): AsideState[] {
    for (const aside of this.#asides) if (openPaths.has(aside.path)) aside.neededBy = generation;
    return Array.from(this.#asides, ({ path, inode }) => ({ path, inode }));
  }

  /**
   * Removes the asides of generations before `generation` that no state from there on needs. A directory
   * that holds another one that is still needed waits for it.
   */
  drop(generation: number): void {
    const droppable = [...this.#asides].filter((aside) => aside.generation < generation && aside.neededBy < generation);
    // Contents before the directory that holds them.
    droppable.sort((a, b) => b.path.length - a.path.length);
    for (const aside of droppable) {
      this.#tree.use(this.#tree.knownLocationOf(aside.path), (entry) => {
        const path = entry.parent.entry(entry.name);
        if (entry.status === undefined || inodeOf(entry.status) !== aside.inode) {
          this.#asides.delete(aside);
          return;
        }
        try {
          if (aside.isDirectory) fs.rmdirSync(path);
          else fs.unlinkSync(path);
        } catch (error) {
          // Tried again at the next commit: the job need not end because a file of no more use cannot be removed.
          if (systemCode(error) !== undefined) return;
          throw error;
        }
        this.#asides.delete(aside);
      });
    }
  }
}
