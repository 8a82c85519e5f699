/**
 * Installs the dependencies on a fresh clone, so that `npm test` and `npm run demo` are single commands. It never
 * replaces an existing installation, since another process may be running from it: it asks for `npm ci` instead.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const readJson = (...path) => JSON.parse(readFileSync(join(root, ...path), 'utf8'));

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Continuo needs Node 20.19 or newer; this is ${process.version}.`);
  process.exit(1);
}

if (!existsSync(join(root, 'node_modules', '.package-lock.json'))) {
  console.error('Installing dependencies (npm ci)…');
  // npm names its own script in npm_execpath: that also works where `npm` is a shell wrapper (Windows).
  const npm = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['ignore', 2, 2] };
  const { status } = npm?.endsWith('.js')
    ? spawnSync(process.execPath, [npm, 'ci'], options)
    : spawnSync('npm', ['ci'], { ...options, shell: process.platform === 'win32' });
  if (status !== 0) {
    console.error('npm ci failed; nothing was built.');
    process.exit(1);
  }
}

const { dependencies, devDependencies } = readJson('package.json');
for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
  const manifest = join('node_modules', name, 'package.json');
  const found = existsSync(join(root, manifest)) ? readJson(manifest).version : 'nothing';
  if (found !== version) {
    console.error(`node_modules holds ${found} of ${name}, and package.json asks for ${version}: run \`npm ci\`.`);
    process.exit(1);
  }
}
