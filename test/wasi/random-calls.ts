/** Random calls of a guest on its directory, and what the directory begins with. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Guest } from './guest.ts';

const ROOT = 3;

/** mulberry32: small, and the same everywhere. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

export type Call = (guest: Guest) => unknown;

const NAMES = ['a', 'b', 'c', 'd', 'd/a', 'd/b', 'd/e', 'd/e/a', 'f', 'f/a', 'a/x', 'link', '.', 'd/../b'];

export function randomCall(random: (below: number) => number): Call {
  const name = NAMES[random(NAMES.length)]!;
  const other = NAMES[random(NAMES.length)]!;
  const descriptor = 4 + random(6);
  const offset = random(3) === 0 ? random(600_000) : random(40);
  const text = String.fromCharCode(97 + random(26)).repeat(1 + random(random(8) === 0 ? 5000 : 30));
  const flags = random(16);
  const append = random(3) === 0 ? 1 : 0;
  switch (random(20)) {
    case 0:
    case 1:
    case 2:
      return (guest) => guest.open(ROOT, name, { oflags: flags & ~2, fdflags: append });
    case 3:
      return (guest) => guest.openDirectory(ROOT, name);
    case 4:
    case 5:
    case 6:
      return (guest) => guest.write(descriptor, text, 'x');
    case 7:
      return (guest) => guest.pwrite(descriptor, offset, text);
    case 8:
      return (guest) => guest.read(descriptor, 10, 30);
    case 9:
      return (guest) => guest.seek(descriptor, offset, 0);
    case 10:
      return (guest) => guest.setSize(descriptor, offset);
    case 11:
      return (guest) => guest.close(descriptor);
    case 12:
      return (guest) => guest.unlink(ROOT, name);
    case 13:
    case 14:
      return (guest) => guest.rename(ROOT, name, ROOT, other);
    case 15:
      return (guest) => guest.link(ROOT, name, ROOT, other);
    case 16:
      return (guest) => guest.makeDirectory(ROOT, name);
    case 17:
      return (guest) => guest.removeDirectory(ROOT, name);
    case 18:
      return (guest) => guest.symlink(other, ROOT, name);
    default:
      return (guest) => [
        guest.stat(ROOT, name),
        guest.statOf(descriptor),
        guest.readdir(descriptor, 0n).value?.entries.map((entry) => entry.name),
      ];
  }
}

export function prepare(directory: string): void {
  mkdirSync(join(directory, 'd', 'e'), { recursive: true });
  writeFileSync(join(directory, 'a'), 'contents of a');
  writeFileSync(join(directory, 'b'), 'b'.repeat(700_000));
  writeFileSync(join(directory, 'd', 'a'), 'inner');
}
