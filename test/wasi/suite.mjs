/**
 * Runs the preview 1 programs of the WASI test suite through the built command: once as they are, once with a
 * checkpoint after every so many safepoints and output held until it. `--node` runs them under `node:wasi` as well.
 *
 *   node test/wasi/suite.mjs FOLDER [--node]
 *
 * FOLDER is a checkout with built programs: every `*.wasm` below a folder named `wasm32-wasip1` or, where there is none,
 * below FOLDER. Beside a program, `NAME.json` may hold `args`, `env`, `root` (a folder that is its `/`), `exit_code` and
 * `stdout`. Programs run in a copy of that folder.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SAFEPOINTS = 2000;
const TIME_MS_MAX = 60_000;
const COMMAND = fileURLToPath(new URL('../../dist/command/main.js', import.meta.url));

/** `node:wasi` on Node 20 aborts at random with turbo fast calls, and gives no environment when there is none. */
const NODE_PROGRAM = `
  import { readFileSync } from 'node:fs';
  import { WASI } from 'node:wasi';
  const { program, args, env, root } = JSON.parse(process.argv[1]);
  const wasi = new WASI({ version: 'preview1', args, env, preopens: root === undefined ? {} : { '/': root } });
  const module = await WebAssembly.compile(readFileSync(program));
  process.exitCode = wasi.start(await WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport }));
`;

const modes = {
  plain: (test, job) => [COMMAND, 'run', '--job', job, ...commandOf(test)],
  checkpoints: (test, job) => {
    return [COMMAND, 'run', '--job', job, '--every', String(SAFEPOINTS), '--output', 'commit', ...commandOf(test)];
  },
  node: (test) => [
    '--no-warnings',
    '--no-turbo-fast-api-calls',
    '--input-type=module',
    '-e',
    NODE_PROGRAM,
    JSON.stringify({ ...test, args: [basename(test.program), ...test.args] }),
  ],
};

function commandOf({ program, args, env, root }) {
  const options = Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  if (root !== undefined) options.push('--dir', `${root}::/`);
  return [...options, program, ...args];
}

function programsBelow(folder) {
  const all = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.wasm'))
    .map((name) => join(folder, name))
    .sort();
  const preview1 = all.filter((path) => dirname(path).endsWith('wasm32-wasip1'));
  return preview1.length > 0 ? preview1 : all;
}

/** Why the program failed, or undefined. */
function failureOf(program, mode) {
  const settingsFile = program.replace(/\.wasm$/, '.json');
  const settings = existsSync(settingsFile) ? JSON.parse(readFileSync(settingsFile, 'utf8')) : {};
  const scratch = mkdtempSync(join(tmpdir(), 'continuo-suite-'));
  try {
    let root;
    if (settings.root !== undefined) {
      root = join(scratch, 'root');
      cpSync(join(dirname(program), settings.root), root, { recursive: true });
    }
    const test = { program, args: settings.args ?? [], env: settings.env ?? {}, root };
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, modes[mode](test, join(scratch, 'job')), {
      encoding: 'utf8',
      input: '',
      timeout: TIME_MS_MAX,
    });
    const expected = settings.exit_code ?? 0;
    if (status !== expected) return `exit code ${status ?? signal}, expected ${expected}\n${stderr}`;
    if (settings.stdout !== undefined && stdout !== settings.stdout) return `standard output ${JSON.stringify(stdout)}`;
    return undefined;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

const [folder, ...flags] = process.argv.slice(2);
if (folder === undefined || !existsSync(folder) || !existsSync(COMMAND)) {
  console.error('usage: node test/wasi/suite.mjs FOLDER [--node], after npm run build');
  process.exit(2);
}
const programs = programsBelow(folder);
let passed = 0;
let failed = 0;
for (const mode of flags.includes('--node') ? ['plain', 'checkpoints', 'node'] : ['plain', 'checkpoints']) {
  let passedInMode = 0;
  for (const program of programs) {
    const failure = failureOf(program, mode);
    if (failure === undefined) passedInMode++;
    else console.log(`${mode}: ${basename(program)}: ${failure.trim().split('\n').slice(0, 6).join('\n  ')}`);
  }
  console.log(`${mode}: ${passedInMode} of ${programs.length}`);
  // What Node does is told for comparison and judged by nobody.
  if (mode === 'node') continue;
  passed += passedInMode;
  failed += programs.length - passedInMode;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || programs.length === 0 ? 1 : 0;
