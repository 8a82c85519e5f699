import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * A folder of files that can be made again: nothing is lost when an entry is missing, damaged, or cannot be written, so
 * no failure here is an error.
 *
 * An entry begins with the SHA-256 of the rest. It appears under its name by a rename: a reader sees all of it or none.
 */
export class FileCache {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The cache of this user, by the custom of the system; `CONTINUO_CACHE` names another place, or `off`. */
  static ofUser(environment: NodeJS.ProcessEnv = process.env): FileCache | undefined {
    const named = environment['CONTINUO_CACHE'];
    if (named === 'off') return undefined;
    if (named !== undefined && named !== '') return new FileCache(named);
    const home = homedir();
    switch (process.platform) {
      case 'win32':
        return new FileCache(join(environment['LOCALAPPDATA'] ?? join(home, 'AppData', 'Local'), 'continuo', 'cache'));
      case 'darwin':
        return new FileCache(join(home, 'Library', 'Caches', 'continuo'));
      default:
        return new FileCache(join(environment['XDG_CACHE_HOME'] ?? join(home, '.cache'), 'continuo'));
    }
  }

  /** The contents kept under a name, undefined when there are none or they are not what was written. */
  read(name: string): Uint8Array | undefined {
    const path = join(this.#directory, name);
    let file: Buffer;
    try {
      file = fs.readFileSync(path);
    } catch {
      return undefined;
    }
    const contents = file.subarray(DIGEST_BYTES);
    if (file.length < DIGEST_BYTES || !digest(contents).equals(file.subarray(0, DIGEST_BYTES))) return undefined;
    this.#touch(path);
    return contents;
  }

  write(name: string, contents: Uint8Array): void {
    const temporary = join(this.#directory, `${name}.${randomBytes(6).toString('hex')}.new`);
    try {
      fs.mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      fs.writeFileSync(temporary, Buffer.concat([digest(contents), contents]), { mode: 0o600 });
      fs.renameSync(temporary, join(this.#directory, name));
      this.#dropOldest();
    } catch {
      removeQuietly(temporary);
    }
  }

  /** Marks an entry as used, so that it is not among the oldest. */
  #touch(path: string): void {
    try {
      const now = new Date();
      fs.utimesSync(path, now, now);
    } catch {
      // Another process removed it, or the folder is read-only: it stays as old as it is.
    }
  }

  #dropOldest(): void {
    const entries = fs.readdirSync(this.#directory).map((name) => {
      const path = join(this.#directory, name);
      const { size, mtimeMs } = fs.statSync(path);
      return { path, size, mtimeMs };
    });
    entries.sort((a, b) => b.mtimeMs - a.mtimeMs);
    let bytes = 0;
    for (const { path, size } of entries) {
      bytes += size;
      if (bytes > CACHE_BYTES_MAX) fs.rmSync(path, { force: true });
    }
  }
}

function removeQuietly(path: string): void {
  try {
    fs.rmSync(path, { force: true });
  } catch {
    // The folder cannot be entered: then there is nothing in it to remove.
  }
}

const DIGEST_BYTES = 32;
const CACHE_BYTES_MAX = 2 ** 30;

function digest(contents: Uint8Array): Buffer {
  return createHash('sha256').update(contents).digest();
}
