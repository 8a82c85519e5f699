/**
 * A directory of the host that names are looked up in, one component at a time.
 *
 * The guest must not leave its pre-opened directories, not even when another process swaps a directory for a symbolic
 * link between our look and our use. On Linux an anchor therefore holds an open directory, and `/proc/self/fd/N/name`
 * names the entry `name` of exactly that directory, as `openat` would; the last component is never followed, because
 * every open carries O_NOFOLLOW and every other call used here acts on the link itself. Elsewhere Node has no such path:
 * an anchor is then an absolute path, each component is checked not to be a link before it is used, and a race with
 * another process of the same user remains.
 */
import * as fs from 'node:fs';
import { Errno, refuse, systemCode } from './errno.ts';

/** `descriptor`: by open directory, safe against races. `path`: by absolute path. */
export type AnchorKind = 'descriptor' | 'path';

/** O_PATH of Linux, the same on every processor that Node supports; it asks for no right to read the directory. */
const O_PATH = 0o10000000;

export function availableAnchorKind(): AnchorKind {
  return process.platform === 'linux' && fs.existsSync('/proc/self/fd/0') ? 'descriptor' : 'path';
}

export class Anchor {
  readonly kind: AnchorKind;
  /** Absolute path of the directory on the host, without links; changes when the guest renames it or a parent. */
  path: string;
  readonly #descriptor: number;

  private constructor(kind: AnchorKind, path: string, descriptor: number) {
    this.kind = kind;
    this.path = path;
    this.#descriptor = descriptor;
  }

  /** Opens a pre-opened directory. `path` must be absolute and without links; throws errors of `node:fs`. */
  static root(kind: AnchorKind, path: string): Anchor {
    if (kind === 'descriptor') {
      const flags = O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW;
      return new Anchor(kind, path, fs.openSync(path, flags));
    }
    if (!fs.lstatSync(path).isDirectory()) refuse(Errno.notdir);
    return new Anchor(kind, path, -1);
  }

  /** A second anchor of the same directory, closed on its own. */
  duplicate(): Anchor {
    return this.child('.', this.path);
  }

  /** The path that a system call takes for the entry `name`; `.` is the directory itself. */
  entry(name: string): string {
    return this.kind === 'descriptor' ? `/proc/self/fd/${this.#descriptor}/${name}` : join(this.path, name);
  }

  /** Absolute path of the entry `name`, as a record of where it is. */
  pathOf(name: string): string {
    return name === '.' ? this.path : join(this.path, name);
  }

  /** Opens the directory `name`, which must not be a link: ENOTDIR or ELOOP then. */
  child(name: string, path = this.pathOf(name)): Anchor {
    const entry = this.entry(name);
    if (this.kind === 'descriptor') {
      const flags = O_PATH | fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW;
      return new Anchor(this.kind, path, fs.openSync(entry, flags));
    }
    const status = fs.lstatSync(entry);
    if (status.isSymbolicLink()) refuse(Errno.loop);
    if (!status.isDirectory()) refuse(Errno.notdir);
    return new Anchor(this.kind, path, -1);
  }

  /** Status of the directory itself, even of one that was removed while open. */
  status(): fs.BigIntStats {
    if (this.kind === 'descriptor') return fs.fstatSync(this.#descriptor, { bigint: true });
    return fs.lstatSync(this.entry('.'), { bigint: true });
  }

  /** The entry's status without following it, or undefined where there is none. */
  statusOf(name: string): fs.BigIntStats | undefined {
    return fs.lstatSync(this.entry(name), { bigint: true, throwIfNoEntry: false });
  }

  /** Target of the link `name`, or undefined where it is no link. */
  linkTarget(name: string): string | undefined {
    try {
      return fs.readlinkSync(this.entry(name));
    } catch (error) {
      if (systemCode(error) === 'EINVAL') return undefined;
      throw error;
    }
  }

  /** Makes the directory's names durable. */
  sync(): void {
    if (process.platform === 'win32') return;
    const descriptor = fs.openSync(this.entry('.'), fs.constants.O_RDONLY);
    try {
      fs.fsyncSync(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  }

  close(): void {
    if (this.#descriptor >= 0) fs.closeSync(this.#descriptor);
  }
}

function join(directory: string, name: string): string {
  return directory.endsWith('/') ? directory + name : `${directory}/${name}`;
}
