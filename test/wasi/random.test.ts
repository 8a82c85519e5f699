/**
 * Random sequences of calls, checkpointed and killed at random, against the same sequence run once without either: the
 * answers of all calls and the directory in the end are the same. A failure names the seed; `CONTINUO_SEED` runs it again.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { AnchorKind } from '../../src/wasi/anchor.ts';
import { availableAnchorKind } from '../../src/wasi/anchor.ts';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { CrashDevice, crash } from '../store/crash-device.ts';
import { scratchDirectory, treeOf } from './directory-tree.ts';
import { Guest, OurHost, config } from './guest.ts';
import { type Call, prepare, randomCall, randomNumbers } from './random-calls.ts';

const CALL_COUNT = 120;
const SEED_COUNT = 24;

function runOnce(directory: string, calls: readonly Call[]): unknown[] {
  const host = new OurHost(config(directory));
  const guest = new Guest(host);
  const answers = calls.map((call) => call(guest));
  host.close();
  return answers;
}

/** Runs the calls with checkpoints and kills until all are done; returns the answers that counted in the end. */
function runKilled(
  directory: string,
  calls: readonly Call[],
  random: (below: number) => number,
  anchorKind: AnchorKind,
): unknown[] {
  const answers: unknown[] = [];
  let device = new CrashDevice();
  let host = new OurHost(config(directory), { device, anchorKind });
  let state: WasiState = host.checkpoint();
  let checkpointAt = 0;
  let kills = 0;
  let captured: { state: WasiState; at: number } | undefined;
  for (let index = 0; index < calls.length;) {
    answers[index] = calls[index]!(new Guest(host));
    index++;
    const dice = random(10);
    if (dice < 2 && captured === undefined) {
      captured = { state: host.capture(), at: index };
      host.wasi.beforeCommit();
    } else if (dice < 5 && captured !== undefined) {
      // The guest may have run on since the capture: some captures never commit, and the one before counts.
      ({ state, at: checkpointAt } = captured);
      captured = undefined;
      host.wasi.afterCommit();
    } else if (dice === 5 && kills < 12) {
      kills++;
      captured = undefined;
      host.close();
      const power = random(2) === 0;
      device = new CrashDevice(crash(device.start, device.log, () => !power));
      host = new OurHost(config(directory), { device, state, anchorKind });
      index = checkpointAt;
    }
  }
  if (captured !== undefined) host.wasi.afterCommit();
  host.wasi.endGuest();
  host.checkpoint();
  host.close();
  return answers;
}

const seeds =
  process.env.CONTINUO_SEED === undefined
    ? Array.from({ length: SEED_COUNT }, (_, index) => index + 1)
    : [Number(process.env.CONTINUO_SEED)];

it.each(seeds)('seed %i: killed and restarted at random, the run ends as if nothing had happened', (seed) => {
  const scratch = scratchDirectory('random');
  try {
    const random = randomNumbers(seed);
    const calls = Array.from({ length: CALL_COUNT }, () => randomCall(random));
    const [plain, killed] = [join(scratch, 'plain'), join(scratch, 'killed')];
    prepare(plain);
    prepare(killed);
    const expected = runOnce(plain, calls);
    const answers = runKilled(killed, calls, random, seed % 3 === 0 ? 'path' : availableAnchorKind());
    expect(answers).toEqual(expected);
    expect(treeOf(killed)).toEqual(treeOf(plain));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

it.each(seeds)('seed %i: a capture whose commit never came leaves the one before to go back to', (seed) => {
  const scratch = scratchDirectory('random');
  try {
    const random = randomNumbers(seed + 1000);
    const calls = Array.from({ length: 40 }, () => randomCall(random));
    prepare(scratch);
    const device = new CrashDevice();
    const host = new OurHost(config(scratch), { device });
    host.checkpoint();
    for (const call of calls.slice(0, 10)) call(new Guest(host));
    const state = host.checkpoint();
    const tree = treeOf(scratch);
    for (const call of calls.slice(10, 25)) call(new Guest(host));
    host.capture();
    host.wasi.beforeCommit();
    for (const call of calls.slice(25)) call(new Guest(host));
    host.close();
    const medium = crash(device.start, device.log, () => random(2) === 0);
    const again = new OurHost(config(scratch), { device: new CrashDevice(medium), state });
    expect(treeOf(scratch)).toEqual(tree);
    again.close();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
