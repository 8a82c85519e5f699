import * as fs from 'node:fs';

const PAGE_BYTES = 4096;
export const TRIES = 20;

/** The median time, milliseconds, in which a page written to a new file becomes durable. The file is removed again. */
export function measureSync(path: string): number {
  const descriptor = fs.openSync(path, 'wx');
  try {
    const page = new Uint8Array(PAGE_BYTES).fill(1);
    const times: number[] = [];
    for (let i = 0; i < TRIES; i++) {
      const startMs = performance.now();
      fs.writeSync(descriptor, page, 0, PAGE_BYTES, i * PAGE_BYTES);
      fs.fdatasyncSync(descriptor);
      times.push(performance.now() - startMs);
    }
    return times.toSorted((a, b) => a - b)[TRIES >> 1];
  } finally {
    fs.closeSync(descriptor);
    fs.rmSync(path);
  }
}
