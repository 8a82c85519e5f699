/**
 * What a guest did to files after a checkpoint is undone by a restart from it, wherever the run was killed: between two
 * calls, between the undo journal and the effect, with everything lost that no sync covered, and inside the undoing.
 *
 * Invariants of src/wasi/change-log.ts (1) and (2) and of src/wasi/undo-journal.ts (1) and (3).
 */
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Device } from '../../src/device/device.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { CrashDevice, EMPTY_MEDIUM, crash } from '../store/crash-device.ts';
import type { Medium } from '../store/crash-device.ts';
import { scratchDirectory, treeOf } from './directory-tree.ts';
import { APPEND, CREATE, END, EXCLUSIVE, Guest, OurHost, SET, TRUNCATE, config } from './guest.ts';

const ROOT = 3;
let scratch: string;
let runCount: number;

beforeEach(() => {
  scratch = scratchDirectory('undo');
  runCount = 0;
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

/** More than an extent of the undo journal, so that pre-images come in several pieces. */
const LARGE = 'abcdefghijklmnop'.repeat(40_000);

function prepare(): string {
  const directory = join(scratch, `run-${runCount++}`);
  mkdirSync(join(directory, 'sub', 'deep'), { recursive: true });
  mkdirSync(join(directory, 'empty'));
  writeFileSync(join(directory, 'file'), 'hello, world');
  writeFileSync(join(directory, 'other'), 'other contents');
  writeFileSync(join(directory, 'large'), LARGE);
  writeFileSync(join(directory, 'sub', 'inner'), 'inner');
  symlinkSync('file', join(directory, 'link'));
  return directory;
}

/** A step answers with what the guest saw; numbers of descriptors are the same in every run. */
type Step = (guest: Guest) => unknown;

const scenarios: Record<string, Step[]> = {
  contents: [
    (guest) => guest.open(ROOT, 'file'),
    (guest) => guest.write(4, 'HELLO'),
    (guest) => [guest.seek(4, 0, END), guest.write(4, ' and more')],
    (guest) => guest.pwrite(4, 3, 'XYZ'),
    (guest) => guest.setSize(4, 4),
    (guest) => guest.pwrite(4, 10, 'far'),
    (guest) => guest.setSize(4, 100),
    (guest) => guest.close(4),
    (guest) => guest.open(ROOT, 'file', { fdflags: APPEND }),
    (guest) => guest.write(4, 'appended'),
    (guest) => guest.pread(4, 0, 200),
    (guest) => guest.open(ROOT, 'large', { oflags: TRUNCATE }),
    (guest) => guest.write(5, 'short'),
    (guest) => [guest.close(4), guest.close(5)],
    (guest) => guest.open(ROOT, 'large'),
    (guest) => guest.read(4, 100),
  ],
  'a large file overwritten in pieces': [
    (guest) => guest.open(ROOT, 'large'),
    ...[0, 100_000, 300_000, 262_143, 639_990].map(
      (offset): Step =>
        (guest) =>
          guest.pwrite(4, offset, `piece at ${offset}`),
    ),
    (guest) => guest.setSize(4, 300_005),
    (guest) => guest.pwrite(4, 299_999, 'over the cut'),
    (guest) => guest.statOf(4),
  ],
  names: [
    (guest) => guest.makeDirectory(ROOT, 'made'),
    (guest) => guest.open(ROOT, 'made/new', { oflags: CREATE | EXCLUSIVE }),
    (guest) => guest.write(4, 'new contents'),
    (guest) => guest.rename(ROOT, 'made/new', ROOT, 'made/renamed'),
    (guest) => guest.rename(ROOT, 'made', ROOT, 'moved'),
    (guest) => guest.write(4, ', and on'),
    (guest) => guest.symlink('renamed', ROOT, 'moved/soft'),
    (guest) => guest.link(ROOT, 'moved/renamed', ROOT, 'hard'),
    (guest) => guest.link(ROOT, 'file', ROOT, 'file-too'),
    (guest) => guest.stat(ROOT, 'file'),
    (guest) => guest.unlink(ROOT, 'file'),
    (guest) => guest.stat(ROOT, 'file-too'),
    (guest) => guest.open(ROOT, 'file', { oflags: CREATE | EXCLUSIVE }),
    (guest) => guest.write(5, 'another file'),
    (guest) => guest.rename(ROOT, 'other', ROOT, 'file'),
    (guest) => guest.stat(ROOT, 'file'),
    (guest) => guest.rename(ROOT, 'moved/renamed', ROOT, 'file'),
    (guest) => guest.unlink(ROOT, 'link'),
    (guest) => guest.removeDirectory(ROOT, 'empty'),
    (guest) => guest.makeDirectory(ROOT, 'empty'),
    (guest) => guest.rename(ROOT, 'sub', ROOT, 'empty'),
    (guest) => guest.stat(ROOT, 'empty/inner'),
    (guest) => guest.unlink(ROOT, 'empty/inner'),
    (guest) => guest.removeDirectory(ROOT, 'empty/deep'),
    (guest) => guest.removeDirectory(ROOT, 'empty'),
    (guest) => guest.openDirectory(ROOT, '.'),
    (guest) => guest.names(6),
  ],
  'removed and still open': [
    (guest) => guest.open(ROOT, 'file'),
    (guest) => guest.unlink(ROOT, 'file'),
    (guest) => [guest.statOf(4), guest.read(4, 5), guest.write(4, 'into the removed file')],
    (guest) => guest.open(ROOT, 'file', { oflags: CREATE }),
    (guest) => [guest.read(5, 5), guest.write(5, 'second')],
    (guest) => guest.unlink(ROOT, 'file'),
    (guest) => guest.open(ROOT, 'temporary', { oflags: CREATE }),
    (guest) => guest.unlink(ROOT, 'temporary'),
    (guest) => [guest.write(6, 'only mine'), guest.pread(6, 0, 100), guest.statOf(6)],
    (guest) => guest.openDirectory(ROOT, 'sub/deep'),
    (guest) => guest.removeDirectory(ROOT, 'sub/deep'),
    (guest) => [guest.open(7, 'x', { oflags: CREATE }), guest.readdir(7, 0n).value?.entries.length],
    (guest) => guest.open(ROOT, 'sub/inner'),
    (guest) => guest.unlink(ROOT, 'sub/inner'),
    (guest) => guest.removeDirectory(ROOT, 'sub'),
    (guest) => guest.pread(8, 0, 100),
    (guest) => guest.makeDirectory(ROOT, 'brief'),
    (guest) => guest.openDirectory(ROOT, 'brief'),
    (guest) => guest.removeDirectory(ROOT, 'brief'),
    (guest) => [guest.statOf(9), guest.names(9)],
    (guest) => [4, 5, 6, 7, 8, 9].map((descriptor) => guest.close(descriptor)),
    (guest) => guest.open(ROOT, 'other'),
    (guest) => guest.rename(ROOT, 'large', ROOT, 'other'),
    (guest) => guest.read(4, 100),
  ],
  'reading a directory': [
    (guest) => guest.openDirectory(ROOT, '.'),
    (guest) => guest.readdir(4, 0n, 100).value?.entries.map(({ name }) => name),
    (guest) => guest.unlink(ROOT, 'other'),
    (guest) => guest.open(ROOT, 'aaa', { oflags: CREATE }).errno,
    (guest) => guest.readdir(4, 3n, 100).value?.entries.map(({ name }) => name),
    (guest) => guest.rename(ROOT, 'sub', ROOT, 'moved'),
    (guest) => guest.readdir(4, 5n).value?.entries.map(({ name }) => name),
    (guest) => guest.names(4),
  ],
};

interface Run {
  directory: string;
  device: CrashDevice;
  host: OurHost;
  guest: Guest;
}

function start(directory: string, device: CrashDevice, state?: WasiState): Run {
  const options = state === undefined ? { device } : { device, state };
  const host = new OurHost(config(directory), options);
  return { directory, device, host, guest: new Guest(host) };
}

/** The job directory as a killed process leaves it, or as a power failure does that loses all that was not synced. */
function mediumOf(device: CrashDevice, kill: 'process' | 'power'): Medium {
  return crash(device.start, device.log, () => kill === 'process');
}

class Killed extends Error {}

for (const [name, steps] of Object.entries(scenarios)) {
  describe(name, () => {
    /** Answers and directory of a run that nobody kills, and that sets nothing aside. */
    function uninterrupted(): { answers: unknown[]; tree: Record<string, string> } {
      const directory = prepare();
      const host = new OurHost(config(directory));
      const guest = new Guest(host);
      const answers = steps.map((step) => step(guest));
      host.close();
      return { answers, tree: treeOf(directory) };
    }

    it.each(['process', 'power'] as const)('is undone from every checkpoint at every step (%s dies)', (kill) => {
      const expected = uninterrupted();
      for (let at = 0; at <= steps.length; at++) {
        for (const until of new Set([at, Math.min(at + 2, steps.length), steps.length])) {
          const run = start(prepare(), new CrashDevice());
          run.host.checkpoint();
          for (const step of steps.slice(0, at)) step(run.guest);
          const state = run.host.checkpoint();
          const tree = treeOf(run.directory);
          for (const step of steps.slice(at, until)) step(run.guest);
          run.host.close();

          const again = start(run.directory, new CrashDevice(mediumOf(run.device, kill)), state);
          expect(treeOf(run.directory)).toEqual(tree);
          const answers = steps.slice(at).map((step) => step(again.guest));
          expect(answers).toEqual(expected.answers.slice(at));
          again.host.wasi.endGuest();
          again.host.checkpoint();
          again.host.close();
          expect(treeOf(run.directory)).toEqual(expected.tree);
        }
      }
    });

    it('is undone when killed at any operation of the journal, and again inside the undoing', () => {
      const expected = uninterrupted();
      const killAt = Math.floor(steps.length / 3);
      for (let operation = 0; ; operation++) {
        const run = start(prepare(), new CrashDevice());
        run.host.checkpoint();
        for (const step of steps.slice(0, killAt)) step(run.guest);
        const state = run.host.checkpoint();
        const tree = treeOf(run.directory);
        const finished = runUntil(run.device, operation, () => {
          for (const step of steps.slice(killAt)) step(run.guest);
        });
        run.device.onOperation = () => {};
        run.host.close();

        let medium = mediumOf(run.device, operation % 2 === 0 ? 'process' : 'power');
        // Each restart gets one operation further into the undoing than the one before.
        for (let undoOperation = 0; ; undoOperation += 1 + Math.floor(undoOperation / 4)) {
          const device = new CrashDevice(medium);
          let again: Run | undefined;
          const undone = runUntil(device, undoOperation, () => {
            again = start(run.directory, device, state);
          });
          medium = mediumOf(device, 'process');
          if (!undone) continue;
          expect(treeOf(run.directory)).toEqual(tree);
          const answers = steps.slice(killAt).map((step) => step(again!.guest));
          expect(answers).toEqual(expected.answers.slice(killAt));
          again!.host.close();
          break;
        }
        if (finished) break;
        expect(operation).toBeLessThan(1000);
      }
    });
  });
}

/** Runs until the operation of that number is asked of the device, which kills the run; true when it came to the end. */
function runUntil(device: CrashDevice, operation: number, run: () => void): boolean {
  let count = 0;
  device.onOperation = () => {
    if (count++ === operation) throw new Killed();
  };
  try {
    run();
    return true;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
    return false;
  } finally {
    device.onOperation = () => {};
  }
}

it('a job that ends leaves nothing of Continuo behind', () => {
  const run = start(prepare(), new CrashDevice(EMPTY_MEDIUM));
  run.host.checkpoint();
  for (const step of scenarios['removed and still open']!) step(run.guest);
  expect(readdirSync(run.directory).some((name) => name.startsWith('.continuo'))).toBe(true);
  run.host.wasi.endGuest();
  run.host.checkpoint();
  run.host.close();
  expect(readdirSync(run.directory, { recursive: true }).filter((name) => name.includes('continuo'))).toEqual([]);
});

it('appending to a file that a checkpoint knows costs no sync of the journal', () => {
  let run = start(prepare(), new CrashDevice());
  const descriptor = run.guest.open(ROOT, 'file', { fdflags: APPEND }).value!;
  run.guest.write(descriptor, 'once');
  run.host.checkpoint();
  run.guest.write(descriptor, 'twice');
  const state = run.host.checkpoint();
  run.host.close();
  run = start(run.directory, new CrashDevice(mediumOf(run.device, 'process')), state);
  const syncs = (device: Device): number => (device as CrashDevice).log.filter(({ kind }) => kind === 'sync').length;
  const before = syncs(run.device);
  for (let i = 0; i < 100; i++) run.guest.write(descriptor, 'again');
  expect(syncs(run.device)).toBe(before);
  run.host.close();
});

it('offsets, flags and rights are those of the checkpoint', () => {
  const run = start(prepare(), new CrashDevice());
  run.guest.open(ROOT, 'file', { fdflags: APPEND });
  run.guest.seek(4, 7, SET);
  run.guest.host.call('fd_renumber', 4, 0);
  const status = run.guest.status(0);
  const state = run.host.checkpoint();
  run.guest.read(0, 3);
  run.host.close();
  const again = start(run.directory, new CrashDevice(mediumOf(run.device, 'process')), state);
  expect(again.guest.status(0)).toEqual(status);
  expect(again.guest.tell(0)).toEqual({ errno: 0, value: 7 });
  expect(again.guest.read(0, 100).value).toBe('world');
  expect(again.guest.tell(4).errno).toBe(8);
  again.host.close();
});
