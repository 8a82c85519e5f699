/** Jobs and copies of them, for the tests of deltas and standbys. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { openStore } from '../../src/checkpoint/policies.ts';
import { FileDevice } from '../../src/device/file-device.ts';
import { PAGE_BYTES } from '../../src/memory/layout.ts';
import { decodeHostState, type HostState } from '../../src/machine/host-state.ts';
import { decodeMachineState } from '../../src/machine/machine-state.ts';
import { continuo, RunningCommand, sleep } from '../cli/continuo.ts';
import type { Random } from '../support/random.ts';

/** What a job directory holds: all pages, and the machine state. */
export interface Contents {
  readonly pages: Buffer;
  readonly state: Buffer;
  readonly host: HostState;
}

export function contentsOfJob(job: string): Contents {
  const { store } = openStore(new FileDevice(job), undefined, { readOnly: true });
  try {
    const { guestPageCount, state } = store.latest!;
    const pages = Buffer.alloc(guestPageCount * PAGE_BYTES);
    const reader = store.pageReader();
    const listed = reader.list(0);
    const room = new Uint8Array(listed.length * PAGE_BYTES);
    const good = new Uint8Array(listed.length);
    reader.read(listed, room, good);
    expect(good.every((isGood) => isGood === 1)).toBe(true);
    for (const [i, page] of listed.entries()) {
      pages.set(room.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), page * PAGE_BYTES);
    }
    reader.close();
    return { pages, state: Buffer.from(state), host: decodeHostState(decodeMachineState(state).host) };
  } finally {
    store.close();
  }
}

export function sameContents(a: Contents, b: Contents): boolean {
  return a.pages.equals(b.pages) && a.state.equals(b.state);
}

/** Runs a job, new or not, until it has taken a checkpoint, or the one named, and for a while more, and stops it. */
export async function runSome(args: readonly string[], ms: number, checkpoint = 'checkpoint '): Promise<void> {
  const running = new RunningCommand([args[0], '--verbose', '--interval', '20ms', ...args.slice(1)]);
  await running.waitFor(checkpoint);
  await sleep(ms);
  running.kill('SIGTERM');
  const { exitCode, stderr } = await running.ended;
  expect([exitCode, stderr]).toEqual([85, stderr]);
}

/** So many instants between two times, one in each part of the same length. */
export function instants(random: Random, count: number, fromMs: number, toMs: number): number[] {
  const partMs = (toMs - fromMs) / count;
  return Array.from({ length: count }, (_, k) => Math.round(fromMs + k * partMs + random.below(partMs)));
}

/** Runs a command that must succeed. */
export async function succeed(...args: string[]): Promise<string> {
  const { exitCode, stderr, stdout } = await continuo(args);
  expect([args[0], exitCode, stderr]).toEqual([args[0], 0, stderr]);
  return stdout + stderr;
}

/** Runs a command that must be refused. */
export async function refused(text: string, ...args: string[]): Promise<void> {
  const { exitCode, stderr } = await continuo(args);
  expect([args, exitCode, stderr]).toEqual([args, 2, expect.stringContaining(text)]);
}

export const inFolder = (folder: string, ...names: string[]): string[] => names.map((name) => join(folder, name));
