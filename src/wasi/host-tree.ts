import type { BigIntStats } from 'node:fs';
import type { Anchor } from './anchor.ts';
import { AssertionError } from '../error/errors.ts';
import { Errno, Refusal, systemCode } from './errno.ts';
import type { Entry } from './path-walk.ts';
import { walk } from './path-walk.ts';

/**
 * Where a file is, in words that survive a restart on another machine: a root of the job's configuration and the path
 * below it. Roots are the pre-opened directories in their order, then the directories that hold the files of standard
 * input, output and error.
 */
export interface Location {
  root: number;
  path: string;
}

/** The parts of the host's file system that a job may touch. */
export class HostTree {
  readonly #roots: (Anchor | undefined)[];

  /** A root may be missing where a standard stream is no file. */
  constructor(roots: (Anchor | undefined)[]) {
    this.#roots = roots;
  }

  /** The location of an absolute path without links; undefined when it is below no root. */
  locationOf(path: string): Location | undefined {
    for (const [root, anchor] of this.#roots.entries()) {
      if (anchor === undefined) continue;
      if (path === anchor.path) return { root, path: '' };
      const prefix = anchor.path.endsWith('/') ? anchor.path : `${anchor.path}/`;
      if (path.startsWith(prefix)) return { root, path: path.slice(prefix.length) };
    }
    return undefined;
  }

  /** As `locationOf`, for a path that was reached through a root. */
  knownLocationOf(path: string): Location {
    const location = this.locationOf(path);
    if (location === undefined) throw new AssertionError(`this is a bug in Continuo: ${path} is below no root`);
    return location;
  }

  /** Absolute path of a location, for messages and records. */
  pathOf(location: Location): string {
    const anchor = this.#roots[location.root];
    if (anchor === undefined) return location.path;
    return location.path === '' ? anchor.path : anchor.pathOf(location.path);
  }

  /** The entry at a location, Continuo's own names included; undefined where the directory that would hold it is gone. */
  find(location: Location): Entry | undefined {
    const anchor = this.#roots[location.root];
    if (anchor === undefined) return undefined;
    try {
      return walk(anchor, location.path === '' ? '.' : location.path, false, true);
    } catch (error) {
      const code = systemCode(error);
      if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
      if (error instanceof Refusal && error.errno !== Errno.success) return undefined;
      throw error;
    }
  }

  /** Uses the entry at a location and closes it; undefined where there is no such directory. */
  use<Result>(location: Location, use: (entry: Entry) => Result): Result | undefined {
    const entry = this.find(location);
    if (entry === undefined) return undefined;
    try {
      return use(entry);
    } finally {
      entry.close();
    }
  }

  close(): void {
    for (const anchor of this.#roots) anchor?.close();
  }
}

/**
 * What tells a file from others in a record that outlives the process: its inode number alone, because device numbers
 * may differ after a reboot.
 */
export function inodeOf(status: BigIntStats): string {
  return status.ino.toString();
}
