/** Restarts that find the host's files otherwise than the last run left them, or elsewhere. */
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CorruptionError } from '../../src/error/errors.ts';
import { removeAsidesOfAbandonedJob } from '../../src/wasi/abandoned-job.ts';
import type { WasiOptions } from '../../src/wasi/wasi.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { parseWasiState } from '../../src/wasi/wasi-state.ts';
import { CrashDevice } from '../store/crash-device.ts';
import { scratchDirectory } from './directory-tree.ts';
import { CREATE, Guest, OurHost, config } from './guest.ts';

const ROOT = 3;
let scratch: string;
let directory: string;
let device: CrashDevice;
let host: OurHost;

beforeEach(() => {
  scratch = scratchDirectory('restart');
  directory = join(scratch, 'files');
  mkdirSync(join(directory, 'sub'), { recursive: true });
  writeFileSync(join(directory, 'file'), 'hello, world');
  device = new CrashDevice();
  host = new OurHost(config(directory), { device });
});
afterEach(() => {
  host.close();
  rmSync(scratch, { recursive: true, force: true });
});

/** The state of a guest that has written to a file and holds it and a directory open. */
function openedState(): WasiState {
  const guest = new Guest(host);
  guest.open(ROOT, 'file');
  guest.openDirectory(ROOT, 'sub');
  host.checkpoint();
  guest.write(4, 'HELLO');
  return host.checkpoint();
}

function restart(state: WasiState, options: Partial<WasiOptions> & { at?: string } = {}): OurHost {
  host.close();
  const { at = directory, ...rest } = options;
  host = new OurHost(config(at), { device, state, ...rest });
  return host;
}

it.each([
  ['removed', /it is not there any more/, () => rmSync(join(directory, 'file'))],
  ['cut', /it has 3 bytes where the checkpoint left 12/, () => truncateSync(join(directory, 'file'), 3)],
  [
    'replaced',
    /another file stands in its place/,
    () => {
      writeFileSync(join(directory, 'new'), 'HELLO, world');
      renameSync(join(directory, 'new'), join(directory, 'file'));
    },
  ],
  [
    'taken away with its directory',
    /sub open at the checkpoint/,
    () => rmSync(join(directory, 'sub'), { recursive: true }),
  ],
])('says so when something the guest has open was %s', (_, message, change) => {
  const state = openedState();
  change();
  expect(() => restart(state)).toThrow(message);
  expect(() => restart(state)).toThrow(expect.objectContaining({ code: 'guest-file-changed', exitCode: 2 }));
});

it('cuts what was appended by a run that knew more, and keeps what others wrote into files that it only reads', () => {
  writeFileSync(join(directory, 'log'), 'one\n');
  const guest = new Guest(host);
  guest.open(ROOT, 'log', { rights: 2n | 4n | 32n });
  const state = host.checkpoint();
  writeFileSync(join(directory, 'log'), 'two\n', { flag: 'a' });
  const again = new Guest(restart(state));
  expect(again.read(4, 100).value).toBe('one\ntwo\n');
});

it('a job goes on with copies of its files when it is told that they are copies', () => {
  const state = openedState();
  host.close();
  const copy = join(scratch, 'copy');
  cpSync(directory, copy, { recursive: true });
  rmSync(directory, { recursive: true });
  expect(() => restart(state, { at: copy })).toThrow(/another file stands in its place/);
  const guest = new Guest(restart(state, { at: copy, relocated: true }));
  guest.write(4, '!');
  expect(readFileSync(join(copy, 'file'), 'utf8')).toBe('HELLO! world');
});

it('stops when bytes cannot be put back, and does it when the file is there again', () => {
  const state = openedState();
  const guest = new Guest(host);
  guest.pwrite(4, 0, 'later');
  guest.open(ROOT, 'other', { oflags: CREATE });
  host.close();
  renameSync(join(directory, 'file'), join(scratch, 'hidden'));
  expect(() => restart(state)).toThrow(/another program removed or replaced it/);
  renameSync(join(scratch, 'hidden'), join(directory, 'file'));
  restart(state);
  expect(readFileSync(join(directory, 'file'), 'utf8')).toBe('HELLO, world');
  expect(readdirSync(directory)).toEqual(['file', 'sub']);
});

it('puts bytes back into a file whose renaming the medium lost', () => {
  const state = openedState();
  const guest = new Guest(host);
  guest.rename(ROOT, 'file', ROOT, 'renamed');
  guest.pwrite(4, 0, 'later');
  host.close();
  renameSync(join(directory, 'renamed'), join(directory, 'file'));
  restart(state);
  expect(readFileSync(join(directory, 'file'), 'utf8')).toBe('HELLO, world');
});

it('a job that is given up leaves nothing set aside', () => {
  const guest = new Guest(host);
  guest.open(ROOT, 'file');
  guest.unlink(ROOT, 'file');
  const state = host.checkpoint();
  guest.removeDirectory(ROOT, 'sub');
  host.close();
  expect(readdirSync(directory)).toHaveLength(2);
  removeAsidesOfAbandonedJob(config(directory), state, device);
  expect(readdirSync(directory)).toEqual([]);
});

it('a state that was not written by this version is refused by the place where it differs', () => {
  const state = JSON.parse(JSON.stringify(openedState())) as Record<string, unknown>;
  expect(() => parseWasiState({ ...state, version: 2 })).toThrow(CorruptionError);
  expect(() => parseWasiState({ ...state, extra: 1 })).toThrow('state.extra is not known');
  expect(() => parseWasiState({ ...state, generation: -1 })).toThrow('state.generation');
  expect(() => parseWasiState({ ...state, descriptors: [{ kind: 'pipe' }] })).toThrow('state.descriptors[0].kind');
  expect(() => parseWasiState(null)).toThrow('state is not an object');
});
