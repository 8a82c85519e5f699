/**
 * Compiles the kernels to dist/kernels/*.wasm: C with clang and wasm-ld, AssemblyScript with the project's compiler.
 *
 *   node bench/kernels/build.mjs [--optional]
 *
 * Without clang or wasm-ld the C kernels are left out and the build fails; with `--optional` it says so and succeeds.
 * A kernel that needs more than the options below names it in its head: `// Compile: …`. No option moves the kernel's
 * data, so that they start where the linker puts those of every program, at address 1024.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  BuildError,
  compileAssembly,
  digest,
  dist,
  filesBelow,
  install,
  packageVersion,
  progress,
  readState,
  root,
} from '../../scripts/build.mjs';

const folder = join('bench', 'kernels');
const outputFolder = join(dist, 'kernels');
const statePath = join(dist, '.kernels-state.json');

const clangOptions = [
  '--target=wasm32',
  '-std=c11',
  '-O2',
  '-Wall',
  '-Wextra',
  '-Werror',
  // No C library: freestanding headers only, and loops stay loops where the compiler would call memset.
  '-ffreestanding',
  '-nostdlib',
  '-mbulk-memory',
  '-msign-ext',
  '-Wl,--no-entry',
  '-Wl,-z,stack-size=1048576',
];

/** First line of `--version`, or undefined when there is no such program. */
function toolVersion(tool) {
  const { status, stdout } = spawnSync(tool, ['--version'], { encoding: 'utf8' });
  return status === 0 ? stdout.split('\n', 1)[0] : undefined;
}

function compileC(source) {
  const extra = /^\/\/ Compile: (.*)$/m.exec(readFileSync(join(root, source), 'utf8'))?.[1].split(' ') ?? [];
  const scratch = mkdtempSync(join(tmpdir(), 'continuo-kernel-'));
  try {
    const output = join(scratch, 'kernel.wasm');
    const { status, stderr } = spawnSync('clang', [...clangOptions, ...extra, '-o', output, source], {
      cwd: root,
      encoding: 'utf8',
    });
    if (status !== 0) throw new BuildError(`${source} does not compile:\n${stderr}`);
    return readFileSync(output);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Builds what is out of date; the answer names the tools that are missing, none when every kernel is there. */
export async function buildKernels() {
  mkdirSync(outputFolder, { recursive: true });
  const tools = { clang: toolVersion('clang'), 'wasm-ld': toolVersion('wasm-ld') };
  const missing = Object.keys(tools).filter((tool) => tools[tool] === undefined);
  const files = filesBelow(folder);
  const shared = files.filter((file) => extname(file) === '.h' || file.startsWith(join(folder, 'common')));
  const kernels = files.filter((file) => /\.(c|ts)$/.test(file) && !shared.includes(file));
  const version = [...Object.values(tools), packageVersion('assemblyscript'), ...clangOptions];
  const state = readState(statePath);
  const built = new Map(kernels.map((source) => [`${basename(source, extname(source))}.wasm`, source]));
  try {
    for (const [name, source] of built) {
      if (source.endsWith('.c') && missing.length > 0) continue;
      const output = join(outputFolder, name);
      const inputs = digest([source, ...shared, 'asconfig.json'], ...version);
      if (state[source] === inputs && existsSync(output)) continue;
      progress(`compile ${source}`);
      install(output, source.endsWith('.c') ? compileC(source) : await compileAssembly(source, 'kernels'));
      state[source] = inputs;
    }
  } finally {
    install(statePath, Buffer.from(JSON.stringify(state, null, 2)));
  }
  for (const file of filesBelow(join('dist', 'kernels'))) {
    if (file.endsWith('.wasm') && !built.has(basename(file))) rmSync(join(root, file));
  }
  return missing;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const optional = process.argv.includes('--optional');
  try {
    const missing = await buildKernels();
    if (missing.length > 0) {
      console.error(
        `The kernels in C were not built: ${missing.join(' and ')} not found. On Debian and Ubuntu: apt-get install clang lld`,
      );
      if (!optional) process.exitCode = 1;
    }
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
