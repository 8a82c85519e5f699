import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Contents as they are; of long ones length and digest, so that a difference can be read. */
function contentsOf(path: string): string {
  const bytes = fs.readFileSync(path);
  if (bytes.length < 200) return bytes.toString('latin1');
  return `of ${bytes.length} bytes, ${createHash('sha1').update(bytes).digest('hex')}`;
}

/** Everything below a directory that a guest can tell: kinds, contents, link targets, and which names are one file. */
export function treeOf(directory: string): Record<string, string> {
  const tree: Record<string, string> = {};
  const firstNames = new Map<bigint, string>();
  const visit = (path: string, below: string): void => {
    for (const name of fs.readdirSync(path).sort()) {
      const full = join(path, name);
      const relative = below === '' ? name : `${below}/${name}`;
      const status = fs.lstatSync(full, { bigint: true });
      if (status.isDirectory()) {
        tree[relative] = 'directory';
        visit(full, relative);
      } else if (status.isSymbolicLink()) {
        tree[relative] = `link to ${fs.readlinkSync(full)}`;
      } else {
        const first = firstNames.get(status.ino);
        firstNames.set(status.ino, first ?? relative);
        tree[relative] = first === undefined ? `file ${contentsOf(full)}` : `same as ${first}`;
      }
    }
  };
  visit(directory, '');
  return tree;
}

/**
 * A new directory for a test that makes very many small changes durable: in memory where the system has such a place,
 * because what is tested is the order of steps and not the disk.
 */
export function scratchDirectory(name: string): string {
  const inMemory = '/dev/shm';
  return fs.mkdtempSync(join(fs.existsSync(inMemory) ? inMemory : tmpdir(), `continuo-${name}-`));
}
