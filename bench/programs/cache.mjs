// Where fetched and built programs are kept: outside of version control, and never part of the package.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const programsFolder = fileURLToPath(new URL('.', import.meta.url));
export const cacheFolder = fileURLToPath(new URL('../../dist-programs/', import.meta.url));

/** A program that cannot be had here, with the reason: no network, no compiler, not root. Not a failure of ours. */
export class NotAvailable extends Error {}

/** The file `name` of the cache, made by `make(file)` when it is not there or when its `stamp` is another. */
export async function cached(name, stamp, make) {
  const file = path.join(cacheFolder, name);
  const stampFile = `${file}.stamp`;
  if (fs.existsSync(file) && fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === stamp) return file;
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.rmSync(stampFile, { force: true });
  // Made beside its place and renamed, so that a run that is broken off leaves no half of a program.
  const unfinished = `${file}.${process.pid}`;
  try {
    await make(unfinished);
    fs.rmSync(file, { recursive: true, force: true });
    fs.renameSync(unfinished, file);
  } finally {
    fs.rmSync(unfinished, { recursive: true, force: true });
  }
  fs.writeFileSync(stampFile, stamp);
  return file;
}
