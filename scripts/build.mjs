/**
 * Builds everything that runs: `src` → `dist` (TypeScript), `assembly` and `workloads` → `dist/…/*.wasm`
 * (AssemblyScript, options in asconfig.json by the target of the folder's name), and `src` → `dist/command`: the command
 * once more, each of its threads in one file. Where there is a C compiler, `native` → `dist/native` (`build-native.mjs`).
 *
 *   node scripts/build.mjs [--no-check] [--force]
 *
 * A unit is skipped when the digest of its inputs (contents, options, compiler version) is the one it was last built
 * from. Outputs are put in place by renaming, and only where they differ, so that a build beside a running test or a
 * second build never shows anybody half a file.
 *
 * `--no-check` emits without checking types: the tests' set-up uses it, because `npm run typecheck` tells more.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative, tellOfNative } from './build-native.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const dist = join(root, 'dist');
const statePath = join(dist, '.build-state.json');
/** Folders of AssemblyScript: each file at their top is a program, files in their subfolders are shared by all. */
const assemblyFolders = ['assembly', 'workloads'];

/** Programs built more than once from one source: a suffix of the name, and files that take the place of others. */
const variantsOf = {
  workloads: { '': {}, '.directed': { 'workloads/common/progress.ts': 'workloads/common/progress-told.ts' } },
};

/** Files of `dist/command` that processes and threads start from. */
const entriesOfCommand = {
  main: 'src/cli/main.ts',
  'guest-thread': 'src/machine/guest-thread.ts',
  'pager-thread': 'src/machine/pager-thread.ts',
  'save-thread': 'src/machine/save-thread.ts',
};

/** Regular files below a folder, as sorted paths relative to the root; none when the folder does not exist. */
export function filesBelow(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

export function packageVersion(name) {
  return JSON.parse(readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')).version;
}

export function digest(files, ...salt) {
  const hash = createHash('sha256').update(salt.join('\0'));
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)));
  return hash.digest('hex');
}

/** Puts bytes at a path in one step, and not at all when they are there already. */
export function install(path, bytes) {
  if (existsSync(path) && readFileSync(path).equals(bytes)) return;
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, bytes);
  renameSync(temporary, path);
}

export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`${text}\n`);
}

/** What was last built from what; empty when nothing is known. */
export function readState(path) {
  if (!existsSync(path)) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // A damaged state file only costs a full build.
    return {};
  }
}

/** Compiles `src` into a folder beside `dist` (source maps hold paths relative to it), then moves what differs. */
function buildSources(state, { check, force }) {
  const sources = filesBelow('src');
  const inputs = digest([...sources, 'tsconfig.json'], packageVersion('typescript'));
  const upToDate = state.sources?.digest === inputs && (state.sources.checked || !check);
  const scripts = sources.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));
  const outputs = scripts.map((file) => join(dist, relative('src', file).replace(/\.ts$/, '.js')));
  if (upToDate && !force && outputs.every((output) => existsSync(output))) return;

  progress('compile src');
  const staging = join(root, `dist-${process.pid}`);
  try {
    const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const args = [compiler, '-p', join(root, 'tsconfig.json'), '--outDir', staging, '--noEmitOnError'];
    const result = spawnSync(process.execPath, check ? args : [...args, '--noCheck'], { cwd: root, encoding: 'utf8' });
    if (result.status !== 0) throw new BuildError(`src does not compile:\n${result.stdout}${result.stderr}`);

    const emitted = new Set();
    for (const file of filesBelow(basename(staging))) {
      const target = relative(basename(staging), file);
      emitted.add(target);
      install(join(dist, target), readFileSync(join(root, file)));
    }
    for (const file of filesBelow('dist')) {
      const output = relative('dist', file);
      if (dirname(output) === 'command') continue;
      if (/\.(js|d\.ts|js\.map)$/.test(output) && !emitted.has(output)) rmSync(join(root, file));
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  state.sources = { digest: inputs, checked: check };
}

/**
 * The command and its threads, each in a file of its own beside what the command loads only when it needs it. Loading some
 * hundred modules takes longer than everything else at the start of a run, and each thread loads its own.
 */
async function buildCommand(state, { force }) {
  const inputs = digest([...filesBelow('src'), 'package-lock.json'], packageVersion('rolldown'));
  const folder = join(dist, 'command');
  if (state.command?.digest === inputs && !force && state.command.files.every((file) => existsSync(join(folder, file))))
    return;
  progress('bundle the command');
  const { rolldown } = await import('rolldown');
  const files = new Map();
  for (const [name, source] of Object.entries(entriesOfCommand)) {
    const bundle = await rolldown({ input: { [name]: join(root, source) }, platform: 'node', logLevel: 'warn' });
    const { output } = await bundle.generate({ entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' });
    await bundle.close();
    for (const { fileName, code } of output) files.set(fileName, code);
  }
  const isEntry = (name) => basename(name, '.js') in entriesOfCommand;
  // What loads others comes last.
  const names = [...files.keys()].sort((a, b) => Number(isEntry(a)) - Number(isEntry(b)));
  for (const name of names) install(join(folder, name), Buffer.from(files.get(name)));
  for (const file of filesBelow('dist/command')) if (!files.has(basename(file))) rmSync(join(root, file));
  chmodSync(join(folder, 'main.js'), 0o755);
  state.command = { digest: inputs, files: names };
}

async function buildAssembly(state, folder, { force }) {
  const all = filesBelow(folder).filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'));
  const programs = all.filter((file) => dirname(file) === folder);
  const shared = all.filter((file) => dirname(file) !== folder);
  const version = packageVersion('assemblyscript');
  const variants = Object.entries(variantsOf[folder] ?? { '': {} });
  const expected = new Set();
  for (const program of programs) {
    for (const [suffix, replaced] of variants) {
      const name = `${basename(program, '.ts')}${suffix}.wasm`;
      expected.add(name);
      const output = join(dist, folder, name);
      const inputs = digest([program, ...shared, ...filesBelow('include'), 'asconfig.json'], version, suffix);
      if (!force && state[program + suffix] === inputs && existsSync(output)) continue;
      progress(`compile ${program}${suffix}`);
      install(output, await compileAssembly(program, folder, replaced));
      state[program + suffix] = inputs;
    }
  }
  for (const file of filesBelow(join('dist', folder))) {
    if (file.endsWith('.wasm') && !expected.has(basename(file))) rmSync(join(root, file));
  }
}

/** With `replaced`, files are compiled in place of others, by their paths. */
export async function compileAssembly(program, target, replaced = {}) {
  // Loading the compiler takes most of a second, so that a build with nothing to do must not reach this line.
  const { default: asc } = await import('assemblyscript/asc');
  const outputs = new Map();
  const args = [
    program.replaceAll('\\', '/'),
    '--config',
    'asconfig.json',
    '--target',
    target,
    '--outFile',
    'out.wasm',
  ];
  const messages = asc.createMemoryStream();
  const { error } = await asc.main([...args, '--baseDir', root], {
    stderr: messages,
    readFile: (name, baseDir) => {
      const path = resolve(baseDir, replaced[name] ?? name);
      return existsSync(path) ? readFileSync(path, 'utf8') : null;
    },
    writeFile: (name, contents) => void outputs.set(name, contents),
  });
  if (error) throw new BuildError(`${program} does not compile:\n${messages.toString()}`);
  return Buffer.from(outputs.get('out.wasm'));
}

export class BuildError extends Error {}

export async function build({ check = true, force = false } = {}) {
  mkdirSync(dist, { recursive: true });
  const state = readState(statePath);
  try {
    buildSources(state, { check, force });
    await buildCommand(state, { force });
    tellOfNative(buildNative());
    for (const folder of assemblyFolders) await buildAssembly(state, folder, { force });
  } finally {
    install(statePath, Buffer.from(JSON.stringify(state, null, 2)));
  }
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const options = process.argv.slice(2);
  const unknown = options.find((option) => option !== '--no-check' && option !== '--force');
  try {
    if (unknown !== undefined) throw new BuildError(`build: unknown option ${unknown} (known: --no-check, --force)`);
    await build({ check: !options.includes('--no-check'), force: options.includes('--force') });
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
