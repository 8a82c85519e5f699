// npm packages of exact versions, each in a folder of its own below the cache, so that none is a dependency of ours.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { NotAvailable, cacheFolder } from './cache.mjs';

/** The folder of an installed package, `name@version`; installs it when it is not there. */
export function npmPackage(specification) {
  const at = specification.lastIndexOf('@');
  const [name, version] = [specification.slice(0, at), specification.slice(at + 1)];
  const prefix = path.join(cacheFolder, 'npm', specification.replaceAll('/', '+'));
  const folder = path.join(prefix, 'node_modules', name);
  if (installedVersion(folder) === version) return folder;
  fs.mkdirSync(prefix, { recursive: true });
  fs.writeFileSync(path.join(prefix, 'package.json'), '{ "private": true }\n');
  const words = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', prefix];
  const { status, stderr } = spawnSync('npm', [...words, specification], { encoding: 'utf8', timeout: 300_000 });
  if (status !== 0) throw new NotAvailable(`npm cannot install ${specification}: ${lastLine(stderr)}`);
  return folder;
}

function installedVersion(folder) {
  const manifest = path.join(folder, 'package.json');
  return fs.existsSync(manifest) ? JSON.parse(fs.readFileSync(manifest, 'utf8')).version : undefined;
}

function lastLine(text = '') {
  return text.trim().split('\n').at(-1) || 'no reason given';
}
