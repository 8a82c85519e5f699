import { expect } from 'vitest';
import { crash, openOperations, SECTOR_BYTES, type Medium, type Operation } from './crash-device.ts';

/** Whether tests that take every state, or every byte, do so; else they take a sample of them. */
export const isExhaustive = process.env['CONTINUO_EXHAUSTIVE'] !== undefined;

/**
 * All fates of the open operations that the bounded search tries; `visit` makes the medium that one leaves if it wants. With
 * `newestKept` those are left out that lose the newest operation: they are the fates of the log without it.
 */
export function explore(
  start: Medium,
  log: readonly Operation[],
  visit: (medium: () => Medium, label: () => string) => void,
  newestKept = false,
  /** Every so many sectors is the one that a write is torn at, from another one on for each operation. */
  tearStep = 1,
): void {
  const open = openOperations(log);
  expect(open.length).toBeLessThanOrEqual(12);
  const newest = newestKept && open.at(-1) === log.length - 1 ? log.length - 1 : -1;
  for (let subset = 0; subset < 2 ** open.length; subset++) {
    const kept = new Set(open.filter((_, i) => (subset & (1 << i)) !== 0));
    if (newest >= 0 && !kept.has(newest)) continue;
    for (const sizesLost of [false, true]) {
      visit(
        () => crash(start, log, (_, index) => kept.has(index), sizesLost),
        () => `log ${log.length}, kept ${[...kept].join()}, sizes ${sizesLost ? 'lost' : 'kept'}`,
      );
    }
  }
  for (const torn of open) {
    const operation = log[torn];
    if (operation.kind !== 'write') continue;
    const sectors = Math.ceil(operation.bytes.length / SECTOR_BYTES);
    for (const othersKept of newest >= 0 && torn !== newest ? [true] : [true, false]) {
      for (let at = sectors > tearStep ? torn % tearStep : 0; at < sectors; at += tearStep) {
        for (const survives of [
          (sector: number) => sector !== at,
          (sector: number) => sector === at,
          (sector: number) => sector < at,
        ]) {
          visit(
            () => crash(start, log, (_, index) => (index === torn ? survives : othersKept)),
            () => `log ${log.length}, operation ${torn} torn at sector ${at}, others ${othersKept ? 'kept' : 'lost'}`,
          );
        }
      }
    }
  }
}
