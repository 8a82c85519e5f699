import { kernelTrackingObstacle } from '../../src/kernel/tracking-probe.ts';

const obstacle = kernelTrackingObstacle();
if (obstacle !== undefined) console.log(`Tracking by the kernel is left out: ${obstacle}.`);

/** Whether the kernel tells here which pages were written: it needs Linux 6.7 and no right. */
export const kernelTracks = obstacle === undefined;
