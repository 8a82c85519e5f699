/**
 * Going back to kept checkpoints (`--keep`): random calls, checkpoints, kills and power failures, and now and then a restart from a
 * kept state that is not the newest. The directory is then what it was when that state was captured, and the run goes on
 * from there. A failure names the seed; `CONTINUO_SEED` runs it again.
 */
import { rmSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { WasiState } from '../../src/wasi/wasi-state.ts';
import { CrashDevice, crash } from '../store/crash-device.ts';
import { scratchDirectory, treeOf } from './directory-tree.ts';
import { Guest, OurHost, config } from './guest.ts';
import { prepare, randomCall, randomNumbers } from './random-calls.ts';

const ROUNDS = 60;

interface Kept {
  readonly state: WasiState;
  readonly tree: unknown;
}

/** What the directory holds for the program: files set aside are none of its, and older states may have needed more of them. */
function filesOf(directory: string): unknown {
  return Object.fromEntries(Object.entries(treeOf(directory)).filter(([name]) => !name.includes('.continuo-aside-')));
}

const seeds =
  process.env.CONTINUO_SEED === undefined
    ? Array.from({ length: 24 }, (_, index) => index + 1)
    : [Number(process.env.CONTINUO_SEED)];

it.each(seeds)('seed %i: a restart from any kept state has the files of that state', (seed) => {
  const scratch = scratchDirectory('kept');
  try {
    const random = randomNumbers(seed);
    const keep = 2 + (seed % 4);
    prepare(scratch);
    let device = new CrashDevice();
    let host = new OurHost(config(scratch), { device, keep });
    let kept: Kept[] = [];
    const checkpoint = (): void => {
      const state = host.checkpoint();
      kept = [{ state, tree: filesOf(scratch) }, ...kept].slice(0, keep);
    };
    checkpoint();
    let goings = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (let calls = random(6); calls > 0; calls--) randomCall(random)(new Guest(host));
      if (random(3) > 0) {
        checkpoint();
        continue;
      }
      const index = random(kept.length);
      if (index > 0) goings += 1;
      kept = kept.slice(index);
      const [{ state, tree }] = kept;
      host.close();
      const power = random(2) === 0;
      device = new CrashDevice(crash(device.start, device.log, () => !power));
      const keptGenerations = kept.slice(1).map((older) => older.state.generation);
      host = new OurHost(config(scratch), { device, state, keep, keptGenerations: keptGenerations.reverse() });
      expect(filesOf(scratch), `round ${round}, back by ${index}`).toEqual(tree);
    }
    expect(goings).toBeGreaterThan(0);
    // A job that keeps only its newest state from now on has set nothing aside in the end.
    const [{ state, tree }] = kept;
    host.close();
    host = new OurHost(config(scratch), { device, state, keep: 1 });
    expect(filesOf(scratch)).toEqual(tree);
    host.wasi.endGuest();
    host.checkpoint();
    expect(treeOf(scratch)).toEqual(filesOf(scratch));
    host.close();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
