import { expect } from 'vitest';
import { crash, openOperations, SECTOR_BYTES, type Medium, type Operation } from './crash-device.ts';

/** All fates of the open operations that the bounded search tries; `visit` makes the medium that one leaves if it wants. */
export function explore(
  start: Medium,
  log: readonly Operation[],
  visit: (medium: () => Medium, label: () => string) => void,
): void {
  const open = openOperations(log);
  expect(open.length).toBeLessThanOrEqual(12);
  for (let subset = 0; subset < 2 ** open.length; subset++) {
    const kept = new Set(open.filter((_, i) => (subset & (1 << i)) !== 0));
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
    for (const othersKept of [true, false]) {
      for (let at = 0; at < sectors; at++) {
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
