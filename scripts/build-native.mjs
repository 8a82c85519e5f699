/**
 * Builds `native/page-guard.c`, which only `--tracker mprotect` needs, into a library beside the rest of `dist`. It is called by the
 * build and when the package is installed. Where that cannot be, it says so in one line and succeeds: nothing else needs it.
 *
 *   node scripts/build-native.mjs
 *
 * The library holds the digest of what it was made from, and is left alone while that is the same.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'native', 'page-guard.c');
const folder = join(root, 'dist', 'native');
const library = join(folder, 'page-guard.so');
/** Never unloaded: its handler stays installed when the thread that loaded it has ended. */
const options = ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-shared', '-fPIC', '-Wl,-z,nodelete'];

/** Returns why there is no library now; undefined: there is. */
export function buildNative() {
  if (process.platform !== 'linux') return `it is for Linux, and this is ${process.platform}`;
  const compiler = process.env.CC || 'cc';
  const hash = createHash('sha256').update(readFileSync(source));
  const digest = hash.update([process.arch, ...options].join('\0')).digest('hex');
  if (existsSync(library)) {
    if (readFileSync(library).includes(digest)) return undefined;
    // One of another source may not do what it is asked for.
    rmSync(library);
  }
  mkdirSync(folder, { recursive: true });
  const unfinished = `${library}.${process.pid}.tmp`;
  try {
    const words = [...options, `-DSOURCE_DIGEST="${digest}"`, '-o', unfinished, source, '-lpthread'];
    const { status, error, stderr } = spawnSync(compiler, words, { encoding: 'utf8' });
    if (error !== undefined) return `there is no C compiler here (${compiler}: ${error.code ?? error.message})`;
    if (status !== 0) return `${compiler} does not compile it: ${stderr.trim().split('\n')[0]}`;
    renameSync(unfinished, library);
    return undefined;
  } finally {
    rmSync(unfinished, { force: true });
  }
}

/** One line for people where it was not built. */
export function tellOfNative(obstacle) {
  if (obstacle !== undefined) console.error(`--tracker mprotect is left out, since ${obstacle}; nothing else needs it`);
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) tellOfNative(buildNative());
