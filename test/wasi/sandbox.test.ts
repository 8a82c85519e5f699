/** No path leaves its pre-opened directory: not by dots, not by links, not by a race with another process. */
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { availableAnchorKind } from '../../src/wasi/anchor.ts';
import type { AnchorKind } from '../../src/wasi/anchor.ts';
import { Errno } from '../../src/wasi/errno.ts';
import { CREATE, DIRECTORY, DIRECTORY_RIGHTS, Guest, OurHost, TRUNCATE, config } from './guest.ts';

const ROOT = 3;
let scratch: string;
let inside: string;
let host: OurHost;
let guest: Guest;

beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'continuo-sandbox-'));
  inside = join(scratch, 'inside');
  mkdirSync(join(inside, 'sub'), { recursive: true });
  mkdirSync(join(scratch, 'outside'));
  writeFileSync(join(scratch, 'outside', 'secret'), 'secret');
  writeFileSync(join(inside, 'sub', 'file'), 'mine');
  symlinkSync('../outside', join(inside, 'up'));
  symlinkSync(join(scratch, 'outside'), join(inside, 'absolute'));
  symlinkSync('../outside/secret', join(inside, 'upfile'));
  symlinkSync('../../outside/secret', join(inside, 'sub', 'upfile'));
  symlinkSync('../outside/new', join(inside, 'newfile'));
  symlinkSync('sub/../sub/./file', join(inside, 'within'));
  symlinkSync('..', join(inside, 'sub', 'parent'));
  symlinkSync('/proc/self/root', join(inside, 'magic'));
});
afterEach(() => {
  host.close();
  rmSync(scratch, { recursive: true, force: true });
});

describe.each(['descriptor', 'path'] as const)('directories held by %s', (anchorKind: AnchorKind) => {
  beforeEach(() => {
    const kind = anchorKind === 'descriptor' ? availableAnchorKind() : anchorKind;
    host = new OurHost(config(inside), { anchorKind: kind });
    guest = new Guest(host);
  });

  it.each([
    ['..', Errno.notcapable],
    ['../outside/secret', Errno.notcapable],
    ['sub/../../outside/secret', Errno.notcapable],
    ['./.././inside/sub', Errno.notcapable],
    ['/etc/passwd', Errno.notcapable],
    ['/', Errno.notcapable],
    ['up/secret', Errno.notcapable],
    ['up', Errno.notcapable],
    ['absolute/secret', Errno.notcapable],
    ['upfile', Errno.notcapable],
    ['sub/upfile', Errno.notcapable],
    ['sub/parent/../outside/secret', Errno.notcapable],
    ['sub/parent/up/secret', Errno.notcapable],
    ['magic/etc/passwd', Errno.notcapable],
    ['newfile', Errno.notcapable],
    ['', Errno.noent],
    ['sub/file/..', Errno.notdir],
  ])('refuses %s', (path, errno) => {
    expect(guest.open(ROOT, path, { oflags: CREATE }).errno).toBe(errno);
    expect(guest.open(ROOT, path, { oflags: TRUNCATE }).errno).toBe(errno);
    expect(guest.stat(ROOT, path).errno).toBe(errno);
    expect(guest.setTimes(ROOT, path, 0n, 0n, 4)).toBe(errno);
    expect(readdirSync(join(scratch, 'outside'))).toEqual(['secret']);
    expect(readFileSync(join(scratch, 'outside', 'secret'), 'utf8')).toBe('secret');
  });

  it.each(['within', 'sub/parent/within', 'sub/parent/sub/parent/sub/file', './sub//file'])('allows %s', (path) => {
    const { value } = guest.open(ROOT, path);
    expect(guest.read(value!, 10).value).toBe('mine');
  });

  it('changes no name outside', () => {
    expect(guest.unlink(ROOT, 'up/secret')).toBe(Errno.notcapable);
    expect(guest.removeDirectory(ROOT, '../outside')).toBe(Errno.notcapable);
    expect(guest.makeDirectory(ROOT, 'up/new')).toBe(Errno.notcapable);
    expect(guest.makeDirectory(ROOT, 'newfile')).toBe(Errno.exist);
    expect(guest.rename(ROOT, 'sub/file', ROOT, 'up/file')).toBe(Errno.notcapable);
    expect(guest.rename(ROOT, 'up/secret', ROOT, 'stolen')).toBe(Errno.notcapable);
    expect(guest.link(ROOT, 'up/secret', ROOT, 'stolen')).toBe(Errno.notcapable);
    expect(guest.link(ROOT, 'upfile', ROOT, 'stolen', true)).toBe(Errno.notcapable);
    expect(guest.symlink('x', ROOT, 'up/link')).toBe(Errno.notcapable);
    expect(guest.symlink('/etc/passwd', ROOT, 'mylink')).toBe(Errno.notcapable);
    expect(readdirSync(join(scratch, 'outside'))).toEqual(['secret']);
  });

  it('a directory opened below is the root of what it gives', () => {
    const sub = guest.openDirectory(ROOT, 'sub').value!;
    expect(guest.open(sub, 'file').errno).toBe(0);
    expect(guest.open(sub, '../sub/file').errno).toBe(Errno.notcapable);
    expect(guest.open(sub, 'parent', { oflags: DIRECTORY, rights: DIRECTORY_RIGHTS }).errno).toBe(Errno.notcapable);
  });

  it('names of Continuo cannot be found or made', () => {
    writeFileSync(join(inside, '.continuo-aside-1'), 'kept');
    expect(guest.open(ROOT, '.continuo-aside-1').errno).toBe(Errno.noent);
    expect(guest.makeDirectory(ROOT, '.continuo-aside-2')).toBe(Errno.noent);
    expect(guest.names(guest.openDirectory(ROOT, '.').value!)).not.toContain('.continuo-aside-1');
  });

  it('paths that are no text are refused', () => {
    expect(guest.open(ROOT, Uint8Array.of(0xff, 0xfe)).errno).toBe(Errno.ilseq);
    expect(guest.open(ROOT, 'sub/file\0').errno).toBe(Errno.inval);
  });

  it('nothing is open that was not named', () => {
    for (let number = 4; number < 40; number++) expect(guest.status(number).errno).toBe(Errno.badf);
  });
});

it.runIf(process.platform === 'linux')('no race with another process opens a file outside', async () => {
  host = new OurHost(config(inside));
  guest = new Guest(host);
  mkdirSync(join(inside, 'swap'));
  writeFileSync(join(inside, 'swap', 'secret'), 'mine');
  // Swaps the directory for a link to outside and back, as fast as it can.
  const script = `
    const fs = require('node:fs');
    process.chdir(${JSON.stringify(inside)});
    fs.symlinkSync('../outside', 'other');
    process.stdout.write('ready');
    for (;;) {
      fs.renameSync('swap', 'aside'); fs.renameSync('other', 'swap');
      fs.renameSync('swap', 'other'); fs.renameSync('aside', 'swap');
    }`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.once('data', resolve));
  const outcomes = new Map<number, number>();
  const endMs = performance.now() + 1500;
  while (performance.now() < endMs) {
    const { errno, value } = guest.open(ROOT, 'swap/secret');
    outcomes.set(errno, (outcomes.get(errno) ?? 0) + 1);
    if (value !== undefined) {
      expect(guest.read(value, 10).value).toBe('mine');
      guest.close(value);
    }
    guest.write(guest.open(ROOT, 'swap/made', { oflags: CREATE }).value ?? 99, 'x');
    for (let number = 4; number < 8; number++) guest.close(number);
  }
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
  expect(existsSync(join(scratch, 'outside', 'made'))).toBe(false);
  // Both states were met, or nothing was tested.
  expect(outcomes.get(0)).toBeGreaterThan(0);
  expect(outcomes.get(Errno.notcapable)).toBeGreaterThan(0);
});
