// Debian source packages of one suite, unpacked below the cache, and clang with wasi-libc to compile them.
// The archive is the one that this machine's apt is set up with; apt's own lists are left as they are.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { NotAvailable, cacheFolder } from './cache.mjs';

const SUITE = 'trixie';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** Folder and version of a source package. */
export function debianSource(name) {
  const folder = path.join(cacheFolder, 'debian', name);
  const versionFile = path.join(folder, '.version');
  if (!fs.existsSync(versionFile)) fetchSource(name, folder, versionFile);
  const unpacked = fs.readdirSync(folder, { withFileTypes: true }).find((entry) => entry.isDirectory());
  return { folder: path.join(folder, unpacked.name), version: fs.readFileSync(versionFile, 'utf8') };
}

function fetchSource(name, folder, versionFile) {
  const options = aptOptions();
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  // The original alone is wanted, which archives keep longest: what else a package has may be missing. An archive that
  // was cut off does not unpack.
  const words = [...options, '--yes', '--download-only', '--tar-only', 'source', name];
  const { stderr } = spawnSync('apt-get', words, { cwd: folder, encoding: 'utf8', timeout: 300_000 });
  const original = fs.readdirSync(folder).find((file) => /\.orig\.tar\.\w+$/.test(file));
  if (original === undefined) {
    throw new NotAvailable(`apt-get cannot fetch the source of ${name}: ${stderr.trim().split('\n').at(-1)}`);
  }
  run('tar', ['xf', original], folder);
  fs.writeFileSync(versionFile, /_(.*)\.orig\./.exec(original)[1]);
}

/** Options that make apt-get read source packages of the suite, into lists of our own. */
function aptOptions() {
  const home = path.join(cacheFolder, 'debian', '.apt');
  const options = ['sources', 'lists', 'cache'].map((part) => path.join(home, part));
  const [sources, lists, cache] = options;
  const words = {
    'Dir::Etc::SourceList': '/dev/null',
    'Dir::Etc::SourceParts': sources,
    'Dir::State::Lists': lists,
    'Dir::Cache': cache,
  };
  const flags = Object.entries(words).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  if (fs.existsSync(path.join(lists, 'fetched'))) return flags;
  for (const folder of options) fs.mkdirSync(folder, { recursive: true });
  const question = [
    'indextargets',
    '--format',
    '$(REPO_URI)',
    'Created-By: Packages',
    'Component: main',
    'Origin: Debian',
  ];
  const archive = spawnSync('apt-get', question, { encoding: 'utf8' }).stdout?.split('\n')[0].trim();
  if (!archive) throw new NotAvailable('there is no apt-get with a Debian archive (apt-get update may be missing)');
  fs.writeFileSync(
    path.join(sources, 'debian.sources'),
    `Types: deb-src\nURIs: ${archive}\nSuites: ${SUITE}\nComponents: main\n${fs.existsSync(KEYRING) ? `Signed-By: ${KEYRING}\n` : ''}`,
  );
  const { status, stderr } = spawnSync('apt-get', [...flags, 'update'], { encoding: 'utf8', timeout: 300_000 });
  if (status !== 0)
    throw new NotAvailable(`apt-get cannot read the list of sources: ${stderr.trim().split('\n').at(-1)}`);
  fs.writeFileSync(path.join(lists, 'fetched'), '');
  return flags;
}

/** The compiler for WASI preview 1, as the first words of its command. */
export function compilerForWasi() {
  const missing = ['clang', 'wasm-ld'].filter((tool) => spawnSync(tool, ['--version']).error !== undefined);
  const library = fs.existsSync('/usr/include/wasm32-wasi/stdio.h') ? [] : ['wasi-libc'];
  if (missing.length + library.length > 0) {
    throw new NotAvailable(
      `${[...missing, ...library].join(', ')} not found; on Debian: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32`,
    );
  }
  return ['clang', '--target=wasm32-wasi', '-O2', '-w'];
}

/** Compiles and links for WASI preview 1. */
export function compileForWasi(words, output) {
  const [command, ...first] = compilerForWasi();
  run(command, [...first, ...words, '-o', output], cacheFolder);
}

export function run(command, words, cwd) {
  const { status, stderr, error } = spawnSync(command, words, { cwd, encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (error?.code === 'ENOENT') throw new NotAvailable(`${command} not found`);
  if (status !== 0) throw new Error(`${command} failed:\n${stderr.split('\n').slice(-12).join('\n')}`);
}
