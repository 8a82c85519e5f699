import { kernelPagingObstacle } from '../../src/kernel/paging-probe.ts';

const obstacle = kernelPagingObstacle();
if (obstacle !== undefined) console.log(`Paging by the kernel is left out: ${obstacle}.`);

/** Whether the kernel pages programs here: it needs Linux 6.8 and a right that not everybody has. */
export const kernelPages = obstacle === undefined;

/** A hang is a failure, long before the suite would notice. */
export const HANG_MS = 240_000;
