/** The files of a program that moves: what is known of them, what is said when they are not there, and where they are now. */
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../src/error/errors.ts';
import { recordFiles, type RecordedFiles, settleState } from '../../src/wasi/file-evidence.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { grantedIdentity } from '../../src/restart/grants.ts';
import { CrashDevice } from '../store/crash-device.ts';
import { scratchDirectory } from '../wasi/directory-tree.ts';
import { config, CREATE, Guest, OurHost } from '../wasi/guest.ts';

const ROOT = 3;
let scratch: string;
let there: string;
let here: string;
let device: CrashDevice;
let host: OurHost;
let guest: Guest;

beforeEach(() => {
  scratch = scratchDirectory('files');
  there = join(scratch, 'there');
  here = join(scratch, 'here');
  mkdirSync(there);
  writeFileSync(join(there, 'input'), 'the input');
  writeFileSync(join(there, 'table'), 'aaaaaaaaaa');
  device = new CrashDevice();
  host = new OurHost(config(there), { device });
  guest = new Guest(host);
});
afterEach(() => {
  host.close();
  rmSync(scratch, { recursive: true, force: true });
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A checkpoint of a guest with an input (4), a table that it overwrites (5) and a log that it appends to (6) open. */
function opened(): WasiState {
  guest.open(ROOT, 'input', { rights: 2n | 4n });
  guest.open(ROOT, 'table');
  guest.open(ROOT, 'log', { oflags: CREATE });
  guest.write(6, 'one\n');
  host.checkpoint();
  guest.write(6, 'two\n');
  guest.pwrite(5, 0, 'bb');
  return host.checkpoint();
}

const record = (state: WasiState): RecordedFiles => recordFiles(config(there), state, device);

function goOn(state: WasiState): Guest {
  host.close();
  host = new OurHost(config(here), { device: new CrashDevice(), state });
  return new Guest(host);
}

it('are known as they were at the checkpoint, whatever the program does to them after it', () => {
  const state = opened();
  const expected = [
    { path: join(there, 'input'), lengthBytes: 9, mayBeLonger: false, sha256: sha256('the input') },
    { path: join(there, 'table'), lengthBytes: 10, mayBeLonger: true, sha256: sha256('bbaaaaaaaa') },
    { path: join(there, 'log'), lengthBytes: 8, mayBeLonger: true, sha256: sha256('one\ntwo\n') },
  ];
  expect(record(state)).toMatchObject({ files: expected, changedSince: [] });
  guest.write(6, 'three\n');
  guest.pwrite(5, 4, 'cc');
  guest.setSize(5, 6);
  guest.pwrite(5, 0, 'dd');
  guest.open(ROOT, 'new', { oflags: CREATE });
  expect(readFileSync(join(there, 'table'), 'utf8')).toBe('ddaacc');
  const later = record(state);
  expect(later.files).toEqual(expected);
  expect(later.changedSince).toEqual([join(there, 'new'), join(there, 'table')]);
});

it('go on elsewhere from copies of them, where what was appended later is cut', () => {
  const state = opened();
  const recorded = record(state);
  guest.write(6, 'three\n');
  cpSync(there, here, { recursive: true });
  const moved = goOn(settleState(config(here), state, recorded));
  moved.write(6, 'three again\n');
  expect(readFileSync(join(here, 'log'), 'utf8')).toBe('one\ntwo\nthree again\n');
  expect(readFileSync(join(there, 'log'), 'utf8')).toBe('one\ntwo\nthree\n');
  expect(moved.read(4, 100).value).toBe('the input');
});

describe.each([
  ['removed', 'input is not there', false, () => rmSync(join(here, 'input'))],
  ['changed', 'input does not hold what it should', true, () => writeFileSync(join(here, 'input'), 'The input')],
  ['longer', 'input has 10 bytes and should have 9', true, () => appendFileSync(join(here, 'input'), '!')],
  ['cut', 'log has 3 bytes and should have 8', false, () => writeFileSync(join(here, 'log'), 'one')],
  ['overwritten', 'table does not hold what it should', true, () => writeFileSync(join(here, 'table'), 'x'.repeat(10))],
])('a file that was %s', (_, message, canGoOn, change) => {
  it('is named', () => {
    const state = opened();
    const recorded = record(state);
    cpSync(there, here, { recursive: true });
    change();
    const settle = (onChange?: (text: string) => void): WasiState =>
      settleState(config(here), state, recorded, onChange);
    expect(() => settle()).toThrow(message);
    expect(() => settle()).toThrow(expect.objectContaining({ code: 'guest-file-changed', exitCode: 2 }));
    const texts: string[] = [];
    if (canGoOn) settle((text) => texts.push(text));
    else expect(() => settle((text) => texts.push(text))).toThrow(message);
    expect(texts).toEqual(canGoOn ? [expect.stringContaining(message)] : []);
  });
});

it('a state that names a file outside of what is granted finds none', () => {
  const state = opened();
  const recorded = record(state);
  cpSync(there, here, { recursive: true });
  writeFileSync(join(scratch, 'secret'), 'the input');
  for (const at of [
    { root: 0, path: '../secret' },
    { root: 0, path: join(scratch, 'secret') },
    { root: 9, path: 'secret' },
  ]) {
    const files = state.files.map((file, index) => (index === 0 ? { ...file, at } : file));
    expect(() => settleState(config(here), { ...state, files }, recorded)).toThrow(UsageError);
  }
  // What was not set aside by Continuo is never removed as if it were.
  const asides = [{ at: { root: 0, path: 'table' }, inode: '1' }];
  expect(settleState(config(here), { ...state, asides }, recorded).asides).toEqual([]);
});

it('a restart file grants nothing', () => {
  const identity = {
    program: 'p',
    digest: '',
    arguments: ['p'],
    environment: [],
    preopens: [{ guestPath: '/data', hostPath: there }],
    stdin: { kind: 'inherit' },
    stdout: { kind: 'file', path: join(there, 'out') },
    stderr: { kind: 'inherit' },
    outputMode: 'auto',
  };
  const missing = [`--dir ${there}::/data`, `--stdout ${join(there, 'out')}`];
  const grant = (grants: Parameters<typeof grantedIdentity>[1]): unknown => grantedIdentity(identity, grants, 'f');
  expect(() => grant({ directories: [] })).toThrow(
    expect.objectContaining({ code: 'restart-needs-grant', details: { path: 'f', missing } }),
  );
  expect(grant({ directories: [], samePaths: true })).toEqual(identity);
  expect(grant({ directories: [{ host: here, guest: '/data' }], stdout: join(here, 'o') })).toEqual({
    ...identity,
    preopens: [{ guestPath: '/data', hostPath: here }],
    stdout: { kind: 'file', path: join(here, 'o') },
  });
  expect(() => grant({ directories: [{ host: here }], samePaths: true })).toThrow('those it has are: "/data"');
  expect(() => grant({ directories: [], samePaths: true, stdin: 'x' })).toThrow(
    '--stdin: the program had no file there',
  );
});
