import { assert } from '../error/errors.ts';
import { PAGE_BYTES, WASM_PAGE_BYTES } from '../memory/layout.ts';
import { WriteWatch } from './write-watch.ts';

let known: { readonly obstacle: string | undefined } | undefined;

/** Why the kernel cannot tell here which pages a program wrote, for people; undefined: it can. Tried out once, on memory of no use. */
export function kernelTrackingObstacle(): string | undefined {
  known ??= { obstacle: obstacleFound() };
  return known.obstacle;
}

function obstacleFound(): string | undefined {
  try {
    tryOut();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message.split('\n', 1)[0] : String(error);
  }
}

/** All that the tracker relies on, on memory of the same kind. */
function tryOut(): void {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
  const bytes = new Uint8Array(memory.buffer);
  bytes[PAGE_BYTES] = 1;
  const watch = new WriteWatch(bytes, 2 * WASM_PAGE_BYTES);
  try {
    expectScan(watch, 16, [1, 2], 'what was written before');
    const read = bytes[0] + bytes[PAGE_BYTES] + bytes[5 * PAGE_BYTES];
    expectScan(watch, 16, [], `what was read (${read})`);
    bytes[PAGE_BYTES] = 1;
    bytes[5 * PAGE_BYTES] = 1;
    bytes[7 * PAGE_BYTES] = 1;
    expectScan(watch, 16, [1, 2, 5, 6, 7, 8], 'what was written');
    memory.grow(1);
    new Uint8Array(memory.buffer)[17 * PAGE_BYTES] = 1;
    expectScan(watch, 32, [17, 18], 'what was written after growth');
  } finally {
    watch.close();
  }
}

function expectScan(watch: WriteWatch, pageCount: number, expected: readonly number[], what: string): void {
  const found = watch.ranges.subarray(0, 2 * watch.scan(pageCount)).join();
  if (found === expected.join()) return;
  assert(expected.length % 2 === 0, 'ranges are pairs');
  throw new Error(
    `the kernel tells wrongly ${what} (${found || 'nothing'} instead of ${expected.join() || 'nothing'})`,
  );
}
