/**
 * From a path of the guest to a directory entry of the host, without ever leaving the directory it starts in.
 *
 * `..` goes back along the directories that were walked through, never to a parent of the start. A symbolic link is
 * expanded in place when it is in the middle, or last and to be followed; its target must be relative and stay inside.
 */
import type { BigIntStats } from 'node:fs';
import { Anchor } from './anchor.ts';
import { Errno, refuse, systemCode } from './errno.ts';

/** Symbolic links expanded in one path before it counts as a loop; the limit of Linux. */
const LINK_COUNT_MAX = 40;

/**
 * Names that begin so belong to Continuo: files that a checkpoint still needs and the guest has removed. The guest
 * neither sees nor opens them.
 */
export const ASIDE_PREFIX = '.continuo-aside-';

/** A directory entry found by a walk; `close` it when the call is done. */
export interface Entry {
  /** The directory that holds the entry. */
  readonly parent: Anchor;
  /** A single name; `.` when the path leads to `parent` itself. */
  readonly name: string;
  /** Status of the entry itself, not of what it links to; undefined where there is none. */
  readonly status: BigIntStats | undefined;
  /** The path ended with a slash or a dot, so that it can only mean a directory. */
  readonly directoryOnly: boolean;
  /** Absolute path on the host. */
  readonly path: string;
  close(): void;
}

class WalkedEntry implements Entry {
  readonly parent: Anchor;
  readonly name: string;
  readonly status: BigIntStats | undefined;
  readonly directoryOnly: boolean;
  readonly #opened: Anchor[];

  constructor(name: string, directoryOnly: boolean, status: BigIntStats | undefined, stack: Anchor[]) {
    this.parent = stack[stack.length - 1]!;
    this.name = name;
    this.status = status;
    this.directoryOnly = directoryOnly;
    this.#opened = stack;
  }

  get path(): string {
    return this.parent.pathOf(this.name);
  }

  close(): void {
    closeOpened(this.#opened);
  }
}

/** Closes every anchor of the stack but the first, which belongs to the descriptor the walk began at. */
function closeOpened(stack: Anchor[]): void {
  for (let i = stack.length - 1; i > 0; i--) stack.pop()!.close();
}

/**
 * Walks `path` from `start`. With `follow`, a link as the last component is expanded too. The entry need not exist, but
 * the directory that would hold it must. `showAsides` finds Continuo's own names too, which the guest must not.
 *
 * Errors: ENOENT for the empty path and missing directories, ENOTCAPABLE for absolute paths and paths that leave `start`,
 * ENOTDIR, ELOOP, ENAMETOOLONG as the system says.
 */
export function walk(start: Anchor, path: string, follow: boolean, showAsides = false): Entry {
  if (path === '') refuse(Errno.noent);
  const stack: Anchor[] = [start];
  try {
    return walkFrom(stack, path, follow, showAsides);
  } catch (error) {
    closeOpened(stack);
    throw error;
  }
}

function walkFrom(stack: Anchor[], path: string, follow: boolean, showAsides: boolean): Entry {
  let components = split(path);
  let directoryOnly = endsLikeDirectory(path);
  let next = 0;
  let linkCount = 0;
  while (next < components.length) {
    const name = components[next++];
    if (name === '..') {
      if (stack.length === 1) refuse(Errno.notcapable);
      stack.pop()!.close();
      continue;
    }
    checkName(name, showAsides);
    const parent = stack[stack.length - 1];
    const last = next === components.length;
    let target: string | undefined;
    if (last) {
      const status = parent.statusOf(name);
      const isLink = status !== undefined && status.isSymbolicLink();
      if (!isLink || !(follow || directoryOnly)) return new WalkedEntry(name, directoryOnly, status, stack);
      target = parent.linkTarget(name);
    } else {
      const child = descend(parent, name);
      if (child instanceof Anchor) {
        stack.push(child);
        continue;
      }
      target = child;
    }
    // Another process changed the link while we looked: look again.
    if (target === undefined) {
      next--;
      continue;
    }
    if (++linkCount > LINK_COUNT_MAX) refuse(Errno.loop);
    if (isAbsolute(target)) refuse(Errno.notcapable);
    if (target === '') refuse(Errno.noent);
    if (last && endsLikeDirectory(target)) directoryOnly = true;
    components = [...split(target), ...components.slice(next)];
    next = 0;
  }
  const here = stack[stack.length - 1];
  return new WalkedEntry('.', true, here.status(), stack);
}

/** Opens the directory `name`, or gives the target where it is a link. */
function descend(parent: Anchor, name: string): Anchor | string {
  try {
    return parent.child(name);
  } catch (error) {
    const code = systemCode(error);
    // Linux says ENOTDIR of a link opened as a directory without following it; the path kind refuses it with ELOOP.
    if (code !== undefined && code !== 'ENOTDIR' && code !== 'ELOOP') throw error;
    const target = parent.linkTarget(name);
    if (target === undefined) throw error;
    return target;
  }
}

function split(path: string): string[] {
  if (isAbsolute(path)) refuse(Errno.notcapable);
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function endsLikeDirectory(path: string): boolean {
  return path.endsWith('/') || path.endsWith('/.') || path.endsWith('/..') || path === '.' || path === '..';
}

function isAbsolute(path: string): boolean {
  return path.startsWith('/') || (process.platform === 'win32' && /^([A-Za-z]:|\\)/.test(path));
}

function checkName(name: string, showAsides: boolean): void {
  if (!showAsides && name.startsWith(ASIDE_PREFIX)) refuse(Errno.noent);
  // On Windows a backslash separates and a colon names a drive or a stream: neither may pass as part of a name.
  if (process.platform === 'win32' && /[\\:]/.test(name)) refuse(Errno.notcapable);
}
