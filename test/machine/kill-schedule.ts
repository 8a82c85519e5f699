/** Kills a job at random instants, runs it again, and so on until it is done. */
import { expect } from 'vitest';
import { type RunOptions, RunningCommand, sleep } from '../cli/continuo.ts';
import { Random } from '../support/random.ts';

/**
 * The seed of all random instants: CONTINUO_TEST_SEED where it is set, so that a schedule that failed can be had again.
 * (The instants are the same then, and the machine's speed is its own.)
 */
export const seed = Number(process.env['CONTINUO_TEST_SEED'] ?? Date.now() % 1_000_000);

/** After so many kills the job is left to end, whatever the speed of the machine. One of them, at random, hits a start. */
const KILLS_MAX = 4;

export interface KilledRun {
  readonly kills: number;
  /** Kills that hit a process which had begun from a checkpoint, or the first one after it began. */
  readonly killsWhileRunning: number;
  readonly exitCode: number | null;
}

/**
 * Some kills hit the start, the making of the job included, and the others a program that has run for a while.
 *
 * @param args of the command, the same each time or drawn anew; `--verbose` among them, which tells when the program runs
 */
export async function killUntilDone(
  args: readonly string[] | (() => readonly string[]),
  random: Random,
  runMsMax: number,
  options: RunOptions = {},
): Promise<KilledRun> {
  let killsWhileRunning = 0;
  const killOfStart = random.below(KILLS_MAX);
  for (let kills = 0; ; kills++) {
    const running = new RunningCommand(typeof args === 'function' ? args() : args, options);
    if (kills < KILLS_MAX) {
      const delayMs = random.below(runMsMax);
      if (kills === killOfStart) {
        await Promise.race([sleep(random.below(300)), running.ended]);
      } else {
        await running.waitFor('goes on from', 'checkpoint 1 ', 'had ended before');
        await Promise.race([sleep(delayMs), running.ended]);
        killsWhileRunning++;
      }
      running.kill('SIGKILL');
    }
    const { exitCode, signal, stderr } = await running.ended;
    if (signal === 'SIGKILL') continue;
    // Whatever ends by itself must have ended well, at whatever instant the processes before it died.
    expect(stderr, `seed ${seed}, after ${kills} kills`).not.toMatch(/bug in Continuo|damaged|cannot/);
    return { kills, killsWhileRunning, exitCode };
  }
}
