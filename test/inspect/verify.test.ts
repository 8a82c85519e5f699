/**
 * What `verify` says of jobs: sound ones, and bytes of their files wrong, one at a time: each of the heads and records, and of
 * the long parts that one checksum covers one in so many, other ones in each run, or with CONTINUO_EXHAUSTIVE each.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { isCheckpointFile } from '../../src/checkpoint/job-directory.ts';
import { ContinuoError } from '../../src/error/errors.ts';
import { FIRST_FREE_SLOT, RECORD_AREA_BYTES, SLOT_BYTES } from '../../src/format/paging-format.ts';
import { openFilesView } from '../../src/inspect/files-view.ts';
import { openPagingView } from '../../src/inspect/paging-view.ts';
import { verifyJob } from '../../src/inspect/verification.ts';
import { decodeHostState } from '../../src/machine/host-state.ts';
import { decodeMachineState } from '../../src/machine/machine-state.ts';
import { contentsOf, continuo, program, RunningCommand, scratch, sleep } from '../cli/continuo.ts';
import { WRITES } from '../cli/guests.ts';
import { seed } from '../machine/kill-schedule.ts';
import { isExhaustive } from '../store/fates.ts';
import { filesOf, MemoryDevice } from './memory-device.ts';
import { NAMED, OVERWRITES } from './programs.ts';

/** Of the long parts of files one byte in so many is made wrong. */
const STRIDE = isExhaustive ? 1 : 5;
/** Heads of files are shorter. */
const HEAD_BYTES = 1024;
console.log(`Bytes that are made wrong: CONTINUO_TEST_SEED=${seed}`);

interface Report {
  readonly verdict: string;
  readonly damage?: {
    readonly path: string;
    readonly byteOffset: number;
    readonly expected: string;
    readonly found: string;
  };
  readonly unfinished: readonly { readonly path: string; readonly byteOffset: number }[];
  readonly checked: {
    readonly undoRecords: number;
    readonly heldOutputBytes: number;
    readonly checkpointFiles: number;
  };
}

async function verified(job: string): Promise<{ exitCode: number | null; report: Report }> {
  const { exitCode, stdout, stderr } = await continuo(['verify', '--json', job]);
  expect(stderr).toBe('');
  return { exitCode, report: JSON.parse(stdout) as Report };
}

/** A job that was killed, with a file that its program has open, an undo journal and held output. */
async function killedJob(folder: string, policy: string): Promise<string> {
  const job = join(folder, 'job');
  const files = join(folder, 'files');
  const path = program(files, 'overwrites', OVERWRITES);
  const running = new RunningCommand(
    ['run', '--job', job, '--dir', `${files}::.`, '--policy', policy, '--interval', 'none', '--verbose', path],
    { pipe: true },
  );
  await running.waitFor('checkpoint 1 ');
  for (const generation of [2, 3]) {
    // Some lines are printed and some bytes overwritten meanwhile.
    await sleep(200);
    running.kill('SIGUSR1');
    await running.waitFor(`checkpoint ${generation} `);
  }
  await waitUntil(() => {
    const journals = readdirSync(job).filter((name) => name.startsWith('undo-'));
    return journals.some((name) => {
      const bytes = readFileSync(join(job, name));
      return bytes.length > 100 && bytes.readBigUInt64LE(8) >= 3n;
    });
  });
  running.kill('SIGKILL');
  await running.ended;
  return job;
}

async function waitUntil(isSo: () => boolean): Promise<void> {
  const deadlineMs = Date.now() + 20_000;
  while (!isSo()) {
    if (Date.now() > deadlineMs) throw new Error('what was waited for did not come');
    await sleep(5);
  }
}

/** A digest of all that a restart takes from a job directory. */
function takenFrom(device: MemoryDevice): string {
  const hasFiles = device.list().some(isCheckpointFile);
  const view = hasFiles ? openFilesView(device, 'job') : openPagingView(device, 'job');
  const { pages, checkpoint, identity } = view;
  const { state, ...fields } = checkpoint;
  const hash = createHash('sha256');
  hash.update(
    JSON.stringify([identity, fields], (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value)),
  );
  for (const part of [state, view.readProgram()]) hash.update(`${part.length} `).update(part);
  const room = new Uint8Array(SLOT_BYTES);
  for (let page = 0; page < pages.pageCount; page++) {
    pages.read(page, room);
    hash.update(room);
  }
  return hash.digest('hex');
}

/** Journals and output of passed generations, which no restart looks at. */
function isPassed(device: MemoryDevice, name: string, wasi: ReturnType<typeof decodeHostState>['wasi']): boolean {
  if (name.startsWith('output-held'))
    return !wasi.output.held.some(({ generation }) => name.endsWith(String(generation % 4)));
  if (!name.startsWith('undo-')) return false;
  return Buffer.from(device.files.get(name)!).readBigUInt64LE(8) < BigInt(wasi.generation);
}

describe.each(['continuous', 'incremental', 'sequential'])('%s', (policy) => {
  it('finds each byte that is wrong, but for those that nothing reads', { timeout: 600_000 }, async () => {
    const job = await killedJob(scratch(), policy);
    expect((await continuo(['gc', job])).exitCode).toBe(0);
    const { exitCode, report } = await verified(job);
    expect({ exitCode, verdict: report.verdict }).toEqual({ exitCode: 0, verdict: 'sound' });
    expect(report.checked.undoRecords).toBeGreaterThan(0);
    expect(report.checked.heldOutputBytes).toBeGreaterThan(7);

    const device = new MemoryDevice(filesOf(job));
    const taken = takenFrom(device);
    const { wasi } = decodeHostState(decodeMachineState(stateOf(device)).host);
    let flipped = 0;
    let unused = 0;
    for (const [name, original] of device.files) {
      const bytes = Uint8Array.from(original);
      device.files.set(name, bytes);
      const passed = isPassed(device, name, wasi);
      // Where a byte is of no use, the next one tried lies further on; when that is of use, those between are tried as well.
      let triedTo = -1;
      let step = 1;
      for (let at = 0; at < bytes.length; at += step) {
        if (step === 1 && isLeftOut(name, at)) {
          triedTo = at;
          continue;
        }
        const before = bytes[at];
        // One bit, another one at each place; a byte that is not zero also becomes zero now and then.
        bytes[at] = at % 11 === 0 && before !== 0 ? 0 : before ^ (1 << ((at * 7) % 8));
        flipped += 1;
        const found = verdictOf(device);
        if (found === 'sound') {
          unused += 1;
          const place = `byte ${at} of ${name}`;
          if (!passed && name.startsWith('u'))
            throw new Error(`${place} of a journal may be wrong, and nobody sees it`);
          expect(takenFrom(device) === taken, place).toBe(true);
        }
        bytes[at] = before;
        if (found === 'sound') {
          step = stepAt(name, at);
          triedTo = at;
        } else {
          if (at > triedTo + 1) at = triedTo;
          triedTo = at;
          step = 1;
        }
      }
    }
    console.log(`${policy}: ${flipped} bytes made wrong one at a time, ${unused} of them of no use`);
    expect(flipped).toBeGreaterThan(10_000);
    expect(verdictOf(device)).toBe('sound');
  });

  it('finds a file that was cut anywhere', { timeout: 240_000 }, async () => {
    const job = await killedJob(scratch(), policy);
    expect((await continuo(['gc', job])).exitCode).toBe(0);
    const device = new MemoryDevice(filesOf(job));
    const taken = takenFrom(device);
    const { wasi } = decodeHostState(decodeMachineState(stateOf(device)).host);
    for (const [name, original] of device.files) {
      const passed = isPassed(device, name, wasi);
      for (let length = 0; length < original.length; length += 1 + Math.floor(original.length / 100)) {
        device.files.set(name, original.subarray(0, length));
        const found = verdictOf(device);
        // A journal that ends behind a record was not written on; no restart could tell.
        const mayBeSound = passed || name.startsWith('undo-') || name === 'output-released';
        if (found === 'sound' && !mayBeSound)
          expect(takenFrom(device) === taken, `${name} cut at ${length}`).toBe(true);
      }
      device.files.set(name, original);
    }
    expect(verdictOf(device)).toBe('sound');
  });
});

/** From a byte of no use to the next one tried: parts of a job are longer, and the ends of record areas hold zeros only. */
function stepAt(name: string, at: number): number {
  const inAreas = name === 'paging' && at >= SLOT_BYTES && at < FIRST_FREE_SLOT * SLOT_BYTES;
  return inAreas && (at - SLOT_BYTES) % RECORD_AREA_BYTES > 4096 ? 61 : 8;
}

/** Whether a byte is in the long part of a file, and another run's. */
function isLeftOut(name: string, at: number): boolean {
  const inAreas = name === 'paging' && at >= SLOT_BYTES && at < FIRST_FREE_SLOT * SLOT_BYTES;
  return at >= HEAD_BYTES && !inAreas && (at + seed) % STRIDE !== 0;
}

function stateOf(device: MemoryDevice): Uint8Array {
  const hasFiles = device.list().some(isCheckpointFile);
  return (hasFiles ? openFilesView(device, 'job') : openPagingView(device, 'job')).checkpoint.state;
}

/** What is found; an error that is none of ours fails the test. */
function verdictOf(device: MemoryDevice): string {
  try {
    const { verdict, damage, unfinished } = verifyJob(device, { isRunning: false });
    if (damage !== undefined) expect(damage.details['path']).toContain(device.path);
    for (const { path } of unfinished) expect(path).toContain(device.path);
    return verdict;
  } catch (error) {
    if (!(error instanceof ContinuoError)) throw error;
    return error.code;
  }
}

describe('the command', () => {
  it('says where the first fault is, and ends with 65', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const path = program(folder, 'named', NAMED);
    const running = new RunningCommand([
      'run',
      '--job',
      job,
      '--interval',
      'none',
      '--every',
      '5000',
      '--verbose',
      path,
    ]);
    await running.waitFor('checkpoint 3 ');
    running.kill('SIGTERM');
    expect((await running.ended).exitCode).toBe(85);
    const before = contentsOf(job);
    const sound = await continuo(['verify', job]);
    expect({ exitCode: sound.exitCode, stderr: sound.stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(sound.stdout).toMatch(
      / is sound at checkpoint \d+: 5 pages with contents of 16, \d+ bytes of machine state with 2 frames\n$/,
    );
    expect(contentsOf(job)).toEqual(before);

    const file = join(job, 'paging');
    const bytes = readFileSync(file);
    const at = bytes.indexOf('hello, inspector');
    bytes[at] ^= 1;
    writeFileSync(file, bytes);
    const slotAt = at - (at % SLOT_BYTES);
    const { exitCode, stdout, stderr } = await continuo(['verify', job]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 65, stdout: '' });
    expect(stderr).toBe(stderr.split('\n')[0] + '\n');
    expect(stderr).toMatch(
      new RegExp(`paging is damaged at byte ${slotAt}: checksum of page 8 should be [0-9a-f]{16} and is`),
    );
    const { report } = await verified(job);
    expect(report).toMatchObject({ verdict: 'damaged', damage: { path: file, byteOffset: slotAt } });

    bytes[at] ^= 1;
    writeFileSync(file, bytes);
    truncateSync(join(job, 'program.wasm'), 100);
    const cut = await continuo(['verify', job]);
    expect(cut.exitCode).toBe(65);
    expect(cut.stderr).toMatch(/program\.wasm is damaged at byte 0: the length should be \d+ and is 100; restore/);
  });

  it('says that a newest checkpoint is not whole, and ends with 1', async () => {
    const folder = scratch();
    const job = join(folder, 'job');
    const running = new RunningCommand([
      'run',
      '--job',
      job,
      '--interval',
      '20ms',
      '--verbose',
      program(folder, 'named', NAMED),
    ]);
    await running.waitFor('checkpoint 4 ');
    running.kill('SIGTERM');
    await running.ended;
    const file = join(job, 'paging');
    const bytes = readFileSync(file);
    const newest = [SLOT_BYTES, SLOT_BYTES + RECORD_AREA_BYTES].toSorted(
      (a, b) => bytes.readUInt32LE(b + 20) - bytes.readUInt32LE(a + 20),
    )[0];
    bytes[newest + 200] ^= 1;
    writeFileSync(file, bytes);
    const { exitCode, stderr, stdout } = await continuo(['verify', job]);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      new RegExp(`^continuo: .+paging, byte ${newest}: its record is torn: .+ It does not count: .+\n$`),
    );
    expect(stdout).toMatch(/ is sound at checkpoint \d+: /);
    expect((await verified(job)).report).toMatchObject({ verdict: 'unfinished', unfinished: [{ byteOffset: newest }] });
  });

  it.each(['continuous', 'incremental', 'sequential'])(
    'works beside a job that commits all the time, %s',
    async (policy) => {
      const folder = scratch();
      const job = join(folder, 'job');
      const path = program(folder, 'writes', WRITES);
      const running = new RunningCommand([
        'run',
        '--job',
        job,
        '--policy',
        policy,
        '--interval',
        '5ms',
        '--verbose',
        path,
      ]);
      onTestFinished(() => running.kill('SIGKILL'));
      await running.waitFor('checkpoint 2 ');
      for (let look = 0; look < 4; look++) {
        const { exitCode, stderr } = await continuo(['verify', job]);
        // A job that commits faster than it is read is said to do so, never to be damaged.
        expect({ exitCode, stderr }).toEqual(
          exitCode === 2
            ? { exitCode, stderr: expect.stringContaining('takes checkpoints faster') }
            : { exitCode: 0, stderr: '' },
        );
      }
    },
  );
});
