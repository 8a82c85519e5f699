/** The undo journal by itself: what a restart reads of it after kills and power failures, invariants (1) to (3). */
import { mkdirSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Anchor, availableAnchorKind } from '../../src/wasi/anchor.ts';
import { ChangeLog } from '../../src/wasi/change-log.ts';
import { HostTree } from '../../src/wasi/host-tree.ts';
import { FoundJournal, UndoJournal } from '../../src/wasi/undo-journal.ts';
import type { UndoRecord } from '../../src/wasi/undo-record.ts';
import { CrashDevice, crash } from '../store/crash-device.ts';
import { scratchDirectory } from './directory-tree.ts';

let device: CrashDevice;
let scratch: string;

beforeEach(() => {
  device = new CrashDevice();
  scratch = scratchDirectory('journal');
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

const made = (path: string): UndoRecord => ({ kind: 'madeFile', at: { root: 0, path } });
const bytes = (path: string): UndoRecord => ({ kind: 'bytes', at: { root: 0, path }, inode: '5', offsetBytes: 7 });

/** Generations and records that a restart from `generation` finds. */
function found(medium: CrashDevice, generation: number): [number, UndoRecord[]][] {
  return FoundJournal.findLive(medium, generation).map((journal) => {
    journal.close();
    return [journal.generation, journal.records.map(({ record }) => record)];
  });
}

/** The medium after a power failure of which only what was synced is certain. */
function afterPowerFailure(keeps: boolean | ((sector: number) => boolean)): CrashDevice {
  return new CrashDevice(crash(device.start, device.log, () => keeps));
}

it('gives back what was forced, with its data, newest generation first', () => {
  const journal = new UndoJournal(device, 3);
  journal.note(made('a'));
  journal.note(bytes('b'), Uint8Array.of(1, 2, 3));
  journal.force();
  journal.startNextGeneration();
  journal.note(made('c'));
  journal.force();
  const after = afterPowerFailure(false);
  expect(found(after, 3)).toEqual([
    [4, [made('c')]],
    [3, [made('a'), bytes('b')]],
  ]);
  expect(found(after, 4)).toEqual([[4, [made('c')]]]);
  expect(found(after, 5)).toEqual([]);
  const older = FoundJournal.findLive(after, 3)[1]!;
  expect([...older.readData(older.records[1]!)]).toEqual([1, 2, 3]);
});

it('ends at a record that was torn, and can be marked after it', () => {
  const journal = new UndoJournal(device, 1);
  journal.note(made('a'));
  journal.note(made('b'));
  journal.force();
  journal.note(bytes('long'), new Uint8Array(5000).fill(9));
  const after = afterPowerFailure((sector) => sector % 2 === 0);
  const [torn] = FoundJournal.findLive(after, 1);
  expect(torn!.records).toHaveLength(2);
  torn!.markUndone(1);
  expect(found(after, 1)).toEqual([[1, [made('a')]]]);
});

it('counts nothing that an earlier use of its file left', () => {
  const first = new UndoJournal(device, 1);
  for (const name of ['a', 'b', 'c', 'd']) first.note(made(name));
  first.force();
  // Four generations later the same file is begun anew, and the medium loses that it was emptied.
  const second = new UndoJournal(device, 5);
  second.note(made('x'));
  const withoutSizes = crash(device.start, device.log, (operation) => operation.kind !== 'size');
  expect(found(new CrashDevice(withoutSizes), 1)).toEqual([[5, [made('x')]]]);
});

it('refuses to overwrite a journal that is still needed', () => {
  const journal = new UndoJournal(device, 0);
  for (let i = 0; i < 3; i++) journal.startNextGeneration();
  expect(() => journal.startNextGeneration()).toThrow('captures without a commit');
  const committed = new UndoJournal(device, 0);
  for (let i = 0; i < 10; i++) {
    committed.startNextGeneration();
    committed.forgetOlder(committed.generation);
  }
  expect(committed.generation).toBe(10);
});

it('keeps the journals of kept states until they are forgotten, by later runs as well', () => {
  const journal = new UndoJournal(device, 1);
  for (let generation = 1; generation <= 6; generation++) {
    journal.note(made(`g${generation}`));
    journal.startNextGeneration();
    journal.forgetOlder(Math.max(1, generation - 1));
  }
  expect(found(device, 5).map(([generation]) => generation)).toEqual([6, 5]);
  const next = new UndoJournal(device, 7, 5);
  next.note(made('g7'));
  next.force();
  expect(found(device, 5)).toEqual([7, 6, 5].map((generation) => [generation, [made(`g${generation}`)]]));
});

it('an effect that failed leaves no record that counts', () => {
  mkdirSync(scratch, { recursive: true });
  const tree = new HostTree([Anchor.root(availableAnchorKind(), scratch)]);
  const log = new ChangeLog(tree, new UndoJournal(device, 1), true);
  log.note(made('kept'));
  log.note(made('first'));
  log.note(made('second'));
  const fails = (): never => {
    throw new Error('no space');
  };
  expect(() => log.attempt(2, fails)).toThrow('no space');
  log.note(made('later'));
  log.force();
  expect(found(afterPowerFailure(false), 1)).toEqual([[1, [made('kept'), made('later')]]]);
  log.close();
  tree.close();
});
