/**
 * Every call against `node:wasi` on a copy of the same directory: error numbers, results and the directory afterwards.
 * Where Node is wrong or says otherwise than we chose, the step names both answers and why.
 */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Errno } from '../../src/wasi/errno.ts';
import { treeOf } from './directory-tree.ts';
import {
  ALL_RIGHTS,
  APPEND,
  CREATE,
  CURRENT,
  DIRECTORY,
  DIRECTORY_RIGHTS,
  END,
  EXCLUSIVE,
  FILE_RIGHTS,
  Guest,
  NodeHost,
  OurHost,
  READ,
  SET,
  TRUNCATE,
  WRITE,
  config,
} from './guest.ts';

type Step = (guest: Guest) => unknown;

const ROOT = 3;
let scratch: string;

beforeAll(() => {
  // Node 20 aborts at random in `node:wasi` with them.
  setFlagsFromString('--no-turbo-fast-api-calls');
});
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'continuo-wasi-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

function prepare(name: string): string {
  const directory = join(scratch, name);
  mkdirSync(join(directory, 'sub', 'deep'), { recursive: true });
  writeFileSync(join(directory, 'file'), 'hello, world');
  writeFileSync(join(directory, 'sub', 'inner'), 'inner');
  symlinkSync('file', join(directory, 'link'));
  symlinkSync('sub', join(directory, 'sublink'));
  symlinkSync('nowhere', join(directory, 'dangling'));
  symlinkSync('loop', join(directory, 'loop'));
  symlinkSync('../../outside', join(directory, 'escape'));
  writeFileSync(join(scratch, 'outside'), 'secret');
  return directory;
}

/** The steps whose answers differ on purpose, and both answers. */
type Differences = Record<string, { ours: unknown; nodes: unknown }>;

/** Runs the steps on both and compares the answers, and the directories in the end. */
function compare(steps: Record<string, Step>, expected: Differences = {}): void {
  const ours = prepare('ours');
  const nodes = prepare('node');
  const ourHost = new OurHost(config(ours));
  const ourGuest = new Guest(ourHost);
  const nodeGuest = new Guest(new NodeHost(config(nodes)));
  const differences: Differences = {};
  for (const [name, step] of Object.entries(steps)) {
    const answers = { ours: step(ourGuest), nodes: step(nodeGuest) };
    if (!isDeepStrictEqual(answers.ours, answers.nodes)) differences[name] = answers;
  }
  ourHost.close();
  expect(differences).toEqual(expected);
  expect(treeOf(ours)).toEqual(treeOf(nodes));
}

function failed(errno: number): { errno: number; value: undefined } {
  return { errno, value: undefined };
}

describe('the same as node:wasi', () => {
  it('arguments and environment', () => {
    const strings =
      (sizes: string, get: string): Step =>
      (guest) => {
        const outcome = [guest.host.call(sizes, 0x100, 0x104), guest.host.call(get, 0x200, 0x300)];
        const count = guest.view().getUint32(0x100, true);
        const bytes = guest.view().getUint32(0x104, true);
        const pointers = Array.from({ length: count }, (_, index) => guest.view().getUint32(0x200 + 4 * index, true));
        return [outcome, count, bytes, pointers, Buffer.from(guest.host.bytes.slice(0x300, 0x300 + bytes)).toString()];
      };
    compare({
      arguments: strings('args_sizes_get', 'args_get'),
      environment: strings('environ_sizes_get', 'environ_get'),
    });
  });

  it('pre-opened directories', () => {
    compare(
      {
        prestat: (guest) => [
          guest.host.call('fd_prestat_get', ROOT, 0x100),
          guest.view().getUint32(0x100, true),
          guest.view().getUint32(0x104, true),
        ],
        name: (guest) => [guest.host.call('fd_prestat_dir_name', ROOT, 0x200, 1), guest.host.bytes[0x200]],
        shortBuffer: (guest) => guest.host.call('fd_prestat_dir_name', ROOT, 0x200, 0),
        none: (guest) => guest.host.call('fd_prestat_get', 4, 0x100),
        closed: (guest) => [guest.close(ROOT), guest.host.call('fd_prestat_get', ROOT, 0x100)],
      },
      {
        // The specification names no number; ENAMETOOLONG is that of the other runtimes, and says what is wrong.
        shortBuffer: { ours: Errno.nametoolong, nodes: Errno.nobufs },
      },
    );
  });

  it('reading, writing, positions', () => {
    compare({
      open: (guest) => guest.open(ROOT, 'file'),
      read: (guest) => guest.read(4, 5),
      tell: (guest) => guest.tell(4),
      scattered: (guest) => guest.read(4, 1, 0, 3, 100),
      end: (guest) => guest.read(4, 10),
      seekSet: (guest) => guest.seek(4, 7, SET),
      seekCurrent: (guest) => guest.seek(4, -2, CURRENT),
      seekEnd: (guest) => guest.seek(4, -1, END),
      seekBefore: (guest) => guest.seek(4, -100, CURRENT),
      seekWhence: (guest) => guest.seek(4, 0, 3),
      pread: (guest) => guest.pread(4, 2, 4),
      preadBeyond: (guest) => guest.pread(4, 1000, 4),
      write: (guest) => guest.write(4, 'AB', '', 'C'),
      pwrite: (guest) => guest.pwrite(4, 1, 'xyz'),
      tellAfter: (guest) => guest.tell(4),
      nothing: (guest) => guest.write(4),
      hole: (guest) => [guest.seek(4, 30, SET), guest.write(4, 'end')],
      stat: (guest) => guest.statOf(4),
      size: (guest) => [guest.setSize(4, 3), guest.pread(4, 0, 100), guest.setSize(4, 5), guest.pread(4, 0, 100)],
      advise: (guest) => guest.host.call('fd_advise', 4, 0n, 0n, 1),
      sync: (guest) => [guest.host.call('fd_sync', 4), guest.host.call('fd_datasync', 4)],
      close: (guest) => guest.close(4),
      closed: (guest) => [guest.close(4), guest.read(4, 1), guest.write(4, 'x'), guest.tell(4), guest.statOf(4)],
    });
  });

  it('append mode', () => {
    compare(
      {
        open: (guest) => guest.open(ROOT, 'file', { fdflags: APPEND }),
        status: (guest) => guest.status(4).value?.flags,
        write: (guest) => [guest.seek(4, 0, SET), guest.write(4, '!'), guest.tell(4)],
        off: (guest) => guest.host.call('fd_fdstat_set_flags', 4, 0),
        overwrite: (guest) => [guest.seek(4, 0, SET), guest.write(4, 'J'), guest.pread(4, 0, 100)],
      },
      {
        // Node gives the host's flags, which mean other things to the guest.
        status: { ours: APPEND, nodes: expect.any(Number) },
      },
    );
  });

  it('opening', () => {
    compare(
      {
        missing: (guest) => guest.open(ROOT, 'missing'),
        create: (guest) => guest.open(ROOT, 'new', { oflags: CREATE }),
        exclusive: (guest) => guest.open(ROOT, 'new', { oflags: CREATE | EXCLUSIVE }),
        truncate: (guest) => [guest.open(ROOT, 'file', { oflags: TRUNCATE }), guest.statOf(5)],
        directory: (guest) => guest.open(ROOT, 'sub', { oflags: DIRECTORY, rights: DIRECTORY_RIGHTS }),
        fileAsDirectory: (guest) => guest.open(ROOT, 'file', { oflags: DIRECTORY, rights: BigInt(READ) }),
        directoryForWriting: (guest) => guest.open(ROOT, 'sub', { rights: BigInt(WRITE) }),
        followed: (guest) => guest.open(ROOT, 'link'),
        inDirectoryLink: (guest) => guest.open(ROOT, 'sublink/inner'),
        dots: (guest) => guest.open(ROOT, './sub/../sub/./deep/../inner'),
        throughFile: (guest) => guest.open(ROOT, 'file/x'),
        loop: (guest) => guest.open(ROOT, 'loop'),
        dangling: (guest) => guest.open(ROOT, 'dangling'),
        above: (guest) => guest.open(ROOT, '../outside'),
        badDescriptor: (guest) => guest.open(77, 'file'),
        fileDescriptor: (guest) => guest.open(4, 'file'),
        names: (guest) => guest.names(6),
        long: (guest) => guest.open(ROOT, 'n'.repeat(300)),
      },
      {
        // Node looks for it as if there were nothing above the pre-opened directory.
        above: { ours: failed(Errno.notcapable), nodes: failed(Errno.noent) },
        // Node sees only that a file has no right to open things in it.
        fileDescriptor: { ours: failed(Errno.notdir), nodes: failed(Errno.notcapable) },
      },
    );
  });

  it('rights', () => {
    compare({
      beyondParent: (guest) => guest.open(ROOT, 'file', { rights: FILE_RIGHTS, inheriting: 1n << 40n }),
      readOnly: (guest) => guest.open(ROOT, 'file', { rights: BigInt(READ) }),
      noWrite: (guest) => guest.write(4, 'x'),
      noSeek: (guest) => guest.seek(4, 1, SET),
      noTell: (guest) => guest.tell(4),
      noSize: (guest) => guest.setSize(4, 0),
      noSync: (guest) => guest.host.call('fd_sync', 4),
      noStat: (guest) => guest.statOf(4),
      widen: (guest) => guest.host.call('fd_fdstat_set_rights', 4, ALL_RIGHTS, 0n),
      narrow: (guest) => guest.host.call('fd_fdstat_set_rights', 4, 0n, 0n),
      noRead: (guest) => guest.read(4, 1),
      directoryWithout: (guest) => guest.open(ROOT, 'sub', { oflags: DIRECTORY, rights: 0n }),
      noOpen: (guest) => guest.open(5, 'inner'),
      noUnlink: (guest) => guest.unlink(5, 'inner'),
      noMake: (guest) => guest.makeDirectory(5, 'x'),
      noReaddir: (guest) => guest.readdir(5, 0n).errno,
    });
  });

  it('directories, names and links', () => {
    compare({
      make: (guest) => guest.makeDirectory(ROOT, 'made'),
      makeAgain: (guest) => guest.makeDirectory(ROOT, 'made'),
      makeSlash: (guest) => guest.makeDirectory(ROOT, 'slashed/'),
      makeMissing: (guest) => guest.makeDirectory(ROOT, 'no/where'),
      removeFull: (guest) => guest.removeDirectory(ROOT, 'sub'),
      removeFile: (guest) => guest.removeDirectory(ROOT, 'file'),
      remove: (guest) => guest.removeDirectory(ROOT, 'made'),
      removeMissing: (guest) => guest.removeDirectory(ROOT, 'made'),
      unlinkMissing: (guest) => guest.unlink(ROOT, 'made'),
      unlinkLink: (guest) => guest.unlink(ROOT, 'dangling'),
      link: (guest) => guest.link(ROOT, 'file', ROOT, 'sub/hard'),
      links: (guest) => guest.stat(ROOT, 'file'),
      linkExists: (guest) => guest.link(ROOT, 'file', ROOT, 'sub/hard'),
      linkMissing: (guest) => guest.link(ROOT, 'missing', ROOT, 'x'),
      linkDirectory: (guest) => guest.link(ROOT, 'sub', ROOT, 'x'),
      symlink: (guest) => guest.symlink('sub/inner', ROOT, 'soft'),
      symlinkExists: (guest) => guest.symlink('other', ROOT, 'soft'),
      readlink: (guest) => guest.readlink(ROOT, 'soft'),
      readlinkFile: (guest) => guest.readlink(ROOT, 'file').errno,
      readlinkMissing: (guest) => guest.readlink(ROOT, 'missing').errno,
      rename: (guest) => guest.rename(ROOT, 'file', ROOT, 'sub/renamed'),
      renameMissing: (guest) => guest.rename(ROOT, 'file', ROOT, 'x'),
      renameOver: (guest) => guest.rename(ROOT, 'sub/renamed', ROOT, 'sub/inner'),
      renameDirectory: (guest) => guest.rename(ROOT, 'sub', ROOT, 'moved'),
      renameInside: (guest) => guest.rename(ROOT, 'moved', ROOT, 'moved/deep/x'),
      renameOverFull: (guest) => [guest.makeDirectory(ROOT, 'other'), guest.rename(ROOT, 'other', ROOT, 'moved')],
      renameFileOverDirectory: (guest) => guest.rename(ROOT, 'moved/inner', ROOT, 'other'),
      renameDirectoryOverFile: (guest) => guest.rename(ROOT, 'other', ROOT, 'moved/inner'),
      renameOverEmpty: (guest) => guest.rename(ROOT, 'moved', ROOT, 'other'),
      stat: (guest) => [guest.stat(ROOT, 'other'), guest.stat(ROOT, 'other/inner'), guest.stat(ROOT, 'missing')],
      statLink: (guest) => [guest.stat(ROOT, 'link', false).value?.type, guest.stat(ROOT, 'sublink', false).errno],
    });
  });

  it('times', () => {
    const second = 1_000_000_000n;
    compare({
      set: (guest) => guest.setTimes(ROOT, 'file', 5n * second, 7n * second, 1 | 4),
      get: (guest) => [guest.stat(ROOT, 'file').errno, guest.identity().slice(2, 4).map(String)],
      open: (guest) => guest.open(ROOT, 'file').errno,
      setOpen: (guest) => guest.host.call('fd_filestat_set_times', 4, 9n * second, 11n * second, 1 | 4),
      getOpen: (guest) => [guest.statOf(4).errno, guest.identity().slice(2, 4).map(String)],
      missing: (guest) => guest.setTimes(ROOT, 'missing', 0n, 0n, 1),
    });
  });

  it('clocks, randomness, yielding, polling', () => {
    compare({
      monotonic: (guest) => guest.host.call('clock_time_get', 1, 0n, 0x100),
      unknownClock: (guest) => guest.host.call('clock_time_get', 17, 0n, 0x100),
      unknownResolution: (guest) => guest.host.call('clock_res_get', 17, 0x100),
      random: (guest) => guest.host.call('random_get', 0x100, 64),
      noRandom: (guest) => guest.host.call('random_get', 0x100, 0),
      yield: (guest) => guest.host.call('sched_yield'),
      pollNothing: (guest) => guest.host.call('poll_oneoff', 0x100, 0x200, 0, 0x300),
    });
  });

  it('renumbering', () => {
    compare({
      first: (guest) => guest.open(ROOT, 'file'),
      second: (guest) => guest.open(ROOT, 'sub/inner'),
      renumber: (guest) => guest.host.call('fd_renumber', 5, 4),
      read: (guest) => guest.read(4, 10),
      gone: (guest) => guest.read(5, 10),
      toClosed: (guest) => guest.host.call('fd_renumber', 4, 5),
      fromClosed: (guest) => guest.host.call('fd_renumber', 9, 4),
      lowestFree: (guest) => guest.open(ROOT, 'file'),
    });
  });

  it('bad addresses', () => {
    const beyond = 0x7fff_0000;
    // Node says EOVERFLOW; EFAULT is what the specification has for addresses.
    const fault = { ours: Errno.fault, nodes: Errno.overflow };
    compare(
      {
        arguments: (guest) => guest.host.call('args_sizes_get', beyond, 0x100),
        clock: (guest) => guest.host.call('clock_time_get', 0, 0n, beyond),
        random: (guest) => guest.host.call('random_get', beyond, 16),
        open: (guest) => guest.host.call('path_open', ROOT, 0, beyond, 4, 0, 0n, 0n, 0, 0x100),
        stat: (guest) => guest.host.call('fd_filestat_get', ROOT, beyond),
        write: (guest) => guest.host.call('fd_write', 1, beyond, 1, 0x100),
      },
      { arguments: fault, clock: fault, random: fault, open: fault, stat: fault, write: fault },
    );
  });
});

describe('otherwise than node:wasi, on purpose', () => {
  function answersOf(step: Step): { ours: unknown; nodes: unknown } {
    const host = new OurHost(config(prepare('ours')));
    try {
      return { ours: step(new Guest(host)), nodes: step(new Guest(new NodeHost(config(prepare('node'))))) };
    } finally {
      host.close();
    }
  }

  it('contradicting flags of times are refused; Node refuses them too, and aborts', () => {
    const host = new OurHost(config(prepare('ours')));
    expect(new Guest(host).setTimes(ROOT, 'file', 0n, 0n, 1 | 2)).toBe(Errno.inval);
    host.close();
  });

  it('a link to outside is not capable of anything', () => {
    const { ours } = answersOf((guest) => guest.open(ROOT, 'escape').errno);
    expect(ours).toBe(Errno.notcapable);
  });
});

it('entries of a directory have inodes, those of the directory itself and of its parent included', () => {
  // The C library looks an entry without one up by its name, and `..` is no name that it may look up.
  const host = new OurHost(config(prepare('ours')));
  const { value } = new Guest(host).readdir(ROOT, 0n);
  host.close();
  expect(value!.entries.slice(0, 2).map(({ name }) => name)).toEqual(['.', '..']);
  expect(value!.entries[1].inode).toBe(value!.entries[0].inode);
  expect(value!.entries.length).toBeGreaterThan(5);
  for (const { name, inode } of value!.entries) expect(inode, name).toBeGreaterThan(0n);
});
